//! A socket and what the kernel does for it at this moment. An operation's memory belongs to the
//! socket's entry until the operation has landed, whatever becomes of the caller.
#![expect(unsafe_code, reason = "a message header is zeroed, and holds pointers")]

use crate::attached::Attached;
use crate::send::SLICES_MAX;
use crate::{Completion, OpKind, Outcome};
use kettle_buf::Payload;
use socket2::SockAddr;
use std::io::IoSlice;
use std::mem;

/// A socket and its requests in the kernel, at most one of each kind.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) attached: Attached,
    flights: [Flight; 4],
    /// Whether the socket stands in the list of those that want a request.
    pub(super) listed: bool,
    /// The driver's turn in which it last received.
    pub(super) received_in: u64,
    /// Where a connect goes to, in the kernel's form.
    pub(super) address: Option<Box<SockAddr>>,
    /// The place of its send among those that the kernel carries out.
    pub(super) send: Option<u32>,
    /// Sends lend nothing: the socket cannot, or the kernel has copied all the same.
    pub(super) copies: bool,
}

/// A send in flight.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) payload: Payload,
    /// Its pieces, when it does not lie in one.
    pub(super) message: Option<Box<Message>>,
    /// Its number when it lends its memory.
    pub(super) lending: Option<u32>,
}

/// What the kernel does for an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flight {
    /// Nothing.
    #[default]
    None,
    /// It has a request.
    Aloft,
    /// It has one, and was asked to end it.
    Cancelled,
}

impl Socket {
    pub(super) fn new(attached: Attached) -> Self {
        Self {
            attached,
            flights: [Flight::None; 4],
            listed: false,
            received_in: 0,
            address: None,
            send: None,
            copies: false,
        }
    }

    pub(super) fn flight(&mut self, kind: OpKind) -> &mut Flight {
        &mut self.flights[kind as usize]
    }

    /// Whether the kernel holds any request of this socket.
    pub(super) fn is_aloft(&self) -> bool {
        self.flights != [Flight::None; 4]
    }

    /// Whether a standing operation wants a request that it has not.
    pub(super) fn wants_request(&mut self, kind: OpKind) -> bool {
        self.attached.standing == Some(kind) && *self.flight(kind) == Flight::None
    }

    /// Ends an operation with its last completion.
    pub(super) fn end(&mut self, kind: OpKind, outcome: Outcome, done: &mut Vec<Completion>) {
        self.attached.stop(kind);
        if kind == OpKind::Receive {
            done.extend(self.attached.gathered());
        }
        done.push(self.attached.last(kind, outcome));
    }

    /// Gives up the memory that the kernel may still use.
    pub(super) fn leak(&mut self) {
        mem::forget(self.attached.gather.take());
        mem::forget(self.address.take());
    }
}

impl Sending {
    pub(super) fn new(payload: Payload) -> Self {
        let in_pieces = payload.as_slice().is_none();
        let message = in_pieces.then(|| Message::new(&payload));
        Self {
            payload,
            message,
            lending: None,
        }
    }

    /// How many bytes of memory it sends.
    pub(super) fn bytes(&self) -> u64 {
        let message = self.message.as_ref();
        message.map_or(self.payload.len(), |message| message.bytes)
    }
}

/// The header of a sendmsg(2) and what it points to. It stays in its box.
pub(super) struct Message {
    /// How long the pieces are together, in bytes.
    bytes: u64,
    header: libc::msghdr,
    slices: [libc::iovec; SLICES_MAX],
}

// SAFETY: the pointers are into this box and into the payload that it was made of, neither of which
// belongs to a thread.
unsafe impl Send for Message {}

impl Message {
    /// The pieces of memory at the front of `payload`.
    fn new(payload: &Payload) -> Box<Self> {
        // SAFETY: both types are plain C structures of numbers and pointers, for which zero is valid.
        let mut message: Box<Self> = Box::new(unsafe { mem::zeroed() });
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = payload.io_slices(&mut slices);
        for (to, from) in message.slices.iter_mut().zip(&slices[..count]) {
            to.iov_base = from.as_ptr().cast_mut().cast();
            to.iov_len = from.len();
        }
        message.header.msg_iov = message.slices.as_mut_ptr();
        message.header.msg_iovlen = count as _;
        let bytes = slices[..count].iter().map(|slice| slice.len() as u64);
        message.bytes = bytes.sum();
        message
    }

    pub(super) fn header(&self) -> *const libc::msghdr {
        &raw const self.header
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").finish_non_exhaustive()
    }
}
