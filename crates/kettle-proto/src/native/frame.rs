//! Frames: the header, and the head of each kind in front of the message bytes.

use super::sections::{Reader, Stop};
use crate::limits::Limits;
use crate::{Code, Metadata, ProtocolError, Status};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use kettle_buf::Payload;

/// Length of a frame header in bytes.
pub(super) const HEADER_BYTES: usize = 12;

pub(super) const OPEN: u8 = 0x01;
pub(super) const DATA: u8 = 0x02;
pub(super) const RESET: u8 = 0x03;
pub(super) const CREDIT: u8 = 0x04;
pub(super) const PING: u8 = 0x05;
pub(super) const PONG: u8 = 0x06;
pub(super) const DRAIN: u8 = 0x07;
pub(super) const GOODBYE: u8 = 0x08;
/// From this kind on an unknown frame is skipped; below, it is a violation.
pub(super) const IGNORABLE: u8 = 0x80;

/// Flags of OPEN and DATA: which sections follow, in this order, and what comes after the frame.
pub(super) mod flag {
    pub const PATH: u8 = 0x01;
    pub const TIMEOUT: u8 = 0x02;
    pub const METADATA: u8 = 0x04;
    pub const STATUS: u8 = 0x08;
    pub const LENGTH: u8 = 0x10;
    pub const MESSAGE: u8 = 0x20;
    pub const MORE: u8 = 0x40;
    pub const END: u8 = 0x80;
    /// All flags that stand for a section before the message bytes.
    pub const SECTIONS: u8 = PATH | TIMEOUT | METADATA | STATUS | LENGTH;
    /// On RESET: the sender did nothing for the call.
    pub const UNPROCESSED: u8 = 0x01;
}

/// The fixed start of every frame.
///
/// ```text
///   0               4       5       6               8              12
///   +---------------+-------+-------+---------------+---------------+
///   | length        | kind  | flags | method        | stream        |
///   +---------------+-------+-------+---------------+---------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the frame after the header.
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    pub method: u16,
    pub stream: u32,
}

impl Header {
    pub fn decode(b: &[u8; HEADER_BYTES]) -> Self {
        Self {
            length: u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
            kind: b[4],
            flags: b[5],
            method: u16::from_be_bytes([b[6], b[7]]),
            stream: u32::from_be_bytes([b[8], b[9], b[10], b[11]]),
        }
    }

    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let ([l0, l1, l2, l3], [m0, m1]) = (self.length.to_be_bytes(), self.method.to_be_bytes());
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [
            l0, l1, l2, l3, self.kind, self.flags, m0, m1, s0, s1, s2, s3,
        ]
    }

    pub fn has(self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// A frame without its message bytes.
#[derive(Debug)]
pub(super) enum Frame {
    /// OPEN or DATA; `message_bytes` follow.
    Call(CallFrame),
    Reset {
        stream: u32,
        status: Status,
        unprocessed: bool,
    },
    Credit {
        stream: u32,
        bytes: u32,
    },
    Ping([u8; 8]),
    Pong([u8; 8]),
    Drain {
        last_stream: u32,
    },
    Goodbye {
        code: Code,
        last_stream: u32,
        message: String,
    },
    /// Of a kind that may be skipped; `length` bytes follow.
    Ignored {
        length: u32,
    },
}

/// The head of OPEN or DATA.
#[derive(Debug)]
pub(super) struct CallFrame {
    pub header: Header,
    pub timeout_nanos: Option<u64>,
    /// Length of the whole message that starts in this frame and goes on in others.
    pub total: Option<u64>,
    /// Message bytes in this frame.
    pub message_bytes: u32,
    /// What most frames do not have, apart because frames are moved.
    pub sections: Option<Box<Sections>>,
}

/// The sections of OPEN and DATA that own memory.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub path: Option<Arc<str>>,
    pub metadata: Metadata,
    pub status: Option<Status>,
    /// OPEN only: the metadata section has this many bytes, over the limit. It follows, to be
    /// skipped together with everything after it.
    pub metadata_over: Option<u32>,
}

impl CallFrame {
    pub fn path(&self) -> Option<&Arc<str>> {
        self.sections.as_ref()?.path.as_ref()
    }

    pub fn metadata_over(&self) -> Option<u32> {
        self.sections.as_ref()?.metadata_over
    }

    /// Bytes of the frame that were not decoded.
    pub fn rest_bytes(&self) -> u32 {
        let length_section = if self.header.has(flag::LENGTH) { 8 } else { 0 };
        match self.metadata_over() {
            Some(metadata) => metadata + length_section + self.message_bytes,
            None => self.message_bytes,
        }
    }
}

