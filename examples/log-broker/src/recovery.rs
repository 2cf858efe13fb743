//! What a segment's file holds, when a log is opened.

use crate::error::Error;
use crate::index::{Index, IndexFile, Point};
use crate::record::Flaw;
use crate::scan::{Scan, Step};
use crate::segment::{Segment, index_path, records_path};
use crate::tip::{Tip, open_records};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment's files, and what is whole of it.
#[derive(Debug)]
pub(crate) struct Recovered {
    path: PathBuf,
    file: Arc<File>,
    index_file: IndexFile,
    index: Index,
    /// Behind its last whole record.
    end: Point,
    /// What is wrong there, unless the file ends there.
    flaw: Option<Flaw>,
    /// Length of the file.
    bytes: u64,
    /// The index's file has other points than the index.
    is_unsaved: bool,
}

impl Recovered {
    /// Reads a segment from the last point of its index on, which is on the disk with all that lies before
    /// it. Points without a whole record are dropped, and what is read adds points again. The records are
    /// not changed.
    pub(crate) fn read(directory: &Path, base: u64, index_bytes: u64) -> Result<Self, Error> {
        let path = records_path(directory, base);
        let file = open_records(&path).map_err(Error::io(&path))?;
        let bytes = file.metadata().map_err(Error::io(&path))?.len();
        let index_path = index_path(directory, base);
        let opened = IndexFile::open(&index_path, base, bytes);
        let (index_file, mut index) = opened.map_err(Error::io(&index_path))?;
        let saved = index.clone();
        let scanned = scan(&file, &mut index, index_bytes);
        let (end, flaw) = scanned.map_err(Error::io(&path))?;
        Ok(Self {
            path,
            file: Arc::new(file),
            index_file,
            is_unsaved: index != saved,
            index,
            end,
            flaw,
            bytes,
        })
    }

    /// The offset of the first record.
    pub(crate) fn base(&self) -> u64 {
        self.index.first().offset
    }

    /// Bytes behind the last whole record.
    pub(crate) fn torn_bytes(&self) -> u64 {
        self.bytes - self.end.byte
    }

    /// A segment that is followed by another has to be whole: it was, and on the disk, before that began.
    pub(crate) fn check(&self, next: &Self) -> Result<(), Error> {
        let (path, end, next) = (self.path.clone(), self.end, next.base());
        match self.flaw {
            Some(flaw) => Err(Error::damaged(path, end, flaw)),
            None if end.offset != next => Err(Error::Gap {
                path,
                end: end.offset,
                next,
            }),
            None => Ok(()),
        }
    }

    /// Makes the index's file again if it was lost. The segment is on the disk: another follows it.
    pub(crate) fn save_index(&mut self) -> Result<(), Error> {
        if self.is_unsaved {
            let saved = self.index_file.replace(&self.index);
            saved.map_err(Error::io(&self.path))?;
        }
        Ok(())
    }

    pub(crate) fn segment(&self) -> Segment {
        Segment::new(Arc::clone(&self.file), self.index.clone(), self.end)
    }

    /// The newest segment: cuts off what is torn. Nobody reads it yet, so no range outlives its bytes.
    pub(crate) fn into_tip(self, index_bytes: u64) -> Result<Tip, Error> {
        let cut = self.file.set_len(self.end.byte);
        cut.map_err(Error::io(&self.path))?;
        let found = (&self.index, self.end);
        Tip::new(self.path, self.file, self.index_file, found, index_bytes)
    }
}

fn scan(file: &File, index: &mut Index, index_bytes: u64) -> io::Result<(Point, Option<Flaw>)> {
    while read_from(file, index.last())?.step()? != Step::Record && index.pop() {}
    let scan = read_from(file, index.last())?;
    scan.run(|at| {
        if index_bytes <= at.byte - index.last().byte {
            index.push(at);
        }
    })
}

