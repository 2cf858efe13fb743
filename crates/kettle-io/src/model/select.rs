//! `select`: the thread hands the kernel two sets of descriptors, a bit each, with every wait, and
//! looks through all bits afterwards.
//!
//! The classic interface holds descriptors below FD_SETSIZE. The kernel's own call would take more;
//! the limit is kept, because it is what select(2) means in every program.

use crate::{Interest, Readiness, Selector, SystemCalls, sys};
use rustix::event::{FdSetElement, FdSetIter, fd_set_bound, fd_set_insert, fd_set_remove};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Descriptors that select(2) can watch are numbered below this (FD_SETSIZE, select(2)).
pub const FD_SETSIZE: usize = 1024;

const ELEMENTS: usize = FD_SETSIZE / (8 * size_of::<FdSetElement>());

type FdSet = [FdSetElement; ELEMENTS];

/// select(2).
pub(crate) struct Select {
    readable: FdSet,
    writable: FdSet,
    /// The key of each descriptor number.
    keys: Box<[u32; FD_SETSIZE]>,
    calls: SystemCalls,
}

impl Select {
    pub(crate) fn new() -> Self {
        Self {
            readable: FdSet::default(),
            writable: FdSet::default(),
            keys: Box::new([0; FD_SETSIZE]),
            calls: SystemCalls::default(),
        }
    }
}

impl Selector for Select {
    fn add(&mut self, key: u32, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        let number = fd.as_raw_fd();
        if FD_SETSIZE <= number as usize {
            let text = format!(
                "select(2) takes descriptors below FD_SETSIZE = {FD_SETSIZE}, and this one is {number}"
            );
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        }
        self.keys[number as usize] = key;
        self.modify(key, fd, interest)
    }

    fn modify(&mut self, _key: u32, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        set(&mut self.readable, fd, interest.readable);
        set(&mut self.writable, fd, interest.writable);
        Ok(())
    }

    fn remove(&mut self, _key: u32, fd: BorrowedFd<'_>) {
        set(&mut self.readable, fd, false);
        set(&mut self.writable, fd, false);
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        // The kernel overwrites the sets, so it gets copies.
        let (mut readable, mut writable) = (self.readable, self.writable);
        let bound = fd_set_bound(&readable).max(fd_set_bound(&writable));
        match sys::select(
            bound,
            &mut readable,
            &mut writable,
            timeout,
            &mut self.calls,
        ) {
            Ok(0) | Err(Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let found = |number: i32, readable, writable| {
            let key = self.keys[number as usize];
            Readiness {
                key,
                readable,
                writable,
                ended: false,
            }
        };
        ready.extend(FdSetIter::new(&readable).map(|number| found(number, true, false)));
        ready.extend(FdSetIter::new(&writable).map(|number| found(number, false, true)));
        Ok(())
    }

    fn system_calls(&self) -> SystemCalls {
        self.calls
    }
}

fn set(set: &mut FdSet, fd: BorrowedFd<'_>, member: bool) {
    match member {
        true => fd_set_insert(set, fd.as_raw_fd()),
        false => fd_set_remove(set, fd.as_raw_fd()),
    }
}
