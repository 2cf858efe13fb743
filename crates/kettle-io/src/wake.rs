//! Ending a wait from another thread.
//!
//! ```text
//!   any thread    wake(): flag false → true, then write to the eventfd, if there is one
//!   the driver    sees the eventfd readable: reads it, then flag → false
//! ```
//!
//! The flag makes all wakes but the first before a wait free of system calls. The eventfd is read
//! *before* the flag falls: a wake in between writes nothing, and is seen by the caller whose wait
//! ends just then. Reading it after would swallow the write of a newer wake and lose all that follow.

use crate::{SystemCalls, sys};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Ends the waits of one driver, from any thread. Cheap to clone; does nothing once the driver is gone.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    woken: AtomicBool,
    /// Created when the driver first waits for it.
    event: OnceLock<OwnedFd>,
    system_calls: AtomicU64,
    interrupted: AtomicBool,
    /// Which of `sockets` the driver sleeps in, as its number plus one; 0 is none.
    parked: AtomicU8,
    sockets: Mutex<[Option<Arc<OwnedFd>>; 2]>,
}

/// A socket that a blocking driver may sleep in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bed {
    Listener,
    Stream,
}

impl Waker {
    /// Ends the current wait or else the next one. Many wakes before a wait end one wait.
    ///
    /// The first wake writes to an eventfd, further ones until that wait ends cost an atomic swap. A
    /// blocking model takes notice in waits whose [`crate::Patience`] is `wakeable`.
    pub fn wake(&self) {
        if self.0.woken.swap(true, Ordering::SeqCst) {
            return;
        }
        // Pairs with the fence in `event`: either the driver sees the flag, or this sees its eventfd.
        fence(Ordering::SeqCst);
        if let Some(event) = self.0.event.get() {
            self.count();
            // The counter is full only after 2^64 - 2 writes; the descriptor is readable then too.
            let _ = sys::eventfd_write(event);
        }
    }

    /// Ends the current wait or else the next one, also on a blocking model whose [`crate::Patience`]
    /// is not `wakeable`. It is meant for stopping.
    ///
    /// A blocking model that sleeps in accept(2) or recv(2) is woken by shutdown(2) of the reading
    /// side: the Accept ends as cancelled, the Receive with the end of the stream, after bytes that
    /// were already there. From then on that driver sleeps in poll(2) only.
    pub fn interrupt(&self) {
        self.0.interrupted.store(true, Ordering::SeqCst);
        let parked = self.0.parked.load(Ordering::SeqCst);
        if parked != 0 {
            // The lock keeps the driver from closing the socket meanwhile.
            if let Some(socket) = &self.sockets()[usize::from(parked - 1)] {
                self.count();
                // A peer that has already gone leaves nothing to shut: the sleep ends by itself.
                let _ = sys::shutdown_read(socket.as_fd());
            }
        }
        self.wake();
    }

    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// The eventfd, created now if need be. Afterwards [`Waker::is_woken`] must be looked at once
    /// before sleeping: an earlier wake had nothing to write to.
    pub(crate) fn event(&self) -> io::Result<BorrowedFd<'_>> {
        let event = match self.0.event.get() {
            Some(event) => event,
            None => {
                self.count();
                let event = sys::eventfd()?;
                self.0.event.get_or_init(|| event)
            }
        };
        fence(Ordering::SeqCst);
        Ok(event.as_fd())
    }

    /// Whether there was a wake since the last [`Waker::clear`]. No system call.
    pub(crate) fn is_woken(&self) -> bool {
        self.0.woken.load(Ordering::SeqCst)
    }

    /// Takes notice of all wakes so far.
    pub(crate) fn clear(&self) {
        if let Some(event) = self.0.event.get() {
            self.count();
            // Finding it empty is no error: the waker has set the flag and not written yet.
            let _ = sys::eventfd_read(event);
        }
        self.lower();
    }

    /// Takes notice of all wakes so far, for a driver whose eventfd the kernel has read already.
    pub(crate) fn lower(&self) {
        // A swap and not a store: it makes visible what the waker did before its wake.
        self.0.woken.swap(false, Ordering::SeqCst);
    }

    /// Whether [`Waker::interrupt`] was ever called.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.0.interrupted.load(Ordering::SeqCst)
    }

    /// Lends a socket to `interrupt`, or takes it back.
    pub(crate) fn lend(&self, bed: Bed, socket: Option<Arc<OwnedFd>>) {
        self.sockets()[bed as usize] = socket;
    }

    /// Says that the driver is about to sleep in a socket. False when it must not, because it was
    /// interrupted; otherwise an interrupt from now on shuts the socket, until [`Waker::unpark`].
    pub(crate) fn park(&self, bed: Bed) -> bool {
        self.0.parked.store(bed as u8 + 1, Ordering::SeqCst);
        if self.is_interrupted() {
            self.unpark();
            return false;
        }
        true
    }

    /// The driver sleeps no longer.
    pub(crate) fn unpark(&self) {
        self.0.parked.store(0, Ordering::Release);
    }

    /// The system calls made for waking, by all threads.
    pub(crate) fn system_calls(&self) -> SystemCalls {
        SystemCalls {
            wake: self.0.system_calls.load(Ordering::Relaxed),
            ..Default::default()
        }
    }

    fn count(&self) {
        self.0.system_calls.fetch_add(1, Ordering::Relaxed);
    }

    fn sockets(&self) -> MutexGuard<'_, [Option<Arc<OwnedFd>>; 2]> {
        self.0
            .sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
