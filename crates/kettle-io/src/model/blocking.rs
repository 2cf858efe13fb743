//! `blocking`: one thread serves one connection to its end, then the next; others wait in the
//! kernel's backlog. The thread sleeps *in* accept(2) and recv(2), so that a unary call costs two
//! system calls and nobody is woken but the one who has work.
//!
//! ```text
//!   no stream attached, Accept standing         accept(2)
//!   Receive standing, nothing else to wait for  recv(2)
//!   a wake may come, a send waits for room,     poll(2) on the socket and the waker's eventfd,
//!   a connect is under way, or interrupted      then one try
//! ```
//!
//! The time-out of a sleep in accept(2) or recv(2) is SO_RCVTIMEO. It is set anew only when it would
//! end too late, or far too early; a sleep that ends early goes on.
//!
//! A client's driver ([`Blocking::client`]) is the same with one stream, and holds a few more: a
//! connection that is being closed beside the one that follows it. With several it sleeps in poll(2).

use crate::attached::Attached;
use crate::deadline::Deadline;
use crate::queue::Queue;
use crate::transfer::Transfer;
use crate::wake::Bed;
use crate::{
    Completion, Driver, DriverConfig, DriverStats, Interest, Op, OpKind, Outcome, Patience, Role,
    SocketId, SystemCalls, Token, Waker, sys,
};
use kettle_buf::PoolConfig;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use slab::Slab;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

/// Receive buffer of a thread in bytes, at most: it is held while the thread sleeps in recv(2).
pub const BLOCK_BYTES_MAX: usize = 8 * 1024;

/// Streams that a client's driver holds, at most: one in use, and others that are being closed while
/// their last calls end.
pub const CLIENT_STREAMS_MAX: usize = 64;

/// How often the waker's flag is looked at when the process has no descriptor left for its eventfd.
const WAKE_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Below this a receive time-out is set exactly, above it to three quarters: then it still fits the
/// next wait, whose time-out is nearly the same. The kernel rounds up to its tick, 1 to 10 ms.
const EXACT_TIMEOUT_MAX: Duration = Duration::from_millis(16);

/// The longest receive time-out that is set; a longer wait sleeps several times.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// An accepted socket has the time-out that its listener had at that moment.
const UNKNOWN_TIMEOUT: Option<Duration> = Some(Duration::ZERO);

/// The driver of a thread that serves one connection at a time.
#[derive(Debug)]
pub(crate) struct Blocking {
    sleepers: Sleepers,
    queue: Queue,
    transfer: Transfer,
    waker: Waker,
}

/// The attached sockets. The listener is number 0, streams follow.
#[derive(Debug)]
struct Sleepers {
    listener: Option<Sleeper>,
    streams: Slab<Sleeper>,
    streams_max: usize,
}

/// A socket that the thread may sleep in. It is in blocking mode.
#[derive(Debug)]
struct Sleeper {
    socket: Attached<Arc<OwnedFd>>,
    /// What SO_RCVTIMEO is set to; zero when that is not known yet.
    timeout: Option<Duration>,
}

/// Whom a wait serves.
#[derive(Clone, Copy, Debug)]
enum Served {
    Nobody,
    One(SocketId),
    /// All streams.
    Several,
}

impl Blocking {
    /// A server's driver, without sockets and without descriptors.
    pub(crate) fn new(config: &DriverConfig) -> Self {
        let block_bytes = config.pool.block_bytes.min(BLOCK_BYTES_MAX);
        let pool = PoolConfig {
            block_bytes,
            ..config.pool
        };
        Self::with(&DriverConfig { pool, ..*config }, 1)
    }

    /// A client's driver. Its receive buffer is a whole block of the pool: there is one per client,
    /// and not one per connection.
    pub(crate) fn client(config: &DriverConfig) -> Self {
        Self::with(config, CLIENT_STREAMS_MAX)
    }

