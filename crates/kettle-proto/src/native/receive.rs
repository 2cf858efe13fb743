//! What comes in: frames to events.

use super::connection::{Connection, Phase};
use super::frame::{self, CallFrame, Frame, Rules, flag};
use super::hello::Hello;
use super::sections::Stop;
use super::stream::Assembly;
use crate::limits::{EXPECT_BYTES_MIN, PINGS_WAITING_MAX};
use crate::{CallId, Code, Event, Instant, Metadata, ProtocolError, Status};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use kettle_buf::{Chain, Segment};

/// The start of a head.
#[derive(Debug)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    /// How long it must be to try again.
    needed: usize,
}

/// The bytes of a frame behind its decoded head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    /// The call whose message this is; `None`: to be skipped.
    call: Option<CallId>,
    /// Bytes still to come.
    left: u32,
    /// Whether these bytes cost connection credit.
    credit: bool,
    more: bool,
    end: bool,
}

/// What came of looking at received bytes.
pub(super) enum Read {
    /// A frame that was one event.
    Event(Event),
    /// A part; its events, if it had any, are in the queue.
    Part,
    /// There is nothing to look at.
    Nothing,
}

impl Body {
    fn skip(left: u32, credit: bool) -> Self {
        Self {
            call: None,
            left,
            credit,
            more: false,
            end: false,
        }
    }
}

impl Connection {
    /// Takes received bytes. They are taken apart as their events are polled, frame by frame: so a call
    /// can be answered while its frame is at hand, and the next call has its slot. Whatever does not
    /// make do with what was known before comes behind [`Connection::digest`].
    pub(super) fn receive(&mut self, now: Instant, bytes: Segment) {
        self.digest();
        if !bytes.is_empty() {
            self.heard_at = now;
            self.unread = bytes;
        }
    }

    /// Takes all received bytes apart.
    #[inline]
    pub(super) fn digest(&mut self) {
        if !self.unread.is_empty() {
            self.read_all();
        }
    }

    fn read_all(&mut self) {
        loop {
            match self.read() {
                Read::Event(event) => self.events.push_back(event),
                Read::Part => {}
                Read::Nothing => return,
            }
        }
    }

    /// Takes the next frame apart, or what has come of it. Bytes behind the end of the connection are
    /// ignored.
    #[inline(always)]
    pub(super) fn read(&mut self) -> Read {
        if self.unread.is_empty() {
            return Read::Nothing;
        }
        match self.take_whole() {
            Some(read) => read,
            None => self.read_part(),
        }
    }

    /// As [`Connection::read`], for all frames. Events go into the queue.
    fn read_part(&mut self) -> Read {
        let mut bytes = core::mem::take(&mut self.unread);
        if self.phase == Phase::Closed || self.peer_ended {
            return Read::Nothing;
        }
        let step = match self.body {
            Some(_) => Ok(()),
            None => self.take_head(self.heard_at, &mut bytes),
        };
        match step {
            Ok(()) => self.take_body(&mut bytes),
            Err(error) => self.fail(error),
        }
        if !bytes.is_empty() {
            self.unread = bytes;
        }
        Read::Part
    }

    /// How many bytes of one large frame are known to come, behind those that were not looked at yet.
    pub(super) fn expected_bytes(&self) -> usize {
        let left = self
            .body
            .filter(|body| body.call.is_some())
            .map_or(0, |body| body.left as usize)
            .saturating_sub(self.unread.len());
        if left < EXPECT_BYTES_MIN { 0 } else { left }
    }

    /// Decodes one head in place; one that has not come whole is copied to `rest`, which grows by
    /// what the head still needs and no more, so that message bytes are never copied with it.
    fn take_head(&mut self, now: Instant, bytes: &mut Segment) -> Result<(), ProtocolError> {
        let Some(mut rest) = self.rest.take() else {
            return match self.decode(now, bytes) {
                Ok(length) => {
                    bytes.advance(length);
                    Ok(())
                }
                Err(Stop::Error(error)) => Err(error),
                Err(Stop::Need(needed)) => {
                    let bytes = core::mem::take(bytes).to_vec();
                    self.rest = Some(Box::new(Rest { bytes, needed }));
                    Ok(())
                }
            };
        };
        let missing = (rest.needed - rest.bytes.len()).min(bytes.len());
        rest.bytes.extend_from_slice(&bytes[..missing]);
        bytes.advance(missing);
        if rest.bytes.len() == rest.needed {
            match self.decode(now, &rest.bytes) {
                Ok(length) => {
                    debug_assert_eq!(length, rest.bytes.len(), "a head was asked for too much");
                    return Ok(());
                }
                Err(Stop::Error(error)) => return Err(error),
                Err(Stop::Need(needed)) => rest.needed = needed,
            }
        }
        self.rest = Some(rest);
        Ok(())
    }

