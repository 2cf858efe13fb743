//! The short way of the commonest frames, when they lie in one received piece: a whole unary request, a
//! whole plain reply, a whole message of a stream.
//!
//! These functions decide nothing that `receive.rs` and `accept.rs` do not: they look first, and take
//! a frame only when no rule or limit stands against it. What they leave goes the general way, to the
//! same events.

use super::connection::{Connection, Phase};
use super::frame::{self, HEADER_BYTES, Header, flag};
use super::receive::Read;
use crate::{CallId, Event, Metadata, Method};
use kettle_buf::Segment;

impl Connection {
    /// Takes the next frame, head and message. `None`: nothing was done.
    #[inline(always)]
    pub(super) fn take_whole(&mut self) -> Option<Read> {
        let header = Header::decode(self.unread.first_chunk::<HEADER_BYTES>()?);
        let longest = self.ours.frame_bytes_max.min(self.ours.message_bytes_max);
        let between = self.body.is_some() || self.rest.is_some();
        if header.flags & !flag::END != flag::MESSAGE
            || self.unread.len() - HEADER_BYTES < header.length as usize
            || longest < header.length
            || self.receive_credit < header.length.into()
            || self.phase != Phase::Open
            || self.peer_ended
            || between
        {
            return None;
        }
        match (header.kind, header.has(flag::END)) {
            (frame::OPEN, true) if !self.client => self.take_request(header),
            (frame::DATA, true) if self.client => self.take_reply(header),
            (frame::DATA, false) => self.take_streamed(header),
            _ => None,
        }
    }

    /// Server: OPEN of a known method.
    #[inline(always)]
    fn take_request(&mut self, header: Header) -> Option<Read> {
        // A client's DRAIN is answered with ours, so that the first of these stands for both.
        let takes_calls = !self.drain_sent && self.streams.len() < self.ours.calls_max as usize;
        if header.stream <= self.last_stream
            || self.ours.call_credit_bytes < header.length
            || !takes_calls
        {
            return None;
        }
        if self.paths.len() <= usize::from(header.method).wrapping_sub(1) {
            return None;
        }
        self.last_stream = header.stream;
        let (call, stream) = self.open_stream(header.stream);
        stream.receive_credit -= u64::from(header.length);
        stream.remote_ended = true;
        let message = self.take_message(header);
        Some(Read::Event(Event::Call {
            call,
            method: Method::Known(header.method),
            metadata: Metadata::new(),
            deadline: None,
            message: Some(message.into()),
        }))
    }

    /// DATA that is a message of a stream, which goes on.
    #[inline(always)]
    fn take_streamed(&mut self, header: Header) -> Option<Read> {
        let call = self.find_for_message(header)?;
        let client = self.client;
        let stream = self.streams.get(call)?;
        stream.receive_credit -= u64::from(header.length);
        stream.replied |= client;
        let message = self.take_message(header).into();
        Some(Read::Event(Event::Message {
            call,
            message,
            end: false,
        }))
    }

    /// Client: DATA that is all there is to a reply, or the last of it.
    #[inline(always)]
    fn take_reply(&mut self, header: Header) -> Option<Read> {
        let call = self.find_for_message(header)?;
        let message = self.take_message(header).into();
        self.events.push_back(Event::Message {
            call,
            message,
            end: false,
        });
        self.ended(call, None);
        Some(Read::Part)
    }

    /// The call of a DATA frame whose message may come whole.
    #[inline(always)]
    fn find_for_message(&mut self, header: Header) -> Option<CallId> {
        let call = self.streams.find(header.stream)?;
        let stream = self.streams.get(call)?;
        let takes_message = stream.assembly.is_none()
            && !stream.remote_ended
            && u64::from(header.length) <= stream.receive_credit;
        (header.method == 0 && takes_message).then_some(call)
    }

    /// The message of a frame that came whole. Its credit is spent, and to be returned at once.
    #[inline(always)]
    fn take_message(&mut self, header: Header) -> Segment {
        self.unread.advance(HEADER_BYTES);
        let message = self.unread.split_to(header.length as usize);
        self.receive_credit -= u64::from(header.length);
        self.owed += i64::from(header.length);
        if header.length != 0 {
            self.return_connection_credit();
        }
        message
    }
}
