//! Where records begin in a segment: a point for every few KiB, in memory and in a file.
//!
//! The file is behind the memory: it gets points only when what lies before them is on the disk. So recovery
//! may trust all that lies before the last of them, also after a power failure.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a point in the file: offset and byte, little-endian.
const POINT_BYTES: usize = 16;

/// A place in a segment where a record begins, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The record's offset in the log.
    pub offset: u64,
    /// Its place in the segment's file.
    pub byte: u64,
}

/// Points of one segment, in order. The first is the segment's beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    points: Vec<Point>,
}

impl Index {
    /// Of the segment whose first record has this offset.
    pub(crate) fn new(base: u64) -> Self {
        let first = Point {
            offset: base,
            byte: 0,
        };
        Self {
            points: vec![first],
        }
    }

    /// The first point: the segment's beginning.
    pub(crate) fn first(&self) -> Point {
        self.points[0]
    }

    /// The last point.
    pub(crate) fn last(&self) -> Point {
        self.points[self.points.len() - 1]
    }

    /// Adds a point behind the last.
    pub(crate) fn push(&mut self, point: Point) {
        debug_assert!(self.last().offset < point.offset && self.last().byte < point.byte);
        self.points.push(point);
    }

    /// Drops the last point; false when it is the segment's beginning.
    pub(crate) fn pop(&mut self) -> bool {
        let has_more = 1 < self.points.len();
        if has_more {
            self.points.pop();
        }
        has_more
    }

    /// The last point at this offset or before it, which must not lie before the segment.
    pub(crate) fn at_or_before(&self, offset: u64) -> Point {
        let behind = self.points.partition_point(|point| point.offset <= offset);
        self.points[behind - 1]
    }

    /// The last point at this byte or before it.
    pub(crate) fn until(&self, byte: u64) -> Point {
        let behind = self.points.partition_point(|point| point.byte <= byte);
        self.points[behind - 1]
    }

    /// The first point behind this byte.
    pub(crate) fn behind(&self, byte: u64) -> Option<Point> {
        let behind = self.points.partition_point(|point| point.byte <= byte);
        self.points.get(behind).copied()
    }
}

/// The file of an index. The segment's beginning is not in it.
#[derive(Debug)]
pub(crate) struct IndexFile {
    file: File,
    /// Length of the points in it that are known to be right.
    bytes: u64,
}

impl IndexFile {
    /// Opens the file, or makes it, and reads the points that can be right: ascending, and in the first
    /// `segment_bytes`. A point that cannot is dropped with all that follow it.
    pub(crate) fn open(path: &Path, base: u64, segment_bytes: u64) -> io::Result<(Self, Index)> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut index = Index::new(base);
        for point in bytes.chunks_exact(POINT_BYTES).map(parse) {
            let last = index.last();
            let ascends = last.offset < point.offset && last.byte < point.byte;
            if !ascends || segment_bytes <= point.byte {
                break;
            }
            index.push(point);
        }
        let bytes = ((index.points.len() - 1) * POINT_BYTES) as u64;
        Ok((Self { file, bytes }, index))
    }

    /// Makes the file hold this index and nothing else.
    pub(crate) fn replace(&mut self, index: &Index) -> io::Result<()> {
        self.file.set_len(0)?;
        self.bytes = 0;
        self.add(&index.points[1..])
    }

    /// Adds points behind the others. After an error they may be added again.
    pub(crate) fn add(&mut self, points: &[Point]) -> io::Result<()> {
        let bytes: Vec<u8> = points.iter().flat_map(bytes_of).collect();
        self.file.write_all_at(&bytes, self.bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn bytes_of(point: &Point) -> impl Iterator<Item = u8> + use<> {
    let (offset, byte) = (point.offset.to_le_bytes(), point.byte.to_le_bytes());
    offset.into_iter().chain(byte)
}

fn parse(bytes: &[u8]) -> Point {
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
    Point {
        offset: long(0),
        byte: long(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(offset: u64, byte: u64) -> Point {
        Point { offset, byte }
    }

    fn index() -> Index {
        let mut index = Index::new(10);
        index.push(point(15, 100));
        index.push(point(17, 250));
        index
    }

    #[test]
    fn points_are_found_by_offset_and_by_byte() {
        let index = index();
        let (first, second, third) = (point(10, 0), point(15, 100), point(17, 250));
        for (offset, expected) in [
            (10, first),
            (14, first),
            (15, second),
            (16, second),
            (99, third),
        ] {
            assert_eq!(index.at_or_before(offset), expected, "{offset}");
        }
        for (byte, expected) in [
            (0, first),
            (99, first),
            (100, second),
            (250, third),
            (900, third),
        ] {
            assert_eq!(index.until(byte), expected, "{byte}");
        }
        for (byte, expected) in [
            (0, Some(second)),
            (99, Some(second)),
            (100, Some(third)),
            (250, None),
        ] {
            assert_eq!(index.behind(byte), expected, "{byte}");
        }
    }

    #[test]
    fn a_file_gives_back_what_can_be_right_whatever_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let (mut file, empty) = IndexFile::open(&path, 10, 1000).unwrap();
        assert_eq!(empty, Index::new(10));
        file.replace(&index()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len(), 32);
        for end in 0..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let (_, read) = IndexFile::open(&path, 10, 1000).unwrap();
            assert_eq!(read.points, index().points[..1 + end / 16], "{end}");
        }
        // Points behind the segment's end, and what a power failure may leave.
        let (_, read) = IndexFile::open(&path, 10, 250).unwrap();
        assert_eq!(read.points, index().points[..2]);
        std::fs::write(&path, [&whole[..16], &[0; 16], &whole[16..]].concat()).unwrap();
        let (_, read) = IndexFile::open(&path, 10, 1000).unwrap();
        assert_eq!(read.points, index().points[..2]);
    }

    #[test]
    fn replacing_forgets_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let (mut file, _) = IndexFile::open(&path, 10, 1000).unwrap();
        file.replace(&index()).unwrap();
        let mut shorter = index();
        assert!(shorter.pop());
        file.replace(&shorter).unwrap();
        file.add(&[point(20, 300)]).unwrap();
        let (_, read) = IndexFile::open(&path, 10, 1000).unwrap();
        assert_eq!(read.points, [point(10, 0), point(15, 100), point(20, 300)]);
        assert!(shorter.pop());
        assert!(!shorter.pop(), "the beginning stays");
    }
}
