//! `poll`: the thread hands the kernel the whole list of descriptors with every wait, and the kernel
//! looks at each. Simple and without a limit of its own; the cost grows with those who are idle.

use crate::{Interest, Readiness, Selector, SystemCalls, sys};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// poll(2).
#[derive(Debug, Default)]
pub(crate) struct Poll {
    /// What the kernel is handed; only descriptors with an interest.
    fds: Vec<PollFd<'static>>,
    /// The key of each of `fds`.
    keys: Vec<u32>,
    /// Where each descriptor stands in `fds`, by its number. Not looked at in a wait.
    places: Vec<u32>,
    calls: SystemCalls,
}

/// The place of a descriptor that is not watched: beyond all others.
const NOWHERE: u32 = u32::MAX;

impl Poll {
    fn place(&mut self, fd: BorrowedFd<'_>) -> &mut u32 {
        let number = fd.as_raw_fd() as usize;
        if self.places.len() <= number {
            self.places.resize(number + 1, NOWHERE);
        }
        &mut self.places[number]
    }

    /// The key of a descriptor that is watched.
    pub(super) fn key_of(&self, fd: RawFd) -> Option<u32> {
        let place = self.places.get(fd as usize)?;
        self.keys.get(*place as usize).copied()
    }

    /// All descriptors that are watched.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.fds.iter().map(AsFd::as_fd)
    }

    fn take_out(&mut self, fd: BorrowedFd<'_>) {
        let place = mem::replace(self.place(fd), NOWHERE);
        if place == NOWHERE {
            return;
        }
        self.keys.swap_remove(place as usize);
        self.fds.swap_remove(place as usize);
        if let Some(moved) = self.fds.get(place as usize) {
            self.places[moved.as_fd().as_raw_fd() as usize] = place;
        }
    }
}

impl Selector for Poll {
    fn add(&mut self, key: u32, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        self.modify(key, fd, interest)
    }

    fn modify(&mut self, key: u32, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        if interest == Interest::default() {
            // A descriptor that nothing is wanted of would still report its hang-up, again and again.
            self.take_out(fd);
            return Ok(());
        }
        let (entry, next) = (poll_fd(fd, interest), self.fds.len());
        match self.place(fd) {
            place if *place == NOWHERE => {
                *place = next as u32;
                self.fds.push(entry);
                self.keys.push(key);
            }
            place => {
                let place = *place as usize;
                self.fds[place] = entry;
            }
        }
        Ok(())
    }

    fn remove(&mut self, _key: u32, fd: BorrowedFd<'_>) {
        self.take_out(fd);
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let count = match sys::poll(&mut self.fds, timeout, &mut self.calls) {
            Ok(count) => count,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let found = self
            .fds
            .iter()
            .zip(&self.keys)
            .filter(|(fd, _)| !fd.revents().is_empty());
        ready.extend(
            found
                .take(count)
                .map(|(fd, key)| readiness(*key, fd.revents())),
        );
        Ok(())
    }

    fn system_calls(&self) -> SystemCalls {
        self.calls
    }
}

#[expect(
    unsafe_code,
    reason = "the list outlives the borrow of each descriptor"
)]
fn poll_fd(fd: BorrowedFd<'_>, interest: Interest) -> PollFd<'static> {
    // SAFETY: a selector's caller removes a descriptor before closing it (`Selector::remove`), and
    // the only caller of this private type, `Ready`, does. The number is only handed to poll(2).
    let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN | PollFlags::RDHUP, interest.readable);
    flags.set(PollFlags::OUT, interest.writable);
    PollFd::from_borrowed_fd(fd, flags)
}

/// What poll(2)'s flags say; the signals of signal-driven I/O carry the same.
pub(super) fn readiness(key: u32, flags: PollFlags) -> Readiness {
    let broken = flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
    Readiness {
        key,
        readable: broken || flags.intersects(PollFlags::IN | PollFlags::RDHUP),
        writable: broken || flags.contains(PollFlags::OUT),
        ended: broken || flags.contains(PollFlags::RDHUP),
    }
}
