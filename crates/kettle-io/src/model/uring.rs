//! `uring`: io_uring(7). The kernel is handed operations and gives completions, through two queues in
//! shared memory. One io_uring_enter(2) hands over all that was submitted in a turn, and waits.
//!
//! ```text
//!   submit(Send)      into the queue ─┐                            ┌─▶ Sent, as much as was taken
//!   submit(Receive)   listed, then ───┼─ wait: io_uring_enter(2) ──┼─▶ Received, in a block of the pool
//!   Waker::wake       eventfd, read ──┘                            └─▶ the wait ends
//! ```
//!
//! Requests of standing operations are made when a wait begins, so that a pause between two waits costs
//! nothing. Sockets are in blocking mode, which makes the kernel wait for readiness and not fail. Files
//! leave as in the other models: the ring hands a splice to a thread of the kernel, which costs twice the
//! CPU time. The ring says when there is room.
//!
//! `uring/ring.rs` is the two queues, `buffers.rs` where receives land, `flight.rs` what is under way,
//! `lending.rs` sends that do not copy, `features.rs` what the kernel has.
#![expect(
    unsafe_code,
    reason = "requests point to memory of the sockets' entries"
)]

mod buffers;
mod features;
mod flight;
mod lending;
mod ring;

pub use features::UringFeatures;

use crate::attached::Attached;
use crate::deadline::Deadline;
use crate::queue::Queue;
use crate::send::Kept;
use crate::transfer::{Transfer, concerns_one_connection};
use crate::{
    Address, Completion, Driver, DriverConfig, DriverStats, Feature, Op, OpKind, Outcome, Patience,
    Role, SocketId, Token, Waker, sys,
};
use buffers::Buffers;
use flight::{Flight, Sending, Socket};
use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};
use kettle_buf::{Payload, Segment};
use lending::Lendings;
use ring::{Name, Ring};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use slab::Slab;
use socket2::SockAddr;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// The group of the buffer ring.
const GROUP: u16 = 0;

/// IORING_RECVSEND_POLL_FIRST of `linux/io_uring.h`: wait for readiness before the first try.
const POLL_FIRST: u16 = 1;

/// What one request sends at most, in bytes; its length is 32 bits wide.
const SEND_BYTES_MAX: usize = 1 << 30;

/// A driver that is dropped waits as long for the kernel to let go of its memory, then leaks it. The
/// kernel ends requests on sockets at once.
const DRAIN_MAX: Duration = Duration::from_secs(1);

const KINDS: [OpKind; 4] = [
    OpKind::Accept,
    OpKind::Connect,
    OpKind::Receive,
    OpKind::Send,
];

/// The driver on io_uring.
#[derive(Debug)]
pub(crate) struct Uring {
    /// First, so that it is closed before the memory that it knows goes.
    ring: Ring,
    /// `None` where the kernel has no buffer rings: receives are polled for then.
    buffers: Option<Buffers>,
    sockets: Slab<Socket>,
    /// What the kernel is sending. Not with the sockets, of which few send at a time.
    sends: Slab<Sending>,
    /// Sockets whose standing operations want a request; each at most once.
    listed: Vec<u32>,
    /// Completions that were not looked at yet.
    turn: VecDeque<cqueue::Entry>,
    /// How often they were; a socket receives once each time.
    turns: u64,
    queue: Queue,
    transfer: Transfer,
    /// Memory that sends have lent to the kernel.
    lendings: Lendings,
    waker: Waker,
    /// What the eventfd of the waker is read into.
    bell: Box<[u8; 8]>,
    /// Whether the kernel is reading it.
    bell_is_aloft: bool,
    /// Whether it has read, which ends the wait.
    rung: bool,
}

