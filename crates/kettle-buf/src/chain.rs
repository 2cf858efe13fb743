//! A composite buffer: one message that lies in several segments.

use crate::{Segment, count_copied};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// A composite buffer: a queue of [`Segment`]s read as one run of bytes.
///
/// ```text
///   append(c)         prepend(h)           cut(5)
///   [aa][bbb] [c]     [h] [aa][bbb][c]     [h][aa][bb] → returned, [b][c] stays
/// ```
///
/// Append, prepend, cut, slice and advance move or share segments; none of them copies bytes. A
/// chain of one segment, the usual message, does not allocate. Dropping a chain releases its segments.
///
/// ```
/// use kettle_buf::{Chain, Segment};
///
/// let mut chain = Chain::from(Segment::from("short and "));
/// chain.append("stout".into());
/// let front = chain.cut(7);
/// assert_eq!(&front, b"short a"[..].as_ref());
/// assert_eq!(chain.to_vec(), b"nd stout");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Empty only when the whole chain is empty.
    head: Segment,
    /// None of these is empty. Boxed, because chains are moved often and seldom have a rest.
    rest: Option<Box<Rest>>,
}

/// The segments behind the first; at least one.
#[derive(Clone, Debug, Default)]
struct Rest {
    segments: VecDeque<Segment>,
    /// Bytes in them.
    len: usize,
}

impl Rest {
    fn push_back(&mut self, segment: Segment) {
        self.len += segment.len();
        self.segments.push_back(segment);
    }

    fn push_front(&mut self, segment: Segment) {
        self.len += segment.len();
        self.segments.push_front(segment);
    }
}

impl Chain {
    /// An empty chain; does not allocate.
    pub const fn new() -> Self {
        Self {
            head: Segment::new(),
            rest: None,
        }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.head.len() + self.rest.as_ref().map_or(0, |rest| rest.len)
    }

    /// Whether the chain has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// Adds a segment at the end.
    #[inline]
    pub fn append(&mut self, segment: Segment) {
        if segment.is_empty() {
            return;
        }
        if self.head.is_empty() {
            self.head = segment;
        } else {
            self.rest_mut().push_back(segment);
        }
    }

    /// Adds a segment at the front.
    pub fn prepend(&mut self, segment: Segment) {
        if segment.is_empty() {
            return;
        }
        let old = std::mem::replace(&mut self.head, segment);
        if !old.is_empty() {
            self.rest_mut().push_front(old);
        }
    }

    /// Adds all segments of `other` at the end.
    pub fn append_chain(&mut self, other: Chain) {
        if self.is_empty() {
            *self = other;
            return;
        }
        if other.is_empty() {
            return;
        }
        let rest = self.rest_mut();
        for segment in other.into_segments() {
            rest.push_back(segment);
        }
    }

    /// Cuts off and returns the first `n` bytes; the rest stays.
    ///
    /// # Panics
    /// When `n` is greater than the length.
    #[must_use = "the bytes that were cut off are lost otherwise: use advance"]
    pub fn cut(&mut self, n: usize) -> Chain {
        assert!(
            n <= self.len(),
            "cut({n}) of a chain of {} bytes",
            self.len()
        );
        if n == self.len() {
            return std::mem::take(self);
        }
        let mut front = Chain::new();
        while front.len() < n {
            let wanted = n - front.len();
            if self.head.len() <= wanted {
                front.append(self.pop_head());
            } else {
                front.append(self.head.split_to(wanted));
            }
        }
        front
    }

    /// The `len` bytes from `start` on, sharing their memory with this chain.
    ///
    /// # Panics
    /// When the range does not lie within the chain.
    pub fn slice(&self, start: usize, len: usize) -> Chain {
        let end = start.checked_add(len).filter(|end| *end <= self.len());
        let end = end.unwrap_or_else(|| panic!("slice({start}, {len}) of {} bytes", self.len()));
        let (mut part, mut at) = (Chain::new(), 0);
        for segment in self.segments() {
            if end <= at {
                break;
            }
            let (from, to) = (start.max(at), end.min(at + segment.len()));
            if from < to {
                part.append(segment.slice(from - at..to - at));
            }
            at += segment.len();
        }
        part
    }

