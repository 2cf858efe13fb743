//! What a server holds of messages that are not whole or not taken, and which connections are read while
//! that is as much as it may.
//!
//! Each connection has limits of its own; this is for thousands of them. Whoever holds nothing is always
//! read, so that short calls pass. Of those that wait for the rest of a message one goes on, so that
//! messages become whole however many were begun.

use kettle_proto::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How soon a connection that is not read looks again. What makes room happens on other loops too, and
/// telling all who wait would cost more than looking.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long the one connection that goes on may take for its message. It keeps all others waiting.
const FAVOUR_MAX: Duration = Duration::from_secs(10);

/// What all connections of a server hold.
#[derive(Debug)]
pub(crate) struct Holdings {
    bytes: AtomicU64,
    max: u64,
    /// One connection is read although there is no room.
    favours: AtomicBool,
}

/// A connection's part in it. Dropping it returns what it holds.
#[derive(Debug)]
pub(super) struct Held {
    all: Arc<Holdings>,
    bytes: u64,
    reads: Reads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Freely,
    /// Beyond the bound, until its message is whole; until then at the latest.
    Favoured(Instant),
    /// Not before then.
    Later(Instant),
}

impl Holdings {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            max,
            favours: AtomicBool::new(false),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn is_full(&self) -> bool {
        self.max <= self.bytes()
    }

    /// Grants the favour to the caller, unless somebody has it.
    fn favour(&self) -> bool {
        !self.favours.swap(true, Ordering::Relaxed)
    }
}

impl Held {
    pub(super) fn new(all: Arc<Holdings>) -> Self {
        Self {
            all,
            bytes: 0,
            reads: Reads::Freely,
        }
    }

    /// The connection holds so much now; `incomplete`: a part of it is of a message that is not whole.
    #[inline]
    pub(super) fn update(&mut self, now: Instant, bytes: u64, incomplete: bool) {
        // Nearly always: messages come whole, and are taken at once.
        if (bytes, self.bytes, self.reads) != (0, 0, Reads::Freely) {
            self.change(now, bytes, incomplete);
        }
    }

    #[cold]
    fn change(&mut self, now: Instant, bytes: u64, incomplete: bool) {
        // Wraps, so that one addition does for more and for less.
        let grown = bytes.wrapping_sub(self.bytes);
        self.all.bytes.fetch_add(grown, Ordering::Relaxed);
        self.bytes = bytes;
        let waits = 0 < bytes && self.all.is_full();
        self.reads = match self.reads {
            Reads::Favoured(until) if waits && incomplete => Reads::Favoured(until),
            before => {
                self.give_back(before);
                match waits {
                    false => Reads::Freely,
                    true if incomplete && self.all.favour() => Reads::Favoured(now + FAVOUR_MAX),
                    true => Reads::Later(now + LOOK_AGAIN),
                }
            }
        };
    }

    fn give_back(&self, reads: Reads) {
        if let Reads::Favoured(_) = reads {
            self.all.favours.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the connection is to be read.
    pub(super) fn may_read(&self) -> bool {
        !matches!(self.reads, Reads::Later(_))
    }

    /// When the connection is to be pumped again.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self.reads {
            Reads::Freely => None,
            Reads::Favoured(until) | Reads::Later(until) => Some(until),
        }
    }

