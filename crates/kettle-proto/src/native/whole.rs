//! The short way of the commonest frames: a whole unary request, or a whole plain reply, that lies in
//! one received piece.
//!
//! These functions decide nothing that `receive.rs` and `accept.rs` do not: they look first, and take
//! a frame only when no rule or limit stands against it. What they leave goes the general way, to the
//! same events.

use super::connection::{Connection, Phase};
use super::frame::{self, HEADER_BYTES, Header, flag};
use crate::{Event, Metadata, Method};
use kettle_buf::Segment;

/// A message that is whole, and the end of its side of the call, with no section.
const WHOLE: u8 = flag::MESSAGE | flag::END;

impl Connection {
    /// Takes the frame at the start of `bytes`, head and message. False: nothing was done.
    #[inline]
    pub(super) fn take_whole(&mut self, bytes: &mut Segment) -> bool {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>().map(Header::decode) else {
            return false;
        };
        let longest = self.ours.frame_bytes_max.min(self.ours.message_bytes_max);
        let between = self.body.is_some() || !self.rest.is_empty();
        if header.flags != WHOLE
            || bytes.len() - HEADER_BYTES < header.length as usize
            || longest < header.length
            || self.receive_credit < header.length.into()
            || self.phase != Phase::Open
            || between
        {
            return false;
        }
        match header.kind {
            frame::OPEN if !self.client => self.take_request(header, bytes),
            frame::DATA if self.client => self.take_reply(header, bytes),
            _ => false,
        }
    }

    /// Server: OPEN of a known method.
    fn take_request(&mut self, header: Header, bytes: &mut Segment) -> bool {
        // A client's DRAIN is answered with ours, so that the first of these stands for both.
        let takes_calls = !self.drain_sent && self.streams.len() < self.ours.calls_max as usize;
        if header.stream <= self.last_stream
            || self.ours.call_credit_bytes < header.length
            || !takes_calls
        {
            return false;
        }
        if self.paths.len() <= usize::from(header.method).wrapping_sub(1) {
            return false;
        }
        self.last_stream = header.stream;
        let (call, stream) = self.open_stream(header.stream);
        stream.receive_credit -= u64::from(header.length);
        stream.remote_ended = true;
        self.events.push_back(Event::Call {
            call,
            method: Method::Known(header.method),
            metadata: Metadata::new(),
            deadline: None,
            message: Some(take_message(header, bytes).into()),
        });
        self.spend_and_owe(header.length);
        true
    }

    /// Client: DATA that is all there is to a reply, or the last of it.
    fn take_reply(&mut self, header: Header, bytes: &mut Segment) -> bool {
        let Some(call) = self.streams.find(header.stream) else {
            return false;
        };
        let stream = self.streams.get(call);
        let takes_message = stream.is_some_and(|stream| {
            stream.assembly.is_none() && u64::from(header.length) <= stream.receive_credit
        });
        if header.method != 0 || !takes_message {
            return false;
        }
        let message = take_message(header, bytes).into();
        self.events.push_back(Event::Message {
            call,
            message,
            end: false,
        });
        self.ended(call, None);
        self.spend_and_owe(header.length);
        true
    }

    /// Connection credit of a message that came whole: it is spent and to be returned at once.
    fn spend_and_owe(&mut self, bytes: u32) {
        self.receive_credit -= u64::from(bytes);
        self.owed += i64::from(bytes);
        if bytes != 0 {
            self.return_connection_credit();
        }
    }
}

fn take_message(header: Header, bytes: &mut Segment) -> Segment {
    bytes.advance(HEADER_BYTES);
    bytes.split_to(header.length as usize)
}