fn read_from(mut file: &File, at: Point) -> io::Result<Scan<&File>> {
    file.seek(SeekFrom::Start(at.byte))?;
    Ok(Scan::new(file, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::HEAD_BYTES;
    use bytes::Bytes;
    use std::fs;
    use tempfile::TempDir;

    const BASE: u64 = 100;

    /// So small that most records have a point.
    const INDEX_BYTES: u64 = 50;

    /// A segment's files, and where its records end.
    struct Sample {
        directory: TempDir,
        records: Vec<u8>,
        index: Vec<u8>,
        points: Index,
        ends: Vec<u64>,
    }

    impl Sample {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let (mut tip, mut segment) = Tip::create(directory.path(), BASE, INDEX_BYTES).unwrap();
            let mut ends = vec![0];
            for length in [5, 0, 40, 1, 1, 90, 0, 0, 0, 17, 60, 3] {
                let payload = Bytes::from(vec![length as u8; length]);
                let points = tip.append(&[payload], 7).unwrap();
                segment.grow(tip.end(), &points);
                ends.push(tip.end().byte);
            }
            tip.sync().unwrap();
            Self {
                records: fs::read(records_path(directory.path(), BASE)).unwrap(),
                index: fs::read(index_path(directory.path(), BASE)).unwrap(),
                points: Recovered::read(directory.path(), BASE, INDEX_BYTES)
                    .unwrap()
                    .index,
                directory,
                ends,
            }
        }

        /// Recovers these files.
        fn recover(&self, records: &[u8], index: &[u8]) -> Recovered {
            let directory = self.directory.path();
            let paths = [records_path, index_path].map(|path| path(directory, BASE));
            for (path, bytes) in paths.into_iter().zip([records, index]) {
                // A new file: some file systems sync one that is written over.
                fs::remove_file(&path).unwrap();
                fs::write(&path, bytes).unwrap();
            }
            Recovered::read(directory, BASE, INDEX_BYTES).unwrap()
        }

        /// The records that end in the first `bytes`.
        fn whole(&self, bytes: usize) -> Point {
            let count = self.ends.partition_point(|&end| end <= bytes as u64) - 1;
            Point {
                offset: BASE + count as u64,
                byte: self.ends[count],
            }
        }

        fn points_until(&self, end: Point) -> Index {
            let mut points = self.points.clone();
            while end.byte <= points.last().byte && points.pop() {}
            points
        }
    }

    #[test]
    fn every_cut_leaves_the_longest_whole_prefix() {
        let sample = Sample::new();
        assert!(5 * 16 <= sample.index.len(), "there are points to try");
        for cut in 0..=sample.records.len() {
            let whole = sample.whole(cut);
            let records = &sample.records[..cut];
            for points in [0, 1, sample.index.len() / 32, sample.index.len() / 16] {
                let index = &sample.index[..points * 16];
                let recovered = sample.recover(records, index);
                assert_eq!(recovered.end, whole, "{cut}, {points}");
                assert_eq!(recovered.torn_bytes(), cut as u64 - whole.byte);
                assert_eq!(recovered.flaw.is_some(), 0 < recovered.torn_bytes());
                assert_eq!(
                    recovered.index,
                    sample.points_until(whole),
                    "{cut}, {points}"
                );
            }
        }
    }

    #[test]
    fn what_is_torn_is_cut_off_and_appends_follow_the_last_whole_record() {
        let sample = Sample::new();
        for cut in (0..=sample.records.len()).step_by(7) {
            let whole = sample.whole(cut);
            let recovered = sample.recover(&sample.records[..cut], &sample.index);
            let mut tip = recovered.into_tip(INDEX_BYTES).unwrap();
            let added = tip.append(&[Bytes::from_static(b"new")], 8).unwrap();
            tip.sync().unwrap();
            let after = Recovered::read(sample.directory.path(), BASE, INDEX_BYTES).unwrap();
            assert_eq!(
                (after.end.offset, after.flaw),
                (whole.offset + 1, None),
                "{cut}"
            );
            assert_eq!(after.end.byte, whole.byte + HEAD_BYTES as u64 + 3);
            let mut points = sample.points_until(whole);
            added.into_iter().for_each(|point| points.push(point));
            assert_eq!(after.index, points, "{cut}");
        }
    }

    #[test]
    fn what_follows_the_last_record_is_not_taken_for_one() {
        let sample = Sample::new();
        let old = sample.records[..sample.ends[1] as usize].to_vec();
        for more in [
            vec![0; 500],
            vec![0xff; 500],
            old,
            b"some text that is no record".to_vec(),
        ] {
            let records = [&sample.records[..], &more].concat();
            let recovered = sample.recover(&records, &sample.index);
            assert_eq!(recovered.end, sample.whole(sample.records.len()));
            assert_eq!(recovered.torn_bytes(), more.len() as u64);
        }
    }

    #[test]
    fn a_wrong_byte_ends_what_is_whole() {
        let sample = Sample::new();
        for at in 0..sample.records.len() {
            let mut records = sample.records.clone();
            records[at] ^= 0x10;
            let recovered = sample.recover(&records, &[]);
            assert_eq!(recovered.end, sample.whole(at), "{at}");
        }
    }

    #[test]
    fn only_what_the_last_good_point_lies_behind_is_trusted() {
        let sample = Sample::new();
        let last = sample.points.last();
        let mut records = sample.records.clone();
        records[last.byte as usize] ^= 1;
        let recovered = sample.recover(&records, &sample.index);
        assert_eq!(recovered.end, last);
        // Nobody reads what lies before a good point.
        records = sample.records.clone();
        records[0] ^= 1;
        let recovered = sample.recover(&records, &sample.index);
        assert_eq!(recovered.end, sample.whole(records.len()));
    }

    #[test]
    fn a_segment_before_another_has_to_be_whole() {
        let sample = Sample::new();
        let next = |base| {
            let (_, _) = Tip::create(sample.directory.path(), base, INDEX_BYTES).unwrap();
            Recovered::read(sample.directory.path(), base, INDEX_BYTES).unwrap()
        };
        let end = sample.whole(sample.records.len());
        let recovered = sample.recover(&sample.records, &sample.index);
        recovered.check(&next(end.offset)).unwrap();
        let gap = recovered.check(&next(end.offset + 1)).unwrap_err();
        assert!(
            matches!(
                gap,
                Error::Gap {
                    end: 112,
                    next: 113,
                    ..
                }
            ),
            "{gap}"
        );
        let cut = &sample.records[..sample.records.len() - 1];
        let recovered = sample.recover(cut, &sample.index);
        let damaged = recovered.check(&next(end.offset)).unwrap_err();
        let Error::Damaged { offset, flaw, .. } = damaged else {
            panic!("{damaged}");
        };
        assert_eq!((offset, flaw), (end.offset - 1, Flaw::Cut));
    }
}
