//! Operations and their completions. An operation owns its memory until it is over.

use crate::Address;
use kettle_buf::{Payload, Segment};
use std::io;
use std::os::fd::OwnedFd;

/// The caller's name for a socket, given at [`crate::Driver::attach`] and carried by every completion
/// of that socket. The caller tells late completions of a closed socket by it, so it should not be
/// used again soon (kettle packs a slot and a generation into it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// The driver's name for an attached socket; used again after [`crate::Driver::detach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u32);

/// What a socket is for. The driver sets the descriptor's blocking mode to what its model needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A listening socket: takes [`Op::Accept`].
    Listener,
    /// A connected or connecting stream: takes [`Op::Connect`], [`Op::Receive`] and [`Op::Send`].
    Stream,
}

/// What a driver can be asked to do. At most one operation of each kind is in flight per socket.
#[derive(Debug)]
pub enum Op {
    /// Standing: accept connections until cancelled or failed.
    Accept {
        /// A listener.
        socket: SocketId,
    },
    /// Connect a stream. One completion.
    Connect {
        /// A stream that is not connected.
        socket: SocketId,
        /// Where to.
        address: Address,
    },
    /// Standing: receive until cancelled, failed, or the peer's end of stream.
    Receive {
        /// A connected stream.
        socket: SocketId,
    },
    /// Send some of a payload. One [`Outcome::Sent`], then with zero copy one [`Outcome::Released`].
    Send {
        /// A connected stream.
        socket: SocketId,
        /// What to send; not empty. Memory and file regions in any order.
        payload: Payload,
    },
}

/// Which of a socket's operations is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// [`Op::Accept`].
    Accept,
    /// [`Op::Connect`].
    Connect,
    /// [`Op::Receive`].
    Receive,
    /// [`Op::Send`].
    Send,
}

/// Something that happened to an operation.
#[derive(Debug)]
pub struct Completion {
    /// The token of the operation's socket.
    pub token: Token,
    /// Which operation.
    pub kind: OpKind,
    /// What happened.
    pub outcome: Outcome,
    /// Whether this is the operation's last completion. Every operation has exactly one.
    pub last: bool,
}

/// What a completion says.
#[derive(Debug)]
pub enum Outcome {
    /// A connection came in. Its descriptor is closed unless it is attached.
    Accepted {
        /// The new socket, close-on-exec.
        stream: OwnedFd,
        /// The peer's address.
        address: Address,
    },
    /// The stream is connected.
    Connected,
    /// Bytes came in; an empty segment, which is always the last, is the end of the stream.
    Received(Segment),
    /// Bytes were taken by the kernel; the next send may start now.
    Sent {
        /// How many.
        bytes: u64,
        /// What is left after a short send; empty when all was taken.
        rest: Payload,
    },
    /// The memory of a zero-copy send is no longer used.
    Released,
    /// The operation was cancelled, or its socket detached.
    Cancelled,
    /// The operation failed and is over. A failed accept says with its error whether accepting again
    /// later can help (EMFILE, ENFILE, ENOBUFS, ENOMEM); errors of one incoming connection
    /// (ECONNABORTED and network errors, accept(2)) are passed over by the driver.
    Failed(io::Error),
}
