//! The adapter that makes a [`Driver`] of any [`Selector`].
//!
//! ```text
//!   submit(Send)      tried at once ── all or some taken ──▶ Sent, queued for the next wait
//!                          └───────── no room ─────────────▶ waits until the socket is writable
//!   submit(Receive)   waits until readable ── read once ───▶ Received
//! ```
//!
//! A socket is read once per readiness and never until EAGAIN: that would be a third system call per
//! request. What is watched for stays registered from one request to the next. An interest that turns
//! out to be unwanted is dropped when the selector reports it, so that pausing a receive and going on
//! soon costs no system call.

use crate::deadline::Deadline;
use crate::transfer::{ACCEPT_BATCH_MAX, Gather, Incoming, Transfer};
use crate::{
    Completion, Driver, DriverConfig, DriverStats, Interest, Op, OpKind, Outcome, Patience,
    Readiness, Role, Selector, SocketId, Token, Waker, sys,
};
use kettle_buf::{Payload, Segment};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use slab::Slab;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The selector's key of the waker; no table of sockets becomes so long.
pub(crate) const WAKER_KEY: u32 = u32::MAX;

/// Makes a [`Driver`] of a [`Selector`].
#[derive(Debug)]
pub struct Ready<S> {
    selector: S,
    sockets: Slab<Socket>,
    /// Sockets to be tried in the next wait; each at most once.
    todo: Vec<u32>,
    /// The list of the wait under way; kept for its memory.
    turn: Vec<u32>,
    /// What the selector reported; kept for its memory.
    ready: Vec<Readiness>,
    /// Completions of `submit`, `cancel` and `detach`.
    queued: Vec<Completion>,
    /// How many of `queued` are not their operation's last: a detach must take its own out.
    queued_parts: usize,
    /// Whether the last wait gave queued completions without asking the selector.
    skipped: bool,
    transfer: Transfer,
    waker: Waker,
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    token: Token,
    /// What the selector watches for.
    watched: Interest,
    accepting: bool,
    connecting: bool,
    receiving: bool,
    /// A send that waits for room.
    sending: Option<Payload>,
    gather: Option<Gather>,
    /// The last send filled the socket: do not try before it is writable.
    full: bool,
    /// Trying to accept or receive may bring something.
    readable: bool,
    /// The peer has closed or failed, so a short read is not the end of what there is.
    ended: bool,
    /// Whether the socket stands in `todo`.
    listed: bool,
}

impl Socket {
    fn wanted(&self) -> Interest {
        Interest {
            readable: self.accepting || self.receiving,
            writable: self.connecting || self.sending.is_some(),
        }
    }
}

impl<S: Selector> Ready<S> {
    /// A driver without sockets. The selector should be new.
    ///
    /// # Errors
    /// When the waker's eventfd cannot be created or watched.
    pub fn new(selector: S, config: &DriverConfig) -> io::Result<Self> {
        Self::with_waker(selector, Waker::new(), config)
    }

    /// For a selector that looks at the waker itself.
    pub(crate) fn with_waker(
        mut selector: S,
        waker: Waker,
        config: &DriverConfig,
    ) -> io::Result<Self> {
        selector.add(
            WAKER_KEY,
            waker.event()?,
            Interest {
                readable: true,
                writable: false,
            },
        )?;
        Ok(Self {
            selector,
            sockets: Slab::new(),
            todo: Vec::new(),
            turn: Vec::new(),
            ready: Vec::new(),
            queued: Vec::new(),
            queued_parts: 0,
            skipped: false,
            transfer: Transfer::new(config.pool),
            waker,
        })
    }

