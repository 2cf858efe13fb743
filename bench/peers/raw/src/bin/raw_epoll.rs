//! Floor 1: one level-triggered epoll loop per thread; read a lot, answer every frame, write once.
//! `--resp N` answers each frame with N bytes from one static buffer instead of echoing.

use harness::Args;
use raw::{check, count_frames, echo, listen, nodelay, spawn_threads};
use std::collections::HashMap;

const CHUNK: usize = 256 * 1024;

struct Conn {
    input: Vec<u8>, // the unparsed tail of what was read
    out: Vec<u8>,   // replies not sent yet
    sent: usize,    // how much of `out` is gone
    owed: usize,    // with --resp: bytes of fixed replies still to send
    waiting: bool,  // EPOLLOUT is asked for
}

fn main() {
    let args = Args::parse();
    let (port, resp) = (args.port(), args.num("resp", 0));
    spawn_threads(args.threads(), move || serve(port, resp));
}

fn serve(port: u16, resp: usize) {
    let ep = check(unsafe { libc::epoll_create1(0) });
    let lfd = listen(port, libc::SOCK_NONBLOCK);
    ctl(ep, libc::EPOLL_CTL_ADD, lfd, libc::EPOLLIN);
    let mut fixed = (resp as u32).to_be_bytes().to_vec();
    fixed.resize(4 + resp, 0);
    let mut conns: HashMap<i32, Conn> = HashMap::new();
    let mut scratch = vec![0u8; CHUNK];
    let mut events: Vec<libc::epoll_event> = vec![unsafe { std::mem::zeroed() }; 256];
    loop {
        let n = unsafe { libc::epoll_wait(ep, events.as_mut_ptr(), 256, -1) }.max(0); // EINTR: just again
        for ev in events.iter().take(n as usize) {
            let fd = ev.u64 as i32;
            if fd == lfd {
                let c = check(unsafe {
                    libc::accept4(
                        lfd,
                        std::ptr::null_mut(),
                        std::ptr::null_mut(),
                        libc::SOCK_NONBLOCK,
                    )
                });
                nodelay(c);
                ctl(ep, libc::EPOLL_CTL_ADD, c, libc::EPOLLIN);
                conns.insert(
                    c,
                    Conn {
                        input: Vec::new(),
                        out: Vec::new(),
                        sent: 0,
                        owed: 0,
                        waiting: false,
                    },
                );
                continue;
            }
            let conn = conns.get_mut(&fd).unwrap();
            if !conn.on_ready(fd, ev.events, &mut scratch, &fixed) {
                conns.remove(&fd);
                unsafe { libc::close(fd) };
                continue;
            }
            let blocked = !conn.out.is_empty() || conn.owed > 0;
            if blocked != conn.waiting {
                conn.waiting = blocked;
                // While replies are stuck, stop reading: that is the back-pressure.
                ctl(
                    ep,
                    libc::EPOLL_CTL_MOD,
                    fd,
                    if blocked {
                        libc::EPOLLOUT
                    } else {
                        libc::EPOLLIN
                    },
                );
            }
        }
    }
}

impl Conn {
    /// False when the connection is over.
    fn on_ready(&mut self, fd: i32, events: u32, scratch: &mut [u8], fixed: &[u8]) -> bool {
        if events & libc::EPOLLIN as u32 != 0 {
            let n = unsafe { libc::recv(fd, scratch.as_mut_ptr().cast(), scratch.len(), 0) };
            if n <= 0 {
                return n < 0 && would_block();
            }
            let got = &scratch[..n as usize];
            // Common case: nothing left over, parse straight out of the read buffer.
            if self.input.is_empty() {
                let eaten = self.answer(got, fixed);
                self.input.extend_from_slice(&got[eaten..]);
            } else {
                let mut input = std::mem::take(&mut self.input);
                input.extend_from_slice(got);
                let eaten = self.answer(&input, fixed);
                input.drain(..eaten);
                self.input = input;
            }
        } else if events & libc::EPOLLOUT as u32 == 0 {
            return false;
        }
        self.flush(fd, fixed)
    }

    fn answer(&mut self, input: &[u8], fixed: &[u8]) -> usize {
        if fixed.len() == 4 {
            return echo(input, &mut self.out);
        }
        let (eaten, frames) = count_frames(input);
        self.owed += frames * fixed.len();
        eaten
    }

    fn flush(&mut self, fd: i32, fixed: &[u8]) -> bool {
        while self.owed > 0 {
            let at = (fixed.len() - self.owed % fixed.len()) % fixed.len();
            match send(fd, &fixed[at..]) {
                Some(n) => self.owed -= n,
                None => return would_block(),
            }
        }
        while self.sent < self.out.len() {
            match send(fd, &self.out[self.sent..]) {
                Some(n) => self.sent += n,
                None => return would_block(),
            }
        }
        self.out.clear();
        self.sent = 0;
        true
    }
}

fn send(fd: i32, buf: &[u8]) -> Option<usize> {
    let n = unsafe { libc::send(fd, buf.as_ptr().cast(), buf.len(), libc::MSG_NOSIGNAL) };
    (n >= 0).then_some(n as usize)
}

fn would_block() -> bool {
    std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock
}

fn ctl(ep: i32, op: i32, fd: i32, events: i32) {
    let mut ev = libc::epoll_event {
        events: events as u32,
        u64: fd as u64,
    };
    check(unsafe { libc::epoll_ctl(ep, op, fd, &mut ev) });
}
