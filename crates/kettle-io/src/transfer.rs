//! Accepting, and receiving into the pool: what all models share. What goes out stands in `send.rs`.
//!
//! Nothing here waits, except a receive without DONTWAIT on a socket in blocking mode.

use crate::send::Sender;
use crate::{Address, DriverConfig, DriverStats, SystemCalls, sys};
use bytes::BytesMut;
use kettle_buf::{LargeBuffer, Pool, Segment, count_copied};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Connections that one Accept takes per wait, so that a storm of them does not starve the others.
pub(crate) const ACCEPT_BATCH_MAX: usize = 64;

/// The pool and the counters of one driver, and what it sends files with.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) pool: Pool,
    pub(crate) calls: SystemCalls,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) sender: Sender,
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
        count_copied(part.len());
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

impl Transfer {
    pub(crate) fn new(config: &DriverConfig) -> Self {
        let calls = SystemCalls::default();
        Self {
            pool: Pool::new(config.pool),
            calls,
            received_bytes: 0,
            sent_bytes: 0,
            sender: Sender::new(config),
        }
    }

    /// For a model that serves a socket when there is something in its error queue.
    pub(crate) fn seeing_notices(config: &DriverConfig) -> Self {
        Self {
            sender: Sender::new(config).seeing_notices(),
            ..Self::new(config)
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
            system_calls: self.calls + self.sender.system_calls() + others,
            pool: self.pool.stats(),
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
            sends: self.sender.stats,
        }
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