    /// Asks the selector and lists the sockets that are worth a try. True when the waker rang.
    fn select(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.ready.clear();
        self.selector.wait(timeout, &mut self.ready)?;
        let mut woken = false;
        for at in 0..self.ready.len() {
            let readiness = self.ready[at];
            if readiness.key == WAKER_KEY {
                self.waker.clear();
                woken = true;
                continue;
            }
            let Some(socket) = self.sockets.get_mut(readiness.key as usize) else {
                continue;
            };
            socket.readable |= readiness.readable;
            socket.ended |= readiness.ended;
            socket.full &= !readiness.writable;
            if !std::mem::replace(&mut socket.listed, true) {
                self.todo.push(readiness.key);
            }
        }
        Ok(woken)
    }

    /// Tries every listed socket once.
    fn serve_listed(&mut self, done: &mut Vec<Completion>) {
        std::mem::swap(&mut self.todo, &mut self.turn);
        for at in 0..self.turn.len() {
            let key = self.turn[at];
            if self.sockets.contains(key as usize) {
                self.serve(key, done);
            }
        }
        self.turn.clear();
    }

    fn serve(&mut self, key: u32, done: &mut Vec<Completion>) {
        let socket = &mut self.sockets[key as usize];
        socket.listed = false;
        if socket.connecting && !socket.full {
            done.push(socket.finish_connect(&mut self.transfer));
        }
        if !socket.full
            && let Some(payload) = socket.sending.take()
        {
            done.extend(socket.send(payload, &mut self.transfer));
        }
        if socket.readable && (socket.accepting || socket.receiving) {
            let before = self.transfer.received_bytes;
            let accepted = done.len();
            match socket.accepting {
                true => socket.accept(&mut self.transfer, done),
                false => socket.receive(&mut self.transfer, done),
            }
            let progress = accepted < done.len() || before < self.transfer.received_bytes;
            self.selector.tried(key, progress);
        }
        self.settle(key);
    }

    /// After a try: list the socket again, or stop watching for what nobody wants.
    fn settle(&mut self, key: u32) {
        let socket = &mut self.sockets[key as usize];
        let wanted = socket.wanted();
        if self.selector.edge_triggered() {
            if socket.readable && wanted.readable {
                socket.listed = true;
                self.todo.push(key);
            }
            return;
        }
        let unwanted_read = socket.readable && socket.watched.readable && !wanted.readable;
        let unwanted_write = !socket.full && socket.watched.writable && !wanted.writable;
        // The selector will tell again.
        socket.readable = false;
        if (unwanted_read || unwanted_write)
            && self.selector.modify(key, socket.fd.as_fd(), wanted).is_ok()
        {
            socket.watched = wanted;
        }
    }

    /// Makes the selector watch for what the socket's operations wait for.
    fn watch(&mut self, key: u32) -> io::Result<()> {
        let edge = self.selector.edge_triggered();
        let socket = &mut self.sockets[key as usize];
        let wanted = socket.wanted();
        let missing = (wanted.readable && !socket.watched.readable)
            || (wanted.writable && !socket.watched.writable);
        if missing {
            // An edge is told once: watching for both from the start misses none and costs nothing.
            let interest = if edge {
                Interest {
                    readable: true,
                    writable: true,
                }
            } else {
                wanted
            };
            self.selector.modify(key, socket.fd.as_fd(), interest)?;
            socket.watched = interest;
        }
        if edge && socket.readable && wanted.readable && !socket.listed {
            socket.listed = true;
            self.todo.push(key);
        }
        Ok(())
    }

    /// Watches, or ends the operation that wanted it.
    fn watch_for(&mut self, key: u32, kind: OpKind) {
        if let Err(error) = self.watch(key) {
            let socket = &mut self.sockets[key as usize];
            socket.stop(kind);
            self.queued.push(socket.last(kind, Outcome::Failed(error)));
        }
    }

    fn submit_connect(&mut self, key: u32, address: SocketAddr) {
        let socket = &mut self.sockets[key as usize];
        match sys::connect(socket.fd.as_fd(), address, &mut self.transfer.calls) {
            Ok(()) => self
                .queued
                .push(socket.last(OpKind::Connect, Outcome::Connected)),
            Err(Errno::INPROGRESS | Errno::INTR) => {
                (socket.connecting, socket.full) = (true, true);
                self.watch_for(key, OpKind::Connect);
            }
            Err(error) => {
                self.queued
                    .push(socket.last(OpKind::Connect, Outcome::Failed(error.into())));
            }
        }
    }