/// What a decoder has to know about the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    /// Whether a client reads.
    pub client: bool,
    /// The limits that the reader announced.
    pub ours: &'a Limits,
}

/// Decodes the head of the frame at the start of `bytes`, and gives its length in bytes. Message
/// bytes are neither needed nor looked at.
pub(super) fn decode(bytes: &[u8], rules: Rules<'_>) -> Result<(Frame, usize), Stop> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(Stop::Need(HEADER_BYTES));
    };
    let header = Header::decode(header);
    check_header(header, rules)?;
    if header.kind == OPEN || header.kind == DATA {
        return decode_call(header, bytes, rules);
    }
    if IGNORABLE <= header.kind {
        return Ok((
            Frame::Ignored {
                length: header.length,
            },
            HEADER_BYTES,
        ));
    }
    let end = HEADER_BYTES + header.length as usize;
    let frame = bytes.get(HEADER_BYTES..end).ok_or(Stop::Need(end))?;
    Ok((decode_control(header, frame)?, end))
}

fn decode_call(header: Header, bytes: &[u8], rules: Rules<'_>) -> Result<(Frame, usize), Stop> {
    let mut frame = CallFrame {
        header,
        timeout_nanos: None,
        total: None,
        message_bytes: header.length,
        sections: None,
    };
    if !header.has(flag::SECTIONS) {
        check_message(&frame)?;
        return Ok((Frame::Call(frame), HEADER_BYTES));
    }
    let mut reader = Reader::new(bytes, HEADER_BYTES, HEADER_BYTES + header.length as usize);
    if header.has(flag::PATH) {
        frame.sections.get_or_insert_default().path = Some(reader.path()?);
    }
    if header.has(flag::TIMEOUT) {
        frame.timeout_nanos = Some(reader.u64()?);
    }
    if header.has(flag::METADATA) {
        let length = reader.u32()?;
        if rules.ours.metadata_bytes_max < length {
            return metadata_over(frame, length, &reader, rules);
        }
        frame.sections.get_or_insert_default().metadata = reader.metadata(length)?;
    }
    if header.has(flag::STATUS) {
        let status = reader.status(rules.ours.metadata_bytes_max)?;
        frame.sections.get_or_insert_default().status = Some(status);
    }
    if header.has(flag::LENGTH) {
        frame.total = Some(reader.u64()?);
    }
    frame.message_bytes = reader.left();
    check_message(&frame)?;
    Ok((Frame::Call(frame), reader.position()))
}

/// A server has read the limits of the client before it sends anything, so only an OPEN can break
/// this one in good faith: the call is refused, and the rest of its frame skipped.
fn metadata_over(
    mut frame: CallFrame,
    length: u32,
    reader: &Reader<'_>,
    rules: Rules<'_>,
) -> Result<(Frame, usize), Stop> {
    if rules.client {
        let max = u64::from(rules.ours.metadata_bytes_max);
        let name = "metadata_bytes_max";
        return Err(ProtocolError::Limit {
            name,
            got: length.into(),
            max,
        }
        .into());
    }
    let length_section = if frame.header.has(flag::LENGTH) { 8 } else { 0 };
    let message = reader
        .left()
        .checked_sub(length)
        .and_then(|n| n.checked_sub(length_section));
    frame.message_bytes =
        message.ok_or_else(|| Stop::violation("a section ends behind its frame"))?;
    frame.sections.get_or_insert_default().metadata_over = Some(length);
    check_message(&frame)?;
    Ok((Frame::Call(frame), reader.position()))
}

fn check_message(frame: &CallFrame) -> Result<(), Stop> {
    match frame.header.has(flag::MESSAGE) || frame.message_bytes == 0 {
        true => Ok(()),
        false => Err(Stop::violation("message bytes in a frame without MESSAGE")),
    }
}

fn decode_control(header: Header, payload: &[u8]) -> Result<Frame, Stop> {
    let mut reader = Reader::new(payload, 0, payload.len());
    let frame = match header.kind {
        RESET => Frame::Reset {
            stream: header.stream,
            unprocessed: header.has(flag::UNPROCESSED),
            status: Status::new(Code::from_u32(reader.u32()?), reader.text()?),
        },
        CREDIT => Frame::Credit {
            stream: header.stream,
            bytes: reader.u32()?,
        },
        PING => Frame::Ping(reader.u64()?.to_be_bytes()),
        PONG => Frame::Pong(reader.u64()?.to_be_bytes()),
        DRAIN => Frame::Drain {
            last_stream: reader.u32()?,
        },
        _ => Frame::Goodbye {
            code: Code::from_u32(reader.u32()?),
            last_stream: reader.u32()?,
            message: reader.text()?,
        },
    };
    match reader.left() {
        0 => Ok(frame),
        _ => Err(Stop::violation("a frame is longer than its kind")),
    }
}

