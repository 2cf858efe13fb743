//! How a client opens calls.

use super::PATH_BYTES_MAX;
use super::connection::{Connection, Phase};
use super::frame::{self, Header, flag};
use super::sections::{metadata_bytes, put_metadata};
use super::stream::Waiting;
use crate::{CallId, Head, Instant, Metadata, OpenError, Status};
use alloc::format;
use alloc::sync::Arc;
use kettle_buf::{LINK_BYTES_MIN, Payload};

impl Connection {
    /// Reads the peer's hello if it is there: it says what may be sent.
    #[inline]
    pub(super) fn learn(&mut self) {
        if self.phase != Phase::Open {
            self.digest();
        }
    }

    /// Client: opens a call. Its OPEN goes into the output at once, because streams are opened in
    /// order; a message that is long or has no credit follows in DATA frames.
    pub(super) fn open_call(
        &mut self,
        now: Instant,
        head: &Head<'_>,
        message: Option<Payload>,
        end: bool,
    ) -> Result<CallId, OpenError> {
        self.check_open(head, message.as_ref().map_or(0, Payload::len))?;
        let (call, opening) = self.begin_open(now, head, end)?;
        match message {
            Some(message) if !self.may_send_now(call, message.len()) => {
                let total = message.len();
                self.put_open(&opening, OpenBody::Announced(total));
                let started = total != 0;
                self.wait(
                    call,
                    Waiting {
                        message: Some(message),
                        total,
                        started,
                        end,
                        status: None,
                    },
                );
            }
            message => {
                self.spend_send_credit(call, message.as_ref());
                self.put_open(&opening, OpenBody::Whole(message, end));
            }
        }
        Ok(call)
    }

    /// Client: opens a call with its only message, if that may go at once and is short enough to be copied.
    pub(super) fn open_copied(
        &mut self,
        now: Instant,
        head: &Head<'_>,
        message: &[u8],
    ) -> Result<Option<CallId>, OpenError> {
        let bytes = message.len() as u64;
        self.check_open(head, bytes)?;
        let credit = u64::from(self.theirs.call_credit_bytes).min(self.direct_credit());
        if LINK_BYTES_MIN <= message.len() || credit < bytes {
            return Ok(None);
        }
        let (call, opening) = self.begin_open(now, head, true)?;
        if let Some(stream) = self.streams.get(call) {
            stream.send_credit -= bytes;
            self.send_credit -= bytes;
            self.short |= self.send_credit == 0;
        }
        self.put_open(&opening, OpenBody::Copied(message));
        Ok(Some(call))
    }

