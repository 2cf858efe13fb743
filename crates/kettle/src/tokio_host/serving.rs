//! The task of a server's connection.

use super::connection::Connection;
use super::desk::Desk;
use super::leftover;
use super::server::Host;
use super::turns::Turns;
use crate::Status;
use crate::command::Command;
use crate::key::PeerKey;
use crate::mailbox::Note;
use crate::peer::{self, Peer};
use crate::remote::Remote;
use crate::server::Registered;
use crate::stats::LoopStats;
use crate::stopping::{Due, Stop};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// A task has one connection.
const KEY: PeerKey = PeerKey {
    slot: 0,
    generation: 0,
};

/// A connection's place in a server, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    host: Arc<Host>,
    desk: Desk,
    /// Behind the desk: what the connection has done is counted when it ends.
    _registered: Registered,
}

/// Serves one connection to its end.
pub(super) struct Serving<S: AsyncRead + AsyncWrite> {
    /// `None` at the end.
    connection: Option<Connection<S>>,
    stop: Stop,
    place: Place,
}

impl Place {
    /// A place, unless the server has as many connections as it may.
    pub(super) fn take(host: &Arc<Host>) -> Option<Self> {
        let max = host.connections_max;
        let taken = host
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < max).then_some(open + 1)
            });
        taken.ok()?;
        let desk = Desk::new();
        desk.stats.connection_added();
        LoopStats::add(&desk.stats.accepted, 1);
        let (mailbox, stats) = (Arc::clone(&desk.mailbox), Arc::clone(&desk.stats));
        Some(Self {
            _registered: host.running.register(mailbox, stats),
            host: Arc::clone(host),
            desk,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.host.connections.fetch_sub(1, Ordering::Relaxed);
        self.desk.stats.connection_removed();
    }
}

impl<S: AsyncRead + AsyncWrite> Serving<S> {
    pub(super) fn new(place: Place, stream: S, remote: Remote) -> Self {
        let serves = &place.host.serves;
        let serving = peer::Serving::new(Arc::clone(&serves.hosted), remote);
        let peer = Peer::serving(place.desk.now, serving);
        Self {
            connection: Some(Connection::new(KEY, peer, stream)),
            stop: Stop::Running,
            place,
        }
    }

    fn read_notes(&mut self) {
        let mut notes = self.place.desk.take_notes();
        for note in notes.drain(..) {
            match note {
                Note::Command(command) => self.command(command),
                Note::Wake(alarm) => {
                    if let Some(connection) = &mut self.connection {
                        connection.wake(&mut self.place.desk, alarm.ring());
                    }
                }
            }
        }
        self.place.desk.put_away(notes);
    }

    fn command(&mut self, command: Command) {
        let connection = self.connection.as_mut();
        let rest = match connection {
            Some(connection) => connection.command(command),
            None => Some(command),
        };
        match rest {
            Some(Command::Stop { grace }) => {
                let now = self.place.desk.now;
                self.stop.begin(now, grace);
                if let Some(connection) = &mut self.connection {
                    connection.peer.drain(now);
                    connection.ready();
                }
            }
            // Not when the time for that is over too.
            Some(Command::Finish(unfinished)) if !matches!(self.stop, Stop::Leaving(_)) => {
                leftover::spawn(&self.place.host.running, unfinished);
            }
            _ => {}
        }
    }
}

impl<S: AsyncRead + AsyncWrite> Turns for Serving<S> {
    fn desk(&mut self) -> &mut Desk {
        &mut self.place.desk
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Option<bool> {
        self.place.desk.look_at_clock();
        self.read_notes();
        let connection = self.connection.as_mut()?;
        let desk = &mut self.place.desk;
        match self.stop.due(desk.now) {
            Due::Nothing => {}
            Due::Goodbye => {
                let status = Status::unavailable("the server has stopped");
                connection.peer.close(&status);
                connection.ready();
            }
            Due::End => return None,
        }
        let moved = connection.turn(desk, cx, self.stop.next());
        (!connection.is_over()).then_some(moved)
    }

    fn rest(&mut self) {
        if let Some(connection) = &self.connection {
            connection.publish(&self.place.desk);
        }
    }

    /// Drops the connection. Its handlers may leave something to be finished.
    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.publish(&self.place.desk);
            drop(connection);
            self.read_notes();
            self.place.desk.stats.pending.store(0, Ordering::Relaxed);
            drop(self.place.desk.mailbox.close());
        }
    }
}

impl<S: AsyncRead + AsyncWrite> Future for Serving<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_turns(cx)
    }
}

/// Whoever serves a connection may stop to, at any time.
impl<S: AsyncRead + AsyncWrite> Drop for Serving<S> {
    fn drop(&mut self) {
        let _home = crate::reactor::be_home(&self.place.desk.mailbox);
        self.end();
    }
}
