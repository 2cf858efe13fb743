//! io_uring, one ring per thread. Multishot accept, multishot recv into a provided buffer
//! ring, at most one send in flight per connection; replies of one batch go out in one send.

use harness::Args;
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use raw::sys::{close, listen, no_delay};
use raw::{echo, on_threads};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};

const BUFS: u16 = 256;
const BUF_LEN: usize = 32 * 1024;
const GROUP: u16 = 0;
const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
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
        // SAFETY: a new anonymous mapping, which is never unmapped; it is aligned to a page.
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
        let submitter = ring.submitter();
        // SAFETY: the mapping has BUFS entries and outlives the ring.
        unsafe { submitter.register_buf_ring_with_flags(p as u64, BUFS, GROUP, 0) }.unwrap();
        (0..BUFS).for_each(|id| bufs.give_back(id));
        bufs
    }

    fn get(&self, id: u16, len: usize) -> &[u8] {
        let at = id as usize * BUF_LEN;
        &self.mem[at..at + len]
    }

    fn give_back(&mut self, id: u16) {
        // SAFETY: the masked tail is an index below BUFS, the entry is ours until the tail is
        // stored, and `mem` never moves nor shrinks.
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
    on_threads(args.threads(), move || serve(port));
}

fn push_accept(ring: &mut IoUring, listener: i32) {
    let accept = opcode::AcceptMulti::new(Fd(listener));
    push(ring, accept.build().user_data(ACCEPT));
}

fn push(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: what a send points to stays in `Conn::sending` until its completion; a receive and an
    // accept point to nothing of ours.
    while unsafe { ring.submission().push(&entry).is_err() } {
        ring.submit().unwrap();
    }
}

fn push_receive(ring: &mut IoUring, fd: i32) {
    push(
        ring,
        opcode::RecvMulti::new(Fd(fd), GROUP)
            .build()
            .user_data(RECEIVE | fd as u64),
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
    let listener = listen(port, 0);
    push_accept(&mut ring, listener);
    let mut conns: HashMap<i32, Conn> = HashMap::new();
    let mut dirty: Vec<i32> = Vec::new();
    let mut batch: Vec<(u64, i32, u32)> = Vec::new();
    loop {
        let _ = ring.submit_and_wait(1); // EINTR (a tracer attaches): just again
        let entries = ring.completion();
        batch.extend(entries.map(|c| (c.user_data(), c.result(), c.flags())));
        for (data, result, flags) in batch.drain(..) {
            let fd = data as u32 as i32;
            let kind = data & !0xffff_ffff;
            if kind == ACCEPT {
                no_delay(result);
                conns.insert(result, Conn::default());
                push_receive(&mut ring, result);
                if !cqueue::more(flags) {
                    push_accept(&mut ring, listener);
                }
                continue;
            }
            let conn = conns.get_mut(&fd).unwrap();
            if kind == RECEIVE {
                on_received(&mut ring, &mut bufs, conn, fd, result, flags);
            } else {
                conn.busy = false;
                conn.closed |= result < 0;
                conn.sent += result.max(0) as usize;
            }
            mark(conn, fd, &mut dirty);
        }
        for fd in dirty.drain(..) {
            send_or_close(&mut ring, &mut conns, fd);
        }
    }
}

fn on_received(
    ring: &mut IoUring,
    bufs: &mut BufRing,
    conn: &mut Conn,
    fd: i32,
    result: i32,
    flags: u32,
) {
    if let Some(id) = cqueue::buffer_select(flags) {
        conn.on_data(bufs.get(id, result as usize));
        bufs.give_back(id);
    } else if result != -libc::ENOBUFS {
        conn.closed = true;
    }
    if !cqueue::more(flags) && !conn.closed {
        push_receive(ring, fd);
    }
}

fn send_or_close(ring: &mut IoUring, conns: &mut HashMap<i32, Conn>, fd: i32) {
    let conn = conns.get_mut(&fd).unwrap();
    conn.dirty = false;
    if conn.busy {
        return; // its completion comes back here
    }
    if conn.closed {
        close(fd);
        conns.remove(&fd);
        return;
    }
    if conn.sent == conn.sending.len() {
        conn.sending.clear();
        conn.sent = 0;
        std::mem::swap(&mut conn.sending, &mut conn.out);
    }
    if conn.sent < conn.sending.len() {
        conn.busy = true;
        push_send(ring, fd, &conn.sending[conn.sent..]);
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
