//! Sending memory without copying it (MSG_ZEROCOPY), in two steps.
//!
//! ```text
//!   send ── the kernel points to the memory ──▶ Sent ─ ─ the peer has it, or it was copied ─ ─▶ Released
//!           Lent keeps the memory as it is   ◀──────────────────── a notice in the error queue ┘
//! ```

use crate::SystemCalls;
use crate::sys::{self, Notice};
use kettle_buf::Payload;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

/// A socket's zero-copy sends.
#[derive(Debug, Default)]
pub(super) struct ZeroCopy {
    permit: Permit,
    /// The number that the kernel gives to the next send.
    next: u32,
    /// Sends whose memory it has, oldest first.
    lent: VecDeque<Lent>,
}

/// Whether a socket sends without copying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Permit {
    #[default]
    NotAsked,
    Given,
    /// The socket cannot, or the kernel has copied all the same: then it is cheaper to let it.
    Refused,
}

/// What one [`crate::Op::Send`] has lent to the kernel.
#[derive(Debug)]
struct Lent {
    /// The number of the first of its system calls; the others follow.
    first: u32,
    /// How many there are.
    count: u32,
    /// How many the kernel is not done with.
    outstanding: u32,
    /// Only to be kept as it is.
    _memory: Vec<Payload>,
}

/// What the error queue has told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Releases {
    /// Sends that the kernel is done with.
    pub(super) sends: usize,
    /// Notices that the bytes were copied.
    pub(super) copied: u64,
}

impl ZeroCopy {
    /// Whether the socket sends without copying. Asks the kernel the first time.
    pub(super) fn is_permitted(&mut self, stream: BorrowedFd<'_>, calls: &mut SystemCalls) -> bool {
        if self.permit == Permit::NotAsked {
            self.permit = match sys::allow_zero_copy(stream, calls) {
                Ok(()) => Permit::Given,
                Err(_) => Permit::Refused,
            };
        }
        self.permit == Permit::Given
    }

    /// Keeps what one Send has lent, a piece for each system call.
    pub(super) fn lend(&mut self, memory: Vec<Payload>) {
        let count = memory.len() as u32;
        if 0 < count {
            self.lent.push_back(Lent {
                first: self.next,
                count,
                outstanding: count,
                _memory: memory,
            });
            self.next = self.next.wrapping_add(count);
        }
    }

    /// Sends that have not been released.
    pub(super) fn lent(&self) -> usize {
        self.lent.len()
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_new(&self) -> bool {
        self.permit == Permit::NotAsked
    }

    /// Reads the notices in the error queue.
    pub(super) fn collect(&mut self, stream: BorrowedFd<'_>, calls: &mut SystemCalls) -> Releases {
        let mut releases = Releases::default();
        while !self.lent.is_empty() {
            match sys::notice(stream, calls) {
                Ok(Some(notice)) => {
                    releases.copied += u64::from(notice.copied);
                    releases.sends += self.take(notice);
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        releases
    }

    /// Drops what a notice releases. How many sends that ends.
    fn take(&mut self, notice: Notice) -> usize {
        if notice.copied {
            self.permit = Permit::Refused;
        }
        let before = self.lent.len();
        for lent in &mut self.lent {
            lent.outstanding -= lent.overlap(notice);
        }
        self.lent.retain(|lent| 0 < lent.outstanding);
        before - self.lent.len()
    }
}

impl Lent {
    /// How many of its calls a notice is about. Numbers start again at 0 after 2^32.
    fn overlap(&self, notice: Notice) -> u32 {
        let noticed = |number: u32| {
            number.wrapping_sub(notice.first) <= notice.last.wrapping_sub(notice.first)
        };
        let numbers = (0..self.count).map(|n| self.first.wrapping_add(n));
        numbers.filter(|number| noticed(*number)).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lend(zero_copy: &mut ZeroCopy, calls: usize) {
        zero_copy.lend((0..calls).map(|_| vec![0; 10].into()).collect());
    }

    fn notice(first: u32, last: u32) -> Notice {
        Notice {
            first,
            last,
            copied: false,
        }
    }

    #[test]
    fn a_send_is_released_when_all_its_calls_are() {
        let mut zero_copy = ZeroCopy {
            permit: Permit::Given,
            // The second send goes beyond the last number.
            next: u32::MAX - 2,
            ..ZeroCopy::default()
        };
        lend(&mut zero_copy, 2);
        lend(&mut zero_copy, 0);
        lend(&mut zero_copy, 3);
        assert_eq!((zero_copy.next, zero_copy.lent()), (2, 2));
        assert_eq!(zero_copy.take(notice(u32::MAX - 1, u32::MAX)), 0);
        assert_eq!(zero_copy.take(notice(1, 1)), 0);
        assert_eq!(
            zero_copy.take(notice(0, 0)),
            1,
            "the second before the first"
        );
        assert_eq!(zero_copy.permit, Permit::Given);
        let copied = Notice {
            copied: true,
            ..notice(u32::MAX - 2, u32::MAX - 2)
        };
        assert_eq!(zero_copy.take(copied), 1);
        assert_eq!((zero_copy.permit, zero_copy.lent()), (Permit::Refused, 0));
    }
}
