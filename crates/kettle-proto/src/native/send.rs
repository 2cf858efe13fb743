//! What goes out: commands to frames.

use super::DIRECT_BYTES_MAX;
use super::connection::Connection;
use super::frame::{self, Header, flag};
use super::sections::{fit_status, metadata_bytes, put_metadata, put_status, status_bytes};
use super::stream::{Stream, Waiting};
use crate::{CallId, Closing, Event, Metadata, Status};
use alloc::collections::VecDeque;
use alloc::format;
use kettle_buf::{Encode, LINK_BYTES_MIN, Payload};

/// A turn sends at least this many bytes when there is credit for them, so that the end of a batch
/// does not cut messages into splinters.
const TURN_BYTES_MIN: u64 = 16 * 1024;

/// What waits to be sent on all calls together.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Calls with something to send, in the order of their turns.
    pub turns: VecDeque<CallId>,
    /// Bytes of messages that wait for their turn.
    pub bytes: u64,
    /// Of those, bytes of calls that go on and have no credit of their own left.
    pub stalled_bytes: u64,
}

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
    /// Adds a call with the credit that both sides start with.
    #[inline]
    pub(super) fn open_stream(&mut self, id: u32) -> (CallId, &mut Stream) {
        let sends = self.theirs.call_credit_bytes.into();
        let receives = self.ours.call_credit_bytes.into();
        self.streams.open(id, sends, receives)
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
        if self.client || stream.local_ended {
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
            None if metadata.is_empty() => {
                let parts: [&[u8]; 1] = [&0u32.to_be_bytes()];
                frame::put(
                    &mut self.out,
                    frame::DATA,
                    flag::METADATA,
                    call.stream,
                    &parts,
                );
            }
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

    /// Sends a message that may go at once and is small enough to be copied. Gives its length if it did.
    #[inline]
    pub(super) fn encode(
        &mut self,
        call: CallId,
        message: &dyn Encode,
        end: bool,
    ) -> Option<usize> {
        let credit = self.direct_credit();
        let Some(stream) = self.streams.get(call) else {
            return Some(0);
        };
        if stream.local_ended {
            return Some(0);
        }
        let length = message.encoded_len();
        let longest = LINK_BYTES_MIN.min(self.theirs.message_bytes_max as usize + 1);
        if longest <= length || !stream.may_send(length as u64, credit) {
            return None;
        }
        let header = Header {
            length: length as u32,
            kind: frame::DATA,
            flags: flag::MESSAGE | if end { flag::END } else { 0 },
            method: 0,
            stream: call.stream,
        };
        if !self.out.put_encoded(&header.encode(), message, length) {
            let text = "the message was encoded to another length than it had said";
            self.finish_early(call, Status::internal(text));
            return Some(0);
        }
        self.send_credit -= length as u64;
        self.short |= self.send_credit == 0;
        stream.send_credit -= length as u64;
        if !end {
            stream.replied |= !self.client;
        } else if self.client {
            stream.local_ended = true;
        } else {
            self.take_stream(call);
            self.close_if_done();
        }
        Some(length)
    }

    /// Server: the reply's end. The usual reply is one frame, added to the output at once.
    pub(super) fn finish_call(&mut self, call: CallId, closing: Closing) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        if self.client || stream.local_ended {
            return;
        }
        if closing.headers.is_empty() && closing.status.is_plain_ok() {
            let bytes = closing.message.as_ref().map_or(0, Payload::len);
            let fits = bytes <= self.theirs.message_bytes_max.into();
            if fits && self.may_send_now(call, bytes) {
                return self.finish_plainly(call, closing.message);
            }
        }
        self.finish_fully(call, closing);
    }

    /// The usual reply: a message that may go at once, without metadata, status OK.
    #[inline]
    fn finish_plainly(&mut self, call: CallId, message: Option<Payload>) {
        self.spend_send_credit(call, message.as_ref());
        let given = message.as_ref().map_or(0, |_| flag::MESSAGE);
        let header = Header {
            length: message.as_ref().map_or(0, Payload::len) as u32,
            kind: frame::DATA,
            flags: given | flag::END,
            method: 0,
            stream: call.stream,
        };
        self.out.put_slice(&header.encode());
        if let Some(message) = message {
            self.out.append_payload(message);
        }
        self.take_stream(call);
    }

    fn finish_fully(&mut self, call: CallId, closing: Closing) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
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

    pub(super) fn over_message_limit(&self, bytes: u64) -> Option<Status> {
        let max = self.theirs.message_bytes_max;
        (u64::from(max) < bytes).then(|| {
            let text = format!("a message of {bytes} bytes is over the peer's limit");
            Status::resource_exhausted(format!("{text} message_bytes_max of {max}"))
        })
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
    #[inline]
    pub(super) fn may_send_now(&mut self, call: CallId, bytes: u64) -> bool {
        let credit = self.direct_credit();
        let stream = self.streams.get(call);
        stream.is_some_and(|stream| stream.may_send(bytes, credit))
    }

    /// How long a message may be that goes into the output at once, whatever its call's credit.
    #[inline]
    pub(super) fn direct_credit(&self) -> u64 {
        match self.short {
            true => 0,
            false => self.send_credit.min(DIRECT_BYTES_MAX),
        }
    }

    #[inline]
    pub(super) fn spend_send_credit(&mut self, call: CallId, message: Option<&Payload>) {
        let bytes = message.map_or(0, Payload::len);
        if bytes != 0
            && let Some(stream) = self.streams.get(call)
        {
            stream.send_credit -= bytes;
            self.send_credit -= bytes;
            self.short |= self.send_credit == 0;
        }
    }

    pub(super) fn wait(&mut self, call: CallId, waiting: Waiting) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        let bytes = waiting.message.as_ref().map_or(0, Payload::len);
        self.backlog.get_or_insert_default().bytes += bytes;
        let queue = stream.waiting.get_or_insert_default();
        queue.bytes += bytes;
        queue.items.push_back(waiting);
        self.queue(call);
    }

    /// Bytes of messages that wait for their turn.
    #[inline]
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.backlog.as_ref().map_or(0, |backlog| backlog.bytes)
    }

    /// Whether a call's credit covers all that waits, and a message more may join it. When not, the
    /// layer above is told once it does.
    pub(super) fn check_room(&mut self, call: CallId) -> bool {
        let Some(stream) = self.streams.get(call) else {
            return false;
        };
        if let Some(queue) = &mut stream.waiting {
            let room = queue.bytes < stream.send_credit;
            queue.room_wanted |= !room;
            return room && !stream.local_ended;
        }
        !stream.local_ended
    }

    /// New credit came: tells the layer above when it waits for that.
    pub(super) fn tell_room(&mut self, call: CallId) {
        if let Some(stream) = self.streams.get(call)
            && let Some(queue) = &mut stream.waiting
            && queue.room_wanted
            && queue.bytes < stream.send_credit
        {
            queue.room_wanted = false;
            self.events.push_back(Event::Room { call });
        }
    }

    /// Gives a call with something to send its turn.
    pub(super) fn queue(&mut self, call: CallId) {
        if let Some(stream) = self.streams.get(call)
            && let Some(queue) = &mut stream.waiting
            && !core::mem::replace(&mut stream.in_turns, true)
        {
            let backlog = self.backlog.get_or_insert_default();
            backlog.stalled_bytes -= core::mem::take(&mut queue.stalled_bytes);
            backlog.turns.push_back(call);
        }
    }

    /// Lets calls take turns until the output has `max` bytes.
    pub(super) fn fill(&mut self, max: u64) {
        while self.out.len() < max
            && let Some(call) = self.next_turn()
        {
            let turn = self.take_turn(call, max - self.out.len());
            let backlog = self.backlog.get_or_insert_default();
            match turn {
                Turn::Again => backlog.turns.push_back(call),
                Turn::Over => {
                    if let Some(stream) = self.streams.get(call) {
                        stream.in_turns = false;
                    }
                }
                Turn::Blocked => {
                    backlog.turns.push_front(call);
                    return;
                }
            }
        }
        self.short &= self.send_credit == 0 || self.waiting_bytes() != 0;
    }

    /// Whose turn it is. Once the connection's credit has run out, until nothing waits any more, it
    /// is that of the oldest message that was started: the peer counts on that one to finish.
    fn next_turn(&mut self) -> Option<CallId> {
        let turns = &mut self.backlog.as_mut()?.turns;
        if !self.short {
            return turns.pop_front();
        }
        let rank = |call: &CallId| {
            let started = self
                .streams
                .get(*call)
                .is_some_and(|stream| stream.is_mid_message());
            (!started, call.stream)
        };
        let ranks = turns.iter().map(rank).zip(0..).min()?;
        turns.remove(ranks.1)
    }

    /// Sends one frame of a call.
    fn take_turn(&mut self, call: CallId, room: u64) -> Turn {
        let Some(stream) = self.streams.get(call) else {
            return Turn::Over;
        };
        let Some(queue) = &mut stream.waiting else {
            return Turn::Over;
        };
        let Some(mut first) = queue.items.pop_front() else {
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
            queue.items.push_front(first);
            return self.out_of_credit(call);
        }
        stream.send_credit -= n;
        self.send_credit -= n;
        if let Some(backlog) = &mut self.backlog {
            backlog.bytes -= n;
        }
        queue.bytes -= n;
        self.short |= self.send_credit == 0;
        let part = first.message.as_mut().map(|message| message.cut(n));
        let done = n == left;
        put_part(&mut self.out, call.stream, &first, part, done);
        first.started = true;
        if !done {
            queue.items.push_front(first);
            return Turn::Again;
        }
        if !queue.items.is_empty() {
            return Turn::Again;
        }
        let room_wanted = queue.room_wanted && !stream.local_ended;
        stream.waiting = None;
        if first.end && !self.client {
            self.take_stream(call);
            self.close_if_done();
        } else if room_wanted {
            self.events.push_back(Event::Room { call });
        }
        Turn::Over
    }

    /// A call must wait for credit; from a peer that has closed its side none will come.
    fn out_of_credit(&mut self, call: CallId) -> Turn {
        if self.peer_ended {
            let text = "the peer closed the connection before it gave credit";
            let status = Status::unavailable(text);
            frame::put_reset(&mut self.out, call.stream, &status, false);
            self.lose(call, status, false);
            self.close_if_done();
            return Turn::Over;
        }
        if self.send_credit == 0 {
            return Turn::Blocked;
        }
        if let Some(stream) = self.streams.get(call)
            && let Some(queue) = &mut stream.waiting
            && let Some(backlog) = &mut self.backlog
            && !stream.local_ended
        {
            queue.stalled_bytes = queue.bytes;
            backlog.stalled_bytes += queue.bytes;
        }
        Turn::Over
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
