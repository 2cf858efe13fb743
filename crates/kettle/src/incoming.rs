//! What a handler may get as a message, and messages that are decoded but for one field.

use crate::{BytesField, Inbound, Status};
use kettle_buf::Chain;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint};

/// A message that a handler gets: any protobuf message, or an [`Inbound`], which is not decoded yet.
///
/// For these two only.
pub trait Incoming: Sized {
    /// Makes it of what was received.
    ///
    /// # Errors
    /// The status that the call is to end with, when it cannot be decoded.
    #[doc(hidden)]
    fn from_inbound(inbound: Inbound) -> Result<Self, Status>;
}

impl<M: Message + Default> Incoming for M {
    #[inline]
    fn from_inbound(inbound: Inbound) -> Result<Self, Status> {
        inbound.decode()
    }
}

impl Incoming for Inbound {
    fn from_inbound(inbound: Inbound) -> Result<Self, Status> {
        Ok(inbound)
    }
}

/// Decodes a message but for this field, which is cut out.
pub(crate) fn decode_apart<M: Message + Default>(
    mut message: Chain,
    field: BytesField<M>,
) -> Result<(M, Chain), Status> {
    let undecodable = |error| crate::codec::undecodable(&error);
    let (mut decoded, mut apart) = (M::default(), Chain::new());
    while !message.is_empty() {
        let (number, wire_type) = decode_key(&mut message).map_err(undecodable)?;
        if number != field.number() || wire_type != WireType::LengthDelimited {
            let context = DecodeContext::default();
            let merged = decoded.merge_field(number, wire_type, &mut message, context);
            merged.map_err(undecodable)?;
            continue;
        }
        let length = decode_varint(&mut message).map_err(undecodable)?;
        let left = message.len();
        if (left as u64) < length {
            let text = format!(
                "cannot decode the message: field {number} has {length} bytes, and {left} are left"
            );
            return Err(Status::internal(text));
        }
        apart = message.cut(length as usize);
    }
    Ok((decoded, apart))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kettle_buf::Segment;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Piece {
        #[prost(uint64, tag = "1")]
        offset: u64,
        #[prost(bytes = "bytes", tag = "2")]
        data: Bytes,
        #[prost(string, tag = "3")]
        name: String,
    }

    const DATA: BytesField<Piece> = BytesField::new(2);

    fn piece() -> Piece {
        Piece {
            offset: 300,
            data: Bytes::from_static(b"some bytes that are not copied"),
            name: "x".to_owned(),
        }
    }

    /// The encoded message in segments of this length.
    fn cut(bytes: &[u8], length: usize) -> Chain {
        let mut chain = Chain::new();
        for part in bytes.chunks(length) {
            chain.append(Segment::copy_from_slice(part));
        }
        chain
    }

    #[test]
    fn a_field_comes_apart_whatever_the_cuts() {
        let bytes = piece().encode_to_vec();
        for length in 1..=bytes.len() {
            let (rest, data) = decode_apart(cut(&bytes, length), DATA).unwrap();
            assert_eq!(data.to_vec(), piece().data, "{length}");
            let wanted = Piece {
                data: Bytes::new(),
                ..piece()
            };
            assert_eq!(rest, wanted, "{length}");
        }
    }

    #[test]
    fn it_lies_where_it_was_received() {
        let received = Segment::from(Bytes::from(piece().encode_to_vec()));
        let range = received.as_ptr_range();
        let (_, data) = decode_apart(received.into(), DATA).unwrap();
        assert!(range.contains(&data.front().as_ptr()));
        assert_eq!(data.segment_count(), 1);
    }

    #[test]
    fn of_several_the_last_counts() {
        let mut bytes = piece().encode_to_vec();
        bytes.extend([0x12, 2, b'h', b'i']);
        let (_, data) = decode_apart(cut(&bytes, 7), DATA).unwrap();
        assert_eq!(data.to_vec(), b"hi");
    }

    #[test]
    fn malformed_messages_are_errors() {
        let bytes = piece().encode_to_vec();
        for (malformed, text) in [
            (&bytes[..10], "field 2 has 30 bytes, and 5 are left"),
            (&[0x12][..], "varint"),
            (&[0x08][..], "varint"),
            (&[0x0f, 0][..], "wire type"),
        ] {
            let status = decode_apart(cut(malformed, 3), DATA).unwrap_err();
            assert!(status.message().contains(text), "{status:?}");
        }
    }
}