    /// Decodes and handles the head at the start of `bytes`; gives its length.
    fn decode(&mut self, now: Instant, bytes: &[u8]) -> Result<usize, Stop> {
        if self.phase == Phase::Hello {
            let (hello, length) = Hello::decode(bytes)?;
            self.greet(hello)?;
            return Ok(length);
        }
        let (frame, length) = frame::decode(
            bytes,
            Rules {
                client: self.client,
                ours: &self.ours,
            },
        )?;
        self.handle_frame(now, frame)?;
        Ok(length)
    }

    fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), ProtocolError> {
        match frame {
            Frame::Call(call) if call.header.kind == frame::OPEN => self.opened(now, call)?,
            Frame::Call(call) => self.data(call)?,
            Frame::Reset {
                stream,
                status,
                unprocessed,
            } => {
                self.was_reset(stream, status, unprocessed)?;
            }
            Frame::Credit { stream, bytes } => self.credited(stream, bytes)?,
            Frame::Ping(number) => self.pinged(number)?,
            Frame::Pong(number) => self.ponged(now, number),
            Frame::Drain { last_stream } => self.drained(last_stream),
            Frame::Goodbye {
                code,
                last_stream,
                message,
            } => {
                self.left(code, last_stream, message);
            }
            Frame::Ignored { length } => self.body = Some(Body::skip(length, false)),
        }
        Ok(())
    }

    /// Answers a ping, unless too many answers wait for a peer that does not read.
    fn pinged(&mut self, number: [u8; 8]) -> Result<(), ProtocolError> {
        self.pongs_waiting += 1;
        if PINGS_WAITING_MAX < self.pongs_waiting {
            return Err(ProtocolError::Limit {
                name: "pings_waiting_max",
                got: self.pongs_waiting.into(),
                max: PINGS_WAITING_MAX.into(),
            });
        }
        frame::put(&mut self.out, frame::PONG, 0, 0, &[&number]);
        Ok(())
    }

    pub(super) fn message_over(&self, size: u64) -> Status {
        let what = format!("a message of {size} bytes");
        exhausted("message_bytes_max", &what, self.ours.message_bytes_max)
    }

    /// Skips what follows a head.
    pub(super) fn skip(&mut self, frame: &CallFrame) {
        // Where other bytes stand before the message, its credit is returned now.
        let pure = frame.metadata_over().is_none();
        if !pure {
            self.owed += i64::from(frame.message_bytes);
            self.return_connection_credit();
        }
        self.body = Some(Body::skip(frame.rest_bytes(), pure));
    }

    /// DATA came.
    fn data(&mut self, frame: CallFrame) -> Result<(), ProtocolError> {
        self.spend_credit(frame.message_bytes)?;
        let Some(call) = self.streams.find(frame.header.stream) else {
            if self.last_stream < frame.header.stream {
                return Err(violation("DATA on a stream that was not opened"));
            }
            self.skip(&frame);
            return Ok(());
        };
        let Some(stream) = self.streams.get(call) else {
            return Ok(());
        };
        if stream.remote_ended {
            return Err(violation("DATA behind END"));
        }
        let CallFrame {
            header,
            message_bytes,
            total,
            sections,
            ..
        } = frame;
        let (metadata, status) = match sections {
            Some(sections) => (sections.metadata, sections.status),
            None => (Metadata::new(), None),
        };
        if header.has(flag::METADATA) {
            if core::mem::replace(&mut stream.replied, true) {
                return Err(violation("METADATA behind the start of the reply"));
            }
            self.events.push_back(Event::Headers { call, metadata });
        }
        if header.has(flag::MESSAGE) {
            stream.replied |= self.client;
            return self.begin_message(call, header.flags, message_bytes, total, status);
        }
        if stream.assembly.is_some() {
            return Err(violation(
                "a frame without MESSAGE in the middle of a message",
            ));
        }
        if header.has(flag::END) {
            self.ended(call, status);
        }
        Ok(())
    }

    /// The head of a frame with message bytes came; the bytes follow.
    pub(super) fn begin_message(
        &mut self,
        call: CallId,
        flags: u8,
        bytes: u32,
        total: Option<u64>,
        status: Option<Status>,
    ) -> Result<(), ProtocolError> {
        let Some(stream) = self.streams.get(call) else {
            return Ok(());
        };
        let (more, end) = (flags & flag::MORE != 0, flags & flag::END != 0);
        let (left, bytes) = (bytes, u64::from(bytes));
        if stream.receive_credit < bytes {
            let (name, max) = ("call_credit_bytes", stream.receive_credit);
            return Err(ProtocolError::Limit {
                name,
                got: bytes,
                max,
            });
        }
        stream.receive_credit -= bytes;
        self.body = Some(Body {
            call: Some(call),
            left,
            credit: true,
            more,
            end,
        });
        if let Some(assembly) = &mut stream.assembly {
            assembly.announced += bytes;
            assembly.status = status;
            let (announced, whole) = (assembly.announced, assembly.total);
            let right = if more {
                announced <= whole
            } else {
                announced == whole
            };
            return match right && total.is_none() {
                true => Ok(()),
                false => Err(violation("a message that does not have its LENGTH")),
            };
        }
        check_length(more, total, bytes)?;
        let size = total.unwrap_or(bytes);
        if u64::from(self.ours.message_bytes_max) < size {
            self.body = Some(Body::skip(left, true));
            self.refuse_message(call, size);
        } else if more || status.is_some() {
            let started = Assembly {
                total: size,
                announced: bytes,
                status,
                ..Assembly::default()
            };
            stream.assembly = Some(Box::new(started));
        }
        Ok(())
    }

    /// Ends a call whose message is over the limit.
    fn refuse_message(&mut self, call: CallId, size: u64) {
        let status = self.message_over(size);
        if self.client
            || self
                .streams
                .get(call)
                .is_some_and(|stream| stream.is_mid_message())
        {
            frame::put_reset(&mut self.out, call.stream, &status, false);
        } else {
            self.put_data(call.stream, &Metadata::new(), Some(&status), None, true);
        }
        self.lose(call, status, false);
        self.close_if_done();
    }

    /// Takes the message bytes that have come of the frame in hand.
    fn take_body(&mut self, bytes: &mut Segment) {
        let Some(mut body) = self.body else { return };
        let part = bytes.split_to(bytes.len().min(body.left as usize));
        body.left -= part.len() as u32;
        self.body = Some(body).filter(|body| body.left != 0);
        let n = part.len() as i64;
        if let Some(call) = body.call {
            self.take_part(call, body, part);
        }
        if body.credit && n != 0 {
            self.owed += n;
            self.return_connection_credit();
        }
    }

    fn take_part(&mut self, call: CallId, body: Body, part: Segment) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        let last = body.left == 0 && !body.more;
        if last && stream.assembly.is_none() {
            return self.deliver(call, part.into(), body.end, None);
        }
        let assembly = stream.assembly.get_or_insert_default();
        let n = part.len() as u64;
        assembly.bytes.push(part);
        self.held += n as i64;
        if body.more {
            assembly.returned += n;
            stream.owed += n as i64;
            self.return_credit(call);
        } else if last && let Some(assembly) = stream.assembly.take() {
            stream.owed -= assembly.returned as i64;
            self.held -= assembly.bytes.len() as i64;
            self.deliver(call, assembly.bytes.take(), body.end, assembly.status);
        }
    }

    fn deliver(&mut self, call: CallId, message: Chain, end: bool, status: Option<Status>) {
        let last = end && !self.client;
        self.events.push_back(match self.opening.take() {
            Some(opening) => opening.event(Some(message)),
            None => Event::Message {
                call,
                message,
                end: last,
            },
        });
        if end && self.client {
            self.ended(call, status);
        } else if let Some(stream) = self.streams.get(call) {
            stream.remote_ended |= end;
        }
    }

    /// The peer ended its side of a call, without a message.
    pub(super) fn ended(&mut self, call: CallId, status: Option<Status>) {
        if self.client {
            self.take_stream(call);
            let status = status.unwrap_or_default();
            self.events.push_back(Event::Finished {
                call,
                status,
                unprocessed: false,
            });
            self.close_if_done();
        } else if let Some(stream) = self.streams.get(call) {
            stream.remote_ended = true;
            self.events.push_back(Event::End { call });
        }
    }

    fn was_reset(&mut self, id: u32, status: Status, beyond: bool) -> Result<(), ProtocolError> {
        if self.last_stream < id {
            return Err(violation("RESET of a stream that was not opened"));
        }
        if let Some(call) = self.streams.find(id) {
            self.lose(call, status, beyond);
            self.close_if_done();
        }
        Ok(())
    }

    fn ponged(&mut self, now: Instant, number: [u8; 8]) {
        if number == self.ping_number.to_be_bytes()
            && let Some(sent) = self.ping_sent_at.take()
        {
            self.events.push_back(Event::Pong {
                round_trip: now - sent,
            });
        }
    }

    fn drained(&mut self, last_stream: u32) {
        self.drain_received = true;
        self.vouched_above = Some(last_stream);
        if self.client && !self.drain_sent {
            self.events.push_back(Event::Draining);
        }
        self.send_drain();
        self.close_if_done();
    }

    /// GOODBYE came.
    fn left(&mut self, code: Code, last_stream: u32, message: alloc::string::String) {
        let text = format!("{code}: {message}");
        let error = (code != Code::Ok).then_some(ProtocolError::Goodbye { code, message });
        self.shut(error, &text, self.client.then_some(last_stream));
    }
}

/// The first frame of a message says how long it is when others follow, and only then.
pub(super) fn check_length(
    more: bool,
    total: Option<u64>,
    bytes: u64,
) -> Result<(), ProtocolError> {
    match (more, total) {
        (false, None) => Ok(()),
        (true, Some(total)) if bytes <= total => Ok(()),
        _ => Err(violation("a message that does not have its LENGTH")),
    }
}

pub(super) fn exhausted(name: &str, what: &str, max: u32) -> Status {
    Status::resource_exhausted(format!("{what} is over the limit {name} of {max}"))
}

pub(super) fn violation(rule: &str) -> ProtocolError {
    ProtocolError::Violation(rule.into())
}
