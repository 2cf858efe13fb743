//! Moving bytes between a socket and the pool or a payload: what all models share.
//!
//! Nothing here waits, except a receive without DONTWAIT on a socket in blocking mode.

use crate::{Address, DriverStats, SystemCalls, sys};
use bytes::BytesMut;
use kettle_buf::{FileRegion, LargeBuffer, Payload, Pool, PoolConfig, Segment};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Pieces of memory that one sendmsg(2) takes; far below the kernel's UIO_MAXIOV of 1024, because one
/// more vector costs 40 ns and large pieces fill the socket long before.
pub(crate) const SLICES_MAX: usize = 64;

/// One Send stops after this many bytes, so that a fast reader of a large file cannot keep the loop to
/// itself. 1 MiB: the largest frame of the native protocol, some 100 µs.
const SEND_BYTES_MAX: u64 = 1024 * 1024;

/// Buffer for files that sendfile(2) cannot read, in bytes, on the stack.
const COPY_BYTES: usize = 16 * 1024;

/// Connections that one Accept takes per wait, so that a storm of them does not starve the others.
pub(crate) const ACCEPT_BATCH_MAX: usize = 64;

/// The pool and the counters of one driver.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) pool: Pool,
    pub(crate) calls: SystemCalls,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

/// A message whose length is known, while it comes in. `buffer` is shorter than `wanted`.
#[derive(Debug)]
pub(crate) struct Gather {
    buffer: LargeBuffer,
    wanted: usize,
}

impl Gather {
    /// What has come so far, unless nothing has.
    pub(crate) fn into_segment(self) -> Option<Segment> {
        (!self.buffer.is_empty()).then(|| self.buffer.into_segment())
    }

    /// How many bytes are still missing.
    pub(crate) fn missing(&self) -> usize {
        self.wanted - self.buffer.len()
    }

    /// Where they go: behind what this holds.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Copies what belongs to the message off the front of `segment`.
    pub(crate) fn absorb(&mut self, segment: &mut Segment) {
        let part = segment.split_to(self.missing().min(segment.len()));
        self.buffer.extend_from_slice(&part);
    }
}

/// What one receive brought.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Nothing while a [`Gather`] is not full yet.
    pub(crate) segment: Option<Segment>,
    /// The peer's stream is at its end.
    pub(crate) end: bool,
    /// The buffer was filled, so there may be more.
    pub(crate) filled: bool,
}

/// How far a send came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) bytes: u64,
    /// The socket has no room left: wait until it is writable.
    pub(crate) full: bool,
}

