//! Messages to bytes and back.

use crate::inbox::Receiver;
use crate::incoming::{self, Incoming};
use crate::outgoing::{Outgoing, Protobuf, Sink};
use crate::source::{self, BoxSource};
use crate::{BytesField, Status, Streaming};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use kettle_buf::{Chain, Encode, LINK_BYTES_MIN, Payload, Segment, count_copied};
use prost::Message;
use std::fmt;

/// What was received, before it is decoded: one message, or the stream of messages of a call that
/// streams in this direction.
#[derive(Debug)]
pub struct Inbound {
    body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Message(Chain),
    Stream(Receiver),
}

/// What is to be sent: one message that is encoded, or a stream of messages.
pub struct Outbound {
    content: Content,
}

enum Content {
    /// Made here.
    Own(BytesMut),
    /// Given, and perhaps used elsewhere too.
    Shared(Bytes),
    /// In several pieces.
    Pieces(Payload),
    Stream(BoxSource),
}

impl Inbound {
    #[inline]
    pub(crate) fn new(message: Chain) -> Self {
        let body = Body::Message(message);
        Self { body }
    }

    pub(crate) fn stream(receiver: Receiver) -> Self {
        let body = Body::Stream(receiver);
        Self { body }
    }

    /// Length of the message in bytes; `None` for a stream. The encoding of a message with default
    /// fields has no bytes.
    pub fn message_len(&self) -> Option<usize> {
        match &self.body {
            Body::Message(message) => Some(message.len()),
            Body::Stream(_) => None,
        }
    }

    /// The message's bytes: shared with what was received when they lie in one piece, else gathered.
    ///
    /// # Errors
    /// INTERNAL for a stream.
    pub fn into_bytes(self) -> Result<Bytes, Status> {
        Ok(self.into_message()?.into_segment().into_bytes())
    }

    /// Decodes a protobuf message. `bytes` fields of type [`Bytes`] are slices of what was received.
    ///
    /// # Errors
    /// INTERNAL with the place of the error when the bytes are not such a message, and for a stream.
    #[inline]
    pub fn decode<M: Message + Default>(self) -> Result<M, Status> {
        let Body::Message(message) = self.body else {
            return Err(not_one());
        };
        let mut decoded = M::default();
        let merged = match message.segment_count() {
            0 | 1 => decoded.merge(message.into_segment().into_bytes()),
            _ => decoded.merge(message),
        };
        match merged {
            Ok(()) => Ok(decoded),
            Err(error) => Err(undecodable(&error)),
        }
    }

    /// Decodes a protobuf message but for one of its `bytes` fields, which is given apart, in the pieces in which
    /// it was received: so it is not copied, whatever its length. In the message the field is empty.
    ///
    /// # Errors
    /// As [`Inbound::decode`].
    pub fn decode_apart<M: Message + Default>(
        self,
        field: BytesField<M>,
    ) -> Result<(M, Chain), Status> {
        incoming::decode_apart(self.into_message()?, field)
    }

    /// The messages, decoded as they are taken. One message is a stream of one.
    pub fn into_streaming<M: Message + Default>(self) -> Streaming<M> {
        self.into_streaming_of()
    }

    /// The messages, undecoded. One message is a stream of one.
    pub fn into_stream(self) -> Streaming<Inbound> {
        self.into_streaming_of()
    }

    pub(crate) fn into_streaming_of<M: Incoming>(self) -> Streaming<M> {
        Streaming::new(self.body, |message| M::from_inbound(Inbound::new(message)))
    }

    /// The message; the stream's receiver, where it is one.
    pub(crate) fn as_message(&mut self) -> Result<&Chain, &mut Receiver> {
        match &mut self.body {
            Body::Message(message) => Ok(message),
            Body::Stream(receiver) => Err(receiver),
        }
    }

    #[inline]
    fn into_message(self) -> Result<Chain, Status> {
        match self.body {
            Body::Message(message) => Ok(message),
            Body::Stream(_) => Err(not_one()),
        }
    }
}

#[cold]
fn not_one() -> Status {
    Status::internal("a stream where one message is expected")
}

#[cold]
pub(crate) fn undecodable(error: &prost::DecodeError) -> Status {
    Status::internal(format!("cannot decode the message: {error}"))
}

