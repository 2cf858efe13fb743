//! Every system call on sockets, pollers and eventfds: one thin function each, counted by kind.
//!
//! The functions decide nothing; `transfer.rs`, `send.rs` and the model files do. What reads files stands
//! in `sys/files.rs`. Creating and configuring sockets before they are attached stands in `socket.rs` and
//! is not counted.
#![expect(
    unsafe_code,
    reason = "received bytes are committed here, and select(2) is called"
)]

mod files;
mod notices;

pub(crate) use files::{
    Mapping, file_size, fill_pipe, pipe, read_file, send_file, send_pipe, set_pipe_size,
};
pub(crate) use notices::{Notice, allow_zero_copy, notice};

use crate::{Address, PeerCredentials};
use bytes::BytesMut;
use rustix::event::{EventfdFlags, FdSetElement, PollFd, Timespec, epoll};
use rustix::io::{Errno, Result};
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix,
    SocketFlags, sockopt,
};
use std::io::IoSlice;
use std::iter::Sum;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ops::{Add, AddAssign, Sub};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How many system calls of each kind were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemCalls {
    /// accept4(2).
    pub accept: u64,
    /// connect(2).
    pub connect: u64,
    /// recv(2), and recvmsg(2) of the error queue.
    pub receive: u64,
    /// send(2), sendmsg(2), sendfile(2), and splice(2) into a socket.
    pub send: u64,
    /// What makes a file ready to be sent: splice(2) into a pipe, pread(2), mmap(2), munmap(2), fstat(2).
    pub file: u64,
    /// select(2), poll(2), epoll_wait(2).
    pub wait: u64,
    /// io_uring_enter(2), which hands operations over and waits in one.
    pub enter: u64,
    /// epoll_ctl(2), setsockopt(2), ioctl(2), fcntl(2), shutdown(2), getpeername(2), io_uring_register(2), and what
    /// creates a poller, a ring or a pipe.
    pub control: u64,
    /// read(2), write(2) and eventfd(2) for the waker, on whichever thread.
    pub wake: u64,
    /// close(2).
    pub close: u64,
}

impl SystemCalls {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        let data = self.accept + self.connect + self.receive + self.send + self.file;
        data + self.wait + self.enter + self.control + self.wake + self.close
    }

    /// Combines two counts kind by kind.
    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            accept: f(self.accept, other.accept),
            connect: f(self.connect, other.connect),
            receive: f(self.receive, other.receive),
            send: f(self.send, other.send),
            file: f(self.file, other.file),
            wait: f(self.wait, other.wait),
            enter: f(self.enter, other.enter),
            control: f(self.control, other.control),
            wake: f(self.wake, other.wake),
            close: f(self.close, other.close),
        }
    }
}