    fn with(config: &DriverConfig, streams_max: usize) -> Self {
        Self {
            sleepers: Sleepers {
                listener: None,
                streams: Slab::new(),
                streams_max,
            },
            queue: Queue::default(),
            transfer: Transfer::new(config),
            waker: Waker::new(),
        }
    }

    /// Sleeps once and tries what was waited for. True when a wake ended the sleep.
    fn sleep(
        &mut self,
        timeout: Option<Duration>,
        wakeable: bool,
        done: &mut Vec<Completion>,
    ) -> io::Result<bool> {
        let served = self.sleepers.served();
        if let Served::One(socket) = served
            && !wakeable
            && timeout != Some(Duration::ZERO)
            && self.sleep_in(socket, timeout, done)?
        {
            return Ok(false);
        }
        match served {
            Served::Nobody => self.poll(None, timeout, done),
            Served::One(socket) => self.poll(Some(socket), timeout, done),
            Served::Several => self.poll_streams(timeout, done),
        }
    }

    /// Sleeps in accept(2) or recv(2). False, without having slept, when there is something else to
    /// wait for or the driver was interrupted.
    fn sleep_in(
        &mut self,
        id: SocketId,
        timeout: Option<Duration>,
        done: &mut Vec<Completion>,
    ) -> io::Result<bool> {
        let Sleeper {
            socket,
            timeout: current,
        } = self.sleepers.sleeper(id);
        if socket.wanted()
            != (Interest {
                readable: true,
                writable: false,
            })
        {
            return Ok(false);
        }
        limit_sleep(
            socket.fd.as_fd(),
            current,
            timeout,
            &mut self.transfer.calls,
        )?;
        let bed = bed(id);
        if !self.waker.park(bed) {
            return Ok(false);
        }
        match bed {
            Bed::Listener => socket.accept(1, &mut self.transfer, done),
            Bed::Stream => socket.receive(RecvFlags::empty(), &mut self.transfer, done),
        }
        self.waker.unpark();
        if bed == Bed::Listener && socket.standing.is_none() && self.waker.is_interrupted() {
            // The interrupt has shut the listener: that is no failure.
            done.pop();
            done.push(socket.last(OpKind::Accept, Outcome::Cancelled));
        }
        Ok(true)
    }

    /// Sleeps in poll(2), then tries what is ready. True when a wake ended the sleep.
    fn poll(
        &mut self,
        served: Option<SocketId>,
        timeout: Option<Duration>,
        done: &mut Vec<Completion>,
    ) -> io::Result<bool> {
        let event = self.waker.event().ok();
        let woken = self.waker.is_woken();
        let timeout = poll_timeout(timeout, woken, event.is_some());
        let socket = served.and_then(|id| self.sleepers.watched(id));
        let (found, rung) = poll_both(socket, event, timeout, &mut self.transfer.calls)?;
        if woken || rung {
            self.waker.clear();
        }
        if let Some(socket) = served
            && !found.is_empty()
        {
            self.serve(socket, found, done)?;
        }
        Ok(woken || rung)
    }

    /// The same with several streams.
    fn poll_streams(
        &mut self,
        timeout: Option<Duration>,
        done: &mut Vec<Completion>,
    ) -> io::Result<bool> {
        let event = self.waker.event().ok();
        let woken = self.waker.is_woken();
        let timeout = poll_timeout(timeout, woken, event.is_some());
        let watched = self.sleepers.stream_ids();
        let watched = watched.filter_map(|id| Some((id, self.sleepers.watched(id)?)));
        let (ids, sockets): (Vec<_>, Vec<_>) = watched.unzip();
        let mut fds: Vec<_> = sockets
            .into_iter()
            .map(|(socket, flags)| PollFd::from_borrowed_fd(socket, flags))
            .chain(event.map(|event| PollFd::from_borrowed_fd(event, PollFlags::IN)))
            .collect();
        poll_interruptibly(&mut fds, timeout, &mut self.transfer.calls)?;
        let rung = fds[ids.len()..].iter().any(|fd| !fd.revents().is_empty());
        let found: Vec<_> = ids
            .into_iter()
            .zip(fds.iter().map(PollFd::revents))
            .collect();
        if woken || rung {
            self.waker.clear();
        }
        for (socket, found) in found {
            if !found.is_empty() {
                self.serve(socket, found, done)?;
            }
        }
        Ok(woken || rung)
    }