impl Transfer {
    pub(crate) fn new(pool: PoolConfig) -> Self {
        let calls = SystemCalls::default();
        Self {
            pool: Pool::new(pool),
            calls,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    /// A buffer for a message of `wanted` bytes, unless the pool is at its limit.
    pub(crate) fn gather(&mut self, wanted: usize) -> Option<Box<Gather>> {
        if wanted == 0 {
            return None;
        }
        let buffer = self.pool.large(wanted)?;
        Some(Box::new(Gather { buffer, wanted }))
    }

    /// Receives once, into the message that is being gathered or into the pool's room.
    pub(crate) fn receive(
        &mut self,
        stream: BorrowedFd<'_>,
        gather: &mut Option<Box<Gather>>,
        flags: RecvFlags,
    ) -> Result<Arrival, Errno> {
        let (room, buffer) = match gather {
            Some(gather) => (gather.missing(), gather.buffer()),
            None => {
                let buffer = self.pool.room();
                (buffer.capacity() - buffer.len(), buffer)
            }
        };
        let bytes = sys::receive(stream, buffer, room, flags, &mut self.calls)?;
        self.received_bytes += bytes as u64;
        let (end, filled) = (bytes == 0, bytes == room);
        let segment = match gather {
            _ if end => None,
            Some(_) if filled => gather.take().and_then(|gather| gather.into_segment()),
            Some(_) => None,
            None => Some(self.pool.take()),
        };
        Ok(Arrival {
            segment,
            end,
            filled,
        })
    }

    /// Sends the front of `payload` until the socket is full, and takes it off. With `blocking` the
    /// socket is in blocking mode, which sendfile(2) has to leave for a while.
    ///
    /// An error after some bytes were sent is left for the next send to find.
    pub(crate) fn send(
        &mut self,
        stream: BorrowedFd<'_>,
        payload: &mut Payload,
        blocking: bool,
    ) -> io::Result<Progress> {
        let mut bytes = 0;
        while !payload.is_empty() && bytes < SEND_BYTES_MAX {
            let step = match payload.front_region() {
                Some(region) => self.send_region(stream, region, SEND_BYTES_MAX - bytes, blocking),
                None => self.send_memory(stream, payload).map_err(io::Error::from),
            };
            match step {
                Ok(step) => {
                    payload.advance(step.bytes);
                    self.sent_bytes += step.bytes;
                    bytes += step.bytes;
                    if step.full {
                        return Ok(Progress { bytes, full: true });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress { bytes, full: true });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if bytes == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(Progress { bytes, full: false })
    }

    /// Accepts one connection; `None` when none waits. Errors of the one connection (accept(2)) and
    /// interrupting signals come as `Retry`.
    pub(crate) fn accept(&mut self, listener: BorrowedFd<'_>) -> io::Result<Incoming> {
        match sys::accept(listener, &mut self.calls) {
            Ok((stream, address)) => Ok(Incoming::Connection(stream, address)),
            Err(Errno::WOULDBLOCK) => Ok(Incoming::Nothing),
            Err(error) if concerns_one_connection(error) => Ok(Incoming::Retry),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn stats(&self, others: SystemCalls) -> DriverStats {
        DriverStats {
            system_calls: self.calls + others,
            pool: self.pool.stats(),
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
        }
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

    fn send_region(
        &mut self,
        stream: BorrowedFd<'_>,
        region: &FileRegion,
        bytes_max: u64,
        blocking: bool,
    ) -> io::Result<Progress> {
        if blocking {
            sys::set_nonblocking(stream, true, &mut self.calls)?;
        }
        let count = region.len().min(bytes_max) as usize;
        let (file, offset) = (region.file(), region.offset());
        let sent = sys::send_file(stream, file, offset, count, &mut self.calls);
        if blocking {
            sys::set_nonblocking(stream, false, &mut self.calls)?;
        }
        match sent {
            Ok(0) => Err(file_ended(region)),
            // A short sendfile(2) does not prove the socket full; the next attempt will tell.
            Ok(bytes) => Ok(Progress {
                bytes: bytes as u64,
                full: false,
            }),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.copy_region(stream, region),
            Err(error) => Err(error.into()),
        }
    }

    /// What the socket does not take is read again the next time.
    fn copy_region(&mut self, stream: BorrowedFd<'_>, region: &FileRegion) -> io::Result<Progress> {
        let mut buffer = [0; COPY_BYTES];
        let wanted = region.len().min(COPY_BYTES as u64) as usize;
        let (buffer, offset) = (&mut buffer[..wanted], region.offset());
        let read = sys::read_file(region.file(), buffer, offset, &mut self.calls)?;
        if read == 0 {
            return Err(file_ended(region));
        }
        let sent = sys::send(stream, &buffer[..read], false, &mut self.calls)?;
        Ok(Progress {
            bytes: sent as u64,
            full: sent < read,
        })
    }
}

/// What accepting once brought.
#[derive(Debug)]
pub(crate) enum Incoming {
    Connection(OwnedFd, Address),
    Nothing,
    Retry,
}

/// accept(2) passes errors of the new connection on; they say nothing about the listener.
pub(crate) fn concerns_one_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::PERM
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::NONET
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
    )
}

fn file_ended(region: &FileRegion) -> io::Error {
    let (bytes, offset) = (region.len(), region.offset());
    let text =
        format!("the file ends at byte {offset} or before, {bytes} bytes short of its region");
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}