impl Uring {
    /// A driver without sockets.
    ///
    /// # Errors
    /// When the kernel has no io_uring, an old one, or forbids it; the text says which.
    pub(crate) fn new(config: &DriverConfig) -> io::Result<Self> {
        let mut ring = Ring::new(config.uring)?;
        let buffers = match config.uring.buffer_ring {
            true => Buffers::new(&mut ring, config.uring, config.pool.block_bytes),
            false => None,
        };
        let (waker, mut transfer) = (Waker::new(), Transfer::new(config));
        // A read of a descriptor in non-blocking mode would fail instead of waiting.
        sys::set_nonblocking(waker.event()?, false, &mut transfer.calls)?;
        Ok(Self {
            ring,
            buffers,
            sockets: Slab::new(),
            sends: Slab::new(),
            listed: Vec::new(),
            turn: VecDeque::new(),
            turns: 0,
            queue: Queue::default(),
            transfer,
            lendings: Lendings::new(),
            waker,
            bell: Box::default(),
            bell_is_aloft: false,
            rung: false,
        })
    }

    /// Makes the requests that the next wait needs.
    fn prepare(&mut self) -> io::Result<()> {
        if !mem::replace(&mut self.bell_is_aloft, true) {
            let event = Fd(self.waker.event()?.as_raw_fd());
            let read = opcode::Read::new(event, self.bell.as_mut_ptr(), 8).build();
            // SAFETY: the box stays where it is until the read has completed, or is leaked.
            unsafe { self.ring.push(read, Name::Bell) };
        }
        if let Some(buffers) = &mut self.buffers {
            buffers.refill(&mut self.transfer.pool);
        }
        let mut listed = mem::take(&mut self.listed);
        for key in listed.drain(..) {
            self.sockets[key as usize].listed = false;
            if self.sockets[key as usize].wants_request(OpKind::Accept) {
                self.request_accept(key);
            }
            if self.sockets[key as usize].wants_request(OpKind::Receive) {
                self.request_receive(key);
            }
        }
        self.listed = listed;
        Ok(())
    }

    fn list(&mut self, key: u32) {
        if !mem::replace(&mut self.sockets[key as usize].listed, true) {
            self.listed.push(key);
        }
    }

    /// Puts the request of an operation into the queue.
    ///
    /// # Safety
    /// As for [`Ring::push`].
    unsafe fn launch(&mut self, key: u32, kind: OpKind, entry: squeue::Entry) {
        *self.sockets[key as usize].flight(kind) = Flight::Aloft;
        // SAFETY: the caller's promise is the same.
        unsafe { self.ring.push(entry, Name::Op(kind, key)) };
    }

    fn fd(&self, key: u32) -> Fd {
        Fd(self.sockets[key as usize].attached.fd.as_raw_fd())
    }

    fn request_accept(&mut self, key: u32) {
        let (fd, flags) = (self.fd(key), SocketFlags::CLOEXEC.bits() as i32);
        let entry = match self.ring.features().multishot_accept {
            true => opcode::AcceptMulti::new(fd).flags(flags).build(),
            false => {
                let accept = opcode::Accept::new(fd, ptr::null_mut(), ptr::null_mut());
                accept.flags(flags).build()
            }
        };
        // SAFETY: the entry points to nothing.
        unsafe { self.launch(key, OpKind::Accept, entry) };
    }

    /// Receives into the message that is being gathered, or into a buffer of the kernel's choice.
    fn request_receive(&mut self, key: u32) {
        let (fd, multishot) = (self.fd(key), self.ring.features().multishot_receive);
        let socket = &mut self.sockets[key as usize].attached;
        let ioprio = if socket.readable { 0 } else { POLL_FIRST };
        let entry = match (&mut socket.gather, &self.buffers) {
            (_, None) => {
                let events = PollFlags::IN | PollFlags::RDHUP;
                opcode::PollAdd::new(fd, events.bits().into()).build()
            }
            (Some(gather), _) => {
                let missing = gather.missing();
                let room = gather.buffer().spare_capacity_mut().as_mut_ptr();
                let receive = opcode::Recv::new(fd, room.cast(), missing as u32);
                let receive = receive.flags(RecvFlags::WAITALL.bits() as i32);
                receive.ioprio(ioprio).build()
            }
            (None, _) if multishot => opcode::RecvMulti::new(fd, GROUP).build(),
            (None, _) => {
                let receive = opcode::Recv::new(fd, ptr::null_mut(), 0).buf_group(GROUP);
                let entry = receive.ioprio(ioprio).build();
                entry.flags(squeue::Flags::BUFFER_SELECT)
            }
        };
        // SAFETY: only the gathered message is pointed to; the socket's entry keeps it, untouched,
        // until the receive has landed.
        unsafe { self.launch(key, OpKind::Receive, entry) };
    }

