//! The calls that are open: a slab of streams, found by slot or by the stream's number.

use super::gather::Gather;
use crate::{CallId, Status};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use hashbrown::HashMap;
use kettle_buf::Payload;

/// One open call.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The stream's number; 0 while the slot is free.
    pub id: u32,
    /// While the slot is free: the next free one.
    pub next_free: Option<u32>,
    /// The peer sends nothing more on this call.
    pub remote_ended: bool,
    /// We send nothing more on this call than what waits.
    pub local_ended: bool,
    /// Reply metadata or a message was received (client).
    pub replied: bool,
    /// Stands in the queue of calls whose turn to send comes.
    pub in_turns: bool,
    /// Client: where its OPEN starts, in bytes of all output. Not given out: never processed.
    pub opened_at: u64,
    /// Message bytes that may be sent.
    pub send_credit: u64,
    /// Message bytes that the peer may send.
    pub receive_credit: u64,
    /// Credit that is to be returned; below zero while more was returned than was taken.
    pub owed: i64,
    /// A message that has not come whole.
    pub assembly: Option<Box<Assembly>>,
    /// What waits to be sent; never an empty queue.
    pub waiting: Option<Box<Queue>>,
}

/// A message of which a part has arrived.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pub bytes: Gather,
    /// Length of the whole message.
    pub total: u64,
    /// Bytes that came in whole or started frames, arrived or about to.
    pub announced: u64,
    /// Bytes whose credit was returned ahead, so that the message can be finished.
    pub returned: u64,
    /// Client: the status that came in the frame in hand.
    pub status: Option<Status>,
}

/// What waits to be sent on one call. Boxed, because most calls never wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub items: VecDeque<Waiting>,
}

/// Something that waits for credit or for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    /// What is left of the message; `None` when only the end is to be sent.
    pub message: Option<Payload>,
    /// Length of the whole message.
    pub total: u64,
    /// Whether a frame of this message was sent.
    pub started: bool,
    pub end: bool,
    pub status: Option<Status>,
}

impl Stream {
    /// Whether a message was begun on the wire and not completed.
    pub fn is_mid_message(&self) -> bool {
        let first = self.waiting.as_ref().and_then(|queue| queue.items.front());
        first.is_some_and(|first| first.started)
    }

    /// Bytes of messages that wait.
    pub fn waiting_bytes(&self) -> u64 {
        let Some(queue) = &self.waiting else { return 0 };
        let messages = queue.items.iter().filter_map(|one| one.message.as_ref());
        messages.map(Payload::len).sum()
    }
}

/// Slots that an idle connection keeps, and the most events that it keeps room for.
pub(super) const KEEP_MAX: usize = 64;

/// All open calls of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    free: Option<u32>,
    index: HashMap<u32, u32>,
}

impl Streams {
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Adds a stream that is not there.
    pub fn insert(&mut self, mut stream: Stream) -> CallId {
        let id = stream.id;
        let slot = match self.free {
            Some(slot) => {
                let place = &mut self.slots[slot as usize];
                self.free = place.next_free;
                stream.next_free = None;
                *place = stream;
                slot
            }
            None => {
                self.slots.push(stream);
                self.slots.len() as u32 - 1
            }
        };
        self.index.insert(id, slot);
        CallId { slot, stream: id }
    }

    pub fn find(&self, id: u32) -> Option<CallId> {
        self.index.get(&id).map(|slot| CallId {
            slot: *slot,
            stream: id,
        })
    }

    pub fn get(&mut self, call: CallId) -> Option<&mut Stream> {
        let stream = self.slots.get_mut(call.slot as usize)?;
        (stream.id == call.stream && stream.id != 0).then_some(stream)
    }

    /// Takes a stream out; its slot is used again, the last one left first.
    pub fn remove(&mut self, call: CallId) -> Option<Stream> {
        self.get(call)?;
        self.index.remove(&call.stream);
        let empty = Stream {
            next_free: self.free,
            ..Stream::default()
        };
        let stream = core::mem::replace(&mut self.slots[call.slot as usize], empty);
        self.free = Some(call.slot);
        if self.index.is_empty() && KEEP_MAX < self.slots.capacity() {
            *self = Self::default();
        }
        Some(stream)
    }

    /// Of the messages that have not come whole, the one on the lowest stream.
    pub fn oldest_incomplete(&mut self) -> Option<&mut Stream> {
        let slots = self.slots.iter_mut();
        let incomplete = slots.filter(|stream| stream.assembly.is_some());
        incomplete.min_by_key(|stream| stream.id)
    }

    /// Bytes on the heap, without what streams own.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let slots = self.slots.capacity() * size_of::<Stream>();
        slots + self.index.capacity() * 2 * size_of::<(u32, u32)>()
    }

    /// The open calls, by slot.
    pub fn calls(&self) -> Vec<CallId> {
        self.calls_if(|_| true)
    }

    /// The open calls of which `wanted` holds, by slot.
    pub fn calls_if(&self, wanted: impl Fn(&Stream) -> bool) -> Vec<CallId> {
        let open = self
            .slots
            .iter()
            .zip(0..)
            .filter(|(stream, _)| stream.id != 0);
        let calls = open.filter(|(stream, _)| wanted(stream));
        calls
            .map(|(stream, slot)| CallId {
                slot,
                stream: stream.id,
            })
            .collect()
    }
}
