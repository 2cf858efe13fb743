//! A connection of a loop: the peer, and which operations of its socket are in flight.

use crate::key::PeerKey;
use crate::peer::{Peer, Wants};
use kettle_io::{Completion, Driver, Op, OpKind, Outcome, SocketId};
use kettle_proto::Instant;
use std::io;

/// A peer and its socket.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) key: PeerKey,
    pub(super) socket: SocketId,
    pub(super) peer: Peer,
    /// The client's link that this connection serves; `None` on a server.
    pub(super) link: Option<u64>,
    /// Stands in the list of those to be pumped.
    pub(super) ready: bool,
    /// Handlers that waited when this was last looked at.
    pub(super) pending: u32,
    receive: Receive,
    sending: bool,
    /// Client: the server takes nothing any more. What it has said is still received.
    unheard: bool,
    shut: bool,
    /// The earliest time that stands in the timers for this connection.
    scheduled: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    Off,
    On,
    /// Cancelled; its last completion is still to come.
    Ending,
}

impl Connection {
    pub(super) fn new(key: PeerKey, socket: SocketId, peer: Peer, link: Option<u64>) -> Self {
        Self {
            key,
            socket,
            peer,
            link,
            ready: false,
            pending: 0,
            receive: Receive::Off,
            sending: false,
            unheard: false,
            shut: false,
            scheduled: None,
        }
    }

    /// Whether something is on its way to the kernel, or waits for the connection's credit.
    pub(super) fn is_sending(&self) -> bool {
        !self.unheard && (self.sending || self.peer.has_unsent())
    }

    /// Takes note of a completion. Whether the peer must be pumped for it.
    pub(super) fn complete(&mut self, now: Instant, completion: Completion) -> bool {
        if completion.last && completion.kind == OpKind::Receive {
            self.receive = Receive::Off;
        }
        if completion.last && completion.kind == OpKind::Send {
            self.sending = false;
        }
        match completion.outcome {
            Outcome::Received(bytes) => {
                let end = completion.last && self.unheard;
                self.peer.received(now, bytes);
                if end {
                    self.peer.broken(now);
                }
                true
            }
            Outcome::Sent { rest, .. } => {
                // With zero copy the memory is still used, but the next send may start.
                self.sending = false;
                self.peer.sent(rest)
            }
            // The last word of a server that has gone may wait to be received, and then its end.
            Outcome::Failed(error)
                if completion.kind == OpKind::Send
                    && error.kind() == io::ErrorKind::BrokenPipe
                    && self.link.is_some()
                    && self.receive == Receive::On =>
            {
                self.unheard = true;
                false
            }
            Outcome::Failed(error) => {
                tracing::debug!(%error, operation = ?completion.kind, "connection broke");
                self.peer.broken(now);
                true
            }
            // A pause of receiving may be over already.
            Outcome::Cancelled => true,
            Outcome::Released | Outcome::Connected | Outcome::Accepted { .. } => false,
        }
    }

    /// Starts and ends operations as the peer wants.
    pub(super) fn apply(&mut self, driver: &mut dyn Driver) -> Wants {
        if !self.sending
            && !self.unheard
            && let Some(payload) = self.peer.take_send()
        {
            self.sending = true;
            driver.submit(Op::Send {
                socket: self.socket,
                payload,
            });
        }
        let wants = self.peer.wants();
        match (wants.receive, self.receive) {
            (true, Receive::Off) => {
                self.receive = Receive::On;
                driver.submit(Op::Receive {
                    socket: self.socket,
                });
            }
            (false, Receive::On) => {
                self.receive = Receive::Ending;
                driver.cancel(self.socket, OpKind::Receive);
            }
            _ => {}
        }
        // A receive that was cancelled may yet deliver bytes, which the peer does not know of.
        if 0 < wants.expect && self.receive == Receive::On {
            driver.expect(self.socket, wants.expect);
        }
        if wants.shutdown && !std::mem::replace(&mut self.shut, true) {
            driver.shutdown(self.socket);
        }
        wants
    }

    /// A time that stood in the timers has come. Whether the peer must be pumped for it.
    pub(super) fn timeout(&mut self, scheduled: Instant, now: Instant) -> bool {
        if self.scheduled == Some(scheduled) {
            self.scheduled = None;
        }
        let due = self.peer.next_timeout().is_some_and(|time| time <= now);
        if due {
            self.peer.timeout(now);
        }
        due
    }

    /// The time to add to the timers, when the peer's next one is earlier than what stands there.
    pub(super) fn schedule(&mut self) -> Option<Instant> {
        let next = self.peer.next_timeout()?;
        if self.scheduled.is_some_and(|scheduled| scheduled <= next) {
            return None;
        }
        self.scheduled = Some(next);
        self.scheduled
    }
}