    /// Why the connection has to end, when it has kept others waiting for too long.
    pub(super) fn overstayed(&self, now: Instant) -> Option<String> {
        match self.reads {
            Reads::Favoured(until) if until <= now => {
                let max = self.all.max;
                Some(format!(
                    "messages that are not whole or not taken fill what this server holds of them, \
                     {max} bytes (held_bytes_max); yours did not become whole within {FAVOUR_MAX:?}"
                ))
            }
            _ => None,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.give_back(self.reads);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::key::PeerKey;
    use crate::mailbox::Mailbox;
    use crate::peer::{Hosted, Peer, Serving, Spare, Turn, Wants};
    use crate::remote::Remote;
    use crate::router::Router;
    use crate::stats::LoopStats;
    use crate::{DriverConfig, Metadata, Model};
    use kettle_buf::Payload;
    use kettle_proto::{Head, Machine, native};

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    fn connections<const N: usize>(max: u64) -> (Arc<Holdings>, [Held; N]) {
        let all = Arc::new(Holdings::new(max));
        let held = std::array::from_fn(|_| Held::new(Arc::clone(&all)));
        (all, held)
    }

    #[test]
    fn below_the_bound_everybody_is_read() {
        let (all, [mut a, mut b]) = connections(100);
        a.update(NOW, 60, true);
        b.update(NOW, 39, false);
        assert!(a.may_read() && b.may_read());
        assert_eq!((a.next_timeout(), b.next_timeout()), (None, None));
        assert_eq!(all.bytes(), 99);
        a.update(NOW, 10, true);
        assert_eq!(all.bytes(), 49);
        drop((a, b));
        assert_eq!(all.bytes(), 0);
    }

    #[test]
    fn at_the_bound_one_message_goes_on_and_then_the_next() {
        let (_, [mut a, mut b, mut c, mut idle]) = connections(100);
        a.update(NOW, 60, true);
        b.update(NOW, 60, true);
        assert!(b.may_read(), "it was the first to find no room");
        c.update(NOW, 1, true);
        a.update(NOW, 60, true);
        idle.update(NOW, 0, false);
        assert!(!a.may_read() && !c.may_read() && idle.may_read());
        assert_eq!(a.next_timeout(), Some(NOW + LOOK_AGAIN));
        b.update(NOW, 61, true);
        assert!(b.may_read());
        b.update(NOW, 0, false);
        a.update(NOW + LOOK_AGAIN, 60, true);
        assert!(a.may_read(), "there is room");
        b.update(NOW, 70, true);
        a.update(NOW, 60, true);
        drop(b);
        c.update(NOW, 50, true);
        assert!(c.may_read(), "the favour came back");
    }

    #[test]
    fn what_waits_for_its_handler_only_is_not_favoured() {
        let (_, [mut a, mut b]) = connections(100);
        a.update(NOW, 100, false);
        assert!(!a.may_read());
        b.update(NOW, 1, true);
        assert!(b.may_read());
        b.update(NOW, 1, false);
        assert!(!b.may_read());
    }

    #[test]
    fn a_favour_ends() {
        let (_, [mut a, mut b]) = connections(100);
        a.update(NOW, 100, true);
        let until = a.next_timeout().expect("it is favoured");
        assert_eq!(until, NOW + FAVOUR_MAX);
        a.update(until, 100, true);
        assert!(
            a.overstayed(until)
                .is_some_and(|text| text.contains("100 bytes"))
        );
        b.update(NOW, 10, true);
        assert!(b.overstayed(until).is_none() && !b.may_read());
        a.update(NOW, 80, true);
        assert_eq!(a.overstayed(until), None, "there is room again");
    }

    /// A server's connection on which a message has begun, and its output.
    fn begun() -> Peer {
        let hosted = Hosted {
            router: Router::default(),
            interceptors: Arc::new([]),
            limits: Arc::default(),
            holdings: Arc::new(Holdings::new(0)),
            detector: None,
        };
        let serving = Serving::new(Arc::new(hosted), Remote::Nobody);
        let mut peer = Peer::serving(NOW, serving);
        let mut client = native::Connection::client(native::Config::default(), NOW);
        let head = Head {
            path: "/a.B/C",
            metadata: Metadata::new(),
            timeout: None,
        };
        let message = Some(vec![7; 10_000].into());
        client.open(NOW, head, message, true).expect("it is open");
        let begin = client.poll_transmit(NOW, 5_000).expect("it begins");
        let begin = begin.into_chain().expect("it lies in memory");
        peer.received(NOW, begin.into_segment());
        peer
    }

    fn pump(peer: &mut Peer, now: Instant) -> Wants {
        let driver = kettle_io::open(Model::Poll, &DriverConfig::default()).expect("poll runs");
        let mailbox = Arc::new(Mailbox::new(driver.waker()));
        let key = PeerKey {
            slot: 0,
            generation: 0,
        };
        let (mut spare, stats) = (Spare::new(&mailbox), LoopStats::default());
        peer.pump(&mut Turn::new(key, now, Clock::new(), &mut spare, &stats));
        peer.wants()
    }

    #[test]
    fn a_connection_that_keeps_others_waiting_is_ended_with_the_reason() {
        let mut peer = begun();
        assert!(pump(&mut peer, NOW).receive, "it is the only one");
        let until = NOW + FAVOUR_MAX;
        assert_eq!(peer.next_timeout(), Some(until));
        drop(peer.take_send());
        peer.sent(Payload::new());
        peer.timeout(until);
        pump(&mut peer, until);
        let last = peer.take_send().expect("a last word");
        let last = String::from_utf8_lossy(last.as_slice().expect("it is short")).into_owned();
        assert!(last.contains("held_bytes_max"), "{last:?}");
    }
}
