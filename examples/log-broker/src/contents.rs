//! The log as readers see it: its segments, and who waits for its end to move.

use crate::error::{Error, OutOfRange};
use crate::index::Point;
use crate::lock::Lock;
use crate::segment::{Segment, index_path, records_path};
use kettle::FileRegion;
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What is committed, for any number of readers. No lock is held while a file is read or written.
#[derive(Debug)]
pub(crate) struct Contents {
    directory: PathBuf,
    state: Mutex<State>,
    /// Held as long as this lives, so that no other process writes.
    _lock: Lock,
}

#[derive(Debug)]
struct State {
    /// Never empty; each begins where the one before it ends.
    segments: VecDeque<Segment>,
    /// One waker at most for each reader, by its number.
    waiting: HashMap<u64, Waker>,
    readers: u64,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// The offset that the segment begins at.
    base: u64,
    at: Point,
}

/// Whole records that lie next to each other.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Their bytes.
    pub region: FileRegion,
    /// Of the first record.
    pub first_offset: u64,
    /// One more than that of the last record.
    pub next_offset: u64,
    /// Where the log ended when this was made.
    pub end_offset: u64,
}

impl Contents {
    /// # Panics
    /// When there is no segment.
    pub(crate) fn new(directory: PathBuf, lock: Lock, segments: VecDeque<Segment>) -> Self {
        assert!(!segments.is_empty(), "a log has a segment");
        Self {
            directory,
            _lock: lock,
            state: Mutex::new(State {
                segments,
                waiting: HashMap::new(),
                readers: 0,
            }),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// How many segments there are.
    pub(crate) fn segments(&self) -> usize {
        self.lock().segments.len()
    }

    /// The offsets of the oldest record and of the next.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let state = self.lock();
        (state.first(), state.end())
    }

    /// Where to read from for a record, or for the end.
    pub(crate) fn seek(&self, offset: u64) -> Result<Cursor, OutOfRange> {
        self.lock().seek(offset)
    }

    /// Reads on; `None` at the end.
    pub(crate) fn read(
        &self,
        cursor: &mut Cursor,
        bytes_max: u64,
    ) -> Result<Option<Batch>, OutOfRange> {
        self.lock().read(cursor, bytes_max)
    }

    /// A number for [`Contents::poll_read`], until [`Contents::leave`].
    pub(crate) fn enter(&self) -> u64 {
        let mut state = self.lock();
        state.readers += 1;
        state.readers
    }

    /// Reads on; at the end the reader is woken when there is more.
    pub(crate) fn poll_read(
        &self,
        reader: u64,
        cursor: &mut Cursor,
        bytes_max: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Batch, OutOfRange>> {
        let mut state = self.lock();
        match state.read(cursor, bytes_max).transpose() {
            Some(batch) => Poll::Ready(batch),
            None => {
                state.waiting.insert(reader, cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The reader waits no longer.
    pub(crate) fn leave(&self, reader: u64) {
        self.lock().waiting.remove(&reader);
    }

    /// The newest segment has grown: wakes who waits.
    pub(crate) fn commit(&self, end: Point, points: &[Point]) {
        let mut state = self.lock();
        if let Some(newest) = state.segments.back_mut() {
            newest.grow(end, points);
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_values().for_each(Waker::wake);
    }

    /// A new segment begins where the newest ends.
    pub(crate) fn push(&self, segment: Segment) {
        let mut state = self.lock();
        debug_assert_eq!(segment.base(), state.end());
        state.segments.push_back(segment);
    }

    /// Removes the oldest segments as long as all together have more bytes than this, but never the newest.
    /// What is being sent of them is sent: an open file stays readable.
    pub(crate) fn retain(&self, bytes_max: u64) -> Result<(), Error> {
        loop {
            let Some(oldest) = self.lock().pop_beyond(bytes_max) else {
                return Ok(());
            };
            // A segment without index is complete, an index without segment is nothing.
            for path in [index_path, records_path] {
                let path = path(&self.directory, oldest.base());
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
    }

    /// Nothing panics under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn first(&self) -> u64 {
        self.segments[0].base()
    }

    fn end(&self) -> u64 {
        self.segments[self.segments.len() - 1].end().offset
    }

    /// The segment that has this offset, or ends the log with it.
    fn segment(&self, offset: u64) -> Result<&Segment, OutOfRange> {
        let (first, end) = (self.first(), self.end());
        if offset < first || end < offset {
            return Err(OutOfRange { offset, first, end });
        }
        let behind = self.segments.partition_point(|it| it.base() <= offset);
        Ok(&self.segments[behind - 1])
    }

    fn seek(&self, offset: u64) -> Result<Cursor, OutOfRange> {
        let segment = self.segment(offset)?;
        Ok(Cursor {
            base: segment.base(),
            at: segment.seek(offset),
        })
    }

    fn read(&self, cursor: &mut Cursor, bytes_max: u64) -> Result<Option<Batch>, OutOfRange> {
        let segment = self.segment(cursor.at.offset)?;
        if cursor.base != segment.base() {
            // It was at the end of the one before.
            *cursor = self.seek(cursor.at.offset)?;
        }
        if cursor.at == segment.end() {
            return Ok(None);
        }
        let to = segment.cut(cursor.at, bytes_max);
        let from = std::mem::replace(&mut cursor.at, to);
        Ok(Some(Batch {
            region: segment.region(from, to),
            first_offset: from.offset,
            next_offset: to.offset,
            end_offset: self.end(),
        }))
    }

    fn pop_beyond(&mut self, bytes_max: u64) -> Option<Segment> {
        let bytes: u64 = self.segments.iter().map(|it| it.end().byte).sum();
        let is_beyond = bytes_max < bytes && 1 < self.segments.len();
        is_beyond.then(|| self.segments.pop_front()).flatten()
    }
}
