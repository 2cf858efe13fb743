//! `signal`: the kernel sends the thread a real-time signal whenever something happens on a descriptor
//! (O_ASYNC, F_SETSIG), and the thread reads many of them at once from a signalfd(2).
//!
//! ```text
//!   bytes come ──▶ signal with the descriptor's number ──▶ queue of the loop's thread ──▶ read(2)
//!   the queue is full ──▶ SIGIO without a number ──▶ poll(2) of all descriptors, once
//! ```
//!
//! A signal tells of an event, not of a state, so this is edge-triggered: what was there before a descriptor
//! was watched is asked for by poll(2), and two events of one descriptor are looked at twice, because the second
//! may be the end of the stream behind the bytes of the first.
//!
//! Signals go to one thread, the one that waits. There they are blocked, and stay so: one that is on its way when
//! the driver goes would end the process. Other threads' masks are left alone.
//!
//! # Source
//! fcntl(2), "Managing signals"; signalfd(2); net/core/sock.c of Linux for when sockets signal.

mod calls;

use super::poll::{Poll, readiness};
use crate::ready::WAKER_KEY;
use crate::{Interest, Readiness, Selector, SystemCalls, Waker, sys};
use calls::{Room, SIGNALS_MAX};
use libc::c_int;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::thread::gettid;
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// Drivers of this model that one thread may run, each with a signal of its own. The kernel has 32 real-time
/// signals, and others may use some.
const DRIVERS_MAX: u32 = 16;

thread_local! {
    /// The signals, a bit each, that drivers of this thread use. Only the thread takes some, and any gives them back.
    static USED: Arc<AtomicU32> = Arc::default();
    /// How often the queue of this thread was found to have overflown: SIGIO has no number, and is read by any
    /// one of the thread's drivers.
    static OVERFLOWS: Cell<u64> = const { Cell::new(0) };
}

/// Real-time signals, read from a signalfd(2).
#[derive(Debug)]
pub(crate) struct Signal {
    /// Where the signals go; `None` before the first descriptor.
    post: Option<Post>,
    /// All descriptors that are watched: whose signal came, and whom to ask when some were lost.
    everyone: Poll,
    reports: Reports,
    waker: Waker,
    calls: SystemCalls,
}

/// The thread's queue of signals.
#[derive(Debug)]
struct Post {
    thread: ThreadId,
    signal: OwnSignal,
    queue: OwnedFd,
    overflows: u64,
}

impl Post {
    /// A queue on the calling thread.
    fn new(calls: &mut SystemCalls) -> io::Result<Self> {
        let signal = OwnSignal::take()?;
        let signals = [signal.number(), libc::SIGIO];
        calls::block(&signals)?;
        let queue = calls::open(&signals, calls)?;
        Ok(Self {
            thread: thread::current().id(),
            signal,
            queue,
            // What came before is asked for.
            overflows: OVERFLOWS.get().wrapping_sub(1),
        })
    }

    fn is_here(&self) -> bool {
        self.thread == thread::current().id()
    }
}

/// One of the real-time signals, which no other driver of its thread uses.
#[derive(Debug)]
struct OwnSignal {
    /// Counted from the last of them.
    index: u32,
    used: Arc<AtomicU32>,
}

impl OwnSignal {
    /// One of the calling thread's.
    fn take() -> io::Result<Self> {
        let used = USED.with(Arc::clone);
        let index = used.load(Ordering::Relaxed).trailing_ones();
        if DRIVERS_MAX <= index {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("a thread runs at most {DRIVERS_MAX} drivers of the model signal"),
            ));
        }
        used.fetch_or(1 << index, Ordering::Relaxed);
        Ok(Self { index, used })
    }

    fn number(&self) -> c_int {
        libc::SIGRTMAX() - self.index as c_int
    }
}

/// On whichever thread: the driver may have gone to another.
impl Drop for OwnSignal {
    fn drop(&mut self) {
        self.used.fetch_and(!(1 << self.index), Ordering::Relaxed);
    }
}

