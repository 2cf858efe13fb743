//! One record as bytes. The crate's documentation draws it; `scan.rs` reads many from a file.

use bytes::Bytes;
use std::fmt;

/// Bytes of a record before its payload.
pub const HEAD_BYTES: usize = 24;

/// Longest payload, in bytes: 1 MiB. A length beyond it can only be damage, so nothing is allocated for it.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// A record as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log.
    pub offset: u64,
    /// When the broker wrote it: milliseconds since 1970, by its clock.
    pub time_ms: u64,
    /// What the producer sent.
    pub payload: Bytes,
}

/// What is wrong with the bytes where a record should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// They end too soon.
    Cut,
    /// The length is beyond [`RECORD_BYTES_MAX`].
    Length(u32),
    /// It is another record than the one that belongs there.
    Offset {
        /// The one that is there.
        found: u64,
        /// The one that belongs there.
        expected: u64,
    },
    /// The CRC is another than that of the bytes.
    Crc {
        /// What the record says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
}

/// The bytes before the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    crc: u32,
    length: u32,
    offset: u64,
    time_ms: u64,
}

/// The head of a record that is written. The payload follows it.
pub fn head(offset: u64, time_ms: u64, payload: &[u8]) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[8..16].copy_from_slice(&offset.to_le_bytes());
    head[16..].copy_from_slice(&time_ms.to_le_bytes());
    let crc = crc(&head, payload);
    head[..4].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Takes the first record off `bytes`, which must be the one at `offset`.
///
/// # Errors
/// When it is not, or not whole. Nothing is taken off then.
pub fn take(bytes: &mut Bytes, offset: u64) -> Result<Record, Flaw> {
    let head = Head::parse(bytes, offset)?;
    let length = head.length as usize;
    let payload = bytes
        .get(HEAD_BYTES..HEAD_BYTES + length)
        .ok_or(Flaw::Cut)?;
    head.check(&bytes[..HEAD_BYTES], payload)?;
    let mut record = bytes.split_to(HEAD_BYTES + length);
    Ok(Record {
        offset,
        time_ms: head.time_ms,
        payload: record.split_off(HEAD_BYTES),
    })
}

impl Head {
    /// The head of the record at `offset`, at the front of `bytes`. Whether its CRC is right is not known yet.
    pub(crate) fn parse(bytes: &[u8], offset: u64) -> Result<Self, Flaw> {
        let bytes: &[u8; HEAD_BYTES] = bytes.first_chunk().ok_or(Flaw::Cut)?;
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        let head = Self {
            crc: word(0),
            length: word(4),
            offset: long(8),
            time_ms: long(16),
        };
        if RECORD_BYTES_MAX < head.length as usize {
            return Err(Flaw::Length(head.length));
        }
        if head.offset != offset {
            return Err(Flaw::Offset {
                found: head.offset,
                expected: offset,
            });
        }
        Ok(head)
    }

    /// Length of the payload in bytes.
    pub(crate) fn length(&self) -> usize {
        self.length as usize
    }

    /// Whether this is the CRC of these bytes.
    pub(crate) fn check(&self, head: &[u8], payload: &[u8]) -> Result<(), Flaw> {
        let (found, computed) = (self.crc, crc(head, payload));
        match found == computed {
            true => Ok(()),
            false => Err(Flaw::Crc { found, computed }),
        }
    }
}

/// Of all that follows the CRC.
fn crc(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[4..]);
    hasher.update(payload);
    hasher.finalize()
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => write!(f, "the record is cut short"),
            Self::Length(length) => write!(
                f,
                "its length is {length}, and {RECORD_BYTES_MAX} is the longest there is"
            ),
            Self::Offset { found, expected } => {
                write!(f, "it says offset {found}, and {expected} is next")
            }
            Self::Crc { found, computed } => {
                write!(
                    f,
                    "its CRC is {found:08x}, and its bytes give {computed:08x}"
                )
            }
        }
    }
}

impl std::error::Error for Flaw {}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(offset: u64, payload: &[u8]) -> Bytes {
        [&head(offset, 1_700_000_000_000, payload), payload]
            .concat()
            .into()
    }

    #[test]
    fn records_come_back_one_by_one() {
        let (first, second) = (written(7, b"tea"), written(8, b""));
        let mut bytes = Bytes::from([first, second].concat());
        let record = take(&mut bytes, 7).unwrap();
        assert_eq!(
            (record.time_ms, &record.payload[..]),
            (1_700_000_000_000, &b"tea"[..])
        );
        assert_eq!(take(&mut bytes, 8).unwrap().payload, "");
        assert_eq!(take(&mut bytes, 9), Err(Flaw::Cut));
    }

    #[test]
    fn the_bytes_are_those_of_the_picture() {
        let bytes = written(1, b"a");
        assert_eq!(bytes[4..8], [1, 0, 0, 0]);
        assert_eq!(bytes[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..24], 1_700_000_000_000_u64.to_le_bytes());
        assert_eq!(bytes[24..], *b"a");
        assert_eq!(bytes[..4], crc32fast::hash(&bytes[4..]).to_le_bytes());
    }

    #[test]
    fn every_cut_is_a_flaw() {
        let whole = written(7, b"some tea");
        for end in 0..whole.len() {
            assert_eq!(take(&mut whole.slice(..end), 7), Err(Flaw::Cut), "{end}");
        }
    }

    #[test]
    fn every_flipped_bit_is_a_flaw() {
        let whole = written(7, b"some tea");
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(take(&mut bytes.into(), 7).is_err(), "{bit}");
        }
    }

    #[test]
    fn zeros_are_no_record() {
        let mut zeros = Bytes::from(vec![0; 100]);
        assert!(matches!(take(&mut zeros, 0), Err(Flaw::Crc { .. })));
    }
}
