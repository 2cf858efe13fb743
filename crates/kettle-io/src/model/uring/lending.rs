//! Sends that lend their memory to the kernel (SEND_ZC, SENDMSG_ZC): two completions each.
//!
//! ```text
//!   request ──▶ what was taken: Sent; the next send may start ──▶ a notice: Released, the memory is dropped
//! ```
//!
//! The memory belongs to the driver and not to the socket: what a closed socket has sent must stay as it is too.
#![expect(
    unsafe_code,
    reason = "requests point to memory of the sockets' entries"
)]

use super::flight::Flight;
use super::ring::Name;
use super::{SEND_BYTES_MAX, Uring, failure};
use crate::{Completion, OpKind, Outcome, Token};
use io_uring::{cqueue, opcode};
use kettle_buf::Payload;
use rustix::io::Errno;
use rustix::net::SendFlags;
use slab::Slab;

/// IORING_SEND_ZC_REPORT_USAGE of `linux/io_uring.h`: the notice shall tell whether the bytes were copied.
const REPORT_USAGE: u16 = 1 << 3;

/// IORING_NOTIF_USAGE_ZC_COPIED: they were.
const USAGE_COPIED: i32 = 1 << 31;

/// What the kernel has, or is about to have; the key of each is its name in the ring.
pub(super) type Lendings = Slab<Lending>;

/// The memory of one send.
#[derive(Debug)]
pub(super) struct Lending {
    key: u32,
    token: Token,
    /// What was taken; only to be kept as it is.
    memory: Payload,
    /// Whether a release is to be told: the send was taken, and its socket is attached.
    awaited: bool,
}

impl Uring {
    /// Whether a send of so many bytes of memory is to lend them.
    pub(super) fn lends(&mut self, key: u32, bytes: u64) -> bool {
        if !self.transfer.sender.is_worth_lending(bytes) {
            return false;
        }
        let socket = &self.sockets[key as usize];
        let lends = !socket.copies && self.ring.features().zero_copy;
        self.transfer.sender.stats.zero_copy_fallbacks += u64::from(!lends);
        lends
    }

    /// Puts a send that lends its memory into the queue.
    pub(super) fn lend(&mut self, key: u32, place: usize, flags: SendFlags) {
        let (fd, sending) = (self.fd(key), &mut self.sends[place]);
        let entry = match &sending.message {
            None => {
                let bytes = sending.payload.as_slice().unwrap_or_default();
                let len = bytes.len().min(SEND_BYTES_MAX) as u32;
                let send = opcode::SendZc::new(fd, bytes.as_ptr(), len);
                let send = send.flags(flags.bits() as i32).zc_flags(REPORT_USAGE);
                send.build()
            }
            Some(message) => {
                let send = opcode::SendMsgZc::new(fd, message.header()).flags(flags.bits());
                send.ioprio(REPORT_USAGE).build()
            }
        };
        let socket = &mut self.sockets[key as usize];
        let number = self.lendings.insert(Lending {
            key,
            token: socket.attached.token,
            memory: Payload::new(),
            awaited: false,
        }) as u32;
        sending.lending = Some(number);
        *socket.flight(OpKind::Send) = Flight::Aloft;
        // SAFETY: the payload and the message stay in `sends`, unchanged, until the send has landed, and what
        // was taken of the payload in the lending until the notice. Moving a payload moves none of its bytes.
        unsafe { self.ring.push(entry, Name::Lending(number)) };
    }

    /// A completion of a send that lends.
    pub(super) fn complete_lending(
        &mut self,
        number: u32,
        result: i32,
        flags: u32,
        done: &mut Vec<Completion>,
    ) {
        if cqueue::notif(flags) {
            return self.released(number, result, done);
        }
        let key = self.lendings[number as usize].key;
        let socket = &mut self.sockets[key as usize];
        let cancelled = *socket.flight(OpKind::Send) == Flight::Cancelled;
        *socket.flight(OpKind::Send) = Flight::None;
        let noticed = cqueue::more(flags);
        if !noticed {
            self.lendings.remove(number as usize);
        }
        match failure(result) {
            None => self.taken(key, number, result as u64, noticed, done),
            Some(error) if !cancelled && is_refusal(error) => {
                socket.copies = true;
                let payload = self.take_sent(key).unwrap_or_default();
                done.extend(self.submit_send(key, payload));
            }
            // A send that has failed has sent nothing: its notice brings nothing to tell.
            Some(_) => {
                if let Some(outcome) = self.sent(key, result, cancelled, done) {
                    self.sockets[key as usize].end(OpKind::Send, outcome, done);
                }
            }
        }
    }

    fn taken(
        &mut self,
        key: u32,
        number: u32,
        bytes: u64,
        noticed: bool,
        done: &mut Vec<Completion>,
    ) {
        let mut rest = self.take_sent(key).unwrap_or_default();
        let memory = rest.cut(bytes);
        rest.recycle();
        if noticed {
            let lending = &mut self.lendings[number as usize];
            (lending.memory, lending.awaited) = (memory, true);
        }
        self.transfer.sent_bytes += bytes;
        self.transfer.sender.stats.zero_copy_bytes += bytes;
        let sent = Outcome::Sent { bytes, rest };
        done.push(Completion {
            last: !noticed,
            ..self.sockets[key as usize].attached.last(OpKind::Send, sent)
        });
    }

    fn released(&mut self, number: u32, usage: i32, done: &mut Vec<Completion>) {
        let lending = self.lendings.remove(number as usize);
        let copied = usage & USAGE_COPIED != 0;
        self.transfer.sender.stats.zero_copy_copied += u64::from(copied);
        if lending.awaited {
            self.sockets[lending.key as usize].copies |= copied;
            done.push(released(lending.token));
        }
    }

    /// Tells of the releases that a socket still waits for, which goes. The memory stays until the notices.
    pub(super) fn leave_lendings(&mut self, key: u32) {
        for (_, lending) in &mut self.lendings {
            if lending.key == key && std::mem::take(&mut lending.awaited) {
                self.queue.push(released(lending.token));
            }
        }
    }
}

/// Whether an error says that a socket, or this kernel, cannot lend, or that too much is lent.
fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::OPNOTSUPP | Errno::INVAL | Errno::NOBUFS | Errno::NOMEM
    )
}

fn released(token: Token) -> Completion {
    Completion {
        token,
        kind: OpKind::Send,
        outcome: Outcome::Released,
        last: true,
    }
}
