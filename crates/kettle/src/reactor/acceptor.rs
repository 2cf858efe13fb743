//! A loop's listening socket: whom new connections go to, and when none are taken.

use super::connection::Connection;
use super::{Reactor, Serves, Slot, Stop, token};
use crate::command::Command;
use crate::key::PeerKey;
use crate::mailbox::Mailbox;
use crate::peer::{Peer, Serving};
use crate::remote::Remote;
use crate::stats::LoopStats;
use kettle_io::{Address, Op, OpKind, Outcome, Role, SocketId, socket};
use kettle_proto::{Instant, Machine, Status, native};
use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long no connection is taken after the kernel ran out of descriptors or memory for one. What
/// is missing comes back when connections end; asking again at once would only spin.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that stops looks this often without sleeping before it takes the backlog for empty:
/// scanning comes to the listening socket only now and then.
const QUIET_TURNS: u32 = 64;

/// A listening socket on a loop.
#[derive(Debug)]
pub(crate) struct Acceptor {
    placement: Placement,
    connections_max: u64,
    key: PeerKey,
    socket: SocketId,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Accepting,
    /// No descriptor was left; a timer is set.
    Paused,
    /// The server stops: what waits in the backlog is taken, then the socket is closed.
    Closing {
        quiet_turns: u32,
    },
}

/// Where a new connection goes.
#[derive(Debug)]
pub(crate) enum Placement {
    /// To the loop that took it.
    Here,
    /// To the loop with the fewest connections.
    Fewest(Arc<[Seat]>),
    /// To a thread of its own.
    Thread(Arc<dyn OwnThread>),
}

/// Gives connections threads of their own.
pub(crate) trait OwnThread: Debug + Send + Sync {
    /// Serves a connection on a new thread. Gives it back with the reason when there is none to be had.
    fn start(self: Arc<Self>, stream: OwnedFd, address: Address) -> Result<(), (OwnedFd, Status)>;
}

/// One of a server's loops, as the acceptor sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) stats: Arc<LoopStats>,
}

impl Reactor {
    /// Starts taking connections from a listening socket.
    pub(crate) fn listen(
        &mut self,
        listener: OwnedFd,
        placement: Placement,
        connections_max: u64,
    ) -> io::Result<()> {
        let key = self.insert(|_| Slot::Listener);
        let socket = self.driver.attach(listener, Role::Listener, token(key))?;
        self.driver.submit(Op::Accept { socket });
        let state = State::Accepting;
        self.acceptor = Some(Acceptor {
            placement,
            connections_max,
            key,
            socket,
            state,
        });
        Ok(())
    }

    /// Serves this connection to its end; for a thread of its own.
    pub(crate) fn serve_one(&mut self, stream: OwnedFd, address: &Address) -> io::Result<()> {
        self.adopt(stream, address);
        self.run_while_connected()
    }

