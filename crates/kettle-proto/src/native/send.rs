//! What goes out: commands to frames.

use super::connection::{Connection, Phase};
use super::frame::{self, Header, flag};
use super::hello::Settings;
use super::sections::{fit_status, metadata_bytes, put_metadata, put_status, status_bytes};
use super::stream::{Stream, Waiting};
use super::{DIRECT_BYTES_MAX, PATH_BYTES_MAX};
use crate::{CallId, Closing, Event, Head, Instant, Metadata, OpenError, ProtocolError, Status};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use kettle_buf::Payload;

/// A turn sends at least this many bytes when there is credit for them, so that the end of a batch
/// does not cut messages into splinters.
const TURN_BYTES_MIN: u64 = 16 * 1024;

/// What came of a call's turn.
enum Turn {
    /// There is more to send.
    Again,
    /// Nothing is left, or the call's credit is used up.
    Over,
    /// The connection's credit is used up.
    Blocked,
}

impl Connection {
    pub(super) fn new_stream(&self, id: u32) -> Stream {
        Stream {
            id,
            send_credit: self.theirs.call_credit_bytes.into(),
            receive_credit: self.ours.call_credit_bytes.into(),
            ..Stream::default()
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
        let (method, with_path) = self.method_of(head.path)?;
        let Some(id) = self.last_stream.checked_add(1) else {
            self.send_drain();
            return Err(OpenError::Closed);
        };
        self.last_stream = id;
        let deadline = head.timeout.map(|timeout| now + timeout);
        let opened_at = self.out_taken + self.out.len();
        let stream = Stream {
            opened_at,
            local_ended: end,
            ..self.new_stream(id)
        };
        let call = self.streams.insert(stream);
        if let Some(at) = deadline {
            self.deadlines.push(at, call, &mut self.streams);
        }
        let header = Header {
            length: 0,
            kind: frame::OPEN,
            flags: 0,
            method,
            stream: id,
        };
        let path = with_path.then_some(head.path);
        let timeout = deadline.map(|at| (at - now).as_nanos() as u64);
        match message {
            Some(message) if !self.may_send_now(call, message.len()) => {
                let total = message.len();
                self.put_open(
                    header,
                    path,
                    timeout,
                    &head.metadata,
                    OpenBody::Announced(total),
                );
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
                let body = OpenBody::Whole(message, end);
                self.put_open(header, path, timeout, &head.metadata, body);
            }
        }
        Ok(call)
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

    fn over_message_limit(&self, bytes: u64) -> Option<Status> {
        let max = self.theirs.message_bytes_max;
        (u64::from(max) < bytes).then(|| {
            let text = format!("a message of {bytes} bytes is over the peer's limit");
            Status::resource_exhausted(format!("{text} message_bytes_max of {max}"))
        })
    }

    /// The method's id, and whether the path must go along: it defines a new id, or there is none.
    fn method_of(&mut self, path: &str) -> Result<(u16, bool), OpenError> {
        if let Some(id) = self.methods.get(path) {
            return Ok((*id, false));
        }
        if !is_path(path) {
            return Err(OpenError::Path(path.into()));
        }
        let next = self.methods.len() as u32 + 1;
        match u16::try_from(next) {
            Ok(id) if next <= self.theirs.methods_max => {
                self.methods.insert(Arc::from(path), id);
                Ok((id, true))
            }
            _ => Ok((0, true)),
        }
    }

    fn put_open(
        &mut self,
        mut header: Header,
        path: Option<&str>,
        timeout_nanos: Option<u64>,
        metadata: &Metadata,
        body: OpenBody,
    ) {
        let (flags, length) = body.flags_and_length();
        header.flags = flags;
        let mut length = length;
        let mut section = |present: bool, flag: u8, bytes: u64| {
            if present {
                header.flags |= flag;
                length += bytes;
            }
        };
        section(
            path.is_some(),
            flag::PATH,
            2 + path.map_or(0, |path| path.len() as u64),
        );
        section(timeout_nanos.is_some(), flag::TIMEOUT, 8);
        section(
            !metadata.is_empty(),
            flag::METADATA,
            4 + metadata_bytes(metadata) as u64,
        );
        header.length = length as u32;
        let out = &mut self.out;
        out.put_slice(&header.encode());
        if let Some(path) = path {
            out.put_slice(&(path.len() as u16).to_be_bytes());
            out.put_slice(path.as_bytes());
        }
        if let Some(nanos) = timeout_nanos {
            out.put_slice(&nanos.to_be_bytes());
        }
        if !metadata.is_empty() {
            put_metadata(out, metadata);
        }
        match body {
            OpenBody::Announced(total) if total != 0 => out.put_slice(&total.to_be_bytes()),
            OpenBody::Whole(Some(message), _) => out.append_payload(message),
            _ => {}
        }
    }

    /// Adds a DATA frame that holds a whole message or none.
    pub(super) fn put_data(
        &mut self,
        id: u32,
        metadata: &Metadata,
        status: Option<&Status>,
        message: Option<Payload>,
        end: bool,
    ) {
        let mut length = message.as_ref().map_or(0, Payload::len);
        let mut flags = if end { flag::END } else { 0 };
        if message.is_some() {
            flags |= flag::MESSAGE;
        }
        if !metadata.is_empty() {
            flags |= flag::METADATA;
            length += 4 + metadata_bytes(metadata) as u64;
        }
        if let Some(status) = status {
            flags |= flag::STATUS;
            length += status_bytes(status) as u64;
        }
        let length = length as u32;
        let header = Header {
            length,
            kind: frame::DATA,
            flags,
            method: 0,
            stream: id,
        };
        self.out.put_slice(&header.encode());
        if !metadata.is_empty() {
            put_metadata(&mut self.out, metadata);
        }
        if let Some(status) = status {
            put_status(&mut self.out, status);
        }
        if let Some(message) = message {
            self.out.append_payload(message);
        }
    }

    /// Server: the reply's metadata on its own.
    pub(super) fn send_reply_metadata(&mut self, call: CallId, metadata: &Metadata) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        if self.client || stream.local_ended || metadata.is_empty() {
            return;
        }
        if core::mem::replace(&mut stream.replied, true) {
            debug_assert!(
                false,
                "metadata of a reply comes once, and before its first message"
            );
            return;
        }
        match self.over_metadata_limit(metadata) {
            Some(status) => self.finish_early(call, status),
            None => self.put_data(call.stream, metadata, None, None, false),
        }
    }

    /// Sends a message, or the end of our side, or both.
    pub(super) fn send(&mut self, call: CallId, message: Option<Payload>, end: bool) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        if stream.local_ended {
            return;
        }
        let end = end && self.client;
        stream.local_ended = end;
        stream.replied |= !self.client;
        let bytes = message.as_ref().map_or(0, Payload::len);
        if let Some(status) = self.over_message_limit(bytes) {
            self.finish_early(call, status);
        } else if self.may_send_now(call, bytes) {
            self.spend_send_credit(call, message.as_ref());
            if message.is_some() || end {
                self.put_data(call.stream, &Metadata::new(), None, message, end);
            }
        } else {
            self.wait(
                call,
                Waiting {
                    message,
                    total: bytes,
                    started: false,
                    end,
                    status: None,
                },
            );
        }
    }