    fn submit_connect(&mut self, key: u32, address: Address) {
        let Address::Tcp(tcp) = address else {
            return self.connect_unix(key, address);
        };
        let (fd, socket) = (self.fd(key), &mut self.sockets[key as usize]);
        socket.attached.connecting = Some(Box::new(address));
        let address = socket.address.insert(Box::new(tcp.into()));
        let (pointer, len): (_, _) = (SockAddr::as_ptr(address), address.len());
        let entry = opcode::Connect::new(fd, pointer.cast(), len).build();
        // SAFETY: the box stays in the socket's entry until the connect has landed.
        unsafe { self.launch(key, OpKind::Connect, entry) };
    }

    /// Connects a Unix-domain socket, which needs no waiting: the kernel has room for it now or fails. The
    /// ring would wait for room in the backlog.
    fn connect_unix(&mut self, key: u32, address: Address) {
        let socket = &mut self.sockets[key as usize].attached;
        let completion = socket.connect_nonblocking(address, &mut self.transfer);
        let completion = completion.unwrap_or_else(|| {
            socket.stop(OpKind::Connect);
            let error = io::ErrorKind::WouldBlock.into();
            socket.last(OpKind::Connect, Outcome::Failed(error))
        });
        self.queue.push(completion);
    }

    /// Starts a send; a completion when a file's was tried and is over.
    fn submit_send(&mut self, key: u32, payload: Payload) -> Option<Completion> {
        if payload.front_region().is_some() {
            return self.send_file(key, payload);
        }
        Kept::forget_pipe(&mut self.sockets[key as usize].attached.kept);
        let sending = Sending::new(payload);
        let (lends, mut flags) = (self.lends(key, sending.bytes()), SendFlags::NOSIGNAL);
        // What follows, mostly a file, shares the last packet.
        flags.set(SendFlags::MORE, sending.bytes() < sending.payload.len());
        let place = self.sends.insert(sending);
        self.sockets[key as usize].send = Some(place as u32);
        match lends {
            true => self.lend(key, place, flags),
            false => self.request_send(key, place, flags),
        }
        None
    }

    fn request_send(&mut self, key: u32, place: usize, flags: SendFlags) {
        let (fd, sending) = (self.fd(key), &self.sends[place]);
        let entry = match &sending.message {
            None => {
                let bytes = sending.payload.as_slice().unwrap_or_default();
                let len = bytes.len().min(SEND_BYTES_MAX) as u32;
                let send = opcode::Send::new(fd, bytes.as_ptr(), len);
                send.flags(flags.bits() as i32).build()
            }
            Some(message) => {
                let send = opcode::SendMsg::new(fd, message.header());
                send.flags(flags.bits()).build()
            }
        };
        // SAFETY: the payload and the message stay in `sends`, unchanged, until the send has landed.
        // Moving the payload moves none of its bytes.
        unsafe { self.launch(key, OpKind::Send, entry) };
    }

    /// Takes back what the kernel has sent, or was asked to; `None` when nothing was in flight.
    fn take_sent(&mut self, key: u32) -> Option<Payload> {
        let place = self.sockets[key as usize].send.take()?;
        Some(self.sends.remove(place as usize).payload)
    }

    /// Tries to send a payload that begins with a file; without room it waits for some.
    fn send_file(&mut self, key: u32, payload: Payload) -> Option<Completion> {
        let socket = &mut self.sockets[key as usize].attached;
        let completion = socket.send(payload, true, &mut self.transfer);
        if completion.is_none() {
            let events = PollFlags::OUT.bits().into();
            let entry = opcode::PollAdd::new(self.fd(key), events).build();
            // SAFETY: the entry points to nothing.
            unsafe { self.launch(key, OpKind::Send, entry) };
        }
        completion
    }

    /// Asks the kernel to end a request.
    fn request_cancel(&mut self, name: Name) {
        let entry = opcode::AsyncCancel::new(name.to_u64()).build();
        // SAFETY: the entry points to nothing.
        unsafe { self.ring.push(entry, Name::Cancel) };
    }