    /// Drops the first `n` bytes.
    ///
    /// # Panics
    /// When `n` is greater than the length.
    pub fn advance(&mut self, mut n: usize) {
        assert!(
            n <= self.len(),
            "advance({n}) of a chain of {} bytes",
            self.len()
        );
        while self.head.len() <= n && n > 0 {
            n -= self.pop_head().len();
        }
        self.head.advance(n);
    }

    /// The segments, front first; none is empty.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        std::iter::once(&self.head)
            .filter(|head| !head.is_empty())
            .chain(self.rest.iter().flat_map(|rest| &rest.segments))
    }

    /// Takes the segments out, front first; none is empty.
    pub fn into_segments(self) -> impl Iterator<Item = Segment> {
        std::iter::once(self.head)
            .filter(|head| !head.is_empty())
            .chain(self.rest.into_iter().flat_map(|rest| rest.segments))
    }

    /// How many segments there are.
    #[inline]
    pub fn segment_count(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.segments.len());
        usize::from(!self.head.is_empty()) + rest
    }

    /// The first segment as a slice; empty only when the chain is.
    #[inline]
    pub fn front(&self) -> &[u8] {
        &self.head
    }

    /// Copies the first `out.len()` bytes without taking them. False when there are fewer.
    pub fn peek(&self, out: &mut [u8]) -> bool {
        if self.len() < out.len() {
            return false;
        }
        let mut at = 0;
        for segment in self.segments() {
            let n = segment.len().min(out.len() - at);
            out[at..at + n].copy_from_slice(&segment[..n]);
            at += n;
            if at == out.len() {
                break;
            }
        }
        true
    }

    /// All bytes as one segment. Copies only when there are several segments.
    #[inline]
    pub fn into_segment(mut self) -> Segment {
        match self.rest.is_none() {
            true => self.head,
            false => self.copy_to_bytes(self.len()).into(),
        }
    }

    /// Copies all bytes into a vector.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        count_copied(self.len());
        for segment in self.segments() {
            out.extend_from_slice(segment);
        }
        out
    }

    /// Takes the first segment. The chain must not be empty.
    fn pop_head(&mut self) -> Segment {
        let next = self.pop_rest().unwrap_or_default();
        std::mem::replace(&mut self.head, next)
    }

    fn pop_rest(&mut self) -> Option<Segment> {
        let rest = self.rest.as_mut()?;
        let first = rest.segments.pop_front()?;
        rest.len -= first.len();
        if rest.segments.is_empty() {
            self.rest = None;
        }
        Some(first)
    }

    /// For adding to it.
    fn rest_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }
}

/// Reading a chain consumes it. [`Buf::copy_to_bytes`] shares the memory when the bytes lie in one
/// segment, and gathers them into one new allocation when they do not.
impl Buf for Chain {
    #[inline]
    fn remaining(&self) -> usize {
        self.len()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        &self.head
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut n = 0;
        for (slot, segment) in out.iter_mut().zip(self.segments()) {
            *slot = IoSlice::new(segment);
            n += 1;
        }
        n
    }

    #[inline]
    fn advance(&mut self, n: usize) {
        Chain::advance(self, n);
    }

    fn copy_to_bytes(&mut self, n: usize) -> Bytes {
        let part = self.cut(n);
        match part.rest.is_none() {
            true => part.head.into_bytes(),
            false => part.to_vec().into(),
        }
    }
}

impl From<Segment> for Chain {
    #[inline]
    fn from(segment: Segment) -> Self {
        Self {
            head: segment,
            rest: None,
        }
    }
}

impl PartialEq<[u8]> for Chain {
    fn eq(&self, other: &[u8]) -> bool {
        let mut at = 0;
        self.len() == other.len()
            && self.segments().all(|segment| {
                at += segment.len();
                **segment == other[at - segment.len()..at]
            })
    }
}
