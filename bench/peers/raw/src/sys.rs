//! System calls, one thin function each: nothing stands between a baseline and the kernel.

use std::io;
use std::mem::{size_of, zeroed};

pub const IN: u32 = libc::EPOLLIN as u32;
pub const OUT: u32 = libc::EPOLLOUT as u32;
pub const EDGE: u32 = libc::EPOLLET as u32;
const EVENTS: usize = 256;

/// A listener per thread; the kernel spreads connections over them (SO_REUSEPORT).
pub fn listen(port: u16, flags: i32) -> i32 {
    let fd = stream_socket(flags);
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR);
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT);
    let addr = loopback(port);
    // SAFETY: `addr` is a sockaddr_in of the length given, and lives through the call.
    check(unsafe { libc::bind(fd, (&raw const addr).cast(), size_of_val(&addr) as u32) });
    // SAFETY: no memory is passed.
    check(unsafe { libc::listen(fd, 1024) });
    fd
}

pub fn connect(port: u16) -> i32 {
    let fd = stream_socket(0);
    let addr = loopback(port);
    // SAFETY: `addr` is a sockaddr_in of the length given, and lives through the call.
    check(unsafe { libc::connect(fd, (&raw const addr).cast(), size_of_val(&addr) as u32) });
    no_delay(fd);
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) });
    fd
}

pub fn accept(listener: i32) -> i32 {
    let none = std::ptr::null_mut();
    // SAFETY: null asks for no address.
    check(unsafe { libc::accept4(listener, none, none.cast(), libc::SOCK_NONBLOCK) })
}

pub fn no_delay(fd: i32) {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY);
}

pub fn close(fd: i32) {
    // SAFETY: the caller forgets `fd`; no memory is passed.
    unsafe { libc::close(fd) };
}

/// Bytes received, 0 at the end of the stream; None when there are none yet.
#[inline]
pub fn receive(fd: i32, room: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: `room` is writable for its length during the call.
    some(unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), 0) })
}

/// Bytes sent; None when the socket's buffer is full.
#[inline]
pub fn send(fd: i32, bytes: &[u8]) -> io::Result<Option<usize>> {
    let (at, len) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: `bytes` is readable for its length during the call.
    some(unsafe { libc::send(fd, at, len, libc::MSG_NOSIGNAL) })
}

/// An epoll instance whose events carry a number.
pub struct Epoll {
    fd: i32,
    events: Vec<libc::epoll_event>,
}

impl Default for Epoll {
    fn default() -> Self {
        // SAFETY: no memory is passed.
        let fd = check(unsafe { libc::epoll_create1(0) });
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        Epoll { fd, events }
    }
}

impl Epoll {
    pub fn add(&self, fd: i32, events: u32, number: u64) {
        self.control(libc::EPOLL_CTL_ADD, fd, events, number);
    }

    pub fn change(&self, fd: i32, events: u32, number: u64) {
        self.control(libc::EPOLL_CTL_MOD, fd, events, number);
    }

    /// Waits for events; (events, number) of each. A signal ends the wait with none.
    pub fn wait(&mut self, timeout_ms: i32) -> impl Iterator<Item = (u32, u64)> + '_ {
        let room = self.events.as_mut_ptr();
        // SAFETY: `events` has EVENTS entries that the kernel may write.
        let count = unsafe { libc::epoll_wait(self.fd, room, EVENTS as i32, timeout_ms) };
        let ready = &self.events[..count.max(0) as usize];
        ready.iter().map(|event| (event.events, event.u64))
    }

    fn control(&self, op: i32, fd: i32, events: u32, number: u64) {
        let mut event = libc::epoll_event {
            events,
            u64: number,
        };
        // SAFETY: `event` lives through the call.
        check(unsafe { libc::epoll_ctl(self.fd, op, fd, &raw mut event) });
    }
}

fn stream_socket(flags: i32) -> i32 {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    // SAFETY: no memory is passed.
    check(unsafe { libc::socket(libc::AF_INET, kind, 0) })
}

fn set_option(fd: i32, level: i32, name: i32) {
    let on: i32 = 1;
    let len = size_of::<i32>() as u32;
    // SAFETY: `on` is an int of the length given, and lives through the call.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const on).cast(), len) });
}

fn loopback(port: u16) -> libc::sockaddr_in {
    // SAFETY: all zeros is a valid sockaddr_in.
    let mut addr: libc::sockaddr_in = unsafe { zeroed() };
    addr.sin_family = libc::AF_INET as u16;
    addr.sin_port = port.to_be();
    addr.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
    addr
}

fn check(result: i32) -> i32 {
    assert!(0 <= result, "{}", io::Error::last_os_error());
    result
}

fn some(result: isize) -> io::Result<Option<usize>> {
    if 0 <= result {
        return Ok(Some(result as usize));
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        error => Err(error),
    }
}
