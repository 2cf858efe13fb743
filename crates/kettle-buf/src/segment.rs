//! One shared, immutable run of bytes. See `chain.rs` for runs of runs.

use crate::count_copied;
use bytes::{Buf, Bytes};
use std::fmt;
use std::ops::{Deref, RangeBounds};

/// One shared, immutable run of bytes: cloning and slicing share the memory, nothing is copied.
///
/// ```text
///   Segment a ──┐   ┌─────────────── block, freed when its last segment is dropped
///               ▼   ▼
///            [ . . . . . . . . . . ]
///                   ▲   ▲
///   Segment b ──────┴───┘  = a.slice(4..8)
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Segment(Bytes);

impl Segment {
    /// An empty segment; does not allocate.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// A segment over memory that lives for ever; does not allocate.
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self(Bytes::from_static(bytes))
    }

    /// Wraps any owner of bytes; the owner is dropped with the last segment that refers to it.
    pub fn from_owner<T: AsRef<[u8]> + Send + 'static>(owner: T) -> Self {
        Self(Bytes::from_owner(owner))
    }

    /// Copies `bytes` into an allocation of exactly that size.
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        count_copied(bytes.len());
        Self(Bytes::copy_from_slice(bytes))
    }

    /// A part of this segment, sharing its memory.
    ///
    /// # Panics
    /// When the range does not lie within the segment.
    #[inline]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        Self(self.0.slice(range))
    }

    /// Cuts off and returns the first `n` bytes; the rest stays.
    ///
    /// # Panics
    /// When `n` is greater than the length.
    #[must_use = "the bytes that were cut off are lost otherwise: use advance"]
    #[inline]
    pub fn split_to(&mut self, n: usize) -> Self {
        Self(self.0.split_to(n))
    }

    /// Drops the first `n` bytes.
    ///
    /// # Panics
    /// When `n` is greater than the length.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        self.0.advance(n);
    }

    /// Copies the bytes behind what `out` has.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        count_copied(self.len());
        out.extend_from_slice(self);
    }

    /// Keeps the first `n` bytes; does nothing when there are fewer.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.0.truncate(n);
    }

    /// The same memory as [`Bytes`].
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Segment {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Segment {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Segment {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Segment> for Bytes {
    #[inline]
    fn from(segment: Segment) -> Self {
        segment.0
    }
}

impl From<Vec<u8>> for Segment {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<&'static [u8]> for Segment {
    fn from(bytes: &'static [u8]) -> Self {
        Self::from_static(bytes)
    }
}

impl From<&'static str> for Segment {
    fn from(text: &'static str) -> Self {
        Self::from_static(text.as_bytes())
    }
}

impl From<String> for Segment {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
