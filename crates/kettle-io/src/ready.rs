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

use crate::attached::Attached;
use crate::deadline::Deadline;
use crate::queue::Queue;
use crate::send::LEAVING_CHECK;
use crate::transfer::{ACCEPT_BATCH_MAX, Transfer};
use crate::{
    Address, Completion, Driver, DriverConfig, DriverStats, Interest, Op, OpKind, Outcome,
    Patience, Readiness, Role, Selector, SocketId, Token, Waker, sys,
};
use kettle_buf::Payload;
use rustix::net::RecvFlags;
use slab::Slab;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The selector's key of the waker; no table of sockets becomes so long.
pub(crate) const WAKER_KEY: u32 = u32::MAX;

/// Makes a [`Driver`] of a [`Selector`].
#[derive(Debug)]
pub struct Ready<S> {
    selector: S,
    sockets: Slab<Watched>,
    /// Sockets to be tried in the next wait; each at most once.
    todo: Vec<u32>,
    /// The list of the wait under way; kept for its memory.
    turn: Vec<u32>,
    /// What the selector reported; kept for its memory.
    ready: Vec<Readiness>,
    queue: Queue,
    transfer: Transfer,
    waker: Waker,
}

#[derive(Debug)]
struct Watched {
    socket: Attached,
    /// What the selector watches for.
    interest: Interest,
    /// Whether the socket stands in `todo`.
    listed: bool,
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
            queue: Queue::default(),
            transfer: Transfer::seeing_notices(config),
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
            } else if let Some(watched) = self.sockets.get_mut(readiness.key as usize) {
                watched.socket.readable |= readiness.readable;
                watched.socket.ended |= readiness.ended;
                watched.socket.full &= !readiness.writable;
                self.list(readiness.key);
            }
        }
        Ok(woken)
    }

    fn list(&mut self, key: u32) {
        if !std::mem::replace(&mut self.sockets[key as usize].listed, true) {
            self.todo.push(key);
        }
    }

    /// Tries every listed socket once.
    fn serve_listed(&mut self, done: &mut Vec<Completion>) {
        std::mem::swap(&mut self.todo, &mut self.turn);
        for at in 0..self.turn.len() {
            self.serve(self.turn[at], done);
        }
        self.turn.clear();
    }

    fn serve(&mut self, key: u32, done: &mut Vec<Completion>) {
        let watched = &mut self.sockets[key as usize];
        watched.listed = false;
        let (socket, transfer) = (&mut watched.socket, &mut self.transfer);
        done.extend(socket.released(transfer));
        if !socket.full
            && let Some(address) = socket.connecting.take()
        {
            done.extend(socket.connect(*address, transfer));
        }
        let mut still_full = false;
        if !socket.full
            && let Some(payload) = socket.sending.take()
        {
            let completion = socket.send(*payload, false, transfer);
            still_full = completion.is_none();
            done.extend(completion);
        }
        if socket.readable
            && let Some(standing) = socket.standing
        {
            let before = (done.len(), transfer.received_bytes);
            match standing {
                OpKind::Accept => socket.accept(ACCEPT_BATCH_MAX, transfer, done),
                _ => socket.receive(RecvFlags::DONTWAIT, transfer, done),
            }
            self.selector
                .tried(key, before != (done.len(), transfer.received_bytes));
        }
        self.settle(key);
        if still_full {
            self.watch_for(key, OpKind::Send);
        }
    }

    /// After a try: lists the socket again, or stops watching for what nobody wants.
    fn settle(&mut self, key: u32) {
        let Watched {
            socket, interest, ..
        } = &mut self.sockets[key as usize];
        let wanted = socket.wanted();
        if self.selector.edge_triggered() {
            if socket.readable && wanted.readable {
                self.list(key);
            }
            return;
        }
        let unwanted_read = socket.readable && interest.readable && !wanted.readable;
        let unwanted_write = !socket.full && interest.writable && !wanted.writable;
        // The selector will tell again.
        socket.readable = false;
        if (unwanted_read || unwanted_write)
            && self.selector.modify(key, socket.fd.as_fd(), wanted).is_ok()
        {
            *interest = wanted;
        }
    }

    /// Makes the selector watch for what the socket's operations wait for.
    fn watch(&mut self, key: u32) -> io::Result<()> {
        let edge = self.selector.edge_triggered();
        let Watched {
            socket, interest, ..
        } = &mut self.sockets[key as usize];
        let wanted = socket.wanted();
        if (wanted.readable && !interest.readable) || (wanted.writable && !interest.writable) {
            // An edge is told once: watching for both from the start misses none and costs nothing.
            let all = Interest {
                readable: true,
                writable: true,
            };
            let wanted = if edge { all } else { wanted };
            self.selector.modify(key, socket.fd.as_fd(), wanted)?;
            *interest = wanted;
        }
        if socket.sending.is_some() {
            self.selector.full(key, socket.fd.as_fd())?;
        }
        if edge && socket.readable && wanted.readable {
            self.list(key);
        }
        Ok(())
    }

    /// Watches for an operation that was started; ends it when that cannot be.
    fn watch_for(&mut self, key: u32, kind: OpKind) {
        if let Err(error) = self.watch(key) {
            let socket = &mut self.sockets[key as usize].socket;
            socket.stop(kind);
            self.queue.push(socket.last(kind, Outcome::Failed(error)));
        }
    }

    fn submit_connect(&mut self, key: u32, address: Address) {
        let socket = &mut self.sockets[key as usize].socket;
        match socket.connect(address, &mut self.transfer) {
            Some(completion) => self.queue.push(completion),
            None => self.watch_for(key, OpKind::Connect),
        }
    }

    fn submit_send(&mut self, key: u32, payload: Payload) {
        let socket = &mut self.sockets[key as usize].socket;
        for completion in socket.released(&mut self.transfer) {
            self.queue.push(completion);
        }
        let completion = match socket.full {
            true => {
                socket.sending = Some(Box::new(payload));
                None
            }
            false => socket.send(payload, false, &mut self.transfer),
        };
        match completion {
            Some(completion) => self.queue.push(completion),
            None => self.watch_for(key, OpKind::Send),
        }
    }
}

