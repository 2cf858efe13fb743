//! Sending a payload: memory by send(2) and sendmsg(2), file regions by the strategy in force.
//!
//! Nothing here waits. `send/file.rs` has the strategies, `send/pipe.rs` the pipes of one of them,
//! `send/zero_copy.rs` what becomes of memory that is not copied, `send/leaving.rs` what becomes of a socket
//! that has lent such memory when it is closed.

mod file;
mod leaving;
mod pipe;
mod zero_copy;

pub(crate) use leaving::LEAVING_CHECK;

use crate::transfer::Transfer;
use crate::{DriverConfig, FileStrategy, SystemCalls, sys};
use kettle_buf::Payload;
use leaving::Leaving;
use pipe::{FilledPipe, Pipes};
use rustix::io::Errno;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::{Add, AddAssign};
use std::os::fd::BorrowedFd;
use zero_copy::ZeroCopy;

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
    /// Bytes of memory that were sent without copying them ([`DriverConfig::zero_copy_bytes_min`]).
    pub zero_copy_bytes: u64,
    /// Notices that the kernel has copied them all the same. The connection sends no more in this way.
    pub zero_copy_copied: u64,
    /// Sends of memory, large enough for it, that were copied: because of such a notice, or because the model
    /// or the socket cannot do without, or the kernel had no room for the notice.
    pub zero_copy_fallbacks: u64,
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
            zero_copy_bytes: self.zero_copy_bytes + other.zero_copy_bytes,
            zero_copy_copied: self.zero_copy_copied + other.zero_copy_copied,
            zero_copy_fallbacks: self.zero_copy_fallbacks + other.zero_copy_fallbacks,
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
    zero_copy_bytes_min: Option<usize>,
    /// Whether the model looks at the error queues of its sockets.
    sees_notices: bool,
    leaving: Leaving,
    pub(crate) stats: SendStats,
}

impl Sender {
    pub(crate) fn new(config: &DriverConfig) -> Self {
        Self {
            strategy: config.file_strategy,
            pipes: Pipes::new(config.pipes_max),
            buffer: Vec::new(),
            zero_copy_bytes_min: config.zero_copy_bytes_min,
            sees_notices: false,
            leaving: Leaving::default(),
            stats: SendStats::default(),
        }
    }

    /// Whether so many bytes of memory are to be sent without copying them.
    pub(crate) fn is_worth_lending(&self, bytes: u64) -> bool {
        self.zero_copy_bytes_min
            .is_some_and(|min| min as u64 <= bytes)
    }

    /// For a model that serves a socket when there is something in its error queue.
    pub(crate) fn seeing_notices(self) -> Self {
        Self {
            sees_notices: true,
            ..self
        }
    }

    /// What was made beside the calls of the driver's own count.
    pub(crate) fn system_calls(&self) -> SystemCalls {
        self.pipes.system_calls()
    }
}

/// What a socket keeps from one send to the next.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Bytes of the file that is at the front of what is left of the payload.
    pipe: Option<FilledPipe>,
    zero_copy: ZeroCopy,
}

impl Kept {
    /// Sends whose memory the kernel may still use.
    pub(crate) fn lent(&self) -> usize {
        self.zero_copy.lent()
    }

    /// Closes the pipe, with what is in it.
    pub(crate) fn forget_pipe(kept: &mut Option<Box<Self>>) {
        Self::take_pipe(kept);
    }

    fn take_pipe(kept: &mut Option<Box<Self>>) -> Option<FilledPipe> {
        let it = kept.as_mut()?;
        let pipe = it.pipe.take();
        if it.zero_copy.is_new() {
            *kept = None;
        }
        pipe
    }
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

    fn may_lend(&mut self, calls: &mut SystemCalls) -> bool {
        let kept = self.kept.get_or_insert_default();
        kept.zero_copy.is_permitted(self.stream, calls)
    }

    fn take_pipe(&mut self) -> Option<FilledPipe> {
        Kept::take_pipe(self.kept)
    }

    fn keep_pipe(&mut self, pipe: FilledPipe) {
        self.kept.get_or_insert_default().pipe = Some(pipe);
    }
}

/// How far a send came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) bytes: u64,
    /// The socket has no room left: wait until it is writable.
    pub(crate) full: bool,
    /// The kernel still uses memory of it.
    pub(crate) lent: bool,
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
        let (mut bytes, mut full, mut lent) = (0, false, Vec::new());
        while !payload.is_empty() && bytes + STEP_BYTES_MIN <= SEND_BYTES_MAX {
            match self.send_piece(outlet, payload) {
                Ok(step) => {
                    match step.lent {
                        true => lent.push(payload.cut(step.bytes)),
                        false => payload.advance(step.bytes),
                    }
                    self.sent_bytes += step.bytes;
                    bytes += step.bytes;
                    full = step.full;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => full = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A file that has ended once may have been changed altogether.
                Err(error)
                    if bytes == 0
                        || (error.kind() == ErrorKind::UnexpectedEof && lent.is_empty()) =>
                {
                    return Err(error);
                }
                Err(_) => break,
            }
            if full {
                break;
            }
        }
        let progress = Progress {
            bytes,
            full,
            lent: !lent.is_empty(),
        };
        if progress.lent {
            outlet.kept.get_or_insert_default().zero_copy.lend(lent);
        }
        Ok(progress)
    }

    fn send_piece(&mut self, outlet: &mut Outlet<'_>, payload: &Payload) -> io::Result<Progress> {
        if let Some(region) = payload.front_region() {
            return self.send_region(outlet, region, payload.len());
        }
        // The bytes in the pipe belong to a payload that nobody has gone on with.
        drop(outlet.take_pipe());
        if self.sender.is_worth_lending(payload.len()) {
            return Ok(self.lend_memory(outlet, payload)?);
        }
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
            lent: false,
        })
    }

    /// The same without copying, when there is enough memory before the next file and the socket can.
    fn lend_memory(
        &mut self,
        outlet: &mut Outlet<'_>,
        payload: &Payload,
    ) -> Result<Progress, Errno> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = payload.io_slices(&mut slices);
        let slices = &slices[..count];
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        if !self.sender.is_worth_lending(offered as u64) {
            return self.send_memory(outlet.stream, payload);
        }
        if self.sender.sees_notices && outlet.may_lend(&mut self.calls) {
            let more = (offered as u64) < payload.len();
            match sys::send_lent(outlet.stream, slices, more, &mut self.calls) {
                Ok(sent) => {
                    self.sender.stats.zero_copy_bytes += sent as u64;
                    return Ok(Progress {
                        bytes: sent as u64,
                        full: sent < offered,
                        lent: true,
                    });
                }
                // Too many notices wait, or too much memory is lent.
                Err(Errno::NOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
        self.sender.stats.zero_copy_fallbacks += 1;
        self.send_memory(outlet.stream, payload)
    }

    /// Reads what the kernel says of the memory that it was lent. How many sends it is done with.
    pub(crate) fn collect(&mut self, stream: BorrowedFd<'_>, kept: &mut Kept) -> usize {
        let releases = kept.zero_copy.collect(stream, &mut self.calls);
        self.sender.stats.zero_copy_copied += releases.copied;
        releases.sends
    }
}
