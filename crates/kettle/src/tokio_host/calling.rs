//! The task of a channel: its link, and the connections that it has.

use super::connection::Connection;
use super::desk::Desk;
use super::timer::Timer;
use super::turns::Turns;
use crate::backoff::Random;
use crate::call::CallRequest;
use crate::command::Command;
use crate::key::PeerKey;
use crate::link::Unreachable;
use crate::mailbox::{Mailbox, Note};
use crate::peer::{Calling, Peer, Waiting};
use crate::reactor::link::{Heard, Link, State};
use crate::{BoxFuture, reactor};
use kettle_proto::Instant;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// Makes the streams of a channel, one after the other.
pub(super) type Connect<S> = Box<dyn FnMut() -> BoxFuture<'static, io::Result<S>> + Send>;

/// A channel's end in its runtime.
pub(super) struct Task<S: AsyncRead + AsyncWrite> {
    desk: Desk,
    link: Link,
    connect: Connect<S>,
    connecting: Option<Connecting<S>>,
    /// The link's own, and those that take no more calls and have some open.
    connections: Vec<Connection<S>>,
    generation: u32,
    random: Random,
    timer: Timer,
    /// Nobody uses the channel any more.
    forgotten: bool,
}

/// A stream that is being made.
struct Connecting<S> {
    stream: BoxFuture<'static, io::Result<S>>,
    /// When the server must have greeted.
    until: Instant,
}

impl<S: AsyncRead + AsyncWrite> Task<S> {
    pub(super) fn new(desk: Desk, link: Link, connect: Connect<S>, random: Random) -> Self {
        Self {
            desk,
            link,
            connect,
            connecting: None,
            connections: Vec::new(),
            generation: 0,
            random,
            timer: Timer::default(),
            forgotten: false,
        }
    }