    /// Tries what poll(2) has found.
    fn serve(
        &mut self,
        socket: SocketId,
        found: PollFlags,
        done: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let (socket, transfer) = (self.sleepers.attached(socket), &mut self.transfer);
        let broken = found.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        if broken || found.contains(PollFlags::OUT) {
            socket.full = false;
            if let Some(address) = socket.connecting.take() {
                // Its end comes in poll(2), where its time-out holds.
                done.extend(socket.connect_nonblocking(*address, transfer));
            }
            if let Some(payload) = socket.sending.take() {
                done.extend(socket.send(*payload, true, transfer));
            }
        }
        let standing = socket.standing;
        if standing == Some(OpKind::Receive) && (broken || found.contains(PollFlags::IN)) {
            socket.receive(RecvFlags::DONTWAIT, transfer, done);
        }
        if standing == Some(OpKind::Accept) {
            // The connection may have gone meanwhile, and accept(2) has no flag against sleeping.
            sys::set_nonblocking(socket.fd.as_fd(), true, &mut transfer.calls)?;
            socket.accept(1, transfer, done);
            sys::set_nonblocking(socket.fd.as_fd(), false, &mut transfer.calls)?;
        }
        Ok(())
    }
}

impl Sleepers {
    /// Whom a wait serves: the streams, and the listener only without one.
    fn served(&self) -> Served {
        match (self.streams.len(), &self.listener) {
            (0, Some(listener)) if listener.socket.standing.is_some() => Served::One(LISTENER),
            (0, _) => Served::Nobody,
            (1, _) => self.stream_ids().next().map_or(Served::Nobody, Served::One),
            _ => Served::Several,
        }
    }

    /// Takes a socket over, unless there are as many as may be.
    fn attach(&mut self, role: Role, sleeper: Sleeper) -> Option<SocketId> {
        match role {
            Role::Listener if self.listener.is_none() => {
                self.listener = Some(sleeper);
                Some(LISTENER)
            }
            Role::Stream if self.streams.len() < self.streams_max => {
                Some(stream_id(self.streams.insert(sleeper)))
            }
            _ => None,
        }
    }

    fn detach(&mut self, socket: SocketId) {
        match stream_key(socket) {
            Some(key) => drop(self.streams.remove(key)),
            None => self.listener = None,
        }
    }

    /// The socket that a sleep in this bed is in.
    fn sleeps_in(&self, bed: Bed) -> Option<Arc<OwnedFd>> {
        let sleeper = match bed {
            Bed::Listener => self.listener.as_ref(),
            // With several the thread sleeps in none.
            Bed::Stream if self.streams.len() == 1 => self.streams.iter().next().map(|(_, it)| it),
            Bed::Stream => None,
        };
        sleeper.map(|sleeper| Arc::clone(&sleeper.socket.fd))
    }

    fn stream_ids(&self) -> impl Iterator<Item = SocketId> {
        self.streams.iter().map(|(key, _)| stream_id(key))
    }

    /// A socket and what poll(2) is to look for, if anything.
    fn watched(&self, id: SocketId) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let sleeper = match stream_key(id) {
            Some(key) => self.streams.get(key),
            None => self.listener.as_ref(),
        };
        let socket = &sleeper?.socket;
        let flags = poll_flags(socket.wanted());
        (!flags.is_empty()).then(|| (socket.fd.as_fd(), flags))
    }

    fn attached(&mut self, id: SocketId) -> &mut Attached<Arc<OwnedFd>> {
        &mut self.sleeper(id).socket
    }

    fn sleeper(&mut self, id: SocketId) -> &mut Sleeper {
        let sleeper = match stream_key(id) {
            Some(key) => self.streams.get_mut(key),
            None => self.listener.as_mut(),
        };
        sleeper.expect("an operation on a socket that is not attached")
    }
}

