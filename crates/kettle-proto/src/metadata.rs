//! Key and value pairs that travel beside a message.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use kettle_buf::Segment;

/// Key and value pairs beside a message, in order; a key may occur several times.
///
/// Keys are lower-case letters, digits, `-`, `_` and `.`. A key that ends in `-bin` has bytes as its
/// value, any other key printable ASCII text. An empty map does not allocate.
///
/// # Source
/// The gRPC HTTP/2 mapping, "Custom-Metadata"; kettle's native protocol carries the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Boxed, because metadata is moved with every call and seldom there; `None` when it is empty.
    entries: Option<Box<Entries>>,
}

/// Key and value pairs; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entries {
    pairs: Vec<(Segment, Segment)>,
}

/// Why a key or value cannot be metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidMetadata {
    /// A key is empty, longer than 255 bytes, or has a character other than `a-z 0-9 - _ .`.
    Key(String),
    /// The value of a text key is not printable ASCII, or is longer than 65,535 bytes.
    Value(String),
}

impl fmt::Display for InvalidMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(
                f,
                "metadata key {key:?} is not 1 to 255 characters of a-z, 0-9, '-', '_' and '.'"
            ),
            Self::Value(key) => write!(
                f,
                "the value of metadata key {key:?} is not printable ASCII of at most 65535 bytes \
                 (a key ending in -bin takes any bytes)"
            ),
        }
    }
}

impl core::error::Error for InvalidMetadata {}

impl Metadata {
    /// No entries.
    pub const fn new() -> Self {
        Self { entries: None }
    }

    /// Adds an entry behind those that are there.
    ///
    /// # Errors
    /// [`InvalidMetadata`] when key or value has not the form that the type's doc gives.
    pub fn append(
        &mut self,
        key: impl Into<Segment>,
        value: impl Into<Segment>,
    ) -> Result<(), InvalidMetadata> {
        let (key, value) = (key.into(), value.into());
        check(&key, &value)?;
        self.pairs_mut().push((key, value));
        Ok(())
    }

    /// Sets a key to one value, removing those it had.
    ///
    /// # Errors
    /// As [`Metadata::append`].
    pub fn insert(
        &mut self,
        key: impl Into<Segment>,
        value: impl Into<Segment>,
    ) -> Result<(), InvalidMetadata> {
        let (key, value) = (key.into(), value.into());
        check(&key, &value)?;
        self.pairs_mut().retain(|(have, _)| *have != key);
        self.pairs_mut().push((key, value));
        Ok(())
    }

    /// The first value of a text key.
    pub fn get(&self, key: &str) -> Option<&str> {
        match is_binary(key.as_bytes()) {
            true => None,
            false => core::str::from_utf8(self.get_bin(key)?).ok(),
        }
    }

    /// The first value of any key, as bytes.
    pub fn get_bin(&self, key: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(have, _)| *have == key)
            .map(|(_, value)| value)
    }

    /// Removes all values of a key. Whether there were any.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.len();
        if let Some(entries) = &mut self.entries {
            entries.pairs.retain(|(have, _)| **have != *key.as_bytes());
            if entries.pairs.is_empty() {
                self.entries = None;
            }
        }
        self.len() < before
    }

    /// All entries in order: key and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let text = |key| core::str::from_utf8(key).expect("keys are checked to be ASCII");
        self.pairs()
            .iter()
            .map(move |(key, value)| (text(&**key), &**value))
    }

    /// Adds all entries of `other` behind those that are there.
    pub fn extend(&mut self, other: Metadata) {
        if let Some(entries) = other.entries {
            self.pairs_mut().extend(entries.pairs);
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.pairs().len()
    }

    /// Whether there are no entries.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_none()
    }

    fn pairs(&self) -> &[(Segment, Segment)] {
        self.entries.as_ref().map_or(&[], |entries| &entries.pairs)
    }

    /// For adding to them.
    fn pairs_mut(&mut self) -> &mut Vec<(Segment, Segment)> {
        &mut self.entries.get_or_insert_default().pairs
    }
}

/// Whether values of this key are bytes and not text.
fn is_binary(key: &[u8]) -> bool {
    key.ends_with(b"-bin")
}

fn check(key: &[u8], value: &[u8]) -> Result<(), InvalidMetadata> {
    let key_byte = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    let name = || String::from_utf8_lossy(key).into_owned();
    if key.is_empty() || 255 < key.len() || !key.iter().all(key_byte) {
        return Err(InvalidMetadata::Key(name()));
    }
    let text = value.iter().all(|b| matches!(b, b' '..=b'~'));
    if 65_535 < value.len() || !(is_binary(key) || text) {
        return Err(InvalidMetadata::Value(name()));
    }
    Ok(())
}
