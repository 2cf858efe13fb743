//! What is sent: pieces of memory and file regions, small pieces packed together.

use crate::encode::Attempt;
use crate::spare::{self, SPARE_BYTES};
use crate::{Chain, Encode, FileRegion, Segment, count_copied};
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// From this many bytes on a piece of memory is linked into a [`Payload`]; a smaller one is copied
/// behind the pieces before it.
///
/// Measured on loopback TCP: sixteen 64 B pieces and a large one cost the same copied together or
/// sent as a vector up to 16 KiB; from 32 KiB on the vector costs 12 to 20 % less. One more I/O vector
/// costs 40 ns.
pub const LINK_BYTES_MIN: usize = 16 * 1024;

/// An open tail that cannot have the buffer that the thread uses again and again starts with this many
/// bytes: the usual reply to a client that waits for it.
const TAIL_BYTES_MIN: usize = 1024;

/// A tail that would grow beyond this is closed and linked instead.
const TAIL_BYTES_MAX: usize = SPARE_BYTES;

/// What is left of a payload is moved out of a large buffer when it is this short, in bytes.
const REST_BYTES_MAX: usize = 8 * 1024;

/// One piece of a [`Payload`].
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes in memory.
    Memory(Segment),
    /// A range of a file, read when it is sent.
    File(FileRegion),
}

impl Piece {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Memory(segment) => segment.len() as u64,
            Piece::File(region) => region.len(),
        }
    }

    /// Whether the piece has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is sent: a queue of pieces of memory and of file regions, cut by length only.
///
/// ```text
///   put_slice, append (small)        append (large)       append_region      put_slice
///   [ copied, packed together ]      [ linked segment ]   [ file region ]    [ packed … open tail ]
/// ```
///
/// Small pieces ([`LINK_BYTES_MIN`]) are copied into an open tail, so that a batch of them leaves as
/// one buffer; large ones and file regions are linked. A payload of small pieces only is one allocation.
///
/// ```
/// use kettle_buf::{Payload, Segment};
///
/// let mut payload = Payload::new();
/// payload.put_slice(b"header");
/// payload.append(Segment::from("message"));
/// assert_eq!(payload.as_slice(), Some(&b"headermessage"[..]));
/// payload.advance(6);
/// assert_eq!(payload.cut(4).as_slice(), Some(&b"mess"[..]));
/// ```
#[derive(Debug, Default)]
pub struct Payload {
    /// None of these is empty. Boxed, because payloads are moved often and seldom have pieces.
    pieces: Option<Box<Pieces>>,
    /// Bytes after the last piece, still open for more.
    tail: BytesMut,
    len: u64,
}

/// Pieces in front of the tail; at least one.
#[derive(Debug, Default)]
struct Pieces {
    queue: VecDeque<Piece>,
}