impl<S: Selector> Driver for Ready<S> {
    fn attach(&mut self, fd: OwnedFd, _role: Role, token: Token) -> io::Result<SocketId> {
        sys::set_nonblocking(fd.as_fd(), true, &mut self.transfer.calls)?;
        let entry = self.sockets.vacant_entry();
        let (key, interest) = (entry.key() as u32, Interest::default());
        self.selector.add(key, fd.as_fd(), interest)?;
        entry.insert(Watched {
            socket: Attached::new(fd, token),
            interest,
            listed: false,
        });
        Ok(SocketId(key))
    }

    fn submit(&mut self, op: Op) {
        match op {
            Op::Accept {
                socket: SocketId(key),
            } => {
                self.sockets[key as usize].socket.standing = Some(OpKind::Accept);
                self.watch_for(key, OpKind::Accept);
            }
            Op::Connect { socket, address } => self.submit_connect(socket.0, address),
            Op::Receive {
                socket: SocketId(key),
            } => {
                self.sockets[key as usize].socket.standing = Some(OpKind::Receive);
                self.watch_for(key, OpKind::Receive);
            }
            Op::Send { socket, payload } => self.submit_send(socket.0, payload),
        }
    }

    fn cancel(&mut self, socket: SocketId, kind: OpKind) {
        self.sockets[socket.0 as usize]
            .socket
            .cancel(kind, &mut self.queue);
    }

    fn shutdown(&mut self, socket: SocketId) {
        let socket = &self.sockets[socket.0 as usize].socket;
        // A connection that is broken already has ended both sides.
        let _ = sys::shutdown_write(socket.fd.as_fd(), &mut self.transfer.calls);
    }

    fn detach(&mut self, socket: SocketId) {
        let mut watched = self.sockets.remove(socket.0 as usize);
        if watched.listed {
            // The key may soon be another socket's.
            self.todo.retain(|listed| *listed != socket.0);
        }
        watched.socket.cancel_all(&mut self.queue);
        self.selector.remove(socket.0, watched.socket.fd.as_fd());
        let Attached { fd, kept, .. } = watched.socket;
        self.transfer.close(fd, kept);
    }

    fn expect(&mut self, socket: SocketId, bytes: usize) {
        let socket = &mut self.sockets[socket.0 as usize].socket;
        if socket.gather.is_none() {
            socket.gather = self.transfer.gather(bytes);
        }
    }

    fn take_done(&mut self, done: &mut Vec<Completion>) {
        self.queue.take(done);
    }

    fn wait(&mut self, patience: Patience, done: &mut Vec<Completion>) -> io::Result<()> {
        let before = done.len();
        if self.queue.give(done) {
            return Ok(());
        }
        let mut deadline = Deadline::after(patience.timeout);
        loop {
            let timeout = match before < done.len() || !self.todo.is_empty() {
                true => Some(Duration::ZERO),
                false => deadline.remaining(),
            };
            let timeout = match self.transfer.see_off() {
                true => Some(timeout.map_or(LEAVING_CHECK, |timeout| timeout.min(LEAVING_CHECK))),
                false => timeout,
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

/// Connections whose memory the kernel still uses are reset: what it would send is not kept any longer.
impl<S> Drop for Ready<S> {
    fn drop(&mut self) {
        for Watched { socket, .. } in self.sockets.drain() {
            self.transfer.close_now(socket.fd, socket.kept);
        }
        self.transfer.close_leaving();
    }
}
