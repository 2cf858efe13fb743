//! The two queues that are shared with the kernel: requests in, completions out.
//!
//! What a request points to is the business of whoever makes it.
#![expect(unsafe_code, reason = "the kernel reads requests from shared memory")]

use super::features::{self, UringFeatures};
use crate::{OpKind, SystemCalls};
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{Builder, EnterFlags, IoUring, cqueue, register, squeue};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

/// Requests that one io_uring_enter(2) hands over. 512 of 64 bytes each; more go in several calls.
const REQUESTS_MAX: u32 = 512;

/// Completions that have a place in the shared queue; the kernel keeps what goes beyond. 16 bytes each.
const COMPLETIONS_MAX: u32 = 4096;

/// Completions that one wait looks at; more stay for the next. As many as one epoll_wait(2) brings.
const TURN_MAX: usize = 256;

/// The longest sleep; a longer wait sleeps several times. The kernel's clock counts nanoseconds in 64
/// bits, which a far time-out would exceed.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Who a completion is for, as it travels through the kernel (user_data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// An operation of the socket of this key.
    Op(OpKind, u32),
    /// A send that lends its memory, by its number among those.
    Lending(u32),
    /// The read of the waker's eventfd.
    Bell,
    /// A request to cancel another.
    Cancel,
}

impl Name {
    pub(super) fn to_u64(self) -> u64 {
        let (number, key) = match self {
            Name::Op(OpKind::Accept, key) => (0, key),
            Name::Op(OpKind::Connect, key) => (1, key),
            Name::Op(OpKind::Receive, key) => (2, key),
            Name::Op(OpKind::Send, key) => (3, key),
            Name::Bell => (4, 0),
            Name::Cancel => (5, 0),
            Name::Lending(number) => (6, number),
        };
        number << 32 | u64::from(key)
    }

    pub(super) fn from_u64(data: u64) -> Self {
        let key = data as u32;
        match data >> 32 {
            0 => Name::Op(OpKind::Accept, key),
            1 => Name::Op(OpKind::Connect, key),
            2 => Name::Op(OpKind::Receive, key),
            3 => Name::Op(OpKind::Send, key),
            4 => Name::Bell,
            6 => Name::Lending(key),
            _ => Name::Cancel,
        }
    }
}

/// io_uring(7).
pub(super) struct Ring {
    inner: IoUring,
    features: UringFeatures,
    /// It begins disabled, so that the thread that first waits becomes its only one.
    enabled: bool,
    /// Requests that found no place in the queue, oldest first.
    waiting: Vec<squeue::Entry>,
    /// Requests without their last completion.
    in_flight: usize,
    pub(super) calls: SystemCalls,
}

impl Ring {
    /// A ring with those of the wanted features that the kernel has.
    pub(super) fn new(wanted: UringFeatures) -> io::Result<Self> {
        let mut calls = SystemCalls::default();
        let (inner, mut features) = set_up(wanted, &mut calls)?;
        let mut probe = register::Probe::new();
        calls.control += 1;
        inner.submitter().register_probe(&mut probe)?;
        features::check(inner.params(), &probe)?;
        let (accept, receive) = features::multishot(&probe);
        features.multishot_accept = wanted.multishot_accept && accept;
        features.multishot_receive = wanted.multishot_receive && receive;
        features.zero_copy = wanted.zero_copy && features::zero_copy(&probe);
        Ok(Self {
            inner,
            features,
            enabled: false,
            waiting: Vec::new(),
            in_flight: 0,
            calls,
        })
    }

    pub(super) fn features(&self) -> UringFeatures {
        self.features
    }

    /// Whether nothing is in the kernel's hands.
    pub(super) fn is_idle(&self) -> bool {
        !self.enabled || self.in_flight == 0
    }

