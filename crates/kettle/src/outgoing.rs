//! What may be sent as a message, and where it is given to.

use crate::Status;
use kettle_buf::{Encode, Payload};
use kettle_io::LinkingBuf;
use prost::Message;

/// A message that a handler replies with or a client sends in a stream: any protobuf message, or a
/// [`crate::Composed`] one.
///
/// For these two only: what else is sent goes as [`crate::Outbound`].
pub trait Outgoing: Send {
    /// Gives the message to whoever sends it.
    ///
    /// # Errors
    /// The status that the call is to end with, when the message cannot be sent as it is.
    #[doc(hidden)]
    fn give<S: Sink + ?Sized>(self, sink: &mut S) -> Result<(), Status>;
}

/// Where messages go.
pub trait Sink {
    /// A message that is encoded now.
    fn encode(&mut self, message: &dyn Encode);

    /// A message that is encoded already.
    fn send(&mut self, message: Payload);
}

impl<M: Message> Outgoing for M {
    #[inline]
    fn give<S: Sink + ?Sized>(self, sink: &mut S) -> Result<(), Status> {
        sink.encode(&Protobuf(&self));
        Ok(())
    }
}

/// A protobuf message as a machine encodes it.
pub(crate) struct Protobuf<'a, M>(pub(crate) &'a M);

impl<M: Message> Encode for Protobuf<'_, M> {
    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    fn encode(&self, out: &mut bytes::BytesMut) {
        self.0.encode(out).expect("a buffer that grows has room");
    }

    /// Large fields of type [`bytes::Bytes`] are sent from where they lie.
    fn encode_parts(&self, out: &mut Payload) {
        let mut buffer = LinkingBuf::new(out);
        self.0
            .encode(&mut buffer)
            .expect("a buffer that grows has room");
    }
}