impl Payload {
    /// An empty payload; does not allocate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the payload has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies `bytes` behind what is there.
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            self.reserve_tail(bytes.len());
        }
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
    }

    /// As [`Payload::put_slice`], for bytes of a message: they count as copied.
    pub fn put_message(&mut self, bytes: &[u8]) {
        count_copied(bytes.len());
        self.put_slice(bytes);
    }

    /// Copies `head` and encodes `message`, of `len` bytes, behind what is there.
    ///
    /// Returns whether the message had this length. When it had not, or when it panics, nothing was added.
    #[inline]
    pub fn put_encoded(&mut self, head: &[u8], message: &dyn Encode, len: usize) -> bool {
        let all = head.len() + len;
        if self.tail.capacity() - self.tail.len() < all {
            self.reserve_tail(all);
        }
        let fits = Attempt::new(&mut self.tail).write(head, message, len);
        if fits {
            self.len += all as u64;
            count_copied(len);
        }
        fits
    }

    /// Adds a segment: linked from [`LINK_BYTES_MIN`] on, copied below that.
    pub fn append(&mut self, segment: Segment) {
        if segment.len() < LINK_BYTES_MIN {
            count_copied(segment.len());
            self.put_slice(&segment);
        } else {
            self.link(Piece::Memory(segment));
        }
    }

    /// Adds all segments of a chain, each by the rule of [`Payload::append`].
    pub fn append_chain(&mut self, chain: Chain) {
        for segment in chain.into_segments() {
            self.append(segment);
        }
    }

    /// Adds a file region; always linked.
    pub fn append_region(&mut self, region: FileRegion) {
        if !region.is_empty() {
            self.link(Piece::File(region));
        }
    }

    /// Adds all pieces of `other`, memory by the rule of [`Payload::append`].
    #[inline]
    pub fn append_payload(&mut self, other: Payload) {
        if self.is_empty() {
            *self = other;
        } else if other.pieces.is_none() && other.tail.len() < LINK_BYTES_MIN {
            count_copied(other.tail.len());
            self.put_slice(&other.tail);
        } else {
            self.append_pieces(other);
        }
    }

    /// Cuts off and returns the first `n` bytes; the rest stays. Neither memory nor files are read.
    ///
    /// # Panics
    /// When `n` is greater than the length.
    #[must_use = "the bytes that were cut off are lost otherwise: use advance"]
    pub fn cut(&mut self, n: u64) -> Payload {
        assert!(n <= self.len, "cut({n}) of a payload of {} bytes", self.len);
        if n == self.len {
            return std::mem::take(self);
        }
        let mut front = Payload {
            len: n,
            ..Payload::default()
        };
        self.len -= n;
        let mut wanted = n;
        while wanted > 0 {
            let Some(piece) = self.front_mut() else {
                front.tail = self.tail.split_to(wanted as usize);
                break;
            };
            let part = match piece.len() <= wanted {
                true => self.pop_front(),
                false => Some(split_piece(piece, wanted)),
            };
            wanted -= part.as_ref().map_or(0, Piece::len);
            front.pieces_mut().extend(part);
        }
        front
    }

    /// Drops the first `n` bytes.
    ///
    /// # Panics
    /// When `n` is greater than the length.
    pub fn advance(&mut self, mut n: u64) {
        assert!(
            n <= self.len,
            "advance({n}) of a payload of {} bytes",
            self.len
        );
        self.len -= n;
        while let Some(piece) = self.front_mut() {
            if n < piece.len() {
                match piece {
                    Piece::Memory(segment) => segment.advance(n as usize),
                    Piece::File(region) => region.advance(n),
                }
                return;
            }
            n -= piece.len();
            self.pop_front();
        }
        self.tail.advance(n as usize);
    }

    /// Ends a send: keeps the memory of what was sent whole for the thread's next payload, and moves a
    /// short rest into as much memory as it needs.
    pub fn recycle(&mut self) {
        if self.pieces.is_none() && self.tail.len() <= REST_BYTES_MAX {
            let rest = BytesMut::from(&self.tail[..]);
            count_copied(rest.len());
            spare::put(std::mem::replace(&mut self.tail, rest));
        }
    }

    /// The bytes in memory before the first file region, as I/O vectors. Returns how many were
    /// filled: at most `out.len()`, and 0 when a file region comes first or nothing is left.
    pub fn io_slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut n = 0;
        for piece in self.pieces() {
            match piece {
                Piece::Memory(segment) if n < out.len() => out[n] = IoSlice::new(segment),
                _ => return n,
            }
            n += 1;
        }
        if n < out.len() && !self.tail.is_empty() {
            out[n] = IoSlice::new(&self.tail);
            n += 1;
        }
        n
    }

    /// All bytes when they lie in one run of memory, the usual case; `None` when they do not.
    pub fn as_slice(&self) -> Option<&[u8]> {
        let mut pieces = self.pieces();
        match (pieces.next(), pieces.next(), self.tail.len()) {
            (None, ..) => Some(&self.tail),
            (Some(Piece::Memory(segment)), None, 0) => Some(segment),
            _ => None,
        }
    }

    /// The file region at the front, when one comes first.
    pub fn front_region(&self) -> Option<&FileRegion> {
        match self.pieces().next() {
            Some(Piece::File(region)) => Some(region),
            _ => None,
        }
    }

    /// The file regions, front first.
    pub fn regions(&self) -> impl Iterator<Item = &FileRegion> {
        self.pieces().filter_map(|piece| match piece {
            Piece::File(region) => Some(region),
            Piece::Memory(_) => None,
        })
    }

    /// Whether any piece is a file region.
    pub fn has_regions(&self) -> bool {
        self.regions().next().is_some()
    }

    /// Takes the pieces apart; the packed tail comes last as memory.
    pub fn into_pieces(mut self) -> impl Iterator<Item = Piece> {
        self.close_tail();
        self.pieces.into_iter().flat_map(|pieces| pieces.queue)
    }

    /// The bytes as a chain.
    ///
    /// # Errors
    /// Gives the payload back when it holds a file region.
    pub fn into_chain(self) -> Result<Chain, Payload> {
        if self.has_regions() {
            return Err(self);
        }
        let mut chain = Chain::new();
        for piece in self.into_pieces() {
            if let Piece::Memory(segment) = piece {
                chain.append(segment);
            }
        }
        Ok(chain)
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().flat_map(|pieces| &pieces.queue)
    }

    /// For adding to them.
    fn pieces_mut(&mut self) -> &mut VecDeque<Piece> {
        &mut self.pieces.get_or_insert_default().queue
    }

    fn front_mut(&mut self) -> Option<&mut Piece> {
        self.pieces.as_mut()?.queue.front_mut()
    }

    fn pop_front(&mut self) -> Option<Piece> {
        let queue = &mut self.pieces.as_mut()?.queue;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.pieces = None;
        }
        first
    }

    fn append_pieces(&mut self, other: Payload) {
        for piece in other.into_pieces() {
            match piece {
                Piece::Memory(segment) => self.append(segment),
                Piece::File(region) => self.append_region(region),
            }
        }
    }

    fn link(&mut self, piece: Piece) {
        self.close_tail();
        self.len += piece.len();
        self.pieces_mut().push_back(piece);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let full = std::mem::take(&mut self.tail).freeze();
            self.pieces_mut().push_back(Piece::Memory(full.into()));
        }
    }

    /// Makes room for `n` more bytes, from step to step as long as the tail is within the last.
    #[cold]
    fn reserve_tail(&mut self, n: usize) {
        if TAIL_BYTES_MAX < self.tail.len() + n {
            self.close_tail();
        }
        let wanted = self.tail.len() + n;
        if TAIL_BYTES_MAX < wanted || SPARE_BYTES <= self.tail.capacity() {
            self.tail.reserve(n);
        } else if let Some(spare) = spare::take() {
            self.move_tail(spare);
        } else if wanted <= TAIL_BYTES_MIN {
            self.tail.reserve(TAIL_BYTES_MIN - self.tail.len());
        } else {
            self.move_tail(spare::new());
        }
    }

    fn move_tail(&mut self, mut to: BytesMut) {
        count_copied(self.tail.len());
        to.extend_from_slice(&self.tail);
        self.tail = to;
    }
}

fn split_piece(piece: &mut Piece, n: u64) -> Piece {
    match piece {
        Piece::Memory(segment) => Piece::Memory(segment.split_to(n as usize)),
        Piece::File(region) => Piece::File(region.split_to(n)),
    }
}

/// Takes the buffer over without copying it, as the open tail.
impl From<BytesMut> for Payload {
    #[inline]
    fn from(tail: BytesMut) -> Self {
        Self {
            len: tail.len() as u64,
            pieces: None,
            tail,
        }
    }
}

/// A small segment is copied into a buffer of its size, a large one linked.
impl From<Segment> for Payload {
    fn from(segment: Segment) -> Self {
        if segment.len() < LINK_BYTES_MIN {
            count_copied(segment.len());
            return BytesMut::from(&segment[..]).into();
        }
        let mut payload = Payload::new();
        payload.link(Piece::Memory(segment));
        payload
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Segment::from(bytes).into()
    }
}

impl From<Chain> for Payload {
    fn from(chain: Chain) -> Self {
        let mut payload = Payload::new();
        payload.append_chain(chain);
        payload
    }
}

impl From<FileRegion> for Payload {
    fn from(region: FileRegion) -> Self {
        let mut payload = Payload::new();
        payload.append_region(region);
        payload
    }
}
