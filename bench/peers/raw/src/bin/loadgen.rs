//! Closed-loop load on the raw wire: C connections, D frames in flight on each, one epoll thread.
//! Checks that replies come in order (a sequence number in the payload) and have the right size.

use harness::{Args, Plan, Report};
use raw::frame;
use raw::sys::{self, EDGE, Epoll, IN, OUT};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const READ_BYTES: usize = 256 * 1024;
const SEQUENCE_BYTES: usize = 8;

struct Conn {
    fd: i32,
    plan: Plan,
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
    let mut plan = Plan::from_args(&args);
    if plan.payload < SEQUENCE_BYTES {
        plan.payload = SEQUENCE_BYTES;
        plan.reply = plan.reply.max(SEQUENCE_BYTES);
    }
    let mut epoll = Epoll::default();
    let mut conns: Vec<Conn> = (0..plan.conns)
        .map(|_| Conn::open(args.port(), plan))
        .collect();
    let begin = Instant::now();
    for (i, conn) in conns.iter_mut().enumerate() {
        epoll.add(conn.fd, IN | OUT | EDGE, i as u64);
        conn.request(plan.depth, begin);
    }
    let (warm, end) = (begin + plan.warmup, begin + plan.warmup + plan.window);
    let mut report = None;
    let mut ready = Vec::new();
    loop {
        let now = Instant::now();
        if report.is_none() && warm <= now {
            report = Some(Report::begin());
        }
        if end <= now {
            break;
        }
        ready.extend(epoll.wait(1000));
        for (_, i) in ready.drain(..) {
            conns[i as usize].on_ready(|latency| {
                if let Some(report) = &mut report {
                    report.record(latency);
                }
            });
        }
    }
    report.expect("the warm-up ends before the window").print();
}

impl Conn {
    fn open(port: u16, plan: Plan) -> Self {
        Conn {
            fd: sys::connect(port),
            plan,
            input: vec![0; 4 + plan.reply + READ_BYTES],
            start: 0,
            end: 0,
            out: Vec::new(),
            sent: 0,
            next: 0,
            starts: VecDeque::new(),
        }
    }

    /// Edge-triggered: goes on until a read leaves room, so that the socket is empty.
    fn on_ready(&mut self, mut done: impl FnMut(Duration)) {
        self.flush();
        while let Some(full) = self.read() {
            let now = Instant::now();
            let got = self.replies(|start| done(now - start));
            self.request(got, now);
            if !full {
                break;
            }
        }
    }

    fn request(&mut self, count: usize, now: Instant) {
        for _ in 0..count {
            self.out
                .extend_from_slice(&(self.plan.payload as u32).to_be_bytes());
            let at = self.out.len();
            self.out.resize(at + self.plan.payload, b'x');
            self.out[at..at + SEQUENCE_BYTES].copy_from_slice(&self.next.to_be_bytes());
            self.next += 1;
            self.starts.push_back(now);
        }
        self.flush();
    }

    fn flush(&mut self) {
        while self.sent < self.out.len() {
            match sys::send(self.fd, &self.out[self.sent..]).expect("the server is there") {
                Some(len) => self.sent += len,
                None => return,
            }
        }
        self.out.clear();
        self.sent = 0;
    }

    /// None when the socket is empty; else whether the read filled the buffer (there may be more).
    fn read(&mut self) -> Option<bool> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = &mut self.input[self.end..];
        let len = sys::receive(self.fd, room).expect("the server is there")?;
        assert!(len > 0, "the server closed the connection");
        let full = len == room.len();
        self.end += len;
        Some(full)
    }

    fn replies(&mut self, mut done: impl FnMut(Instant)) -> usize {
        let mut got = 0;
        while let Some(len) = frame(&self.input[self.start..self.end]) {
            assert_eq!(len, self.plan.reply, "wrong length of a reply");
            let body = self.start + 4;
            if self.plan.reply == self.plan.payload {
                let sequence = self.input[body..body + SEQUENCE_BYTES].try_into().unwrap();
                let want = self.next - self.starts.len() as u64;
                assert_eq!(u64::from_be_bytes(sequence), want, "reply out of order");
            }
            self.start = body + len;
            done(self.starts.pop_front().unwrap());
            got += 1;
        }
        got
    }
}
