//! A log in a directory: opening it, and the handle that everybody works with.

use crate::contents::{Batch, Contents};
use crate::error::{Error, OutOfRange};
use crate::lock::Lock;
use crate::recovery::Recovered;
use crate::tail::Tail;
use crate::tip::Tip;
use crate::writer::{AppendError, Fsync, Writer};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Settings of a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// When records are forced to the disk. Default [`Fsync::Always`].
    pub fsync: Fsync,
    /// A new segment begins when the newest would become longer than this, in bytes. Default 64 MiB. What
    /// is written at once, 7 MiB at most, is in one segment all the same.
    pub segment_bytes: u64,
    /// The oldest segments are removed while all together are longer than this, in bytes, but never the
    /// newest. Default 1 GiB.
    pub retention_bytes: u64,
    /// The index has a point for the first record that begins at least this many bytes behind the last
    /// point. Default 4 KiB: so it has 1/256 of the log's size, in memory and on the disk.
    pub index_bytes: u64,
}

/// A log that is open. A clone is the same log: when the last is dropped, it is synced and closed.
#[derive(Clone, Debug)]
pub struct Log {
    contents: Arc<Contents>,
    writer: Arc<Writer>,
}

/// What opening a log found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// How many segments there are.
    pub segments: usize,
    /// The offsets of their records.
    pub offsets: Range<u64>,
    /// Bytes that were cut off the newest segment: of a write that was broken off, so nothing of it was
    /// acknowledged.
    pub cut_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fsync: Fsync::Always,
            segment_bytes: 64 << 20,
            retention_bytes: 1 << 30,
            index_bytes: 4 << 10,
        }
    }
}

impl Log {
    /// Opens the log in this directory, or begins one. The newest segment is cut behind its last whole
    /// record. Blocks for as long as it reads what the indexes have no points for.
    ///
    /// # Errors
    /// When a file cannot be read or written, another process has the log, or a record is damaged in a
    /// segment that is not the newest.
    ///
    /// # Panics
    /// When [`Options::index_bytes`] is 0.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<(Self, Recovery), Error> {
        assert!(0 < options.index_bytes, "points of an index lie apart");
        let directory = directory.as_ref();
        fs::create_dir_all(directory).map_err(Error::io(directory))?;
        let lock = Lock::take(directory)?;
        let bases = bases(directory)?.into_iter();
        let recovered = bases.map(|base| Recovered::read(directory, base, options.index_bytes));
        let mut recovered = recovered.collect::<Result<Vec<_>, _>>()?;
        for (segment, next) in recovered.iter().zip(recovered.iter().skip(1)) {
            segment.check(next)?;
        }
        let mut segments: VecDeque<_> = recovered.iter().map(Recovered::segment).collect();
        let (tip, cut_bytes) = match recovered.pop() {
            Some(newest) => {
                let torn_bytes = newest.torn_bytes();
                (newest.into_tip(options.index_bytes)?, torn_bytes)
            }
            None => {
                let (tip, segment) = Tip::create(directory, 0, options.index_bytes)?;
                segments.push_back(segment);
                (tip, 0)
            }
        };
        recovered.iter_mut().try_for_each(Recovered::save_index)?;
        let contents = Arc::new(Contents::new(directory.to_owned(), lock, segments));
        contents.retain(options.retention_bytes)?;
        let (first, end) = contents.bounds();
        let recovery = Recovery {
            segments: contents.segments(),
            offsets: first..end,
            cut_bytes,
        };
        let writer = Writer::start(Arc::clone(&contents), tip, options);
        let writer = Arc::new(writer.map_err(Error::io(directory))?);
        Ok((Self { contents, writer }, recovery))
    }

    /// Adds records next to each other; gives their offsets. They are as safe as [`Options::fsync`] says.
    /// When the future is dropped, they are added or not.
    ///
    /// # Errors
    /// When there are too few or too many, or they cannot be written. Then none was added, unless a sync
    /// failed: they may be there after a restart.
    pub async fn append(&self, payloads: Vec<Bytes>) -> Result<Range<u64>, AppendError> {
        self.writer.append(payloads).await
    }

    /// The offset of the oldest record, and the one that the next record gets.
    pub fn bounds(&self) -> (u64, u64) {
        self.contents.bounds()
    }

    /// Records from an offset on, or from up to [`Options::index_bytes`] before it: as many as lie in
    /// `bytes_max` bytes, or those to the index's next point. `None` at the end of the log.
    ///
    /// # Errors
    /// When the log does not have the offset.
    pub fn fetch(&self, offset: u64, bytes_max: u64) -> Result<Option<Batch>, OutOfRange> {
        let mut cursor = self.contents.seek(offset)?;
        self.contents.read(&mut cursor, bytes_max)
    }

    /// All records from an offset on, and those that will be added.
    ///
    /// # Errors
    /// As [`Log::fetch`].
    pub fn tail(&self, offset: u64) -> Result<Tail, OutOfRange> {
        let cursor = self.contents.seek(offset)?;
        Ok(Tail::new(Arc::clone(&self.contents), cursor))
    }
}

/// The offsets that segments begin at, in order.
pub(crate) fn bases(directory: &Path) -> Result<Vec<u64>, Error> {
    let base = |entry: io::Result<fs::DirEntry>| -> io::Result<Option<u64>> {
        let name = entry?.file_name();
        let base = name.to_str().and_then(|name| name.strip_suffix(".log"));
        let base = base.filter(|base| base.len() == 20);
        Ok(base.and_then(|base| base.parse().ok()))
    };
    let entries = fs::read_dir(directory).map_err(Error::io(directory))?;
    let bases = entries.map(base).filter_map(Result::transpose);
    let mut bases = bases
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::io(directory))?;
    bases.sort_unstable();
    Ok(bases)
}