    /// Puts a request into the queue; [`Ring::enter`] hands it over.
    ///
    /// # Safety
    /// What the entry points to stays where it is until the request's last completion, and is not
    /// looked at meanwhile if the kernel writes to it, or written to if the kernel reads it.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry, name: Name) {
        self.in_flight += 1;
        let entry = entry.user_data(name.to_u64());
        if !self.waiting.is_empty() || !push(&mut self.inner.submission(), &entry) {
            self.waiting.push(entry);
        }
    }

    /// Registers `count` entries of a buffer ring at this address as group 0. The features say
    /// afterwards whether it is there, and whether buffers are used incrementally.
    ///
    /// # Safety
    /// The entries live as long as the ring, are aligned to a page, and all access to them is atomic.
    pub(super) unsafe fn register_buffers(
        &mut self,
        address: u64,
        count: u16,
        wanted: UringFeatures,
    ) {
        for incremental in [true, false] {
            if incremental && !wanted.incremental {
                continue;
            }
            let flags = if incremental { INCREMENTAL } else { 0 };
            self.calls.control += 1;
            let submitter = self.inner.submitter();
            // SAFETY: the caller upholds what is asked for.
            let done = unsafe { submitter.register_buf_ring_with_flags(address, count, 0, flags) };
            if done.is_ok() {
                (self.features.buffer_ring, self.features.incremental) = (true, incremental);
                return;
            }
        }
    }

    /// Hands over all requests, and sleeps until there is a completion or the time has passed:
    /// `None` is for ever, zero does not sleep. It may return early.
    pub(super) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.enabled {
            self.calls.control += 1;
            self.inner.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        while self.refill() {
            if !self.call(Some(Duration::ZERO))? {
                return Ok(());
            }
        }
        self.call(timeout).map(drop)
    }

    /// Moves completions out of the queue, until there are [`TURN_MAX`].
    pub(super) fn reap(&mut self, into: &mut VecDeque<cqueue::Entry>) {
        let room = TURN_MAX.saturating_sub(into.len());
        for entry in self.inner.completion().by_ref().take(room) {
            self.in_flight -= usize::from(!cqueue::more(entry.flags()));
            into.push_back(entry);
        }
    }

    /// Moves waiting requests into the queue. Whether some are left.
    fn refill(&mut self) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let mut queue = self.inner.submission();
        let taken = self
            .waiting
            .iter()
            .take_while(|entry| push(&mut queue, entry));
        let taken = taken.count();
        drop(queue);
        self.waiting.drain(..taken);
        !self.waiting.is_empty()
    }

    /// io_uring_enter(2). False when the kernel could not take the requests now.
    fn call(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let requests = self.inner.submission().len() as u32;
        let completions = u32::from(timeout != Some(Duration::ZERO));
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        let time = timeout.map(|timeout| Timespec::from(timeout.min(SLEEP_MAX)));
        let mut args = SubmitArgs::new();
        if let Some(time) = &time
            && 0 < completions
        {
            args = args.timespec(time);
        }
        self.calls.enter += 1;
        let submitter = self.inner.submitter();
        // SAFETY: the flags announce arguments of this type, which live until the call returns.
        let done = unsafe { submitter.enter(requests, completions, flags.bits(), Some(&args)) };
        match done.as_ref().err().and_then(Errno::from_io_error) {
            None => done.map(|_| true),
            Some(Errno::TIME | Errno::INTR) => Ok(true),
            // Completions must be taken first, or memory is short for a moment.
            Some(Errno::BUSY | Errno::AGAIN) => Ok(false),
            Some(Errno::EXIST) => Err(io::Error::other(
                "a driver of uring belongs to the thread that first waited with it",
            )),
            Some(error) => Err(error.into()),
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("features", &self.features)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

/// Takes over the connection that an accept brought.
///
/// # Safety
/// The number is the result of an accept, taken over once.
pub(super) unsafe fn adopt(number: i32) -> OwnedFd {
    // SAFETY: the kernel has opened it for us, and by the caller nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// IOU_PBUF_RING_INC of `linux/io_uring.h`.
const INCREMENTAL: u16 = 2;

/// False when the queue is full.
fn push(queue: &mut io_uring::SubmissionQueue<'_>, entry: &squeue::Entry) -> bool {
    // SAFETY: by the contract of `Ring::push`, through which every entry comes, what it points to
    // stays valid until its last completion.
    unsafe { queue.push(entry) }.is_ok()
}

/// The ring itself, with as much saving of interrupts as the kernel has.
fn set_up(wanted: UringFeatures, calls: &mut SystemCalls) -> io::Result<(IoUring, UringFeatures)> {
    let mut error = None;
    for (deferred, cooperative) in [(true, false), (false, true), (false, false)] {
        if (deferred && !wanted.deferred) || (cooperative && !wanted.cooperative) {
            continue;
        }
        let mut builder: Builder = IoUring::builder();
        builder.setup_r_disabled().setup_cqsize(COMPLETIONS_MAX);
        if deferred {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        if cooperative {
            builder.setup_coop_taskrun();
        }
        calls.control += 1;
        match builder.build(REQUESTS_MAX) {
            Ok(ring) => {
                let found = UringFeatures {
                    deferred,
                    cooperative,
                    ..UringFeatures::NONE
                };
                return Ok((ring, found));
            }
            Err(refused) => error = Some(refused),
        }
    }
    let error = error.unwrap_or_else(|| io::ErrorKind::Unsupported.into());
    Err(features::refused(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_way_through_the_kernel() {
        let kinds = [
            OpKind::Accept,
            OpKind::Connect,
            OpKind::Receive,
            OpKind::Send,
        ];
        let names = kinds.map(|kind| Name::Op(kind, u32::MAX - 7));
        for name in names.into_iter().chain([Name::Bell, Name::Cancel]) {
            assert_eq!(Name::from_u64(name.to_u64()), name);
        }
    }
}