    /// Hands over what was submitted, sleeps for this long unless something is at hand, and looks at
    /// what has completed.
    fn turn(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        let timeout = match self.turn.is_empty() {
            true => timeout,
            false => Some(Duration::ZERO),
        };
        self.ring.enter(timeout)?;
        self.ring.reap(&mut self.turn);
        self.turns += 1;
        while let Some(entry) = self.turn.pop_front() {
            match Name::from_u64(entry.user_data()) {
                Name::Op(OpKind::Receive, key) if !self.may_receive(key) => {
                    self.turn.push_front(entry);
                    break;
                }
                Name::Op(kind, key) => {
                    self.complete(key, kind, entry.result(), entry.flags(), done);
                }
                Name::Lending(number) => {
                    self.complete_lending(number, entry.result(), entry.flags(), done);
                }
                Name::Bell => {
                    self.bell_is_aloft = false;
                    self.rung = true;
                    self.waker.lower();
                }
                Name::Cancel => {}
            }
        }
        Ok(())
    }

    /// Whether the socket has not received in this turn. A multishot receive brings many buffers at
    /// once; the second waits for the next turn, and what is behind it as well.
    fn may_receive(&mut self, key: u32) -> bool {
        let socket = &mut self.sockets[key as usize];
        self.turns != mem::replace(&mut socket.received_in, self.turns)
    }

    fn complete(
        &mut self,
        key: u32,
        kind: OpKind,
        result: i32,
        flags: u32,
        done: &mut Vec<Completion>,
    ) {
        let flight = self.sockets[key as usize].flight(kind);
        let cancelled = *flight == Flight::Cancelled;
        if !cqueue::more(flags) {
            *flight = Flight::None;
        }
        let outcome = match kind {
            OpKind::Accept => self.accepted(key, result, done),
            OpKind::Receive if self.buffers.is_none() => {
                self.receive_polled(key, cancelled, done);
                None
            }
            OpKind::Receive => {
                self.land(key, result, flags, done);
                self.received(result, cancelled)
            }
            OpKind::Connect => Some(connected(result)),
            OpKind::Send => self.sent(key, result, cancelled, done),
        };
        let socket = &mut self.sockets[key as usize];
        let landed = *socket.flight(kind) == Flight::None;
        match outcome {
            Some(outcome) => socket.end(kind, outcome, done),
            None if cancelled && landed && socket.attached.is_under_way(kind) => {
                socket.end(kind, Outcome::Cancelled, done);
            }
            None if socket.wants_request(kind) => self.list(key),
            None => {}
        }
    }

    /// A connection, or how the accept ended.
    fn accepted(&mut self, key: u32, result: i32, done: &mut Vec<Completion>) -> Option<Outcome> {
        let Some(error) = failure(result) else {
            // SAFETY: this completion of an accept is looked at once.
            let stream = unsafe { ring::adopt(result) };
            // A connection that has gone already is passed over.
            let address = sys::peer_address(stream.as_fd(), &mut self.transfer.calls)?;
            let socket = &self.sockets[key as usize].attached;
            done.push(Completion {
                token: socket.token,
                kind: OpKind::Accept,
                outcome: Outcome::Accepted { stream, address },
                last: false,
            });
            return None;
        };
        let passing = is_passing(error) || concerns_one_connection(error);
        (!passing).then(|| Outcome::Failed(error.into()))
    }

    /// How a receive ended; nothing when it goes on.
    fn received(&mut self, result: i32, cancelled: bool) -> Option<Outcome> {
        match failure(result) {
            // The end is still there for the next receive.
            None if 0 < result || cancelled => None,
            None => Some(Outcome::Received(Segment::new())),
            Some(Errno::NOBUFS) => {
                self.buffers.as_mut()?.starve();
                None
            }
            Some(error) if is_passing(error) => None,
            Some(error) => Some(Outcome::Failed(error.into())),
        }
    }