    /// Takes a new call in. Its OPEN has to follow at once.
    fn begin_open<'a>(
        &mut self,
        now: Instant,
        head: &'a Head<'_>,
        end: bool,
    ) -> Result<(CallId, OpenHead<'a>), OpenError> {
        let (method, with_path) = self.method_of(head.path)?;
        let Some(stream) = self.last_stream.checked_add(1) else {
            self.send_drain();
            return Err(OpenError::Closed);
        };
        self.last_stream = stream;
        let deadline = head.timeout.map(|timeout| now + timeout);
        let opened_at = self.out_taken + self.out.len();
        let (call, opened) = self.open_stream(stream);
        opened.opened_at = opened_at;
        opened.local_ended = end;
        if let Some(at) = deadline {
            let deadlines = self.deadlines.get_or_insert_default();
            deadlines.push(at, call, &mut self.streams);
        }
        let opening = OpenHead {
            stream,
            method,
            path: with_path.then_some(head.path),
            timeout_nanos: deadline.map(|at| (at - now).as_nanos() as u64),
            metadata: &head.metadata,
        };
        Ok((call, opening))
    }

    fn check_open(&self, head: &Head<'_>, message_bytes: u64) -> Result<(), OpenError> {
        let over = self.phase == Phase::Closed || self.peer_ended;
        if over || self.drain_sent || self.drain_received {
            return Err(OpenError::Closed);
        }
        if self.theirs.calls_max as usize <= self.streams.len() {
            return Err(OpenError::TooManyCalls {
                max: self.theirs.calls_max,
            });
        }
        if let Some(status) = self.over_message_limit(message_bytes) {
            return Err(OpenError::Refused(status));
        }
        let (got, max) = (
            metadata_bytes(&head.metadata),
            self.theirs.sendable_metadata_bytes(),
        );
        if max as usize >= got {
            return Ok(());
        }
        let text =
            format!("metadata of {got} bytes is over the peer's metadata_bytes_max of {max}");
        Err(OpenError::Refused(match self.phase {
            Phase::Hello => Status::unavailable(format!("{text}, in force until its hello comes")),
            _ => Status::resource_exhausted(text),
        }))
    }

    /// The method's id, and whether the path must go along: it defines a new id, or there is none.
    fn method_of(&mut self, path: &str) -> Result<(u16, bool), OpenError> {
        let last = usize::from(self.last_method).wrapping_sub(1);
        if self.paths.get(last).is_some_and(|last| **last == *path) {
            return Ok((self.last_method, false));
        }
        // Of most others the length tells that it is not the same, so this looks at few.
        if let Some(place) = self.paths.iter().position(|known| **known == *path) {
            self.last_method = place as u16 + 1;
            return Ok((self.last_method, false));
        }
        if !is_path(path) {
            return Err(OpenError::Path(path.into()));
        }
        let next = self.paths.len() as u32 + 1;
        match u16::try_from(next) {
            Ok(id) if next <= self.theirs.methods_max => {
                self.paths.push(Arc::from(path));
                Ok((id, true))
            }
            _ => Ok((0, true)),
        }
    }

    fn put_open(&mut self, opening: &OpenHead<'_>, body: OpenBody<'_>) {
        let (mut flags, mut length) = body.flags_and_length();
        let mut section = |present: bool, flag: u8, bytes: u64| {
            if present {
                flags |= flag;
                length += bytes;
            }
        };
        let (path, metadata) = (opening.path, opening.metadata);
        let path_bytes = path.map_or(0, |path| path.len() as u64);
        section(path.is_some(), flag::PATH, 2 + path_bytes);
        section(opening.timeout_nanos.is_some(), flag::TIMEOUT, 8);
        if !metadata.is_empty() {
            section(true, flag::METADATA, 4 + metadata_bytes(metadata) as u64);
        }
        let header = Header {
            length: length as u32,
            kind: frame::OPEN,
            flags,
            method: opening.method,
            stream: opening.stream,
        };
        let out = &mut self.out;
        out.put_slice(&header.encode());
        if let Some(path) = path {
            out.put_slice(&(path.len() as u16).to_be_bytes());
            out.put_slice(path.as_bytes());
        }
        if let Some(nanos) = opening.timeout_nanos {
            out.put_slice(&nanos.to_be_bytes());
        }
        if !metadata.is_empty() {
            put_metadata(out, metadata);
        }
        match body {
            OpenBody::Announced(total) if total != 0 => out.put_slice(&total.to_be_bytes()),
            OpenBody::Whole(Some(message), _) => out.append_payload(message),
            OpenBody::Copied(message) => out.put_message(message),
            _ => {}
        }
    }
}

/// The head of an OPEN.
struct OpenHead<'a> {
    stream: u32,
    method: u16,
    path: Option<&'a str>,
    timeout_nanos: Option<u64>,
    metadata: &'a Metadata,
}

/// What an OPEN carries besides its head.
enum OpenBody<'a> {
    /// The whole message or none, and whether the call's request ends with it.
    Whole(Option<Payload>, bool),
    /// The only message.
    Copied(&'a [u8]),
    /// The length of a message that follows in DATA frames.
    Announced(u64),
}

impl OpenBody<'_> {
    /// Flags, and the length of the LENGTH section and the message.
    fn flags_and_length(&self) -> (u8, u64) {
        match self {
            Self::Announced(0) => (0, 0),
            Self::Announced(_) => (flag::MESSAGE | flag::LENGTH | flag::MORE, 8),
            Self::Copied(message) => (flag::MESSAGE | flag::END, message.len() as u64),
            Self::Whole(message, end) => {
                let end = if *end { flag::END } else { 0 };
                match message {
                    Some(message) => (flag::MESSAGE | end, message.len()),
                    None => (end, 0),
                }
            }
        }
    }
}

/// Whether this is `/package.Service/Method`, in printable ASCII.
fn is_path(path: &str) -> bool {
    let parts = path.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    path.len() <= PATH_BYTES_MAX
        && path.bytes().all(|b| b.is_ascii_graphic())
        && parts.is_some_and(|(service, method)| {
            !service.is_empty() && !method.is_empty() && !method.contains('/')
        })
}
