//! A range of an open file, as plain data.

use std::fs::File;
use std::sync::Arc;

/// A range of an open file that is to be sent; nothing is read until then.
///
/// The file stays open as long as a region of it lives.
#[derive(Clone, Debug)]
pub struct FileRegion {
    file: Arc<File>,
    offset: u64,
    len: u64,
}

impl FileRegion {
    /// The `len` bytes of `file` from `offset` on. Whether the file is that long shows when it is sent.
    ///
    /// # Panics
    /// When `offset + len` does not fit into a `u64`.
    pub fn new(file: Arc<File>, offset: u64, len: u64) -> Self {
        assert!(
            offset.checked_add(len).is_some(),
            "a file region ends beyond 2^64 bytes"
        );
        Self { file, offset, len }
    }

    /// The file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where the region starts in the file, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes the region has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the region has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cuts off and returns the first `n` bytes of the region; the rest stays.
    ///
    /// # Panics
    /// When `n` is greater than the length.
    #[must_use = "the part that was cut off is lost otherwise: use advance"]
    pub fn split_to(&mut self, n: u64) -> Self {
        assert!(
            n <= self.len,
            "split_to({n}) of a file region of {} bytes",
            self.len
        );
        let front = Self {
            file: Arc::clone(&self.file),
            offset: self.offset,
            len: n,
        };
        self.advance(n);
        front
    }

    /// Drops the first `n` bytes of the region.
    ///
    /// # Panics
    /// When `n` is greater than the length.
    pub fn advance(&mut self, n: u64) {
        assert!(
            n <= self.len,
            "advance({n}) of a file region of {} bytes",
            self.len
        );
        self.offset += n;
        self.len -= n;
    }
}