impl Add for SystemCalls {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl AddAssign for SystemCalls {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What was made since an earlier count; a kind never falls below 0.
impl Sub for SystemCalls {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }
}

impl Sum for SystemCalls {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// accept4(2); waits when the listener is in blocking mode.
pub(crate) fn accept(
    listener: BorrowedFd<'_>,
    calls: &mut SystemCalls,
) -> Result<(OwnedFd, Address)> {
    calls.accept += 1;
    let (stream, address) = rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC)?;
    Ok((stream, peer(address)))
}

/// A peer's address. One that is not TCP is a Unix-domain socket, whose name nobody asks for: mostly it has
/// none.
fn peer(address: Option<SocketAddrAny>) -> Address {
    let tcp = address.and_then(|address| SocketAddr::try_from(address).ok());
    tcp.map_or(Address::Unnamed, Address::Tcp)
}

/// connect(2). Called again while a connect is under way it tells how that goes.
pub(crate) fn connect(
    stream: BorrowedFd<'_>,
    address: &Address,
    calls: &mut SystemCalls,
) -> Result<()> {
    calls.connect += 1;
    match address {
        Address::Tcp(address) => rustix::net::connect(stream, address),
        Address::Unix(path) => rustix::net::connect(stream, &SocketAddrUnix::new(&**path)?),
        Address::Unnamed => Err(Errno::INVAL),
    }
}

/// recv(2) of at most `bytes_max` bytes behind what `buffer` holds, within its capacity.
pub(crate) fn receive(
    stream: BorrowedFd<'_>,
    buffer: &mut BytesMut,
    bytes_max: usize,
    flags: RecvFlags,
    calls: &mut SystemCalls,
) -> Result<usize> {
    calls.receive += 1;
    let spare = buffer.spare_capacity_mut();
    let end = bytes_max.min(spare.len());
    let ((received, _), _) = rustix::net::recv(stream, &mut spare[..end], flags)?;
    let bytes = received.len();
    // SAFETY: recv(2) has initialised the first `bytes` bytes of the spare capacity.
    unsafe { commit(buffer, bytes) };
    Ok(bytes)
}

/// Lengthens a buffer by bytes that the kernel has written behind what it held.
///
/// # Safety
/// The first `bytes` bytes of the spare capacity are initialised.
pub(crate) unsafe fn commit(buffer: &mut BytesMut, bytes: usize) {
    let len = buffer.len() + bytes;
    // SAFETY: the caller says that the bytes up to there are initialised, so they lie in the capacity.
    unsafe { buffer.set_len(len) };
}

/// send(2) that neither waits nor signals. With `more` the kernel may hold a part of a packet back for
/// what is sent next.
pub(crate) fn send(
    stream: BorrowedFd<'_>,
    bytes: &[u8],
    more: bool,
    calls: &mut SystemCalls,
) -> Result<usize> {
    calls.send += 1;
    rustix::net::send(stream, bytes, send_flags(more))
}

/// sendmsg(2) that neither waits nor signals.
pub(crate) fn send_vectored(
    stream: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    more: bool,
    calls: &mut SystemCalls,
) -> Result<usize> {
    send_message(stream, slices, send_flags(more), calls)
}

/// The same without copying the bytes (MSG_ZEROCOPY): they must stay as they are until a [`Notice`] of this
/// send, and else the peer gets what they are then.
pub(crate) fn send_lent(
    stream: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    more: bool,
    calls: &mut SystemCalls,
) -> Result<usize> {
    let zero_copy = SendFlags::from_bits_retain(libc::MSG_ZEROCOPY as u32);
    send_message(stream, slices, send_flags(more) | zero_copy, calls)
}

fn send_message(
    stream: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    flags: SendFlags,
    calls: &mut SystemCalls,
) -> Result<usize> {
    calls.send += 1;
    let mut control = SendAncillaryBuffer::default();
    rustix::net::sendmsg(stream, slices, &mut control, flags)
}

/// Closes a stream with a reset: what has not been sent yet never will be. Setting SO_LINGER to 0 does that.
pub(crate) fn close_reset(stream: OwnedFd, calls: &mut SystemCalls) {
    calls.control += 1;
    // One that cannot be reset is not connected any more.
    let _ = sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    close(stream, calls);
}

fn send_flags(more: bool) -> SendFlags {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    if more { flags | SendFlags::MORE } else { flags }
}

/// ioctl(FIONBIO).
pub(crate) fn set_nonblocking(
    socket: BorrowedFd<'_>,
    nonblocking: bool,
    calls: &mut SystemCalls,
) -> Result<()> {
    calls.control += 1;
    rustix::io::ioctl_fionbio(socket, nonblocking)
}

/// setsockopt(SO_RCVTIMEO), which limits recv(2) and accept(2); `None` is for ever.
pub(crate) fn set_receive_timeout(
    socket: BorrowedFd<'_>,
    timeout: Option<Duration>,
    calls: &mut SystemCalls,
) -> Result<()> {
    calls.control += 1;
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, timeout)
}

/// setsockopt(IP_BIND_ADDRESS_NO_PORT): bind(2) to port 0 leaves the port to connect(2), which knows the
/// destination. Bound before, a port has to be free for all of them, also of connections in TIME_WAIT.
///
/// # Source
/// ip(7).
pub(crate) fn bind_address_only(socket: BorrowedFd<'_>) -> Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads an int from `on`, which is one and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    checked(result)
}

/// getpeername(2). A connection whose peer has gone already has none.
pub(crate) fn peer_address(stream: BorrowedFd<'_>, calls: &mut SystemCalls) -> Option<Address> {
    calls.control += 1;
    rustix::net::getpeername(stream).ok().map(peer)
}

/// getsockopt(SO_PEERCRED).
pub(crate) fn peer_credentials(stream: BorrowedFd<'_>) -> Result<PeerCredentials> {
    let mut found = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of_val(&found) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `found`, any of which make a valid value.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut len,
        )
    };
    checked(result)?;
    Ok(PeerCredentials {
        pid: u32::try_from(found.pid).ok().filter(|&pid| pid != 0),
        uid: found.uid,
        gid: found.gid,
    })
}

/// What a call of libc's came to that gives 0 when all is well, asked right after it.
fn checked(result: libc::c_int) -> Result<()> {
    if result == 0 {
        return Ok(());
    }
    Err(last_error())
}

/// shutdown(SHUT_RD): ends a recv(2) or accept(2) that another thread sleeps in.
pub(crate) fn shutdown_read(socket: BorrowedFd<'_>) -> Result<()> {
    rustix::net::shutdown(socket, Shutdown::Read)
}