    /// What a standing accept brought.
    pub(super) fn accepted(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted { stream, address } => {
                if let Some(acceptor) = &mut self.acceptor
                    && let State::Closing { quiet_turns } = &mut acceptor.state
                {
                    *quiet_turns = 0;
                }
                self.place(stream, address);
            }
            Outcome::Failed(error) => {
                tracing::warn!(%error, pause = ?ACCEPT_PAUSE, "cannot take connections now");
                self.pause_accept();
            }
            _ => {}
        }
    }

    /// The pause is over.
    pub(super) fn accept_again(&mut self) {
        if let Some(acceptor) = &mut self.acceptor
            && acceptor.state == State::Paused
        {
            acceptor.state = State::Accepting;
            self.driver.submit(Op::Accept {
                socket: acceptor.socket,
            });
        }
    }

    /// A connection ended: a pause for want of a descriptor may end early.
    pub(super) fn acceptor_has_room(&mut self) {
        self.accept_again();
    }

    fn pause_accept(&mut self) {
        if let Some(acceptor) = &mut self.acceptor
            && acceptor.state == State::Accepting
        {
            acceptor.state = State::Paused;
            self.timers
                .set(self.now + ACCEPT_PAUSE, acceptor.key.to_u64());
        }
    }

    /// The server stops. Connections that the kernel has taken already are served to their end.
    pub(super) fn close_acceptor(&mut self) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.state = State::Closing { quiet_turns: 0 };
        }
    }

    pub(super) fn acceptor_is_closing(&self) -> bool {
        let state = self.acceptor.as_ref().map(|acceptor| acceptor.state);
        matches!(state, Some(State::Closing { .. }))
    }

    /// Closes the listening socket when no more connections are found.
    pub(super) fn acceptor_turn(&mut self) {
        let Some(acceptor) = &mut self.acceptor else {
            return;
        };
        let State::Closing { quiet_turns } = &mut acceptor.state else {
            return;
        };
        *quiet_turns += 1;
        if *quiet_turns <= QUIET_TURNS {
            return;
        }
        self.driver.cancel(acceptor.socket, OpKind::Accept);
        self.driver.detach(acceptor.socket);
        self.slots.remove(acceptor.key.slot as usize);
        self.acceptor = None;
    }

    fn place(&mut self, stream: OwnedFd, address: Address) {
        LoopStats::add(&self.stats.accepted, 1);
        let Some(acceptor) = &self.acceptor else {
            return;
        };
        let max = acceptor.connections_max;
        match &acceptor.placement {
            Placement::Here if max <= self.stats.connections.load(Ordering::Relaxed) => {
                self.refuse(&stream, &too_many(max));
            }
            Placement::Here => {
                self.stats.connection_added();
                self.adopt(stream, &address);
            }
            Placement::Fewest(seats) => {
                let connections = |seat: &&Seat| seat.stats.connections.load(Ordering::Relaxed);
                if max <= seats.iter().map(|seat| connections(&seat)).sum() {
                    return self.refuse(&stream, &too_many(max));
                }
                let Some(seat) = seats.iter().min_by_key(connections) else {
                    return;
                };
                seat.stats.connection_added();
                // A loop that has ended takes nothing, and the connection is closed.
                let _ = seat.mailbox.send(Command::Adopt { stream, address });
            }
            Placement::Thread(threads) => {
                if let Err((stream, status)) = Arc::clone(threads).start(stream, address) {
                    self.refuse(&stream, &status);
                }
            }
        }
    }

    /// Serves a connection on this loop; it is counted already.
    pub(super) fn adopt(&mut self, stream: OwnedFd, address: &Address) {
        let Some(serves) = self.serves.clone() else {
            return;
        };
        if let Err((stream, error)) = self.try_adopt(&serves, stream, address) {
            tracing::debug!(%error, "connection refused");
            self.stats.connection_removed();
            if let Some(stream) = stream {
                self.refuse(&stream, &Status::resource_exhausted(error.to_string()));
            }
        }
    }

    fn try_adopt(
        &mut self,
        serves: &Serves,
        stream: OwnedFd,
        address: &Address,
    ) -> Result<(), (Option<OwnedFd>, io::Error)> {
        let remote = Remote::of(&stream, address);
        if serves.nodelay && remote.address().is_some() {
            // A connection that ended meanwhile shows when it is read.
            let _ = socket::set_nodelay(&stream, true);
        }
        // For a refusal that can be read, should the driver have no room.
        let spare = stream.try_clone().ok();
        let next = PeerKey {
            slot: self.slots.vacant_key() as u32,
            generation: self.generation.wrapping_add(1),
        };
        let socket = match self.driver.attach(stream, Role::Stream, token(next)) {
            Ok(socket) => socket,
            Err(error) => return Err((spare, error)),
        };
        let serving = Serving::new(Arc::clone(&serves.hosted), remote);
        let mut peer = Peer::serving(self.now, serving);
        if self.stop != Stop::Running {
            peer.drain(self.now);
        }
        let key =
            self.insert(|key| Slot::Connection(Box::new(Connection::new(key, socket, peer, None))));
        debug_assert_eq!(key, next);
        // At once, so that the first wait may sleep where it costs least.
        self.pump(key.slot);
        Ok(())
    }

    /// Tells a client why it is not served, as far as that goes without waiting for it.
    fn refuse(&mut self, stream: &OwnedFd, status: &Status) {
        LoopStats::add(&self.stats.refused, 1);
        tracing::debug!(%status, "connection refused");
        let _ = socket::send_last(stream, &goodbye(status, self.now));
    }
}

/// What a client is told that is not served.
pub(crate) fn goodbye(status: &Status, now: Instant) -> Vec<u8> {
    let mut machine = native::Connection::server(Default::default(), now);
    machine.close(status);
    let mut bytes = Vec::new();
    while let Some(goodbye) = machine.poll_transmit(now, u64::MAX) {
        bytes.extend_from_slice(goodbye.as_slice().unwrap_or_default());
    }
    bytes
}

/// Why a server refuses a connection that would be one too many.
pub(crate) fn too_many(max: u64) -> Status {
    Status::resource_exhausted(format!(
        "this server takes {max} connections (connections_max)"
    ))
}