    /// What a receive brought, in a buffer of the kernel's choice or behind a gathered message.
    fn land(&mut self, key: u32, result: i32, flags: u32, done: &mut Vec<Completion>) {
        let bytes = usize::try_from(result).unwrap_or(0);
        self.transfer.received_bytes += bytes as u64;
        let socket = &mut self.sockets[key as usize].attached;
        socket.readable = cqueue::sock_nonempty(flags);
        let chosen = cqueue::buffer_select(flags).zip(self.buffers.as_mut());
        let mut segment = Segment::new();
        if let Some((number, buffers)) = chosen {
            segment = buffers.take(number, bytes, cqueue::buffer_more(flags));
        } else if let Some(gather) = &mut socket.gather {
            // SAFETY: the kernel has written this many bytes to the start of the buffer's room.
            unsafe { sys::commit(gather.buffer(), bytes) };
        }
        if let Some(gather) = &mut socket.gather {
            // A message may be announced when the receive has begun already.
            gather.absorb(&mut segment);
            if 0 == gather.missing() {
                done.extend(socket.gathered());
            }
        }
        if !segment.is_empty() {
            done.push(socket.received(segment));
        }
    }

    /// Without buffer rings: the poll is over, so there is something to receive.
    fn receive_polled(&mut self, key: u32, cancelled: bool, done: &mut Vec<Completion>) {
        let socket = &mut self.sockets[key as usize].attached;
        if !cancelled {
            socket.receive(RecvFlags::DONTWAIT, &mut self.transfer, done);
        }
    }

    /// How a send ended; nothing when it goes on, or ended in another way.
    fn sent(
        &mut self,
        key: u32,
        result: i32,
        cancelled: bool,
        done: &mut Vec<Completion>,
    ) -> Option<Outcome> {
        let waited = self.sockets[key as usize].attached.sending.take();
        let polled = waited.is_some();
        let mut payload = match waited {
            Some(payload) => *payload,
            None => self.take_sent(key)?,
        };
        match failure(result) {
            None if polled && !cancelled => {
                done.extend(self.send_file(key, payload));
                None
            }
            None if !polled => {
                let bytes = result as u64;
                payload.advance(bytes);
                payload.recycle();
                self.transfer.sent_bytes += bytes;
                Some(Outcome::Sent {
                    bytes,
                    rest: payload,
                })
            }
            Some(error) if !cancelled && is_passing(error) => {
                done.extend(self.submit_send(key, payload));
                None
            }
            Some(error) if !is_passing(error) => Some(Outcome::Failed(error.into())),
            _ => Some(Outcome::Cancelled),
        }
    }

    /// Ends all requests, so that the kernel lets go of all memory. False when it did not in time.
    fn drain(&mut self) -> bool {
        let keys: Vec<_> = self.sockets.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            for kind in KINDS {
                self.cancel(SocketId(key), kind);
            }
        }
        if self.bell_is_aloft {
            self.request_cancel(Name::Bell);
        }
        let mut deadline = Deadline::after(Some(DRAIN_MAX));
        while !self.ring.is_idle() {
            // Connections that were accepted meanwhile are closed here.
            let turned = self.turn(deadline.remaining(), &mut Vec::new());
            if turned.is_err() || deadline.has_passed() {
                return self.ring.is_idle();
            }
        }
        true
    }
}

impl Driver for Uring {
    fn attach(&mut self, fd: OwnedFd, _role: Role, token: Token) -> io::Result<SocketId> {
        sys::set_nonblocking(fd.as_fd(), false, &mut self.transfer.calls)?;
        let key = self.sockets.insert(Socket::new(Attached::new(fd, token)));
        Ok(SocketId(key as u32))
    }

    fn submit(&mut self, op: Op) {
        match op {
            Op::Accept { socket } => {
                self.sockets[socket.0 as usize].attached.standing = Some(OpKind::Accept);
                self.list(socket.0);
            }
            Op::Connect { socket, address } => self.submit_connect(socket.0, address),
            Op::Receive { socket } => {
                self.sockets[socket.0 as usize].attached.standing = Some(OpKind::Receive);
                self.list(socket.0);
            }
            Op::Send { socket, payload } => {
                if let Some(completion) = self.submit_send(socket.0, payload) {
                    self.queue.push(completion);
                }
            }
        }
    }

