//! The sections of frames: path, metadata, status, text.

use crate::{Code, Metadata, ProtocolError, Status};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use kettle_buf::{Payload, Segment};

/// Why a decoder stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// This many bytes from the start of the frame are needed before it can get further.
    Need(usize),
    /// The connection cannot go on.
    Error(ProtocolError),
}

impl Stop {
    pub fn violation(rule: impl Into<String>) -> Self {
        Self::Error(ProtocolError::Violation(rule.into()))
    }
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Self {
        Self::Error(error)
    }
}

/// Reads a frame's sections in order. What lies within the frame and has not come yet is
/// [`Stop::Need`]; what would lie behind its end is a violation.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the frame ends; `bytes` may end before or behind.
    end: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8], at: usize, end: usize) -> Self {
        Self { bytes, at, end }
    }

    /// Bytes read since the start of the frame.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes of the frame behind the position.
    pub fn left(&self) -> u32 {
        (self.end - self.at) as u32
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Stop> {
        let to = self.at.checked_add(n).filter(|to| *to <= self.end);
        let to = to.ok_or_else(|| Stop::violation("a section ends behind its frame"))?;
        let part = self.bytes.get(self.at..to).ok_or(Stop::Need(to))?;
        self.at = to;
        Ok(part)
    }

    pub fn u16(&mut self) -> Result<u16, Stop> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Stop> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Stop> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A path: u16 length, UTF-8.
    pub fn path(&mut self) -> Result<Arc<str>, Stop> {
        let length = self.u16()? as usize;
        if super::PATH_BYTES_MAX < length {
            let (got, max) = (length as u64, super::PATH_BYTES_MAX as u64);
            return Err(ProtocolError::Limit {
                name: "PATH_BYTES_MAX",
                got,
                max,
            }
            .into());
        }
        Ok(utf8(self.take(length)?)?.into())
    }

    /// A text of a control frame: u16 length, UTF-8.
    pub fn text(&mut self) -> Result<String, Stop> {
        let length = self.u16()? as usize;
        Ok(utf8(self.take(length)?)?.into())
    }

    /// The entries of a metadata section of `length` bytes: u8 key length, key, u16 value length,
    /// value. They are copied out, so that metadata that is kept does not keep a receive block.
    pub fn metadata(&mut self, length: u32) -> Result<Metadata, Stop> {
        let section = Segment::copy_from_slice(self.take(length as usize)?);
        let mut entries = Reader::new(&section, 0, section.len());
        let mut metadata = Metadata::new();
        while entries.left() != 0 {
            let length = entries.array::<1>()?[0] as usize;
            let key = section.slice(entries.range(length)?);
            let length = entries.u16()? as usize;
            let value = section.slice(entries.range(length)?);
            metadata
                .append(key, value)
                .map_err(|e| Stop::violation(format!("{e}")))?;
        }
        Ok(metadata)
    }

    /// A status: u32 code, message (u16 length, UTF-8), details (u32 length), metadata (u32 length).
    /// Message, details and metadata have at most `max` bytes together.
    pub fn status(&mut self, max: u32) -> Result<Status, Stop> {
        let code = Code::from_u32(self.u32()?);
        let mut budget = max;
        let length = spend(&mut budget, self.u16()?.into(), max)?;
        let message = String::from(utf8(self.take(length as usize)?)?);
        let length = spend(&mut budget, self.u32()?, max)?;
        let details = Segment::copy_from_slice(self.take(length as usize)?);
        let length = spend(&mut budget, self.u32()?, max)?;
        let metadata = self.metadata(length)?;
        Ok(Status::new(code, message)
            .with_details(details)
            .with_metadata(metadata))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn range(&mut self, n: usize) -> Result<core::ops::Range<usize>, Stop> {
        self.take(n)?;
        Ok(self.at - n..self.at)
    }
}

/// Takes `length` out of the budget of a status.
fn spend(budget: &mut u32, length: u32, max: u32) -> Result<u32, Stop> {
    let Some(left) = budget.checked_sub(length) else {
        let got = u64::from(max - *budget) + u64::from(length);
        return Err(ProtocolError::Limit {
            name: "metadata_bytes_max",
            got,
            max: max.into(),
        }
        .into());
    };
    *budget = left;
    Ok(length)
}

fn utf8(bytes: &[u8]) -> Result<&str, Stop> {
    core::str::from_utf8(bytes).map_err(|_| Stop::violation("text that is not UTF-8"))
}

/// The longest start of `text` that has at most `max` bytes and ends between characters.
pub(super) fn cut_text(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Length of the entries of metadata in bytes, without the section's own length.
pub(super) fn metadata_bytes(metadata: &Metadata) -> usize {
    metadata
        .iter()
        .map(|(key, value)| 3 + key.len() + value.len())
        .sum()
}

pub(super) fn put_metadata(out: &mut Payload, metadata: &Metadata) {
    out.put_slice(&(metadata_bytes(metadata) as u32).to_be_bytes());
    for (key, value) in metadata.iter() {
        out.put_slice(&[key.len() as u8]);
        out.put_slice(key.as_bytes());
        out.put_slice(&(value.len() as u16).to_be_bytes());
        out.put_slice(value);
    }
}

/// Length of a status section in bytes.
pub(super) fn status_bytes(status: &Status) -> usize {
    14 + status.message().len() + status.details().len() + metadata_bytes(status.metadata())
}

pub(super) fn put_status(out: &mut Payload, status: &Status) {
    out.put_slice(&status.code().as_u32().to_be_bytes());
    out.put_slice(&(status.message().len() as u16).to_be_bytes());
    out.put_slice(status.message().as_bytes());
    out.put_slice(&(status.details().len() as u32).to_be_bytes());
    out.put_slice(status.details());
    put_metadata(out, status.metadata());
}

/// The status as it can be sent under a limit: over it, details and metadata go first, then the end
/// of the message. The code always arrives.
pub(super) fn fit_status(status: Status, max: u32) -> Status {
    let max = max as usize;
    if status_bytes(&status) - 14 <= max && status.message().len() <= u16::MAX.into() {
        return status;
    }
    let message = cut_text(status.message(), max.min(u16::MAX.into()));
    Status::new(status.code(), String::from(message))
}
