//! The system calls of signal-driven I/O, which rustix lacks: one thin function each.
#![expect(unsafe_code, reason = "rustix has no signalfd(2) and no F_SETSIG")]

use crate::SystemCalls;
use libc::{c_int, signalfd_siginfo, sigset_t};
use rustix::thread::Pid;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

// fcntl(2), include/uapi/asm-generic/fcntl.h; the libc crate has them for musl only.
const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;
const F_OWNER_TID: c_int = 0;

/// What F_SETOWN_EX takes.
#[repr(C)]
struct OwnerEx {
    kind: c_int,
    id: c_int,
}

/// Signals that one read(2) of a signalfd brings; more come with the next one.
pub(super) const SIGNALS_MAX: usize = 64;

/// Room for the signals of one read.
pub(super) type Room = [MaybeUninit<signalfd_siginfo>; SIGNALS_MAX];

/// Whom a descriptor sends which signal to, when something happens on it (F_SETOWN_EX, F_SETSIG).
pub(super) fn direct(
    fd: RawFd,
    signal: c_int,
    thread: Pid,
    calls: &mut SystemCalls,
) -> io::Result<()> {
    calls.control += 2;
    let owner = OwnerEx {
        kind: F_OWNER_TID,
        id: thread.as_raw_nonzero().get(),
    };
    // SAFETY: fcntl(2) reads an owner of this layout; a number that is no descriptor is an error.
    check(unsafe { libc::fcntl(fd, F_SETOWN_EX, &raw const owner) })?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd, F_SETSIG, signal) })
}

/// Makes a descriptor send its signals (O_ASYNC).
pub(super) fn begin(fd: BorrowedFd<'_>, calls: &mut SystemCalls) -> io::Result<()> {
    calls.control += 2;
    // SAFETY: no memory is passed.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    check(flags)?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_ASYNC) })
}

/// Keeps signals from interrupting the calling thread: they wait until they are read.
pub(super) fn block(signals: &[c_int]) -> io::Result<()> {
    let set = set_of(signals);
    let none = std::ptr::null_mut();
    // SAFETY: pthread_sigmask(3) reads an initialised set; null asks for no old one.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, none) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A descriptor from which the calling thread reads its signals of these numbers (signalfd(2)).
pub(super) fn open(signals: &[c_int], calls: &mut SystemCalls) -> io::Result<OwnedFd> {
    calls.control += 1;
    let set = set_of(signals);
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: signalfd(2) reads an initialised set.
    let fd = unsafe { libc::signalfd(-1, &raw const set, flags) };
    check(fd)?;
    // SAFETY: the kernel has just made this descriptor for the caller, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The signals that wait for the calling thread, at most [`SIGNALS_MAX`]; none when there are none.
pub(super) fn read<'a>(
    queue: BorrowedFd<'_>,
    room: &'a mut Room,
    calls: &mut SystemCalls,
) -> io::Result<&'a [signalfd_siginfo]> {
    calls.wait += 1;
    let (at, len) = (room.as_mut_ptr().cast(), size_of_val(room));
    // SAFETY: read(2) writes into `room`, which is writable for its length.
    let bytes = unsafe { libc::read(queue.as_raw_fd(), at, len) };
    if bytes < 0 {
        return match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(&[]),
            error if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            error => Err(error),
        };
    }
    let count = bytes as usize / size_of::<signalfd_siginfo>();
    let read: *const signalfd_siginfo = room.as_ptr().cast();
    // SAFETY: signalfd(2) writes whole structures, and wrote so many at the start of `room`.
    Ok(unsafe { std::slice::from_raw_parts(read, count) })
}

fn set_of(signals: &[c_int]) -> sigset_t {
    let mut set = MaybeUninit::<sigset_t>::uninit();
    // SAFETY: sigemptyset(3) initialises the set that it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: it was initialised in the line above.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: the set is initialised; a number that is no signal is refused.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

fn check(result: c_int) -> io::Result<()> {
    match result {
        ..0 => Err(io::Error::last_os_error()),
        0.. => Ok(()),
    }
}
