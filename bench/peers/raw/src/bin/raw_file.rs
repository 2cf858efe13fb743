//! A file to a socket, again and again: one connection at a time, epoll when the socket is full, and the
//! system calls of one strategy. `--file PATH --strategy splice|sendfile|mmap|copy --chunk BYTES`.
//!
//! A request is eight bytes, a number in big endian: how many bytes of the file are wanted, from its start.

use harness::Args;
use raw::sys::{self, Epoll, IN, OUT};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;

fn main() {
    let args = Args::parse();
    let file = File::open(args.text("file", "")).expect("--file names a file");
    let chunk = args.num("chunk", 1 << 20);
    let mut strategy = Strategy::new(args.text("strategy", "splice"), chunk);
    let listener = sys::listen(args.port(), 0);
    loop {
        let stream = sys::accept(listener);
        sys::no_delay(stream);
        serve(stream, file.as_raw_fd(), &mut strategy, chunk);
        sys::close(stream);
    }
}

fn serve(stream: i32, file: i32, strategy: &mut Strategy, chunk: usize) {
    let mut epoll = Epoll::default();
    epoll.add(stream, IN, 0);
    let mut request = [0; 8];
    loop {
        for _ in epoll.wait(-1) {}
        match sys::receive(stream, &mut request) {
            Ok(None) => continue,
            Ok(Some(8)) => {}
            _ => return,
        }
        let wanted = u64::from_be_bytes(request);
        epoll.change(stream, OUT, 0);
        let mut sent = 0;
        while sent < wanted {
            let part = (wanted - sent).min(chunk as u64) as usize;
            match strategy.send(stream, file, sent, part) {
                Some(bytes) => sent += bytes as u64,
                None => for _ in epoll.wait(-1) {},
            }
        }
        epoll.change(stream, IN, 0);
    }
}

/// How bytes get from the file to the socket, and what that needs.
enum Strategy {
    /// A pipe, and how many bytes are in it.
    Splice([i32; 2], usize),
    Sendfile,
    Mmap,
    Copy(Vec<u8>),
}

impl Strategy {
    fn new(name: &str, chunk: usize) -> Self {
        match name {
            "splice" => {
                let mut pipe = [0; 2];
                // SAFETY: `pipe` has room for two descriptors.
                assert_eq!(
                    unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK) },
                    0
                );
                // SAFETY: no memory is passed.
                let size = unsafe { libc::fcntl(pipe[0], libc::F_SETPIPE_SZ, chunk) };
                assert!(chunk <= size as usize, "a pipe of {chunk} bytes");
                Strategy::Splice(pipe, 0)
            }
            "sendfile" => Strategy::Sendfile,
            "mmap" => Strategy::Mmap,
            "copy" => Strategy::Copy(vec![0; chunk]),
            _ => panic!("--strategy is splice, sendfile, mmap or copy"),
        }
    }

    /// Bytes that the socket took of the part; None when it is full.
    fn send(&mut self, stream: i32, file: i32, offset: u64, part: usize) -> Option<usize> {
        match self {
            Strategy::Splice(pipe, held) => splice(stream, file, offset, part, *pipe, held),
            Strategy::Sendfile => {
                let mut at = offset as i64;
                // SAFETY: `at` lives through the call.
                some(unsafe { libc::sendfile(stream, file, &raw mut at, part) })
            }
            Strategy::Mmap => map(stream, file, offset, part),
            Strategy::Copy(buffer) => {
                let (room, at) = (buffer.as_mut_ptr().cast(), offset as i64);
                // SAFETY: `buffer` is writable for `part` bytes, which is at most its length.
                let read = some(unsafe { libc::pread(file, room, part, at) })?;
                sys::send(stream, &buffer[..read]).expect("the client reads")
            }
        }
    }
}

fn splice(
    stream: i32,
    file: i32,
    offset: u64,
    part: usize,
    [out, into]: [i32; 2],
    held: &mut usize,
) -> Option<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    if *held == 0 {
        let mut at = offset as i64;
        // SAFETY: `at` lives through the call.
        *held =
            some(unsafe { libc::splice(file, &raw mut at, into, ptr::null_mut(), part, flags) })?;
    }
    let (none, count) = (ptr::null_mut(), *held);
    // SAFETY: null asks for no offsets.
    let sent = some(unsafe { libc::splice(out, none, stream, none, count, flags) })?;
    *held -= sent;
    Some(sent)
}

fn map(stream: i32, file: i32, offset: u64, part: usize) -> Option<usize> {
    let page = 4096;
    let before = offset as usize % page;
    let (len, start) = (before + part, offset as i64 - before as i64);
    // SAFETY: a new mapping, which nothing else refers to.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file,
            start,
        )
    };
    assert_ne!(at, libc::MAP_FAILED);
    // SAFETY: the mapping has `before + part` bytes; only the kernel reads them.
    let sent = unsafe { libc::send(stream, at.byte_add(before), part, libc::MSG_NOSIGNAL) };
    let sent = some(sent);
    // SAFETY: the mapping is not used any more.
    unsafe { libc::munmap(at, len) };
    sent
}

fn some(result: isize) -> Option<usize> {
    if result < 0 {
        let error = std::io::Error::last_os_error();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
        return None;
    }
    Some(result as usize)
}
