//! Pipes that bytes of files pass through on their way into a socket.
//!
//! ```text
//!   take ──▶ filled from a file ──▶ emptied into the socket ──▶ put, to be taken again
//!                                        └── the socket is full: kept with its bytes
//!   dropped with bytes in it: closed, so that no other send finds them
//! ```

use crate::{SystemCalls, sys};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of a pipe in bytes where the kernel grants it: the most that fs.pipe-max-size allows a process without
/// privileges by default, and what one Send moves.
const PIPE_BYTES: usize = 1024 * 1024;

/// A smaller pipe is not used. The kernel gives 64 KiB, unless the user's pipes have more pages than
/// fs.pipe-user-pages-soft (64 MiB); sendfile(2) has as much, and makes one system call instead of two.
const PIPE_BYTES_MIN: usize = 64 * 1024;

/// After the kernel has refused a pipe it is not asked again for so many: an attempt costs up to eight system
/// calls.
const REFUSED_PAUSE: u32 = 64;

/// The pipes of a driver.
#[derive(Debug)]
pub(super) struct Pipes {
    /// Empty ones.
    free: Vec<Pipe>,
    open_max: usize,
    /// For how many more it does not ask the kernel.
    pause: u32,
    count: Arc<Count>,
}

/// How many pipes there are, wherever they are, and were.
#[derive(Debug, Default)]
struct Count {
    opened: AtomicU64,
    closed: AtomicU64,
}

/// A pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    count: Arc<Count>,
}

/// A pipe that holds bytes of a file.
#[derive(Debug)]
pub(super) struct FilledPipe {
    pipe: Pipe,
    file: Arc<File>,
    /// Where the first of the bytes stands in the file.
    offset: u64,
    bytes: usize,
}

impl Pipes {
    pub(super) fn new(open_max: usize) -> Self {
        Self {
            free: Vec::new(),
            open_max,
            pause: 0,
            count: Arc::default(),
        }
    }

    /// An empty pipe; nothing when as many as may be are in use, or the kernel gives none.
    pub(super) fn take(&mut self, calls: &mut SystemCalls) -> Option<Pipe> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        if self.open_max as u64 <= self.count.open() {
            return None;
        }
        if 0 < self.pause {
            self.pause -= 1;
            return None;
        }
        let pipe = Pipe::new(&self.count, calls);
        if pipe.is_none() {
            self.pause = REFUSED_PAUSE;
        }
        pipe
    }

    /// Takes an empty pipe back.
    pub(super) fn put(&mut self, pipe: Pipe) {
        self.free.push(pipe);
    }

    /// The calls that closed pipes, in whichever place.
    pub(super) fn system_calls(&self) -> SystemCalls {
        SystemCalls {
            close: 2 * self.count.closed.load(Ordering::Relaxed),
            ..SystemCalls::default()
        }
    }
}

impl Count {
    fn open(&self) -> u64 {
        self.opened.load(Ordering::Relaxed) - self.closed.load(Ordering::Relaxed)
    }
}

impl Pipe {
    /// As large as the kernel grants; nothing without a descriptor, or when that is too small.
    fn new(count: &Arc<Count>, calls: &mut SystemCalls) -> Option<Self> {
        let (reader, writer) = sys::pipe(calls).ok()?;
        count.opened.fetch_add(1, Ordering::Relaxed);
        let pipe = Self {
            reader,
            writer,
            count: Arc::clone(count),
        };
        let mut bytes = PIPE_BYTES;
        while PIPE_BYTES_MIN <= bytes {
            if sys::set_pipe_size(pipe.writer.as_fd(), bytes, calls).is_ok() {
                return Some(pipe);
            }
            bytes /= 2;
        }
        None
    }

    /// Takes in up to `bytes_max` bytes of a file, and tells how many; 0 at its end.
    pub(super) fn fill(
        &self,
        file: &File,
        offset: u64,
        bytes_max: usize,
        calls: &mut SystemCalls,
    ) -> Result<usize, Errno> {
        sys::fill_pipe(self.writer.as_fd(), file, offset, bytes_max, calls)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.count.closed.fetch_add(1, Ordering::Relaxed);
    }
}

impl FilledPipe {
    /// What `pipe` is after it took in `bytes` bytes of `file` from `offset` on.
    pub(super) fn new(pipe: Pipe, file: Arc<File>, offset: u64, bytes: usize) -> Self {
        Self {
            pipe,
            file,
            offset,
            bytes,
        }
    }

    /// Whether it holds what comes next at this place, and the file still reaches to its last byte.
    pub(super) fn continues(&self, file: &Arc<File>, offset: u64, calls: &mut SystemCalls) -> bool {
        if !Arc::ptr_eq(&self.file, file) || self.offset != offset {
            return false;
        }
        match sys::file_size(file, calls) {
            Ok(Some(size)) => self.offset + self.bytes as u64 <= size,
            Ok(None) => true,
            Err(_) => false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// splice(2) of up to `bytes_max` bytes into a socket that is not in blocking mode.
    pub(super) fn send(
        &mut self,
        stream: BorrowedFd<'_>,
        bytes_max: usize,
        more: bool,
        calls: &mut SystemCalls,
    ) -> Result<usize, Errno> {
        let sent = sys::send_pipe(stream, self.pipe.reader.as_fd(), bytes_max, more, calls)?;
        self.offset += sent as u64;
        self.bytes -= sent;
        Ok(sent)
    }

    /// The pipe, when nothing is in it any more.
    pub(super) fn into_empty(self) -> Result<Pipe, Self> {
        match self.bytes {
            0 => Ok(self.pipe),
            _ => Err(self),
        }
    }
}