    fn read_notes(&mut self) {
        let mut notes = self.desk.take_notes();
        for note in notes.drain(..) {
            match note {
                Note::Command(command) => self.command(command),
                Note::Wake(alarm) => {
                    let target = alarm.ring();
                    for connection in &mut self.connections {
                        connection.wake(&mut self.desk, target);
                    }
                }
            }
        }
        self.desk.put_away(notes);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Connect { promise, .. } => {
                self.link.await_connect(promise);
                self.link.answer_connects();
                self.raise();
            }
            Command::Call { request, .. } => self.call(request),
            Command::Forget { .. } => self.forget(),
            other => {
                let mut rest = Some(other);
                for connection in &mut self.connections {
                    rest = rest.and_then(|command| connection.command(command));
                }
            }
        }
    }

    /// Makes a call on the connection, or lets it wait for one.
    fn call(&mut self, request: Box<CallRequest>) {
        let chosen = self.link.only();
        let chosen = chosen.or_else(|| self.link.choose(&request, |_| 0));
        self.raise();
        match chosen {
            Some(key) => self.start_call(key, request),
            None if !request.wait_for_ready && !self.link.is_hopeful() => {
                request.fail(self.link.unavailable(self.desk.now));
            }
            None => self.link.waiting.push(request),
        }
    }

    fn start_call(&mut self, key: PeerKey, request: Box<CallRequest>) {
        let mut connections = self.connections.iter_mut();
        if let Some(connection) = connections.find(|connection| connection.key == key)
            && let Some((machine, calling)) = connection.peer.client()
        {
            calling.start(&mut self.desk.turn(key), machine, request);
            connection.ready();
        }
    }

    /// Nobody uses the channel any more: its connections end when their calls are over.
    fn forget(&mut self) {
        self.forgotten = true;
        self.connecting = None;
        for connection in &mut self.connections {
            connection.peer.drain(self.desk.now);
            connection.ready();
        }
    }

    /// Starts to connect, unless that failed a moment ago.
    fn raise(&mut self) {
        if !self.forgotten && self.link.begin_connect(self.desk.now).is_some() {
            self.connecting = Some(Connecting {
                stream: (self.connect)(),
                until: self.desk.now + self.link.config.connect_timeout,
            });
        }
    }

    /// Whether a stream was made, or could not be.
    fn poll_connecting(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(connecting) = &mut self.connecting else {
            return false;
        };
        let until = connecting.until;
        match connecting.stream.as_mut().poll(cx) {
            Poll::Ready(Ok(stream)) => self.connected(stream, until),
            Poll::Ready(Err(error)) => self.unconnected(Unreachable::Failed, &error.to_string()),
            Poll::Pending if until <= self.desk.now => {
                let timeout = self.link.config.connect_timeout;
                let why = format!("no connection within {timeout:?} (connect_timeout)");
                self.unconnected(Unreachable::TimedOut, &why);
            }
            Poll::Pending => return false,
        }
        true
    }

    /// Calls go to the connection at once, but for those that wait for the server: they want to see it greet.
    fn connected(&mut self, stream: S, until: Instant) {
        self.connecting = None;
        self.generation = self.generation.wrapping_add(1);
        let (slot, generation) = (0, self.generation);
        let key = PeerKey { slot, generation };
        let mut limits = self.link.config.limits.clone();
        limits.handshake_timeout = until - self.desk.now;
        let peer = Peer::calling(self.desk.now, limits, Calling::default());
        self.connections.push(Connection::new(key, peer, stream));
        let greeted = false;
        self.link.subchannels[0].state = State::Up { key, greeted };
        let mut hasty = self.link.waiting.take_hasty();
        while let Some(request) = hasty.pop() {
            self.start_call(key, request);
        }
    }

    fn unconnected(&mut self, reason: Unreachable, why: &str) {
        self.connecting = None;
        self.link
            .unconnected(0, reason, why, self.desk.now, &mut self.random);
        self.link_down();
    }

    /// The connection is missing.
    fn link_down(&mut self) {
        if self.link.down(self.desk.now) {
            self.raise();
        }
    }

    /// Whether a pause was over, or the deadlines of calls that wait.
    fn link_timeout(&mut self) -> bool {
        let now = self.desk.now;
        let due = self.link.next_time().is_some_and(|next| next <= now);
        if due {
            self.link.waiting.expire(now);
            if !self.link.waiting.is_empty() {
                self.raise();
            }
        }
        due
    }

    /// Tells the link what happened on a connection.
    fn news(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let key = connection.key;
        let Some((_, calling)) = connection.peer.client() else {
            return;
        };
        let news = calling.take_news();
        if news.is_empty() {
            return;
        }
        let Heard { mut begin, down } =
            self.link.heard(key, &news, self.desk.now, &mut self.random);
        if down {
            self.link_down();
        }
        while let Some(request) = begin.pop() {
            self.start_call(key, request);
        }
        let mut again = news.again;
        while let Some(request) = again.pop() {
            self.call(request);
        }
    }
}

impl<S: AsyncRead + AsyncWrite> Turns for Task<S> {
    fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Option<bool> {
        self.desk.look_at_clock();
        self.read_notes();
        let mut moved = self.poll_connecting(cx);
        // What is begun here is polled in the next turn.
        moved |= self.link_timeout();
        for index in 0..self.connections.len() {
            if self.connections[index].turn(&mut self.desk, cx, None) {
                moved = true;
                self.news(index);
            }
        }
        self.connections.retain(|connection| !connection.is_over());
        if self.forgotten && self.connections.is_empty() {
            return None;
        }
        let until = self.connecting.as_ref().map(|connecting| connecting.until);
        let next = Instant::earliest([until, self.link.next_time()]);
        let (now, clock) = (self.desk.now, self.desk.clock);
        Some(moved || self.timer.is_due(next, now, clock, cx))
    }
}

impl<S: AsyncRead + AsyncWrite> Future for Task<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_turns(cx)
    }
}

/// Calls that are open, and those that come after the end, find that their loop has ended.
impl<S: AsyncRead + AsyncWrite> Drop for Task<S> {
    fn drop(&mut self) {
        let _home = reactor::be_home(&self.desk.mailbox);
        self.connections.clear();
        self.link.waiting = Waiting::default();
        drop(Mailbox::close(&self.desk.mailbox));
    }
}