impl Outbound {
    /// Encodes a protobuf message.
    ///
    /// Large fields of type [`Bytes`] are not copied.
    pub fn encode<M: Message>(message: &M) -> Self {
        Self::of(&Protobuf(message))
    }

    /// Encodes a message, into a buffer of its own unless it has large pieces.
    pub(crate) fn of(message: &dyn Encode) -> Self {
        let length = message.encoded_len();
        if LINK_BYTES_MIN <= length {
            return Self::from_payload(encoded(message));
        }
        let mut bytes = BytesMut::with_capacity(length);
        message.encode(&mut bytes);
        count_copied(length);
        Self {
            content: Content::Own(bytes),
        }
    }

    /// What a handler gave as its one message.
    pub(crate) fn of_outgoing(message: impl Outgoing) -> Result<Self, Status> {
        let mut given = Given::default();
        message.give(&mut given)?;
        let nothing = || Status::internal("the message was not given");
        given.0.ok_or_else(nothing)
    }

    /// A message in pieces of memory and of files, encoded already.
    ///
    /// A file region is read when it is sent. Nobody else should shorten the file until then: a connection
    /// on which the bytes of a region were announced and cannot be had is broken off.
    pub fn from_payload(message: Payload) -> Self {
        Self {
            content: Content::Pieces(message),
        }
    }

    /// A message that is encoded already. Large ones are sent from where they lie.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self {
            content: Content::Shared(bytes),
        }
    }

    /// A stream of messages that are encoded already. It is polled on the loop of its connection, and
    /// only while there is room for its messages. An error ends the call, and so does a stream in it.
    pub fn from_stream(
        stream: impl Stream<Item = Result<Outbound, Status>> + Send + 'static,
    ) -> Self {
        Self::from_source(source::encoded(stream))
    }

    pub(crate) fn from_source(source: BoxSource) -> Self {
        Self {
            content: Content::Stream(source),
        }
    }

    /// Length of the message in bytes; `None` for a stream.
    pub fn message_len(&self) -> Option<u64> {
        match &self.content {
            Content::Own(bytes) => Some(bytes.len() as u64),
            Content::Shared(bytes) => Some(bytes.len() as u64),
            Content::Pieces(message) => Some(message.len()),
            Content::Stream(_) => None,
        }
    }

    /// The message, or the stream.
    pub(crate) fn into_payload(self) -> Result<Payload, BoxSource> {
        match self.content {
            Content::Own(bytes) => Ok(bytes.into()),
            Content::Shared(bytes) => Ok(Segment::from(bytes).into()),
            Content::Pieces(message) => Ok(message),
            Content::Stream(source) => Err(source),
        }
    }

    /// The stream; one message is given back.
    pub(crate) fn into_source(self) -> Result<BoxSource, Outbound> {
        match self.content {
            Content::Stream(source) => Ok(source),
            content => Err(Self { content }),
        }
    }

    /// What a client sends: it keeps a message, to make the call again elsewhere.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a message with file regions.
    pub(crate) fn into_request(self) -> Result<Requested, Status> {
        match self.content {
            Content::Own(bytes) => Ok(Requested::Message(Segment::from(bytes.freeze()).into())),
            Content::Shared(bytes) => Ok(Requested::Message(Segment::from(bytes).into())),
            Content::Pieces(message) => match message.into_chain() {
                Ok(message) => Ok(Requested::Message(message)),
                Err(_) => Err(Status::invalid_argument(REGIONS_STREAM)),
            },
            Content::Stream(source) => Ok(Requested::Stream(source)),
        }
    }
}

const REGIONS_STREAM: &str =
    "a request that is one message cannot hold file regions: make it a stream of messages";

/// What a client sends.
pub(crate) enum Requested {
    Message(Chain),
    Stream(BoxSource),
}

/// A message that is to leave as a payload.
pub(crate) fn encoded(message: &dyn Encode) -> Payload {
    let mut payload = Payload::new();
    message.encode_parts(&mut payload);
    payload
}

/// The one message that was given.
#[derive(Default)]
struct Given(Option<Outbound>);

impl Sink for Given {
    fn encode(&mut self, message: &dyn Encode) {
        self.0 = Some(Outbound::of(message));
    }

    fn send(&mut self, message: Payload) {
        self.0 = Some(Outbound::from_payload(message));
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message_len() {
            Some(bytes) => write!(f, "Outbound({bytes} bytes)"),
            None => f.write_str("Outbound(stream)"),
        }
    }
}