impl Driver for Blocking {
    fn attach(&mut self, fd: OwnedFd, role: Role, token: Token) -> io::Result<SocketId> {
        sys::set_nonblocking(fd.as_fd(), false, &mut self.transfer.calls)?;
        let sleeper = Sleeper {
            socket: Attached::new(Arc::new(fd), token),
            timeout: UNKNOWN_TIMEOUT,
        };
        let Some(id) = self.sleepers.attach(role, sleeper) else {
            let text = match self.sleepers.streams_max {
                1 => "a blocking model serves one listener and one connection at a time".to_owned(),
                max => format!("a blocking client holds {max} connections at most"),
            };
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        };
        self.waker.lend(bed(id), self.sleepers.sleeps_in(bed(id)));
        Ok(id)
    }

    fn submit(&mut self, op: Op) {
        let transfer = &mut self.transfer;
        let completion = match op {
            Op::Accept { socket } => {
                self.sleepers.attached(socket).standing = Some(OpKind::Accept);
                None
            }
            Op::Receive { socket } => {
                self.sleepers.attached(socket).standing = Some(OpKind::Receive);
                None
            }
            Op::Connect { socket, address } => {
                let socket = self.sleepers.attached(socket);
                socket.connect_nonblocking(address, transfer)
            }
            Op::Send { socket, payload } => {
                let socket = self.sleepers.attached(socket);
                match socket.full {
                    true => {
                        socket.sending = Some(Box::new(payload));
                        None
                    }
                    false => socket.send(payload, true, transfer),
                }
            }
        };
        if let Some(completion) = completion {
            self.queue.push(completion);
        }
    }

    fn cancel(&mut self, socket: SocketId, kind: OpKind) {
        self.sleepers.attached(socket).cancel(kind, &mut self.queue);
    }

    fn shutdown(&mut self, socket: SocketId) {
        let socket = self.sleepers.attached(socket);
        // A connection that is broken already has ended both sides.
        let _ = sys::shutdown_write(socket.fd.as_fd(), &mut self.transfer.calls);
    }

    fn detach(&mut self, socket: SocketId) {
        self.sleepers.attached(socket).cancel_all(&mut self.queue);
        let bed = bed(socket);
        // Nobody else may hold the descriptor when it goes, so that this closes it.
        self.waker.lend(bed, None);
        self.sleepers.detach(socket);
        self.waker.lend(bed, self.sleepers.sleeps_in(bed));
        self.transfer.calls.close += 1;
    }