    /// Server: the reply's end. The usual reply is one frame, added to the output at once.
    pub(super) fn finish_call(&mut self, call: CallId, closing: Closing) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        if self.client || stream.local_ended {
            return;
        }
        stream.local_ended = true;
        let replied = core::mem::replace(&mut stream.replied, true);
        let Closing {
            mut headers,
            message,
            status,
        } = closing;
        if replied {
            debug_assert!(
                headers.is_empty(),
                "metadata of a reply comes before its first message"
            );
            headers = Metadata::new();
        }
        let bytes = message.as_ref().map_or(0, Payload::len);
        let over = self
            .over_message_limit(bytes)
            .or_else(|| self.over_metadata_limit(&headers));
        let (headers, message, status, bytes) = match over {
            Some(status) => (Metadata::new(), None, status, 0),
            None => (headers, message, status, bytes),
        };
        let status = (!status.is_plain_ok())
            .then(|| fit_status(status, self.theirs.sendable_metadata_bytes()));
        if self.may_send_now(call, bytes) {
            self.spend_send_credit(call, message.as_ref());
            self.put_data(call.stream, &headers, status.as_ref(), message, true);
            self.take_stream(call);
            return;
        }
        if !headers.is_empty() {
            self.put_data(call.stream, &headers, None, None, false);
        }
        self.wait(
            call,
            Waiting {
                message,
                total: bytes,
                started: false,
                end: true,
                status,
            },
        );
    }

    fn over_metadata_limit(&self, metadata: &Metadata) -> Option<Status> {
        let (got, max) = (
            metadata_bytes(metadata),
            self.theirs.sendable_metadata_bytes(),
        );
        ((max as usize) < got).then(|| {
            let text = format!("metadata of {got} bytes is over the peer's limit");
            Status::resource_exhausted(format!("{text} metadata_bytes_max of {max}"))
        })
    }

    /// Ends a call by ourselves, and reports it.
    fn finish_early(&mut self, call: CallId, status: Status) {
        let mid_message = self
            .streams
            .get(call)
            .is_some_and(|stream| stream.is_mid_message());
        if self.client || mid_message {
            frame::put_reset(&mut self.out, call.stream, &status, false);
        } else {
            self.put_data(call.stream, &Metadata::new(), Some(&status), None, true);
        }
        self.take_stream(call);
        self.events.push_back(match self.client {
            true => Event::Finished {
                call,
                status,
                unprocessed: false,
            },
            false => Event::Reset { call, status },
        });
        self.close_if_done();
    }

    /// Whether a message may go into the output at once.
    fn may_send_now(&mut self, call: CallId, bytes: u64) -> bool {
        let (connection, direct) = (self.send_credit, DIRECT_BYTES_MAX);
        bytes <= direct
            && bytes <= connection
            && self
                .streams
                .get(call)
                .is_some_and(|stream| stream.waiting.is_empty() && bytes <= stream.send_credit)
    }

    fn spend_send_credit(&mut self, call: CallId, message: Option<&Payload>) {
        let bytes = message.map_or(0, Payload::len);
        if bytes != 0
            && let Some(stream) = self.streams.get(call)
        {
            stream.send_credit -= bytes;
            self.send_credit -= bytes;
        }
    }

    fn wait(&mut self, call: CallId, waiting: Waiting) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        self.waiting_bytes += waiting.message.as_ref().map_or(0, Payload::len);
        stream.waiting.push_back(waiting);
        self.queue(call);
    }

    /// Gives a call with something to send its turn.
    fn queue(&mut self, call: CallId) {
        if let Some(stream) = self.streams.get(call)
            && !stream.waiting.is_empty()
            && !core::mem::replace(&mut stream.in_turns, true)
        {
            self.turns.push_back(call);
        }
    }

    /// Lets calls take turns until the output has `max` bytes.
    pub(super) fn fill(&mut self, max: u64) {
        while self.out.len() < max
            && let Some(call) = self.next_turn()
        {
            match self.take_turn(call, max - self.out.len()) {
                Turn::Again => self.turns.push_back(call),
                Turn::Over => {
                    if let Some(stream) = self.streams.get(call) {
                        stream.in_turns = false;
                    }
                }
                Turn::Blocked => {
                    self.short = true;
                    self.turns.push_front(call);
                    return;
                }
            }
        }
        self.short &= !self.turns.is_empty();
    }

    /// Whose turn it is. Once the connection's credit has run out, until nothing waits any more, it
    /// goes to the oldest message that was started, because the peer counts on that one to finish.
    fn next_turn(&mut self) -> Option<CallId> {
        if !self.short {
            return self.turns.pop_front();
        }
        let rank = |call: &CallId| {
            let started = self
                .streams
                .get(*call)
                .is_some_and(|stream| stream.is_mid_message());
            (!started, call.stream)
        };
        let ranks = self.turns.iter().map(rank).zip(0..).min()?;
        self.turns.remove(ranks.1)
    }

    /// Sends one frame of a call.
    fn take_turn(&mut self, call: CallId, room: u64) -> Turn {
        let Some(stream) = self.streams.get(call) else {
            return Turn::Over;
        };
        let Some(mut first) = stream.waiting.pop_front() else {
            return Turn::Over;
        };
        let left = first.message.as_ref().map_or(0, Payload::len);
        let status_length = first
            .status
            .as_ref()
            .map_or(0, |one| status_bytes(one) as u64);
        let frame_max = u64::from(self.theirs.frame_bytes_max) - status_length - 8;
        let credit = stream.send_credit.min(self.send_credit);
        let n = left
            .min(frame_max)
            .min(credit)
            .min(room.max(TURN_BYTES_MIN));
        if n == 0 && left != 0 {
            stream.waiting.push_front(first);
            return if self.send_credit == 0 {
                Turn::Blocked
            } else {
                Turn::Over
            };
        }
        stream.send_credit -= n;
        self.send_credit -= n;
        self.waiting_bytes -= n;
        let part = first.message.as_mut().map(|message| message.cut(n));
        let done = n == left;
        put_part(&mut self.out, call.stream, &first, part, done);
        first.started = true;
        if !done {
            stream.waiting.push_front(first);
            return Turn::Again;
        }
        if !stream.waiting.is_empty() {
            return Turn::Again;
        }
        stream.waiting = VecDeque::new();
        if first.end && !self.client {
            self.take_stream(call);
            self.close_if_done();
        }
        Turn::Over
    }

    /// The peer's settings are known.
    pub(super) fn apply(&mut self, theirs: Settings) {
        let initial = Settings::INITIAL;
        let more = u64::from(theirs.connection_credit_bytes - initial.connection_credit_bytes);
        self.send_credit += more;
        let more = u64::from(theirs.call_credit_bytes - initial.call_credit_bytes);
        self.theirs = theirs;
        for call in self.streams.calls() {
            if let Some(stream) = self.streams.get(call) {
                stream.send_credit += more;
            }
            self.queue(call);
        }
    }

    /// CREDIT came.
    pub(super) fn credited(&mut self, id: u32, bytes: u32) -> Result<(), ProtocolError> {
        let violation = |rule: &str| Err(ProtocolError::Violation(rule.into()));
        if self.last_stream < id {
            return violation("CREDIT for a stream that was not opened");
        }
        if bytes == 0 {
            return violation("CREDIT of nothing");
        }
        let call = self.streams.find(id);
        let credit = match call.and_then(|call| self.streams.get(call)) {
            Some(stream) => &mut stream.send_credit,
            None if id == 0 => &mut self.send_credit,
            None => return Ok(()), // of a call that is over
        };
        *credit += u64::from(bytes);
        if u64::from(u32::MAX) < *credit {
            return violation("CREDIT beyond 4,294,967,295 bytes");
        }
        if let Some(call) = call {
            self.queue(call);
        }
        Ok(())
    }
}

