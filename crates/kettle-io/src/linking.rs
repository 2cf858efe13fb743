//! A buffer to encode messages into, in which large pieces are linked.
//!
//! It does no I/O. It stands in this crate because [`BufMut`] is an unsafe trait.
#![expect(unsafe_code, reason = "BufMut is an unsafe trait")]

use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut, BytesMut};
use kettle_buf::{LINK_BYTES_MIN, Payload, count_copied};

/// Adds what is encoded into it to a [`Payload`]. A piece of at least [`LINK_BYTES_MIN`] that comes as
/// [`bytes::Bytes`] is shared rather than copied.
///
/// What was written is in the payload once this is dropped.
#[derive(Debug)]
pub struct LinkingBuf<'a> {
    payload: &'a mut Payload,
    /// What was copied since the last large piece.
    tail: BytesMut,
}

impl<'a> LinkingBuf<'a> {
    /// Writes behind what the payload has.
    pub fn new(payload: &'a mut Payload) -> Self {
        Self {
            payload,
            tail: BytesMut::new(),
        }
    }

    fn flush(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        count_copied(tail.len());
        self.payload.append_payload(tail.into());
    }
}

// SAFETY: `chunk_mut` and `advance_mut` are those of one BytesMut, which keeps the trait's rules; whoever
// calls `advance_mut` has initialised what the last `chunk_mut` gave. The other methods add to the same
// BytesMut or take all of it away, so what `chunk_mut` gives is always behind what was written.
unsafe impl BufMut for LinkingBuf<'_> {
    fn remaining_mut(&self) -> usize {
        self.tail.remaining_mut()
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.tail.advance_mut(count) };
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        self.tail.chunk_mut()
    }

    fn put<T: Buf>(&mut self, mut source: T) {
        let length = source.remaining();
        if length < LINK_BYTES_MIN {
            self.tail.put(source);
        } else {
            self.flush();
            self.payload.append(source.copy_to_bytes(length).into());
        }
    }

    fn put_slice(&mut self, source: &[u8]) {
        self.tail.put_slice(source);
    }
}

impl Drop for LinkingBuf<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn large_bytes_are_shared_and_small_ones_are_copied() {
        let (small, large) = (
            Bytes::from(vec![1; 100]),
            Bytes::from(vec![2; LINK_BYTES_MIN]),
        );
        let mut payload = Payload::new();
        let mut buffer = LinkingBuf::new(&mut payload);
        buffer.put_u8(0);
        buffer.put(small.clone());
        buffer.put(large.clone());
        buffer.put_slice(&[3]);
        drop(buffer);
        let pieces: Vec<_> = payload.into_pieces().collect();
        let memory = |n: usize| match &pieces[n] {
            kettle_buf::Piece::Memory(segment) => segment,
            kettle_buf::Piece::File(_) => panic!("a file"),
        };
        assert_eq!(memory(0)[..], [&[0][..], &small].concat());
        assert_eq!(memory(1).as_ptr(), large.as_ptr());
        assert_eq!((memory(2)[..].as_ref(), pieces.len()), (&[3][..], 3));
    }

    #[test]
    fn a_large_slice_is_copied_once() {
        let mut payload = Payload::new();
        LinkingBuf::new(&mut payload).put(&vec![7; LINK_BYTES_MIN][..]);
        assert_eq!(payload.as_slice(), Some(&[7; LINK_BYTES_MIN][..]));
    }
}
