//! Sending a payload: memory by send(2) and sendmsg(2), file regions by the strategy in force.
//!
//! Nothing here waits. `send/file.rs` has the strategies, `send/pipe.rs` the pipes of one of them.

mod file;
mod pipe;

use crate::transfer::Transfer;
use crate::{DriverConfig, FileStrategy, SystemCalls, sys};
use kettle_buf::Payload;
use pipe::{FilledPipe, Pipes};
use rustix::io::Errno;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::{Add, AddAssign};
use std::os::fd::BorrowedFd;

/// Pieces of memory that one sendmsg(2) takes; far below the kernel's UIO_MAXIOV of 1024, because one
/// more vector costs 40 ns and large pieces fill the socket long before.
pub(crate) const SLICES_MAX: usize = 64;

/// One Send goes on until it has sent this many bytes, so that a fast reader of a large file cannot keep the
/// loop to itself. A step of it sends no more of a file. 1 MiB: the largest frame of the native protocol,
/// some 100 µs.
const SEND_BYTES_MAX: u64 = 1024 * 1024;

/// A Send does not go on for fewer bytes than this: a page, which a pipe of 1 MiB has too little room for
/// when the file is not sent from the start of a page on. The next send begins at one.
const STEP_BYTES_MIN: u64 = 4096;

/// How the bytes of a driver's sends left, and how often not in the way that was asked for. What is not
/// listed was sent from memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendStats {
    /// Bytes of files that were sent by splice(2).
    pub splice_bytes: u64,
    /// Bytes of files that were sent by sendfile(2).
    pub sendfile_bytes: u64,
    /// Bytes of files that were sent from a mapping.
    pub mmap_bytes: u64,
    /// Bytes of files that were read into a buffer and sent from there.
    pub copy_bytes: u64,
    /// Parts of files that went by sendfile(2) because there was no pipe for splice(2).
    pub pipe_fallbacks: u64,
    /// Parts of files that were copied because the strategy cannot read their file.
    pub strategy_fallbacks: u64,
}

impl Add for SendStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            splice_bytes: self.splice_bytes + other.splice_bytes,
            sendfile_bytes: self.sendfile_bytes + other.sendfile_bytes,
            mmap_bytes: self.mmap_bytes + other.mmap_bytes,
            copy_bytes: self.copy_bytes + other.copy_bytes,
            pipe_fallbacks: self.pipe_fallbacks + other.pipe_fallbacks,
            strategy_fallbacks: self.strategy_fallbacks + other.strategy_fallbacks,
        }
    }
}

impl AddAssign for SendStats {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What a driver sends with.
#[derive(Debug)]
pub(crate) struct Sender {
    strategy: FileStrategy,
    pipes: Pipes,
    /// What files are copied through; empty until one is.
    buffer: Vec<u8>,
    pub(crate) stats: SendStats,
}

impl Sender {
    pub(crate) fn new(config: &DriverConfig) -> Self {
        Self {
            strategy: config.file_strategy,
            pipes: Pipes::new(config.pipes_max),
            buffer: Vec::new(),
            stats: SendStats::default(),
        }
    }

    /// What was made beside the calls of the driver's own count.
    pub(crate) fn system_calls(&self) -> SystemCalls {
        self.pipes.system_calls()
    }
}

/// What a socket keeps from one send to the next.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Bytes of the file that is at the front of what is left of the payload.
    pipe: FilledPipe,
}

/// Where a payload goes: a socket, for the time of one send.
#[derive(Debug)]
pub(crate) struct Outlet<'a> {
    stream: BorrowedFd<'a>,
    /// The socket is in blocking mode, in which splice(2) and sendfile(2) would wait.
    blocking: bool,
    kept: &'a mut Option<Box<Kept>>,
}

impl<'a> Outlet<'a> {
    /// With `blocking` the socket is in blocking mode.
    pub(crate) fn new(
        stream: BorrowedFd<'a>,
        blocking: bool,
        kept: &'a mut Option<Box<Kept>>,
    ) -> Self {
        Self {
            stream,
            blocking,
            kept,
        }
    }

    /// Leaves blocking mode, for the rest of the send.
    fn leave_blocking(&mut self, calls: &mut SystemCalls) -> Result<(), Errno> {
        if self.blocking {
            sys::set_nonblocking(self.stream, true, calls)?;
            self.blocking = false;
        }
        Ok(())
    }

    fn take_pipe(&mut self) -> Option<FilledPipe> {
        self.kept.take().map(|kept| kept.pipe)
    }

    fn keep_pipe(&mut self, pipe: FilledPipe) {
        *self.kept = Some(Box::new(Kept { pipe }));
    }
}

/// How far a send came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) bytes: u64,
    /// The socket has no room left: wait until it is writable.
    pub(crate) full: bool,
}

impl Transfer {
    /// Sends the front of `payload` until the socket is full, and takes it off.
    ///
    /// An error after some bytes were sent is left for the next send to find.
    pub(crate) fn send(
        &mut self,
        mut outlet: Outlet<'_>,
        payload: &mut Payload,
    ) -> io::Result<Progress> {
        let was_blocking = outlet.blocking;
        let sent = self.send_pieces(&mut outlet, payload);
        if was_blocking && !outlet.blocking {
            sys::set_nonblocking(outlet.stream, false, &mut self.calls)?;
        }
        sent
    }

    fn send_pieces(
        &mut self,
        outlet: &mut Outlet<'_>,
        payload: &mut Payload,
    ) -> io::Result<Progress> {
        let mut bytes = 0;
        while !payload.is_empty() && bytes + STEP_BYTES_MIN <= SEND_BYTES_MAX {
            match self.send_piece(outlet, payload) {
                Ok(step) => {
                    payload.advance(step.bytes);
                    self.sent_bytes += step.bytes;
                    bytes += step.bytes;
                    if step.full {
                        return Ok(Progress { bytes, full: true });
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress { bytes, full: true });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A file that has ended once may have been changed altogether.
                Err(error) if bytes == 0 || error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(error);
                }
                Err(_) => break,
            }
        }
        Ok(Progress { bytes, full: false })
    }

    fn send_piece(&mut self, outlet: &mut Outlet<'_>, payload: &Payload) -> io::Result<Progress> {
        if let Some(region) = payload.front_region() {
            return self.send_region(outlet, region, payload.len());
        }
        // The bytes in the pipe belong to a payload that nobody has gone on with.
        drop(outlet.take_pipe());
        Ok(self.send_memory(outlet.stream, payload)?)
    }

    fn send_memory(
        &mut self,
        stream: BorrowedFd<'_>,
        payload: &Payload,
    ) -> Result<Progress, Errno> {
        let (sent, offered) = match payload.as_slice() {
            Some(bytes) => (
                sys::send(stream, bytes, false, &mut self.calls)?,
                bytes.len(),
            ),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = payload.io_slices(&mut slices);
                let slices = &slices[..count];
                let offered = slices.iter().map(|slice| slice.len()).sum();
                // What follows, mostly a file, shares the last packet.
                let more = (offered as u64) < payload.len();
                (
                    sys::send_vectored(stream, slices, more, &mut self.calls)?,
                    offered,
                )
            }
        };
        Ok(Progress {
            bytes: sent as u64,
            full: sent < offered,
        })
    }
}
