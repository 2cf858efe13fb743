//! Protobuf messages some of whose bytes lie elsewhere: in a file, or in memory of others.

use crate::Status;
use crate::outgoing::{Outgoing, Protobuf, Sink};
use kettle_buf::{Encode, FileRegion, Payload};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use std::fmt;
use std::marker::PhantomData;

/// A message with more `bytes` fields than its struct holds: ranges of files, or memory, which are sent
/// from where they lie.
///
/// ```text
///   ┌ the message, encoded ┐┌ tag, length ┐┌ file region ┐┌ tag, length ┐┌ memory ┐
/// ```
///
/// To whoever receives it, it is an ordinary message. The fields that are added come behind those of the
/// struct: in a field that is not `repeated` the last one counts, so leave it empty in the struct.
///
/// A file has to be as long as its regions say. That is looked at when the message is sent: a file that
/// is shorter then ends the call with DATA_LOSS. When it becomes shorter afterwards, its bytes have been
/// announced already, and the connection breaks off.
///
/// Methods reply with it when their generator was told so (`Builder::composed` of `kettle-build`), which
/// makes a [`BytesField`] for each field too.
///
/// ```
/// use kettle::{BytesField, Composed, FileRegion};
/// # #[derive(Clone, PartialEq, kettle::codegen::prost::Message)]
/// # #[prost(prost_path = "kettle::codegen::prost")]
/// # struct Chunk { #[prost(uint64, tag = "1")] offset: u64, #[prost(bytes = "bytes", tag = "2")] data: bytes::Bytes }
/// # impl Chunk { const DATA: BytesField<Chunk> = BytesField::new(2); }
/// # fn main() -> std::io::Result<()> {
/// let file = std::sync::Arc::new(std::fs::File::open("/etc/hostname")?);
/// let length = file.metadata()?.len();
/// let chunk = Chunk { offset: 0, ..Chunk::default() };
/// let reply = Composed::new(chunk).with(Chunk::DATA, FileRegion::new(file, 0, length));
/// assert!(length < reply.encoded_len());
/// # Ok(())
/// # }
/// ```
pub struct Composed<M> {
    message: M,
    /// Keys, lengths and contents.
    fields: Payload,
}

/// A `bytes` field of a message, for [`Composed::with`] and [`crate::Inbound::decode_apart`].
pub struct BytesField<M> {
    number: u32,
    message: PhantomData<fn(M)>,
}

/// A field of a message whose type is another message, for [`Composed::with_message`].
pub struct MessageField<M, N> {
    number: u32,
    types: PhantomData<fn(M, N)>,
}

impl<M: Message> Composed<M> {
    /// This message, to which nothing is added yet.
    pub fn new(message: M) -> Self {
        Self {
            message,
            fields: Payload::new(),
        }
    }

    /// Adds a `bytes` field: a [`FileRegion`], a [`kettle_buf::Segment`] or a [`Payload`] of both.
    #[must_use]
    pub fn with(mut self, field: BytesField<M>, value: impl Into<Payload>) -> Self {
        self.add(field.number, value.into());
        self
    }

    /// Adds a message that is composed too.
    #[must_use]
    pub fn with_message<N: Message>(
        mut self,
        field: MessageField<M, N>,
        value: Composed<N>,
    ) -> Self {
        self.add(field.number, value.into_payload());
        self
    }

    /// The message without what was added.
    pub fn message(&self) -> &M {
        &self.message
    }

    /// Length in bytes when encoded.
    pub fn encoded_len(&self) -> u64 {
        self.message.encoded_len() as u64 + self.fields.len()
    }

    fn add(&mut self, number: u32, value: Payload) {
        let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
        encode_key(number, WireType::LengthDelimited, &mut head);
        encode_varint(value.len(), &mut head);
        self.fields.put_slice(&head);
        self.fields.append_payload(value);
    }

    fn into_payload(self) -> Payload {
        let mut payload = Payload::new();
        Protobuf(&self.message).encode_parts(&mut payload);
        payload.append_payload(self.fields);
        payload
    }
}

/// A key of at most 5 bytes and a length of at most 10.
const HEAD_BYTES_MAX: usize = 15;

impl<M: Message> Outgoing for Composed<M> {
    fn give<S: Sink + ?Sized>(self, sink: &mut S) -> Result<(), Status> {
        self.fields.regions().try_for_each(check)?;
        sink.send(self.into_payload());
        Ok(())
    }
}

/// Whether the file is as long as its region says.
fn check(region: &FileRegion) -> Result<(), Status> {
    let end = region.offset() + region.len();
    let metadata = region.file().metadata().map_err(|error| {
        Status::internal(format!("cannot ask for the length of a file: {error}"))
    })?;
    // Other kinds of files have no length of their own.
    if !metadata.is_file() || end <= metadata.len() {
        return Ok(());
    }
    let length = metadata.len();
    Err(Status::data_loss(format!(
        "the file has {length} bytes, {} fewer than were to be sent",
        end - length
    )))
}

impl<M: Message> From<M> for Composed<M> {
    fn from(message: M) -> Self {
        Self::new(message)
    }
}

impl<M: fmt::Debug> fmt::Debug for Composed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = self.fields.len();
        write!(f, "{:?} and {added} bytes of fields", self.message)
    }
}

impl<M> Clone for BytesField<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for BytesField<M> {}

impl<M, N> Clone for MessageField<M, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M, N> Copy for MessageField<M, N> {}

impl<M> fmt::Debug for BytesField<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BytesField({})", self.number)
    }
}

impl<M, N> fmt::Debug for MessageField<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageField({})", self.number)
    }
}

impl<M> BytesField<M> {
    pub(crate) const fn number(self) -> u32 {
        self.number
    }

    /// The field of this number. Generated code has a constant for each.
    ///
    /// # Panics
    /// When no field can have this number: 0, or from 2^29 on.
    pub const fn new(number: u32) -> Self {
        assert_number(number);
        Self {
            number,
            message: PhantomData,
        }
    }
}

impl<M, N> MessageField<M, N> {
    /// As [`BytesField::new`].
    ///
    /// # Panics
    /// When no field can have this number: 0, or from 2^29 on.
    pub const fn new(number: u32) -> Self {
        assert_number(number);
        Self {
            number,
            types: PhantomData,
        }
    }
}

const fn assert_number(number: u32) {
    assert!(
        0 < number && number < 1 << 29,
        "a protobuf field has a number from 1 to 2^29 - 1"
    );
}