    fn cancel(&mut self, socket: SocketId, kind: OpKind) {
        let entry = &mut self.sockets[socket.0 as usize];
        match entry.flight(kind) {
            Flight::None => entry.attached.cancel(kind, &mut self.queue),
            flight @ Flight::Aloft => {
                *flight = Flight::Cancelled;
                let send = entry.send.filter(|_| kind == OpKind::Send);
                let name = match send.and_then(|place| self.sends[place as usize].lending) {
                    Some(number) => Name::Lending(number),
                    None => Name::Op(kind, socket.0),
                };
                self.request_cancel(name);
            }
            Flight::Cancelled => {}
        }
    }

    fn shutdown(&mut self, socket: SocketId) {
        let socket = &self.sockets[socket.0 as usize].attached;
        // A connection that is broken already has ended both sides.
        let _ = sys::shutdown_write(socket.fd.as_fd(), &mut self.transfer.calls);
    }

    /// Requests hold the socket open, so their end is waited for; the kernel ends them at once.
    fn detach(&mut self, socket: SocketId) {
        for kind in KINDS {
            self.cancel(socket, kind);
        }
        let (key, mut done) = (socket.0 as usize, Vec::new());
        while self.sockets[key].is_aloft() {
            if self.turn(None, &mut done).is_err() {
                // The next wait tells of it. The entry stays, because the kernel may use its memory.
                return;
            }
        }
        self.leave_lendings(key as u32);
        let mut socket = self.sockets.remove(key);
        if socket.listed {
            // The key may soon be another socket's.
            self.listed.retain(|listed| *listed as usize != key);
        }
        for completion in done {
            self.queue.push(completion);
        }
        socket.attached.cancel_all(&mut self.queue);
        sys::close(socket.attached.fd, &mut self.transfer.calls);
    }

    fn expect(&mut self, socket: SocketId, bytes: usize) {
        let (key, multishot) = (socket.0, self.ring.features().multishot_receive);
        let socket = &mut self.sockets[key as usize];
        if socket.attached.gather.is_some() {
            return;
        }
        socket.attached.gather = self.transfer.gather(bytes);
        let begun = *socket.flight(OpKind::Receive) == Flight::Aloft;
        if multishot && begun && socket.attached.gather.is_some() {
            // It would go on receiving into buffers. What has come meanwhile is copied.
            self.request_cancel(Name::Op(OpKind::Receive, key));
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
            self.prepare()?;
            let timeout = match before < done.len() || self.rung {
                true => Some(Duration::ZERO),
                false => deadline.remaining(),
            };
            self.turn(timeout, done)?;
            let rung = mem::take(&mut self.rung);
            if before < done.len() || rung || deadline.has_passed() {
                return Ok(());
            }
        }
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn stats(&self) -> DriverStats {
        self.transfer
            .stats(self.ring.calls + self.waker.system_calls())
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if !self.drain() {
            mem::forget(mem::take(&mut self.bell));
            mem::forget((self.buffers.take(), mem::take(&mut self.lendings)));
            mem::forget(mem::take(&mut self.sends));
            for (_, socket) in &mut self.sockets {
                socket.leak();
            }
        }
    }
}

/// What this kernel has of what `uring` can use.
pub(super) fn find_features() -> io::Result<Vec<Feature>> {
    let config = DriverConfig {
        uring: UringFeatures::ALL,
        ..DriverConfig::default()
    };
    Ok(Uring::new(&config)?.ring.features().list())
}

/// The error that a completion tells of, if any.
fn failure(result: i32) -> Option<Errno> {
    (result < 0).then(|| Errno::from_raw_os_error(-result))
}

/// Whether an error only says that the request ended early.
fn is_passing(error: Errno) -> bool {
    matches!(error, Errno::CANCELED | Errno::INTR | Errno::AGAIN)
}

/// How a connect ended.
fn connected(result: i32) -> Outcome {
    match failure(result) {
        None => Outcome::Connected,
        Some(Errno::CANCELED) => Outcome::Cancelled,
        Some(error) => Outcome::Failed(error.into()),
    }
}
