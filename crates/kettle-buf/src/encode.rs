//! Messages that are not bytes yet.

use crate::{Payload, count_copied};
use bytes::BytesMut;

/// A message that is not bytes yet: it is written straight to where it is sent from.
pub trait Encode {
    /// Length in bytes when encoded.
    fn encoded_len(&self) -> usize;

    /// Adds exactly [`Encode::encoded_len`] bytes.
    fn encode(&self, out: &mut BytesMut);

    /// Adds the same bytes behind a payload. Large pieces may be linked rather than copied. Default:
    /// all are encoded into one buffer.
    fn encode_parts(&self, out: &mut Payload) {
        let mut bytes = BytesMut::with_capacity(self.encoded_len());
        self.encode(&mut bytes);
        count_copied(bytes.len());
        out.append_payload(bytes.into());
    }
}

/// A tail that is being written to: left as it was unless all went well.
pub(crate) struct Attempt<'a> {
    tail: &'a mut BytesMut,
    start: usize,
    done: bool,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(tail: &'a mut BytesMut) -> Self {
        let start = tail.len();
        Self {
            tail,
            start,
            done: false,
        }
    }

    /// Adds `head` and then the message. Whether the message had its length.
    #[inline]
    pub(crate) fn write(mut self, head: &[u8], message: &dyn Encode, len: usize) -> bool {
        self.tail.extend_from_slice(head);
        message.encode(self.tail);
        self.done = self.tail.len() - self.start == head.len() + len;
        self.done
    }
}

/// Encoding is code that others write, and may panic.
impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.tail.truncate(self.start);
        }
    }
}
