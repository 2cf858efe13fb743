//! A segment as readers see it: ranges of one file that are whole records.
//!
//! No record is read here: ranges begin and end at points of the index, or at the segment's end.

use crate::index::{Index, Point};
use kettle::FileRegion;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is committed of a segment.
#[derive(Debug)]
pub(crate) struct Segment {
    file: Arc<File>,
    index: Index,
    end: Point,
}

/// The file with the records of the segment that begins at this offset.
pub(crate) fn records_path(directory: &Path, base: u64) -> PathBuf {
    directory.join(format!("{base:020}.log"))
}

/// The file with its index.
pub(crate) fn index_path(directory: &Path, base: u64) -> PathBuf {
    directory.join(format!("{base:020}.index"))
}

impl Segment {
    pub(crate) fn new(file: Arc<File>, index: Index, end: Point) -> Self {
        Self { file, index, end }
    }

    /// The offset of its first record.
    pub(crate) fn base(&self) -> u64 {
        self.index.first().offset
    }

    /// Behind its last record.
    pub(crate) fn end(&self) -> Point {
        self.end
    }

    /// A record has been added, or several: up to `end`, with these points.
    pub(crate) fn grow(&mut self, end: Point, points: &[Point]) {
        points.iter().for_each(|&point| self.index.push(point));
        self.end = end;
    }

    /// Where to read from for a record that the segment has, or for its end: there, or shortly before.
    pub(crate) fn seek(&self, offset: u64) -> Point {
        match offset == self.end.offset {
            true => self.end,
            false => self.index.at_or_before(offset),
        }
    }

    /// Where to read to, at most `bytes_max` further. Further than that when it is in the middle of the
    /// records between two points: so there is always something to read before the end.
    pub(crate) fn cut(&self, from: Point, bytes_max: u64) -> Point {
        let limit = from.byte + bytes_max;
        if self.end.byte <= limit {
            return self.end;
        }
        let last = self.index.until(limit);
        if from.byte < last.byte {
            return last;
        }
        self.index.behind(from.byte).unwrap_or(self.end)
    }

    /// The bytes between two points. They stay readable when the segment's file is removed.
    pub(crate) fn region(&self, from: Point, to: Point) -> FileRegion {
        FileRegion::new(Arc::clone(&self.file), from.byte, to.byte - from.byte)
    }
}
