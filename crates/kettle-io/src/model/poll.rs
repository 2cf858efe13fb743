//! `poll`: the thread hands the kernel the whole list of descriptors with every wait, and the kernel
//! looks at each. Simple and without a limit of its own; the cost grows with those who are idle.

use crate::{Interest, Readiness, Selector, SystemCalls, sys};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// poll(2).
#[derive(Debug, Default)]
pub(crate) struct Poll {
    /// What the kernel is handed; only descriptors with an interest.
    fds: Vec<PollFd<'static>>,
    /// The key of each of `fds`.
    keys: Vec<u32>,
    /// Where each key stands in `fds`. Not looked at in a wait.
    places: HashMap<u32, usize>,
    calls: SystemCalls,
}

impl Poll {
    fn take_out(&mut self, key: u32) {
        if let Some(place) = self.places.remove(&key) {
            self.fds.swap_remove(place);
            self.keys.swap_remove(place);
            if let Some(moved) = self.keys.get(place) {
                self.places.insert(*moved, place);
            }
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
            self.take_out(key);
            return Ok(());
        }
        let entry = poll_fd(fd, interest);
        match self.places.get(&key) {
            Some(place) => self.fds[*place] = entry,
            None => {
                self.places.insert(key, self.fds.len());
                self.fds.push(entry);
                self.keys.push(key);
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: u32, _fd: BorrowedFd<'_>) {
        self.take_out(key);
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