impl Signal {
    /// Looks at `waker` in each wait.
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            post: None,
            everyone: Poll::default(),
            reports: Reports::default(),
            waker,
            calls: SystemCalls::default(),
        }
    }

    /// Has all signals sent to the calling thread, where they were sent to another one.
    fn come_here(&mut self) -> io::Result<()> {
        if self.post.as_ref().is_some_and(Post::is_here) {
            return Ok(());
        }
        let post = Post::new(&mut self.calls)?;
        let (signal, thread) = (post.signal.number(), gettid());
        for fd in self.everyone.descriptors() {
            calls::direct(fd.as_raw_fd(), signal, thread, &mut self.calls)?;
        }
        self.post = Some(post);
        Ok(())
    }

    /// Sleeps until there are signals or a wake. Whether there are, of each.
    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<(bool, bool)> {
        let Some(post) = &self.post else {
            return Ok((false, false));
        };
        let mut fds = [
            PollFd::from_borrowed_fd(post.queue.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.waker.event()?, PollFlags::IN),
        ];
        match sys::poll(&mut fds, timeout, &mut self.calls) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [signals, wake] = fds.map(|fd| !fd.revents().is_empty());
        Ok((signals, wake))
    }

    /// Reads signals, and notes what they tell.
    fn read(&mut self, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let Some(post) = &self.post else {
            return Ok(());
        };
        let mut room: Room = [const { MaybeUninit::uninit() }; SIGNALS_MAX];
        for info in calls::read(post.queue.as_fd(), &mut room, &mut self.calls)? {
            if info.ssi_signo == libc::SIGIO as u32 {
                OVERFLOWS.set(OVERFLOWS.get().wrapping_add(1));
            } else if let Some(key) = self.everyone.key_of(info.ssi_fd) {
                let band = PollFlags::from_bits_truncate(info.ssi_band as u16);
                self.reports.add(readiness(key, band), ready);
            }
        }
        Ok(())
    }

    /// Asks poll(2) about all descriptors, when signals were lost.
    fn sweep(&mut self, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let overflows = OVERFLOWS.get();
        match &mut self.post {
            Some(post) if post.overflows != overflows => post.overflows = overflows,
            _ => return Ok(()),
        }
        let mut found = Vec::new();
        self.everyone.wait(Some(Duration::ZERO), &mut found)?;
        for readiness in found {
            self.reports.add(readiness, ready);
        }
        Ok(())
    }

    /// Makes a descriptor signal, and asks what is there already: no signal tells of it. Sending is tried once
    /// in any case, because a Unix-domain socket signals room only after a send that found none since now.
    fn watch(&mut self, key: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.come_here()?;
        if let Some(post) = &self.post {
            let signal = post.signal.number();
            calls::direct(fd.as_raw_fd(), signal, gettid(), &mut self.calls)?;
        }
        calls::begin(fd, &mut self.calls)?;
        let state = self.state(fd, PollFlags::IN | PollFlags::RDHUP | PollFlags::OUT)?;
        self.reports.later(readiness(key, state | PollFlags::OUT));
        Ok(())
    }

    /// What poll(2) says of a descriptor now.
    fn state(&mut self, fd: BorrowedFd<'_>, asked: PollFlags) -> io::Result<PollFlags> {
        let mut state = [PollFd::from_borrowed_fd(fd, asked)];
        sys::poll(&mut state, Some(Duration::ZERO), &mut self.calls)?;
        Ok(state[0].revents())
    }
}

impl Selector for Signal {
    fn add(&mut self, key: u32, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        self.modify(key, fd, interest)
    }

    fn modify(&mut self, key: u32, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        // The waker is looked at in each wait, and whoever signals goes on doing so.
        let watched = self.everyone.key_of(fd.as_raw_fd()).is_some();
        if key == WAKER_KEY || interest == Interest::default() || watched {
            return Ok(());
        }
        self.watch(key, fd)?;
        self.everyone.add(key, fd, interest)
    }

    fn remove(&mut self, key: u32, fd: BorrowedFd<'_>) {
        self.everyone.remove(key, fd);
        self.reports.forget(key);
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        self.come_here()?;
        let timeout = match self.reports.begin(ready) || self.lost_some() {
            true => Some(Duration::ZERO),
            false => timeout,
        };
        let (signals, woken) = self.sleep(timeout)?;
        if signals {
            self.read(ready)?;
        }
        self.sweep(ready)?;
        if woken {
            ready.push(readiness(WAKER_KEY, PollFlags::IN));
        }
        Ok(())
    }

    /// A Unix-domain socket notes that a send found no room a moment after it was found: when all is read in
    /// between, nobody signals.
    fn full(&mut self, key: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
        let state = self.state(fd, PollFlags::OUT)?;
        if !state.is_empty() {
            self.reports.later(readiness(key, state));
        }
        Ok(())
    }

    fn edge_triggered(&self) -> bool {
        true
    }

    fn system_calls(&self) -> SystemCalls {
        self.calls + self.everyone.system_calls()
    }
}

impl Signal {
    /// Whether signals were lost since the last sweep.
    fn lost_some(&self) -> bool {
        let post = self.post.as_ref();
        post.is_some_and(|post| post.overflows != OVERFLOWS.get())
    }
}

/// What a wait reports, once for each descriptor.
#[derive(Debug, Default)]
struct Reports {
    /// Counts the waits.
    round: u64,
    /// The last report of each key.
    last: Vec<Report>,
    /// For the next wait.
    next: Vec<Readiness>,
    /// The list of the wait under way; kept for its memory.
    left: Vec<Readiness>,
}

/// When a descriptor was last reported.
#[derive(Clone, Copy, Debug, Default)]
struct Report {
    round: u64,
    /// Where in the list of that wait.
    place: u32,
    /// It is left for the next wait too.
    again: bool,
}

impl Reports {
    /// A wait begins, with what was left for it. Whether anything was.
    fn begin(&mut self, ready: &mut Vec<Readiness>) -> bool {
        self.round += 1;
        std::mem::swap(&mut self.left, &mut self.next);
        let left = self.left.len();
        for at in 0..left {
            self.add(self.left[at], ready);
        }
        self.left.clear();
        left != 0
    }

    /// Adds to what is reported. When something was to be read already, that may be bytes, and this the end behind
    /// them: it is to be read once more.
    fn add(&mut self, readiness: Readiness, ready: &mut Vec<Readiness>) {
        let key = readiness.key as usize;
        if self.last.len() <= key {
            self.last.resize(key + 1, Report::default());
        }
        let last = &mut self.last[key];
        if last.round != self.round {
            *last = Report {
                round: self.round,
                place: ready.len() as u32,
                again: false,
            };
            return ready.push(readiness);
        }
        let before = &mut ready[last.place as usize];
        let twice = before.readable && readiness.readable;
        before.readable |= readiness.readable;
        before.writable |= readiness.writable;
        before.ended |= readiness.ended;
        // Whoever knows of the end reads on by itself.
        if twice && !before.ended && !std::mem::replace(&mut last.again, true) {
            self.next.push(Readiness {
                writable: false,
                ..readiness
            });
        }
    }

    /// Leaves something for the next wait.
    fn later(&mut self, readiness: Readiness) {
        self.next.push(readiness);
    }

    fn forget(&mut self, key: u32) {
        self.next.retain(|readiness| readiness.key != key);
    }
}
