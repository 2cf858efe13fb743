//! Socket helpers and the wire of the raw peers: u32 big-endian length, then that many bytes.

use std::io;
use std::mem::size_of;

pub fn check(ret: i32) -> i32 {
    assert!(ret >= 0, "{}", io::Error::last_os_error());
    ret
}

fn set_opt(fd: i32, level: i32, name: i32, value: i32) {
    let p = (&value as *const i32).cast();
    check(unsafe { libc::setsockopt(fd, level, name, p, size_of::<i32>() as u32) });
}

pub fn nodelay(fd: i32) {
    set_opt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
}

fn loopback(port: u16) -> libc::sockaddr_in {
    let mut addr: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    addr.sin_family = libc::AF_INET as u16;
    addr.sin_port = port.to_be();
    addr.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
    addr
}

/// A listener per thread; the kernel spreads connections over them (SO_REUSEPORT).
pub fn listen(port: u16, flags: i32) -> i32 {
    unsafe {
        let fd = check(libc::socket(
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags,
            0,
        ));
        set_opt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        set_opt(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1);
        let addr = loopback(port);
        check(libc::bind(
            fd,
            (&addr as *const libc::sockaddr_in).cast(),
            size_of::<libc::sockaddr_in>() as u32,
        ));
        check(libc::listen(fd, 1024));
        fd
    }
}

pub fn connect(port: u16) -> i32 {
    unsafe {
        let fd = check(libc::socket(
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            0,
        ));
        let addr = loopback(port);
        check(libc::connect(
            fd,
            (&addr as *const libc::sockaddr_in).cast(),
            size_of::<libc::sockaddr_in>() as u32,
        ));
        nodelay(fd);
        check(libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK));
        fd
    }
}

/// Length of the payload of the frame at the start of `buf`, when all of it is there.
pub fn frame(buf: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(buf.get(..4)?.try_into().unwrap()) as usize;
    (buf.len() >= 4 + len).then_some(len)
}

/// Parses every whole frame of `input`, appends one reply per frame to `out`, returns bytes eaten.
pub fn echo(input: &[u8], out: &mut Vec<u8>) -> usize {
    let mut at = 0;
    while let Some(len) = frame(&input[at..]) {
        out.extend_from_slice(&(len as u32).to_be_bytes());
        out.extend_from_slice(&input[at + 4..at + 4 + len]);
        at += 4 + len;
    }
    at
}

/// Bytes eaten and number of whole frames, for servers whose reply does not depend on the request.
pub fn count_frames(input: &[u8]) -> (usize, usize) {
    let (mut at, mut n) = (0, 0);
    while let Some(len) = frame(&input[at..]) {
        at += 4 + len;
        n += 1;
    }
    (at, n)
}

pub fn spawn_threads(n: usize, f: impl Fn() + Send + Clone + 'static) {
    let threads: Vec<_> = (0..n).map(|_| std::thread::spawn(f.clone())).collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
}
