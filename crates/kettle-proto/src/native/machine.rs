//! The verbs of a machine, put to work on a connection.

use super::connection::{Connection, Phase};
use super::frame;
use super::receive::Read;
use super::stream::Stream;
use crate::{
    CallId, Closing, Event, Head, Instant, Machine, Metadata, Method, OpenError, ProtocolError,
    Status,
};
use alloc::vec::Vec;
use kettle_buf::{Encode, Payload, Segment};

impl Machine for Connection {
    fn handle_bytes(&mut self, now: Instant, bytes: Segment) {
        self.receive(now, bytes);
    }

    fn handle_end(&mut self, _now: Instant) {
        self.digest();
        if self.phase == Phase::Closed || self.peer_ended {
            return;
        }
        self.peer_ended = true;
        let unmet = self.client && self.phase == Phase::Hello;
        let halfway = self.rest.is_some() || self.body.is_some() || unmet;
        let unfinished = |stream: &Stream| self.client || !stream.remote_ended;
        let lost: Vec<CallId> = self.streams.calls_if(unfinished);
        let error = (halfway || !lost.is_empty()).then_some(ProtocolError::UnexpectedEnd);
        self.withhold_unsent();
        for call in lost {
            let status = Status::unavailable("the peer closed the connection");
            self.lose_unsent(call, status, false);
        }
        if error.is_some() && self.streams.len() == 0 || self.phase == Phase::Hello {
            self.shut(error, "the peer closed it", None);
        }
        for call in self.streams.calls() {
            self.queue(call);
        }
        self.close_if_done();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.digest();
        while let Some(call) = self.deadlines.as_mut().and_then(|all| all.pop(now)) {
            self.expire(call);
        }
        self.note_ended(now);
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(self.handshake_at) {
            self.fail(ProtocolError::HandshakeTimeout);
        } else if passed(self.ping_at()) {
            self.fail(ProtocolError::PingTimeout);
        } else if passed(self.idle_at()) {
            self.fail(ProtocolError::IdleTimeout);
        } else if passed(self.keepalive_at()) {
            self.ping(now);
        }
    }

    fn method_path<'a>(&'a self, method: &'a Method) -> Option<&'a str> {
        match method {
            Method::Known(number) => {
                let place = usize::from(*number).checked_sub(1)?;
                self.paths.get(place).map(|path| &**path)
            }
            Method::Path(path) => Some(path),
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        loop {
            if !self.events.is_empty() {
                self.polled += 1;
                return self.events.pop_front(); // moved once, to the caller: it is large
            }
            match self.read() {
                Read::Event(event) => return Some(event),
                Read::Part => {}
                Read::Nothing => {
                    self.forget_burst();
                    return None;
                }
            }
        }
    }

    fn poll_transmit(&mut self, now: Instant, max: u64) -> Option<Payload> {
        self.digest();
        self.fill(max);
        self.note_ended(now);
        if self.out.is_empty() {
            return None;
        }
        self.used_at = now;
        let n = self.out.len().min(max.max(1));
        self.out_taken += n;
        let given = self.out.cut(n);
        if self.out.is_empty() {
            self.pongs_waiting = 0;
        }
        Some(given)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Closed {
            return None;
        }
        Instant::earliest([
            self.deadlines.as_ref().and_then(|all| all.next()),
            self.handshake_at,
            self.ping_at(),
            self.idle_at(),
            self.keepalive_at(),
            // What is in them may have a time of its own.
            (!self.unread.is_empty()).then_some(self.heard_at),
        ])
    }

    fn expect(&self) -> usize {
        self.expected_bytes()
    }

    fn open(
        &mut self,
        now: Instant,
        head: Head<'_>,
        message: Option<Payload>,
        end: bool,
    ) -> Result<CallId, OpenError> {
        self.learn();
        self.open_call(now, &head, message, end)
    }

    fn open_unary(
        &mut self,
        now: Instant,
        head: &Head<'_>,
        message: &[u8],
    ) -> Result<Option<CallId>, OpenError> {
        self.learn();
        self.open_copied(now, head, message)
    }

    fn send_headers(&mut self, call: CallId, metadata: Metadata) {
        self.send_reply_metadata(call, &metadata);
    }

    fn send_message(&mut self, call: CallId, message: Payload, end: bool) {
        self.send(call, Some(message), end);
    }

    fn encode_message(&mut self, call: CallId, message: &dyn Encode, end: bool) -> Option<usize> {
        self.encode(call, message, end)
    }

    fn has_room(&mut self, call: CallId) -> bool {
        self.check_room(call)
    }

    fn consumed(&mut self, call: CallId, bytes: u64) {
        self.taken(call, bytes);
    }

    fn end(&mut self, call: CallId) {
        self.send(call, None, true);
    }

    fn finish(&mut self, call: CallId, closing: Closing) {
        self.finish_call(call, closing);
        self.close_if_done();
    }

    fn reset(&mut self, call: CallId, status: &Status) {
        if !self.take_stream(call) {
            return;
        }
        frame::put_reset(&mut self.out, call.stream, status, false);
        self.close_if_done();
    }

    fn ping(&mut self, now: Instant) {
        self.learn();
        if !self.hello_sent || self.phase == Phase::Closed || self.ping_sent_at.is_some() {
            return;
        }
        self.ping_number = self.ping_number.wrapping_add(1);
        self.ping_sent_at = Some(now);
        frame::put(
            &mut self.out,
            frame::PING,
            0,
            0,
            &[&self.ping_number.to_be_bytes()],
        );
    }

    fn awaits_pong(&self) -> bool {
        self.ping_sent_at.is_some()
    }

    fn drain(&mut self, _now: Instant) {
        self.digest();
        if self.phase == Phase::Closed {
            return;
        }
        if self.hello_sent {
            self.send_drain();
        } else {
            self.drain_wanted = true;
        }
        self.close_if_done();
    }

    fn close(&mut self, status: &Status) {
        self.digest();
        if self.phase == Phase::Closed {
            return;
        }
        self.say_goodbye(status.code(), status.message());
        self.shut(None, status.message(), None);
    }

    fn open_calls(&self) -> usize {
        self.streams.len()
    }

    fn waiting_events(&self) -> usize {
        self.events.len()
    }

    fn incomplete_bytes(&self) -> u64 {
        self.held as u64
    }

    fn pending_bytes(&self) -> u64 {
        self.out.len() + self.waiting_bytes()
    }

    fn stalled_bytes(&self) -> u64 {
        let backlog = self.backlog.as_ref();
        backlog.map_or(0, |backlog| backlog.stalled_bytes)
    }
}