/// Whether this frame may come at all, judged by its header alone.
fn check_header(header: Header, rules: Rules<'_>) -> Result<(), Stop> {
    let max = rules.ours.frame_bytes_max;
    if max < header.length {
        let (got, max) = (header.length.into(), max.into());
        return Err(ProtocolError::Limit {
            name: "frame_bytes_max",
            got,
            max,
        }
        .into());
    }
    if IGNORABLE <= header.kind {
        return Ok(());
    }
    let (flags, of_call) = match header.kind {
        OPEN if rules.client => return Err(Stop::violation("OPEN from a server")),
        OPEN => (!flag::STATUS, true),
        DATA if rules.client => (!(flag::PATH | flag::TIMEOUT), true),
        DATA => (flag::LENGTH | flag::MESSAGE | flag::MORE | flag::END, true),
        RESET if rules.client => (flag::UNPROCESSED, true),
        RESET => (0, true),
        CREDIT => (0, header.stream != 0),
        PING | PONG | DRAIN | GOODBYE => (0, false),
        kind => return Err(Stop::violation(format!("unknown frame kind {kind:#04x}"))),
    };
    if header.has(!flags) {
        return Err(Stop::violation(
            "a flag that the frame's kind does not have",
        ));
    }
    if header.method != 0 && header.kind != OPEN {
        return Err(Stop::violation("a method in a frame other than OPEN"));
    }
    if of_call != (header.stream != 0) {
        return Err(Stop::violation("a frame on the wrong stream"));
    }
    match header.kind {
        OPEN | DATA => check_call_flags(header),
        _ => check_control_length(header),
    }
}

fn check_call_flags(header: Header) -> Result<(), Stop> {
    let rule = if header.has(flag::MORE) && header.has(flag::END) {
        "MORE and END in one frame"
    } else if header.has(flag::MORE | flag::LENGTH) && !header.has(flag::MESSAGE) {
        "MORE or LENGTH without MESSAGE"
    } else if header.has(flag::LENGTH) && !header.has(flag::MORE) {
        "LENGTH of a message that does not go on"
    } else if header.has(flag::STATUS) && !header.has(flag::END) {
        "STATUS without END"
    } else if header.kind == OPEN && header.method == 0 && !header.has(flag::PATH) {
        "OPEN with neither method nor PATH"
    } else if header.kind == DATA && header.flags == 0 {
        "DATA that says nothing"
    } else {
        return Ok(());
    };
    Err(Stop::violation(rule))
}

/// Bounds what is waited for: control frames are decoded whole.
fn check_control_length(header: Header) -> Result<(), Stop> {
    let text = super::TEXT_BYTES_MAX as u32;
    let (least, most) = match header.kind {
        RESET => (6, 6 + text),
        CREDIT | DRAIN => (4, 4),
        PING | PONG => (8, 8),
        _ => (10, 10 + text),
    };
    match (least..=most).contains(&header.length) {
        true => Ok(()),
        false => Err(Stop::violation(
            "a frame whose length its kind does not allow",
        )),
    }
}

/// Adds a frame without message bytes.
pub(super) fn put(out: &mut Payload, kind: u8, flags: u8, stream: u32, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len() as u32).sum();
    out.put_slice(
        &Header {
            length,
            kind,
            flags,
            method: 0,
            stream,
        }
        .encode(),
    );
    for part in parts {
        out.put_slice(part);
    }
}

/// Adds a RESET.
pub(super) fn put_reset(out: &mut Payload, stream: u32, status: &Status, unprocessed: bool) {
    let text = super::sections::cut_text(status.message(), super::TEXT_BYTES_MAX);
    let flags = if unprocessed { flag::UNPROCESSED } else { 0 };
    let (code, length) = (status.code().as_u32(), text.len() as u16);
    let parts: [&[u8]; 3] = [&code.to_be_bytes(), &length.to_be_bytes(), text.as_bytes()];
    put(out, RESET, flags, stream, &parts);
}

/// Adds a GOODBYE. Its form is the same in all versions of the protocol.
pub(super) fn put_goodbye(out: &mut Payload, code: Code, last_stream: u32, message: &str) {
    let text = super::sections::cut_text(message, super::TEXT_BYTES_MAX);
    let (code, last, length) = (code.as_u32(), last_stream, text.len() as u16);
    let parts: [&[u8]; 4] = [
        &code.to_be_bytes(),
        &last.to_be_bytes(),
        &length.to_be_bytes(),
        text.as_bytes(),
    ];
    put(out, GOODBYE, 0, 0, &parts);
}