    fn submit_send(&mut self, key: u32, payload: Payload) {
        let socket = &mut self.sockets[key as usize];
        if socket.full {
            socket.sending = Some(payload);
        } else {
            self.queued.extend(socket.send(payload, &mut self.transfer));
        }
        if socket.sending.is_some() {
            self.watch_for(key, OpKind::Send);
        }
    }
}

impl Socket {
    fn last(&self, kind: OpKind, outcome: Outcome) -> Completion {
        Completion {
            token: self.token,
            kind,
            outcome,
            last: true,
        }
    }

    fn received(&self, segment: Segment) -> Completion {
        let (kind, outcome) = (OpKind::Receive, Outcome::Received(segment));
        Completion {
            token: self.token,
            kind,
            outcome,
            last: false,
        }
    }

    /// Forgets an operation. True when it was in flight.
    fn stop(&mut self, kind: OpKind) -> bool {
        match kind {
            OpKind::Accept => std::mem::take(&mut self.accepting),
            OpKind::Connect => std::mem::take(&mut self.connecting),
            OpKind::Receive => std::mem::take(&mut self.receiving),
            OpKind::Send => self.sending.take().is_some(),
        }
    }

    fn finish_connect(&mut self, transfer: &mut Transfer) -> Completion {
        self.connecting = false;
        let outcome = match sys::connect_result(self.fd.as_fd(), &mut transfer.calls) {
            Ok(()) => Outcome::Connected,
            Err(error) => Outcome::Failed(error.into()),
        };
        self.last(OpKind::Connect, outcome)
    }

    /// Sends what there is room for; with no room at all the payload waits in `sending`.
    fn send(&mut self, mut payload: Payload, transfer: &mut Transfer) -> Option<Completion> {
        let outcome = match transfer.send(self.fd.as_fd(), &mut payload, false) {
            Ok(progress) => {
                self.full = progress.full;
                if progress.bytes == 0 && !payload.is_empty() {
                    self.sending = Some(payload);
                    return None;
                }
                Outcome::Sent {
                    bytes: progress.bytes,
                    rest: payload,
                }
            }
            Err(error) => Outcome::Failed(error),
        };
        Some(self.last(OpKind::Send, outcome))
    }

    fn accept(&mut self, transfer: &mut Transfer, done: &mut Vec<Completion>) {
        for _ in 0..ACCEPT_BATCH_MAX {
            match transfer.accept(self.fd.as_fd()) {
                Ok(Incoming::Connection(stream, address)) => {
                    let outcome = Outcome::Accepted { stream, address };
                    let (token, kind) = (self.token, OpKind::Accept);
                    done.push(Completion {
                        token,
                        kind,
                        outcome,
                        last: false,
                    });
                }
                Ok(Incoming::Retry) => {}
                Ok(Incoming::Nothing) => {
                    self.readable = false;
                    return;
                }
                Err(error) => {
                    self.accepting = false;
                    done.push(self.last(OpKind::Accept, Outcome::Failed(error)));
                    return;
                }
            }
        }
    }

    fn receive(&mut self, transfer: &mut Transfer, done: &mut Vec<Completion>) {
        let arrival = transfer.receive(self.fd.as_fd(), &mut self.gather, RecvFlags::DONTWAIT);
        let outcome = match arrival {
            Ok(arrival) if !arrival.end => {
                self.readable = arrival.filled || self.ended;
                done.extend(arrival.segment.map(|segment| self.received(segment)));
                return;
            }
            Err(Errno::WOULDBLOCK) => {
                self.readable = false;
                return;
            }
            Err(Errno::INTR) => return,
            Ok(_) => Outcome::Received(Segment::new()),
            Err(error) => Outcome::Failed(error.into()),
        };
        self.receiving = false;
        done.extend(self.gathered());
        done.push(self.last(OpKind::Receive, outcome));
    }