/// shutdown(SHUT_WR).
pub(crate) fn shutdown_write(stream: BorrowedFd<'_>, calls: &mut SystemCalls) -> Result<()> {
    calls.control += 1;
    rustix::net::shutdown(stream, Shutdown::Write)
}

/// close(2).
pub(crate) fn close(fd: OwnedFd, calls: &mut SystemCalls) {
    calls.close += 1;
    drop(fd);
}

/// epoll_create1(2).
pub(crate) fn epoll_create(calls: &mut SystemCalls) -> Result<OwnedFd> {
    calls.control += 1;
    epoll::create(epoll::CreateFlags::CLOEXEC)
}

/// What epoll_ctl(2) is to do.
#[derive(Clone, Copy)]
pub(crate) enum EpollControl {
    Add(epoll::EventFlags),
    Modify(epoll::EventFlags),
    Delete,
}

/// epoll_ctl(2).
pub(crate) fn epoll_control(
    poller: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    key: u32,
    control: EpollControl,
    calls: &mut SystemCalls,
) -> Result<()> {
    calls.control += 1;
    let data = epoll::EventData::new_u64(key.into());
    match control {
        EpollControl::Add(flags) => epoll::add(poller, socket, data, flags),
        EpollControl::Modify(flags) => epoll::modify(poller, socket, data, flags),
        EpollControl::Delete => epoll::delete(poller, socket),
    }
}

/// epoll_wait(2); returns the events that were written into `room`.
pub(crate) fn epoll_wait<'a>(
    poller: BorrowedFd<'_>,
    room: &'a mut [MaybeUninit<epoll::Event>],
    timeout: Option<Duration>,
    calls: &mut SystemCalls,
) -> Result<&'a mut [epoll::Event]> {
    calls.wait += 1;
    let timeout = timeout.map(timespec);
    let (events, _) = epoll::wait(poller, room, timeout.as_ref())?;
    Ok(events)
}

/// ppoll(2).
pub(crate) fn poll(
    fds: &mut [PollFd<'_>],
    timeout: Option<Duration>,
    calls: &mut SystemCalls,
) -> Result<usize> {
    calls.wait += 1;
    let timeout = timeout.map(timespec);
    rustix::event::poll(fds, timeout.as_ref())
}

/// select(2) of the descriptors below `bound` in two sets, which the kernel overwrites.
///
/// # Panics
/// When a set is too short for `bound`.
pub(crate) fn select(
    bound: i32,
    readable: &mut [FdSetElement],
    writable: &mut [FdSetElement],
    timeout: Option<Duration>,
    calls: &mut SystemCalls,
) -> Result<i32> {
    calls.wait += 1;
    let elements = rustix::event::fd_set_num_elements(bound as usize, bound);
    assert!(
        elements <= readable.len() && elements <= writable.len(),
        "a set is too short"
    );
    let timeout = timeout.map(timespec);
    // SAFETY: both sets have room for `bound` descriptors, asserted above, so the kernel reads and
    // writes within them. A descriptor that is not open is answered by EBADF.
    unsafe {
        rustix::event::select(
            bound,
            Some(readable),
            Some(writable),
            None,
            timeout.as_ref(),
        )
    }
}

/// eventfd(2), non-blocking. Its caller counts it: any thread may be the one.
pub(crate) fn eventfd() -> Result<OwnedFd> {
    rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
}

/// write(2) of one event to an eventfd. Its caller counts it.
pub(crate) fn eventfd_write(event: impl AsFd) -> Result<usize> {
    rustix::io::write(event, &1u64.to_ne_bytes())
}

/// read(2) of all events of an eventfd. Its caller counts it.
pub(crate) fn eventfd_read(event: impl AsFd) -> Result<usize> {
    rustix::io::read(event, &mut [0; 8])
}

/// What the last call through libc on this thread failed with.
fn last_error() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
}

/// A time too long for the kernel is cut to its longest, some 292 thousand million years.
fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::SystemCalls;

    #[test]
    fn counts_add_up_and_subtract_by_kind() {
        let one = SystemCalls {
            accept: 1,
            connect: 2,
            receive: 3,
            send: 4,
            ..Default::default()
        };
        let two = SystemCalls {
            wait: 5,
            control: 6,
            wake: 7,
            close: 8,
            enter: 9,
            file: 10,
            ..one
        };
        assert_eq!(two.total(), 55);
        assert_eq!([one, two].into_iter().sum::<SystemCalls>().total(), 65);
        assert_eq!((two - one).total(), 45);
        assert_eq!((one - two).total(), 0);
    }
}
