//! A peer and the stream that it speaks over: turns, and what the peer wants after them.

use super::desk::Desk;
use super::timer::Timer;
use super::wire::Wire;
use crate::command::Command;
use crate::key::PeerKey;
use crate::mailbox::Target;
use crate::peer::Peer;
use crate::stats::LoopStats;
use kettle_buf::{Payload, copied_bytes};
use kettle_proto::{CallId, Instant};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// A peer and its stream.
#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) peer: Peer,
    pub(super) key: PeerKey,
    wire: Wire<S>,
    timer: Timer,
    /// Has something to say.
    ready: bool,
    shut: bool,
    /// The peer is done with its stream.
    over: bool,
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    pub(super) fn new(key: PeerKey, peer: Peer, stream: S) -> Self {
        Self {
            peer,
            key,
            wire: Wire::new(stream),
            timer: Timer::default(),
            // A client greets first.
            ready: true,
            shut: false,
            over: false,
        }
    }

    /// Whether the connection has ended, so that there is nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Pumps the peer in the next turn.
    pub(super) fn ready(&mut self) {
        self.ready = true;
    }

    /// Polls what an alarm rings for.
    pub(super) fn wake(&mut self, desk: &mut Desk, target: Target) {
        if let Target::Handler(key, call) = target
            && key == self.key
        {
            let copied = copied_bytes();
            let mut turn = desk.turn(key);
            self.peer.wake(&mut turn, call);
            desk.now = turn.now;
            LoopStats::add(&desk.stats.wakes, 1);
            LoopStats::add(&desk.stats.copied, copied_bytes() - copied);
            self.ready = true;
        }
    }

    /// Carries out what concerns a call. Gives back what does not.
    pub(super) fn command(&mut self, command: Command) -> Option<Command> {
        match command {
            Command::Cancel((key, call)) if key == self.key => self.abandoned(call),
            Command::Taken((key, call)) if key == self.key => self.peer.taken(call),
            other => return Some(other),
        }
        self.ready = true;
        None
    }

    /// The caller of a call has gone; on a server, whoever took its messages.
    fn abandoned(&mut self, call: CallId) {
        match self.peer.client() {
            Some((machine, calling)) => calling.cancel(machine, call),
            None => self.peer.taken(call),
        }
    }

    /// Receives once, pumps, and sends. False when there was nothing to do; the task is woken when there is.
    ///
    /// `until` is a time at which the owner wants to be polled besides.
    pub(super) fn turn(
        &mut self,
        desk: &mut Desk,
        cx: &mut Context<'_>,
        until: Option<Instant>,
    ) -> bool {
        let copied = copied_bytes();
        let received = self.receive(desk, cx);
        self.fire(desk);
        let pumped = self.pump(desk);
        let sent = self.send(desk, cx);
        self.shut(cx);
        LoopStats::add(&desk.stats.copied, copied_bytes() - copied);
        if received || pumped || sent || self.ready {
            return true;
        }
        let next = Instant::earliest([self.peer.next_timeout(), until]);
        self.timer.is_due(next, desk.now, desk.clock, cx)
    }

    fn receive(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> bool {
        if !self.peer.wants().receive {
            return false;
        }
        match self.wire.poll_receive(cx) {
            Poll::Pending => return false,
            Poll::Ready(Ok(bytes)) => self.peer.received(desk.now, bytes),
            Poll::Ready(Err(error)) => self.broke(desk, &error),
        }
        self.ready = true;
        true
    }

    fn fire(&mut self, desk: &Desk) {
        if self.peer.next_timeout().is_some_and(|at| at <= desk.now) {
            self.peer.timeout(desk.now);
            self.ready = true;
        }
    }

    fn pump(&mut self, desk: &mut Desk) -> bool {
        if !std::mem::take(&mut self.ready) {
            return false;
        }
        let mut turn = desk.turn(self.key);
        self.peer.pump(&mut turn);
        desk.now = turn.now;
        let wants = self.peer.wants();
        self.ready = wants.again;
        self.over = wants.close;
        true
    }

    /// Sends what waits. Whether all of it was taken.
    fn send(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> bool {
        if !self.wire.is_sending() {
            let Some(payload) = self.peer.take_send() else {
                return false;
            };
            self.wire.send(payload);
        }
        match self.wire.poll_sent(cx) {
            Poll::Pending => return false,
            Poll::Ready(Ok(sent)) => self.ready |= self.peer.sent(sent),
            Poll::Ready(Err(error)) => {
                self.wire.give_up();
                self.peer.sent(Payload::new());
                self.broke(desk, &error);
                self.ready = true;
            }
        }
        true
    }

    fn shut(&mut self, cx: &mut Context<'_>) {
        if !self.shut && self.peer.wants().shutdown {
            // A stream that is broken cannot be shut, and needs not be.
            self.shut = self.wire.poll_shutdown(cx).is_ready();
        }
    }

    fn broke(&mut self, desk: &Desk, error: &std::io::Error) {
        tracing::debug!(%error, "connection broke");
        self.peer.broken(desk.now);
    }

    /// Shows others what was done on it.
    pub(super) fn publish(&self, desk: &Desk) {
        let (received, sent) = (self.wire.received_bytes, self.wire.sent_bytes);
        desk.publish(self.peer.pending(), received, sent);
    }
}
