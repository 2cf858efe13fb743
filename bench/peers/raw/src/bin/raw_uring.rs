//! Floor 2: io_uring, one ring per thread. Multishot accept, multishot recv into a provided buffer
//! ring, at most one send in flight per connection; replies of one batch go out in one send.

use harness::Args;
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use raw::{echo, listen, nodelay, spawn_threads};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};

const BUFS: u16 = 256;
const BUF_LEN: usize = 32 * 1024;
const GROUP: u16 = 0;
const ACCEPT: u64 = 1 << 32;
const RECV: u64 = 2 << 32;
const SEND: u64 = 3 << 32;

#[derive(Default)]
struct Conn {
    input: Vec<u8>,
    out: Vec<u8>,     // replies being gathered
    sending: Vec<u8>, // replies the kernel is reading
    sent: usize,
    busy: bool,  // a send is in flight
    dirty: bool, // is in the list of connections to send on
    closed: bool,
}

/// The ring of receive buffers that the kernel picks from.
struct BufRing {
    entries: *mut BufRingEntry,
    mem: Vec<u8>,
    tail: u16,
}

impl BufRing {
    fn new(ring: &IoUring) -> Self {
        let len = BUFS as usize * std::mem::size_of::<BufRingEntry>();
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(p, libc::MAP_FAILED);
        let mut bufs = BufRing {
            entries: p.cast(),
            mem: vec![0; BUFS as usize * BUF_LEN],
            tail: 0,
        };
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(p as u64, BUFS, GROUP, 0)
                .unwrap()
        };
        (0..BUFS).for_each(|id| bufs.give_back(id));
        bufs
    }
    fn get(&self, id: u16, len: usize) -> &[u8] {
        let at = id as usize * BUF_LEN;
        &self.mem[at..at + len]
    }
    fn give_back(&mut self, id: u16) {
        unsafe {
            let entry = &mut *self.entries.add((self.tail & (BUFS - 1)) as usize);
            entry.set_addr(self.mem.as_ptr().add(id as usize * BUF_LEN) as u64);
            entry.set_len(BUF_LEN as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            (*(BufRingEntry::tail(self.entries) as *const AtomicU16))
                .store(self.tail, Ordering::Release);
        }
    }
}

fn main() {
    let args = Args::parse();
    let port = args.port();
    spawn_threads(args.threads(), move || serve(port));
}

fn push(ring: &mut IoUring, entry: squeue::Entry) {
    while unsafe { ring.submission().push(&entry).is_err() } {
        ring.submit().unwrap();
    }
}

fn push_recv(ring: &mut IoUring, fd: i32) {
    push(
        ring,
        opcode::RecvMulti::new(Fd(fd), GROUP)
            .build()
            .user_data(RECV | fd as u64),
    );
}

fn push_send(ring: &mut IoUring, fd: i32, buf: &[u8]) {
    let op = opcode::Send::new(Fd(fd), buf.as_ptr(), buf.len() as u32)
        .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL);
    push(ring, op.build().user_data(SEND | fd as u64));
}

fn serve(port: u16) {
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_cqsize(4096)
        .build(512)
        .unwrap();
    let mut bufs = BufRing::new(&ring);
    let lfd = listen(port, 0);
    push(
        &mut ring,
        opcode::AcceptMulti::new(Fd(lfd)).build().user_data(ACCEPT),
    );
    let mut conns: HashMap<i32, Conn> = HashMap::new();
    let mut dirty: Vec<i32> = Vec::new();
    let mut batch: Vec<(u64, i32, u32)> = Vec::new();
    loop {
        let _ = ring.submit_and_wait(1); // EINTR (a tracer attaches): just again
        batch.extend(
            ring.completion()
                .map(|c| (c.user_data(), c.result(), c.flags())),
        );
        for (data, res, flags) in batch.drain(..) {
            let fd = data as u32 as i32;
            match data & !0xffff_ffff {
                ACCEPT => {
                    nodelay(res);
                    conns.insert(res, Conn::default());
                    push_recv(&mut ring, res);
                    if !cqueue::more(flags) {
                        push(
                            &mut ring,
                            opcode::AcceptMulti::new(Fd(lfd)).build().user_data(ACCEPT),
                        );
                    }
                }
                RECV => {
                    let conn = conns.get_mut(&fd).unwrap();
                    if let Some(id) = cqueue::buffer_select(flags) {
                        conn.on_data(bufs.get(id, res as usize));
                        bufs.give_back(id);
                    } else if res != -libc::ENOBUFS {
                        conn.closed = true;
                    }
                    if !cqueue::more(flags) && !conn.closed {
                        push_recv(&mut ring, fd);
                    }
                    mark(conn, fd, &mut dirty);
                }
                _ => {
                    let conn = conns.get_mut(&fd).unwrap();
                    conn.busy = false;
                    conn.closed |= res < 0;
                    conn.sent += res.max(0) as usize;
                    mark(conn, fd, &mut dirty);
                }
            }
        }
        for fd in dirty.drain(..) {
            let conn = conns.get_mut(&fd).unwrap();
            conn.dirty = false;
            if conn.busy {
                continue; // its completion comes back here
            }
            if conn.closed {
                unsafe { libc::close(fd) };
                conns.remove(&fd);
                continue;
            }
            if conn.sent == conn.sending.len() {
                conn.sending.clear();
                conn.sent = 0;
                std::mem::swap(&mut conn.sending, &mut conn.out);
            }
            if conn.sent < conn.sending.len() {
                conn.busy = true;
                push_send(&mut ring, fd, &conn.sending[conn.sent..]);
            }
        }
    }
}

fn mark(conn: &mut Conn, fd: i32, dirty: &mut Vec<i32>) {
    if !conn.dirty {
        conn.dirty = true;
        dirty.push(fd);
    }
}

impl Conn {
    fn on_data(&mut self, got: &[u8]) {
        if self.input.is_empty() {
            let eaten = echo(got, &mut self.out);
            self.input.extend_from_slice(&got[eaten..]);
        } else {
            self.input.extend_from_slice(got);
            let eaten = echo(&self.input, &mut self.out);
            self.input.drain(..eaten);
        }
    }
}
