//! `epoll`: the kernel keeps the list of descriptors and of those that are ready. One thread waits
//! for all; it is told who is ready, at a cost that does not grow with those who are idle.
//!
//! `epoll_edge.rs` is the same with edges instead of levels.

use crate::ready::WAKER_KEY;
use crate::sys::{self, EpollControl};
use crate::{Interest, Readiness, Selector, SystemCalls};
use rustix::event::epoll::{Event, EventFlags};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Events that one epoll_wait(2) brings; more come with the next one.
const EVENTS_MAX: usize = 256;

/// epoll(7).
#[derive(Debug)]
pub(crate) struct Epoll {
    poller: OwnedFd,
    /// EPOLLET, or nothing for level-triggered.
    trigger: EventFlags,
    /// The keys that the kernel knows. One with no interest is taken out of the kernel's list, which
    /// would report hang-ups of it for ever.
    known: Keys,
    calls: SystemCalls,
}

impl Epoll {
    /// Level-triggered: reports whoever *is* ready.
    pub(crate) fn level() -> io::Result<Self> {
        Self::new(EventFlags::empty())
    }

    pub(super) fn new(trigger: EventFlags) -> io::Result<Self> {
        let mut calls = SystemCalls::default();
        let poller = sys::epoll_create(&mut calls)?;
        Ok(Self {
            poller,
            trigger,
            known: Keys::default(),
            calls,
        })
    }

    fn control(&mut self, key: u32, fd: BorrowedFd<'_>, control: EpollControl) -> io::Result<()> {
        sys::epoll_control(self.poller.as_fd(), fd, key, control, &mut self.calls)?;
        self.known
            .set(key, !matches!(control, EpollControl::Delete));
        Ok(())
    }

    fn flags(&self, interest: Interest) -> EventFlags {
        let mut flags = self.trigger;
        flags.set(EventFlags::IN | EventFlags::RDHUP, interest.readable);
        flags.set(EventFlags::OUT, interest.writable);
        flags
    }
}

impl Selector for Epoll {
    fn add(&mut self, key: u32, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        self.modify(key, fd, interest)
    }

    fn modify(&mut self, key: u32, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        let flags = self.flags(interest);
        match (self.known.contains(key), interest == Interest::default()) {
            (false, true) => Ok(()),
            (false, false) => self.control(key, fd, EpollControl::Add(flags)),
            (true, false) => self.control(key, fd, EpollControl::Modify(flags)),
            (true, true) => self.control(key, fd, EpollControl::Delete),
        }
    }

    fn remove(&mut self, key: u32, _fd: BorrowedFd<'_>) {
        // Closing the descriptor, which comes next, takes it out of the kernel's list.
        self.known.set(key, false);
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let mut room = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        match sys::epoll_wait(self.poller.as_fd(), &mut room, timeout, &mut self.calls) {
            Ok(events) => ready.extend(events.iter().map(readiness)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn edge_triggered(&self) -> bool {
        self.trigger.contains(EventFlags::ET)
    }

    fn system_calls(&self) -> SystemCalls {
        self.calls
    }
}

fn readiness(event: &Event) -> Readiness {
    let (flags, data) = (event.flags, event.data);
    let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
    Readiness {
        key: data.u64() as u32,
        readable: broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP),
        writable: broken || flags.contains(EventFlags::OUT),
        ended: broken || flags.contains(EventFlags::RDHUP),
    }
}

/// A set of small keys, a bit each. The waker's key is the one large one.
#[derive(Debug, Default)]
struct Keys {
    bits: Vec<u64>,
    waker: bool,
}

impl Keys {
    fn contains(&self, key: u32) -> bool {
        match self.bits.get(key as usize / 64) {
            Some(word) => word >> (key % 64) & 1 == 1,
            None => key == WAKER_KEY && self.waker,
        }
    }

    fn set(&mut self, key: u32, member: bool) {
        if key == WAKER_KEY {
            self.waker = member;
            return;
        }
        let at = key as usize / 64;
        if self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        self.bits[at] = self.bits[at] & !(1 << (key % 64)) | u64::from(member) << (key % 64);
    }
}
