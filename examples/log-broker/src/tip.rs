//! The end of the newest segment, where records are added. The writer has the only one.

use crate::error::Error;
use crate::index::{Index, IndexFile, Point};
use crate::record::{self, HEAD_BYTES};
use crate::segment::{Segment, index_path, records_path};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where records are added.
#[derive(Debug)]
pub(crate) struct Tip {
    path: PathBuf,
    file: Arc<File>,
    index_file: IndexFile,
    index_bytes: u64,
    end: Point,
    last_point: Point,
    /// Points that the index file does not have: what lies before them is not synced.
    unsaved: Vec<Point>,
}

impl Tip {
    /// The end of this segment, whose records are all on the disk when this returns.
    pub(crate) fn new(
        path: PathBuf,
        file: Arc<File>,
        mut index_file: IndexFile,
        (index, end): (&Index, Point),
        index_bytes: u64,
    ) -> Result<Self, Error> {
        let synced = file.sync_data().and_then(|()| index_file.replace(index));
        synced.map_err(Error::io(&path))?;
        Ok(Self {
            path,
            file,
            index_file,
            index_bytes,
            end,
            last_point: index.last(),
            unsaved: Vec::new(),
        })
    }

    /// Begins a segment at this offset, with files of its own.
    pub(crate) fn create(
        directory: &Path,
        base: u64,
        index_bytes: u64,
    ) -> Result<(Self, Segment), Error> {
        let path = records_path(directory, base);
        let file = open_records(&path).map_err(Error::io(&path))?;
        // An attempt before this may have left something.
        file.set_len(0).map_err(Error::io(&path))?;
        let file = Arc::new(file);
        let index_path = index_path(directory, base);
        let opened = IndexFile::open(&index_path, base, 0);
        let (index_file, index) = opened.map_err(Error::io(&index_path))?;
        let end = index.last();
        let tip = Self::new(
            path,
            Arc::clone(&file),
            index_file,
            (&index, end),
            index_bytes,
        )?;
        // The names of the files are data of the directory.
        let synced = File::open(directory).and_then(|directory| directory.sync_data());
        synced.map_err(Error::io(directory))?;
        Ok((tip, Segment::new(file, index, end)))
    }

    /// Where the next record goes.
    pub(crate) fn end(&self) -> Point {
        self.end
    }

    /// Writes records behind each other; gives the points of the index that this makes. The payloads are
    /// written from where they lie.
    ///
    /// # Errors
    /// When the system's write does. There may be a part of the records behind the end then: see
    /// [`Tip::cut`].
    pub(crate) fn append(&mut self, payloads: &[Bytes], time_ms: u64) -> Result<Vec<Point>, Error> {
        let (mut heads, mut points) = (Vec::with_capacity(payloads.len()), Vec::new());
        let (mut at, mut last_point) = (self.end, self.last_point);
        for payload in payloads {
            if self.index_bytes <= at.byte - last_point.byte {
                points.push(at);
                last_point = at;
            }
            heads.push(record::head(at.offset, time_ms, payload));
            at.offset += 1;
            at.byte += (HEAD_BYTES + payload.len()) as u64;
        }
        let records = heads.iter().zip(payloads);
        let slices =
            records.flat_map(|(head, payload)| [IoSlice::new(head), IoSlice::new(payload)]);
        let written = write_all(&self.file, &mut slices.collect::<Vec<_>>());
        written.map_err(Error::io(&self.path))?;
        (self.end, self.last_point) = (at, last_point);
        self.unsaved.extend_from_slice(&points);
        Ok(points)
    }

    /// Cuts off what a failed write has left behind the end.
    pub(crate) fn cut(&self) -> Result<(), Error> {
        let cut = self.file.set_len(self.end.byte);
        cut.map_err(Error::io(&self.path))
    }

    /// Returns when all records are on the disk. Only then the index file gets the points.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::io(&self.path))?;
        // Without them the next start reads more, nothing else. They are added with the next.
        if self.index_file.add(&self.unsaved).is_ok() {
            self.unsaved.clear();
        }
        Ok(())
    }
}

/// Opens a segment's file, or makes it. All writes go to its end.
pub(crate) fn open_records(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
}

/// One system call for up to 1,024 slices (IOV_MAX), unless the system takes only a part of them.
fn write_all(mut file: &File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Slices without bytes at the front are dropped.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
