//! Credit: how many message bytes may be sent, and what is returned to the peer.

use super::connection::{Connection, Phase};
use super::frame;
use super::hello::Settings;
use crate::{CallId, ProtocolError};

/// What the peer gives.
impl Connection {
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
            self.tell_room(call);
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
            self.tell_room(call);
        }
        Ok(())
    }
}

/// What is given to the peer.
impl Connection {
    /// Message bytes were announced by a frame.
    pub(super) fn spend_credit(&mut self, bytes: u32) -> Result<(), ProtocolError> {
        let (got, max) = (u64::from(bytes), self.receive_credit);
        if max < got {
            return Err(ProtocolError::Limit {
                name: "connection_credit_bytes",
                got,
                max,
            });
        }
        self.receive_credit -= got;
        Ok(())
    }

    /// Connection credit goes back as soon as its bytes belong to no incomplete message: in steps of
    /// half of it, or at once when little is left.
    #[inline]
    pub(super) fn return_connection_credit(&mut self) {
        let whole = u64::from(self.ours.connection_credit_bytes);
        let little = self.owed - self.held < (whole / 2) as i64;
        if !little || self.receive_credit < whole / 4 {
            self.return_much(whole);
        }
    }

    fn return_much(&mut self, whole: u64) {
        let mut bytes = self.owed - self.held;
        let short = self.receive_credit < whole / 4;
        if bytes <= 0 && self.receive_credit == 0 {
            bytes = self.lend(-bytes as u64) as i64;
        }
        if bytes <= 0 || !short && (bytes as u64) < whole / 2 {
            return;
        }
        self.owed -= bytes;
        self.receive_credit += bytes as u64;
        self.put_credit(0, bytes as u64);
    }

    /// All credit lies in incomplete messages: the oldest is lent what it lacks, on its call and, by
    /// the result, on the connection. The peer finishes that one first, so no mix of messages stops
    /// for ever. When it gives that one up instead, what was `lent` goes into the next, which is lent
    /// what it lacks in turn: together one message at most, so that no more can be held.
    fn lend(&mut self, lent: u64) -> u64 {
        let lent_max = u64::from(self.ours.message_bytes_max);
        let Some(stream) = self.streams.oldest_incomplete() else {
            return 0;
        };
        let lacks = stream
            .assembly
            .as_ref()
            .map_or(0, |one| one.total - one.announced);
        if lent_max < lent + lacks {
            return 0;
        }
        let (id, more) = (stream.id, lacks.saturating_sub(stream.receive_credit));
        stream.receive_credit += more;
        stream.owed -= more as i64;
        if more != 0 {
            self.put_credit(id, more);
        }
        lacks
    }

    fn put_credit(&mut self, stream: u32, bytes: u64) {
        if self.phase == Phase::Closed {
            return; // a goodbye is the last word
        }
        let bytes = (bytes as u32).to_be_bytes();
        frame::put(&mut self.out, frame::CREDIT, 0, stream, &[&bytes]);
    }

    /// The layer above is done with message bytes of a call.
    pub(super) fn taken(&mut self, call: CallId, bytes: u64) {
        if let Some(stream) = self.streams.get(call) {
            stream.owed += bytes as i64;
            self.return_credit(call);
        }
    }

    /// A call's credit goes back in steps of half of it, as long as the peer may send.
    pub(super) fn return_credit(&mut self, call: CallId) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        if stream.remote_ended || stream.owed < i64::from(self.ours.call_credit_bytes / 2) {
            return;
        }
        let bytes = core::mem::take(&mut stream.owed) as u64;
        stream.receive_credit += bytes;
        self.put_credit(call.stream, bytes);
    }
}