/// What an OPEN carries besides its head.
enum OpenBody {
    /// The whole message or none, and whether the call's request ends with it.
    Whole(Option<Payload>, bool),
    /// The length of a message that follows in DATA frames.
    Announced(u64),
}

impl OpenBody {
    /// Flags, and the length of the LENGTH section and the message.
    fn flags_and_length(&self) -> (u8, u64) {
        match self {
            Self::Announced(0) => (0, 0),
            Self::Announced(_) => (flag::MESSAGE | flag::LENGTH | flag::MORE, 8),
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

/// Adds the next DATA frame of a message that takes turns.
fn put_part(out: &mut Payload, id: u32, of: &Waiting, part: Option<Payload>, done: bool) {
    let mut length = part.as_ref().map_or(0, Payload::len);
    let mut flags = if part.is_some() { flag::MESSAGE } else { 0 };
    let announce = !done && !of.started;
    if !done {
        flags |= flag::MORE;
    }
    if announce {
        flags |= flag::LENGTH;
        length += 8;
    }
    let status = of.status.as_ref().filter(|_| done);
    if done && of.end {
        flags |= flag::END;
    }
    if let Some(status) = status {
        flags |= flag::STATUS;
        length += status_bytes(status) as u64;
    }
    let length = length as u32;
    out.put_slice(
        &Header {
            length,
            kind: frame::DATA,
            flags,
            method: 0,
            stream: id,
        }
        .encode(),
    );
    if let Some(status) = status {
        put_status(out, status);
    }
    if announce {
        out.put_slice(&of.total.to_be_bytes());
    }
    if let Some(part) = part {
        out.append_payload(part);
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
