//! What waits to be sent on a connection, and when there is too much of it.

use kettle_buf::Payload;

/// From this many waiting bytes on a server's connection is not read and its next call not started:
/// a peer that does not take replies may not make the server collect them. A megabyte would hide the
/// slow reader longer, and 64 KiB would stop a fast one whose window is full for a moment.
pub(crate) const HIGH_BYTES: u64 = 256 * 1024;

/// A connection that was stopped at [`HIGH_BYTES`] goes on when this few bytes wait.
pub(crate) const LOW_BYTES: u64 = 64 * 1024;

/// The send queue of one connection; one send is in flight at most.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Payload,
    in_flight_bytes: u64,
    full: bool,
}

impl Outbox {
    /// Adds what is to be sent behind what waits.
    pub(crate) fn push(&mut self, payload: Payload) {
        self.waiting.append_payload(payload);
    }

    /// How many more bytes are wanted from the machine now.
    pub(crate) fn room(&self) -> u64 {
        HIGH_BYTES.saturating_sub(self.len())
    }

    /// Bytes waiting and in flight.
    pub(crate) fn len(&self) -> u64 {
        self.waiting.len() + self.in_flight_bytes
    }

    /// Whether nothing waits and nothing is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the reader is too slow: set at the high mark, cleared at the low one.
    pub(crate) fn is_full(&mut self) -> bool {
        self.full = match self.full {
            true => LOW_BYTES < self.len(),
            false => HIGH_BYTES <= self.len(),
        };
        self.full
    }

    /// What the last [`Outbox::is_full`] said.
    pub(crate) fn was_full(&self) -> bool {
        self.full
    }

    /// What to send now; nothing while a send is in flight.
    pub(crate) fn take(&mut self) -> Option<Payload> {
        if self.waiting.is_empty() || self.in_flight_bytes > 0 {
            return None;
        }
        self.in_flight_bytes = self.waiting.len();
        Some(std::mem::take(&mut self.waiting))
    }

    /// The send in flight is over; `rest` of it was not sent and goes first.
    pub(crate) fn sent(&mut self, mut rest: Payload) {
        self.in_flight_bytes = 0;
        if !rest.is_empty() {
            rest.append_payload(std::mem::take(&mut self.waiting));
            self.waiting = rest;
        }
    }

    /// Forgets everything: the connection is gone.
    pub(crate) fn clear(&mut self) {
        *self = Outbox::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: usize) -> Payload {
        vec![7; bytes].into()
    }

    #[test]
    fn one_send_at_a_time_and_the_rest_first() {
        let mut outbox = Outbox::default();
        outbox.push(b"abc".to_vec().into());
        let mut first = outbox.take().unwrap();
        outbox.push(b"def".to_vec().into());
        assert!(outbox.take().is_none(), "a send is in flight");
        first.advance(1);
        outbox.sent(first);
        let second = outbox.take().unwrap();
        assert_eq!(second.as_slice(), Some(&b"bcdef"[..]));
        outbox.sent(Payload::new());
        assert!(outbox.is_empty());
    }

    #[test]
    fn full_from_the_high_mark_down_to_the_low_one() {
        let mut outbox = Outbox::default();
        outbox.push(payload(HIGH_BYTES as usize - 1));
        assert!(!outbox.is_full());
        outbox.push(payload(1));
        assert!(outbox.is_full());
        let mut rest = outbox.take().unwrap();
        rest.advance(HIGH_BYTES - LOW_BYTES - 1);
        outbox.sent(rest);
        assert_eq!(outbox.len(), LOW_BYTES + 1);
        assert!(outbox.is_full(), "still above the low mark");
        let mut rest = outbox.take().unwrap();
        rest.advance(1);
        outbox.sent(rest);
        assert!(!outbox.is_full());
    }
}
