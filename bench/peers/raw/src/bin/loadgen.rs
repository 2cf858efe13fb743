//! Closed-loop load on the raw wire: C connections, D frames in flight on each, one epoll thread.
//! Checks that replies come in order (a sequence number in the payload) and have the right size.

use harness::{Args, Report, cpu_of, new_hist};
use raw::{check, connect, frame};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

struct Conn {
    fd: i32,
    input: Vec<u8>,
    start: usize, // input[start..end] is unparsed
    end: usize,
    out: Vec<u8>,
    sent: usize,
    next: u64,                 // sequence number of the next request
    starts: VecDeque<Instant>, // when each request in flight was written
}

fn main() {
    let args = Args::parse();
    let (conns, depth, payload) = (
        args.num("conns", 1),
        args.num("depth", 1),
        args.num("payload", 128).max(8),
    );
    let resp = args.num("resp", payload);
    let (warmup, secs, pid) = (
        args.num("warmup-ms", 1000),
        args.num("secs-ms", 5000),
        args.num("server-pid", 0),
    );
    let ep = check(unsafe { libc::epoll_create1(0) });
    let mut conns: Vec<Conn> = (0..conns)
        .map(|i| {
            let fd = connect(args.port());
            let mut ev = libc::epoll_event {
                events: (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET) as u32,
                u64: i as u64,
            };
            check(unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, fd, &mut ev) });
            let input = vec![0; (4 + resp) + 256 * 1024];
            Conn {
                fd,
                input,
                start: 0,
                end: 0,
                out: Vec::new(),
                sent: 0,
                next: 0,
                starts: VecDeque::new(),
            }
        })
        .collect();
    let mut hist = new_hist();
    let begin = Instant::now();
    let (warm_end, end) = (
        begin + Duration::from_millis(warmup as u64),
        begin + Duration::from_millis((warmup + secs) as u64),
    );
    for conn in &mut conns {
        conn.request(depth, payload, begin);
    }
    let mut events: Vec<libc::epoll_event> = vec![unsafe { std::mem::zeroed() }; 256];
    let mut started: Option<(Instant, (f64, f64))> = None;
    let mut now = begin;
    while now < end {
        let n = check(unsafe { libc::epoll_wait(ep, events.as_mut_ptr(), 256, 1000) });
        for ev in events.iter().take(n as usize) {
            let conn = &mut conns[ev.u64 as usize];
            conn.flush();
            // Edge-triggered: go on until the socket is empty.
            while let Some(full) = conn.read() {
                now = Instant::now();
                let got = conn.replies(resp, payload, |t| {
                    if started.is_some() {
                        hist.record((now - t).as_nanos() as u64).unwrap();
                    }
                });
                conn.request(got, payload, now);
                if !full {
                    break;
                }
            }
        }
        now = Instant::now();
        if started.is_none() && now >= warm_end {
            started = Some((now, cpu_of(pid)));
        }
    }
    let (t0, c0) = started.unwrap();
    let (secs, c1) = (t0.elapsed().as_secs_f64(), cpu_of(pid));
    Report {
        hist,
        secs,
        cpu: (c1.0 - c0.0, c1.1 - c0.1),
    }
    .print();
}

impl Conn {
    fn request(&mut self, n: usize, payload: usize, now: Instant) {
        for _ in 0..n {
            self.out.extend_from_slice(&(payload as u32).to_be_bytes());
            let at = self.out.len();
            self.out.resize(at + payload, b'x');
            self.out[at..at + 8].copy_from_slice(&self.next.to_be_bytes());
            self.next += 1;
            self.starts.push_back(now);
        }
        self.flush();
    }

    fn flush(&mut self) {
        while self.sent < self.out.len() {
            let rest = &self.out[self.sent..];
            let n = unsafe {
                libc::send(
                    self.fd,
                    rest.as_ptr().cast(),
                    rest.len(),
                    libc::MSG_NOSIGNAL,
                )
            };
            if n < 0 {
                return would_block();
            }
            self.sent += n as usize;
        }
        self.out.clear();
        self.sent = 0;
    }

    /// None when the socket is empty; else whether the read filled the buffer (so there may be more).
    fn read(&mut self) -> Option<bool> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = &mut self.input[self.end..];
        let (len, p) = (room.len(), room.as_mut_ptr());
        let n = unsafe { libc::recv(self.fd, p.cast(), len, 0) };
        if n < 0 {
            would_block();
            return None;
        }
        assert!(n > 0, "server closed the connection");
        self.end += n as usize;
        Some(n as usize == len)
    }

    fn replies(&mut self, resp: usize, payload: usize, mut done: impl FnMut(Instant)) -> usize {
        let mut got = 0;
        while let Some(len) = frame(&self.input[self.start..self.end]) {
            assert_eq!(len, resp, "wrong reply size");
            if resp == payload {
                let seq = u64::from_be_bytes(
                    self.input[self.start + 4..self.start + 12]
                        .try_into()
                        .unwrap(),
                );
                assert_eq!(
                    seq,
                    self.next - self.starts.len() as u64,
                    "reply out of order"
                );
            }
            self.start += 4 + len;
            done(self.starts.pop_front().unwrap());
            got += 1;
        }
        got
    }
}

fn would_block() {
    let e = std::io::Error::last_os_error();
    assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock, "{e}");
}
