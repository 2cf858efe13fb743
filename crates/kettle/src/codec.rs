//! Messages to bytes and back.

use crate::Status;
use bytes::{Bytes, BytesMut};
use kettle_buf::{Chain, Encode, Payload, Segment};
use prost::Message;

/// A received message before it is decoded.
#[derive(Debug)]
pub struct Inbound {
    chain: Chain,
}

/// A message that is encoded and ready to be sent.
#[derive(Debug)]
pub struct Outbound {
    bytes: Encoded,
}

#[derive(Debug)]
enum Encoded {
    /// Made here.
    Own(BytesMut),
    /// Given, and perhaps used elsewhere too.
    Shared(Bytes),
}

impl Inbound {
    pub(crate) fn new(chain: Chain) -> Self {
        Self { chain }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.chain.len()
    }

    /// Whether the message has no bytes, which is the encoding of a message with default fields.
    pub fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    /// The message's bytes: shared with what was received when they lie in one piece, else gathered.
    pub fn into_bytes(self) -> Bytes {
        self.chain.into_segment().into_bytes()
    }

    /// Decodes a protobuf message. `bytes` fields of type [`Bytes`] are slices of what was received.
    ///
    /// # Errors
    /// INTERNAL with the place of the error when the bytes are not such a message.
    pub fn decode<M: Message + Default>(self) -> Result<M, Status> {
        let decoded = match self.chain.segment_count() {
            0 | 1 => M::decode(self.chain.into_segment().into_bytes()),
            _ => M::decode(self.chain),
        };
        decoded.map_err(|error| Status::internal(format!("cannot decode the message: {error}")))
    }
}

impl Outbound {
    /// Encodes a protobuf message.
    pub fn encode<M: Message>(message: &M) -> Self {
        let mut bytes = BytesMut::with_capacity(message.encoded_len());
        message
            .encode(&mut bytes)
            .expect("the buffer has the length that the message asked for");
        Self {
            bytes: Encoded::Own(bytes),
        }
    }

    /// Encodes a message into a buffer of its own.
    pub(crate) fn of(message: &dyn Encode) -> Self {
        let mut bytes = BytesMut::with_capacity(message.encoded_len());
        message.encode(&mut bytes);
        Self {
            bytes: Encoded::Own(bytes),
        }
    }

    /// A message that is encoded already. Large ones are sent from where they lie.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self {
            bytes: Encoded::Shared(bytes),
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.bytes {
            Encoded::Own(bytes) => bytes.len() as u64,
            Encoded::Shared(bytes) => bytes.len() as u64,
        }
    }

    /// Whether the message has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn into_payload(self) -> Payload {
        match self.bytes {
            Encoded::Own(bytes) => bytes.into(),
            Encoded::Shared(bytes) => Segment::from(bytes).into(),
        }
    }

    /// For a client, which keeps the message to make the call again elsewhere.
    pub(crate) fn into_segment(self) -> Segment {
        match self.bytes {
            Encoded::Own(bytes) => bytes.freeze().into(),
            Encoded::Shared(bytes) => bytes.into(),
        }
    }
}