    fn expect(&mut self, socket: SocketId, bytes: usize) {
        let socket = self.sleepers.attached(socket);
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
        let mut deadline = Deadline::after(match before < done.len() {
            true => Some(Duration::ZERO),
            false => patience.timeout,
        });
        loop {
            let woken = self.sleep(deadline.remaining(), patience.wakeable, done)?;
            if before < done.len() || woken || deadline.has_passed() {
                return Ok(());
            }
        }
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn stats(&self) -> DriverStats {
        self.transfer.stats(self.waker.system_calls())
    }
}

const LISTENER: SocketId = SocketId(0);

fn stream_id(key: usize) -> SocketId {
    SocketId(key as u32 + 1)
}

/// A stream's place in the table; `None` is the listener.
fn stream_key(socket: SocketId) -> Option<usize> {
    (socket.0 as usize).checked_sub(1)
}

fn bed(socket: SocketId) -> Bed {
    match socket {
        LISTENER => Bed::Listener,
        _ => Bed::Stream,
    }
}

/// Sees to it that a sleep in the socket ends in time.
fn limit_sleep(
    socket: BorrowedFd<'_>,
    current: &mut Option<Duration>,
    wanted: Option<Duration>,
    calls: &mut SystemCalls,
) -> io::Result<()> {
    if !limits(*current, wanted) {
        let timeout = wanted.map(|wanted| match wanted <= EXACT_TIMEOUT_MAX {
            // Zero would mean for ever.
            true => wanted.max(Duration::from_micros(1)),
            false => (wanted - wanted / 4).min(TIMEOUT_MAX),
        });
        sys::set_receive_timeout(socket, timeout, calls)?;
        *current = timeout;
    }
    Ok(())
}

/// Whether a receive time-out serves a wait: it ends no later, and not so early that the sleeps
/// between would cost more than setting it.
fn limits(current: Option<Duration>, wanted: Option<Duration>) -> bool {
    match (current, wanted) {
        (None, None) => true,
        (Some(current), Some(wanted)) => {
            let wanted = wanted.min(TIMEOUT_MAX);
            current <= wanted && wanted <= current.saturating_mul(4)
        }
        _ => false,
    }
}

fn poll_flags(wanted: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, wanted.readable);
    flags.set(PollFlags::OUT, wanted.writable);
    flags
}

/// How long poll(2) may sleep: not at all after a wake, and not long where a wake has no eventfd.
fn poll_timeout(timeout: Option<Duration>, woken: bool, has_event: bool) -> Option<Duration> {
    match (woken, has_event) {
        (true, _) => Some(Duration::ZERO),
        (false, true) => timeout,
        (false, false) => Some(timeout.unwrap_or(Duration::MAX).min(WAKE_CHECK_INTERVAL)),
    }
}

/// poll(2) of a socket and an eventfd, either of which may be missing: what was found of the socket,
/// and whether the eventfd has an event.
fn poll_both(
    socket: Option<(BorrowedFd<'_>, PollFlags)>,
    event: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
    calls: &mut SystemCalls,
) -> io::Result<(PollFlags, bool)> {
    let watch = |(socket, flags)| PollFd::from_borrowed_fd(socket, flags);
    let event = event.map(|event| watch((event, PollFlags::IN)));
    let mut sleep = |fds: &mut [PollFd<'_>]| poll_interruptibly(fds, timeout, calls);
    match (socket.map(watch), event) {
        (Some(socket), Some(event)) => {
            let mut fds = [socket, event];
            sleep(&mut fds)?;
            Ok((fds[0].revents(), !fds[1].revents().is_empty()))
        }
        (Some(mut socket), None) => {
            sleep(slice::from_mut(&mut socket))?;
            Ok((socket.revents(), false))
        }
        (None, Some(mut event)) => {
            sleep(slice::from_mut(&mut event))?;
            Ok((PollFlags::empty(), !event.revents().is_empty()))
        }
        (None, None) => {
            sleep(&mut [])?;
            Ok((PollFlags::empty(), false))
        }
    }
}

/// poll(2), whose sleep a signal may end.
fn poll_interruptibly(
    fds: &mut [PollFd<'_>],
    timeout: Option<Duration>,
    calls: &mut SystemCalls,
) -> io::Result<()> {
    match sys::poll(fds, timeout, calls) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_timeout_is_set_when_too_long_or_far_too_short() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert!(limits(None, None));
        assert!(!limits(UNKNOWN_TIMEOUT, None) && !limits(UNKNOWN_TIMEOUT, seconds(60)));
        assert!(!limits(None, seconds(60)));
        assert!(!limits(seconds(60), None));
        assert!(limits(seconds(45), seconds(60)));
        assert!(limits(seconds(45), seconds(45)));
        assert!(!limits(seconds(45), seconds(44)));
        assert!(limits(seconds(15), seconds(60)));
        assert!(!limits(seconds(14), seconds(60)));
        assert!(limits(Some(TIMEOUT_MAX), Some(Duration::MAX)));
    }
}