    /// The bytes of a message that will not become whole.
    fn gathered(&mut self) -> Option<Completion> {
        let segment = self.gather.take().and_then(Gather::into_segment)?;
        Some(self.received(segment))
    }
}

impl<S: Selector> Driver for Ready<S> {
    fn attach(&mut self, fd: OwnedFd, _role: Role, token: Token) -> io::Result<SocketId> {
        sys::set_nonblocking(fd.as_fd(), true, &mut self.transfer.calls)?;
        let entry = self.sockets.vacant_entry();
        let key = entry.key() as u32;
        self.selector.add(key, fd.as_fd(), Interest::default())?;
        entry.insert(Socket {
            fd,
            token,
            watched: Interest::default(),
            accepting: false,
            connecting: false,
            receiving: false,
            sending: None,
            gather: None,
            full: false,
            readable: false,
            ended: false,
            listed: false,
        });
        Ok(SocketId(key))
    }

    fn submit(&mut self, op: Op) {
        match op {
            Op::Accept {
                socket: SocketId(key),
            } => {
                self.sockets[key as usize].accepting = true;
                self.watch_for(key, OpKind::Accept);
            }
            Op::Connect { socket, address } => self.submit_connect(socket.0, address),
            Op::Receive {
                socket: SocketId(key),
            } => {
                self.sockets[key as usize].receiving = true;
                self.watch_for(key, OpKind::Receive);
            }
            Op::Send { socket, payload } => self.submit_send(socket.0, payload),
        }
    }

    fn cancel(&mut self, socket: SocketId, kind: OpKind) {
        let socket = &mut self.sockets[socket.0 as usize];
        if !socket.stop(kind) {
            return;
        }
        if kind == OpKind::Receive
            && let Some(part) = socket.gathered()
        {
            self.queued.push(part);
            self.queued_parts += 1;
        }
        self.queued.push(socket.last(kind, Outcome::Cancelled));
    }

    fn detach(&mut self, socket: SocketId) {
        let (key, mut socket) = (socket.0, self.sockets.remove(socket.0 as usize));
        self.selector.remove(key, socket.fd.as_fd());
        if socket.listed {
            // The key may soon be another socket's.
            self.todo.retain(|listed| *listed != key);
        }
        if 0 < self.queued_parts {
            self.queued
                .retain(|completion| completion.token != socket.token || completion.last);
            self.queued_parts = self
                .queued
                .iter()
                .filter(|completion| !completion.last)
                .count();
        }
        for kind in [
            OpKind::Accept,
            OpKind::Connect,
            OpKind::Receive,
            OpKind::Send,
        ] {
            if socket.stop(kind) {
                self.queued.push(socket.last(kind, Outcome::Cancelled));
            }
        }
        sys::close(socket.fd, &mut self.transfer.calls);
    }

    fn expect(&mut self, socket: SocketId, bytes: usize) {
        let socket = &mut self.sockets[socket.0 as usize];
        if socket.gather.is_none() {
            socket.gather = self.transfer.gather(bytes);
        }
    }

    fn wait(&mut self, patience: Patience, done: &mut Vec<Completion>) -> io::Result<()> {
        let before = done.len();
        done.append(&mut self.queued);
        self.queued_parts = 0;
        if before < done.len() && !self.skipped {
            self.skipped = true;
            return Ok(());
        }
        self.skipped = false;
        let deadline = Deadline::after(patience.timeout);
        loop {
            let busy = before < done.len() || !self.todo.is_empty();
            let timeout = if busy {
                Some(Duration::ZERO)
            } else {
                deadline.remaining()
            };
            let woken = self.select(timeout)?;
            self.serve_listed(done);
            if before < done.len() || woken || deadline.has_passed() {
                return Ok(());
            }
        }
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn stats(&self) -> DriverStats {
        self.transfer
            .stats(self.selector.system_calls() + self.waker.system_calls())
    }
}
