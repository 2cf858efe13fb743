//! The calls that are open: a slab of streams, found by slot or by the stream's number.

use super::gather::Gather;
use crate::{CallId, Status};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use kettle_buf::Payload;

/// One open call.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The stream's number; 0 while the slot is free, when the rest means nothing.
    pub id: u32,
    /// The peer sends nothing more on this call.
    pub remote_ended: bool,
    /// We send nothing more on this call than what waits.
    pub local_ended: bool,
    /// Reply metadata or a message of the reply was received (client) or sent (server).
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
    /// Bytes of the messages in it.
    pub bytes: u64,
    /// How many of them are counted in the connection's backlog.
    pub stalled_bytes: u64,
    /// The layer above waits for room to send more.
    pub room_wanted: bool,
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
    /// Makes a free slot's stream that of a new call, field by field: this comes with every call, and
    /// what a slot owned was taken out when it was left.
    #[inline]
    fn begin(&mut self, id: u32, send_credit: u64, receive_credit: u64) {
        debug_assert!(self.waiting.is_none() && self.assembly.is_none());
        self.id = id;
        self.remote_ended = false;
        self.local_ended = false;
        self.replied = false;
        self.in_turns = false;
        self.opened_at = 0;
        self.send_credit = send_credit;
        self.receive_credit = receive_credit;
        self.owed = 0;
    }

    /// Whether a message may go at once, when all calls together may send so much.
    #[inline]
    pub fn may_send(&self, bytes: u64, credit: u64) -> bool {
        self.waiting.is_none() && bytes <= credit.min(self.send_credit)
    }

    /// Whether a message was begun on the wire and not completed.
    pub fn is_mid_message(&self) -> bool {
        let first = self.waiting.as_ref().and_then(|queue| queue.items.front());
        first.is_some_and(|first| first.started)
    }
}

/// Slots that an idle connection keeps, and the most events that it keeps room for.
pub(super) const KEEP_MAX: usize = 64;

/// Entries of calls that are over are swept out of the order when it has twice as many entries as
/// there are open calls, and this many.
const SWEEP_MIN: usize = 32;

/// All open calls of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    /// The slots that are free, the one that was left last at the end.
    free: Vec<u32>,
    /// All open calls, and some that are over, by stream: streams are opened in order, so a new one
    /// goes to the end, and no peer can choose numbers that are slow to find.
    order: Vec<CallId>,
}

impl Streams {
    #[inline]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a stream with a higher number than any before, and these credits.
    #[inline]
    pub fn open(
        &mut self,
        id: u32,
        send_credit: u64,
        receive_credit: u64,
    ) -> (CallId, &mut Stream) {
        debug_assert!(self.order.last().is_none_or(|last| last.stream < id));
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Stream::default());
            self.slots.len() as u32 - 1
        });
        if SWEEP_MIN + 2 * self.len() <= self.order.len() {
            self.sweep();
        }
        let call = CallId { slot, stream: id };
        self.order.push(call);
        let stream = &mut self.slots[slot as usize];
        stream.begin(id, send_credit, receive_credit);
        (call, stream)
    }

    pub fn find(&self, id: u32) -> Option<CallId> {
        let after_first = id.checked_sub(self.order.first()?.stream)?;
        // Most clients leave no number out, so the distance is the place.
        let call = match self.order.get(after_first as usize) {
            Some(call) if call.stream == id => *call,
            _ => {
                let place = self.order.binary_search_by_key(&id, |call| call.stream);
                self.order[place.ok()?]
            }
        };
        self.is_open(call).then_some(call)
    }

    #[inline]
    pub fn get(&mut self, call: CallId) -> Option<&mut Stream> {
        let stream = self.slots.get_mut(call.slot as usize)?;
        (stream.id == call.stream && stream.id != 0).then_some(stream)
    }

    /// Takes a stream out; its slot is used again, the last one left first.
    #[inline]
    pub fn remove(&mut self, call: CallId) {
        let Some(stream) = self.get(call) else { return };
        debug_assert!(stream.waiting.is_none() && stream.assembly.is_none());
        stream.id = 0;
        self.free.push(call.slot);
        if self.len() == 0 {
            self.forget();
        }
    }

    /// No call is open: the order starts anew, and what a burst needed is given back.
    #[inline]
    fn forget(&mut self) {
        self.order.clear();
        if KEEP_MAX < self.slots.capacity() {
            self.shrink();
        }
    }

    #[cold]
    fn shrink(&mut self) {
        *self = Self::default();
    }

    #[cold]
    fn sweep(&mut self) {
        let mut order = core::mem::take(&mut self.order);
        order.retain(|call| self.is_open(*call));
        self.order = order;
    }

    fn is_open(&self, call: CallId) -> bool {
        let stream = self.slots.get(call.slot as usize);
        stream.is_some_and(|stream| stream.id == call.stream)
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
        let free = self.free.capacity() * size_of::<u32>();
        slots + free + self.order.capacity() * size_of::<CallId>()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(streams: &mut Streams, id: u32) -> CallId {
        streams.open(id, 0, 0).0
    }

    #[test]
    fn streams_are_found_whatever_numbers_were_left_out() {
        let mut streams = Streams::default();
        let mut open = Vec::new();
        for id in (1..2000).map(|n: u32| n * n) {
            open.push(opened(&mut streams, id));
            if id % 3 != 0 {
                let over = open.swap_remove(id as usize % open.len());
                streams.remove(over);
                assert_eq!(streams.find(over.stream), None);
                streams.remove(over); // it is over: this does nothing
            }
            assert_eq!(streams.len(), open.len());
        }
        for call in open {
            assert_eq!(streams.find(call.stream), Some(call));
            assert_eq!(streams.find(call.stream + 1), None);
        }
    }

    #[test]
    fn one_long_call_keeps_no_trace_of_the_short_ones() {
        let mut streams = Streams::default();
        let long = opened(&mut streams, 1);
        for id in 2..10_000 {
            let short = opened(&mut streams, id);
            assert_eq!(streams.find(id), Some(short));
            streams.remove(short);
            assert!(streams.order.len() <= SWEEP_MIN + 4);
        }
        assert_eq!(streams.find(1), Some(long));
        assert_eq!(streams.slots.len(), 2, "slots are used again");
    }

    #[test]
    fn the_slot_that_was_left_last_is_used_first() {
        let mut streams = Streams::default();
        let [first, second, _third] = [1, 2, 3].map(|id| opened(&mut streams, id));
        streams.remove(second);
        streams.remove(first);
        for stream in [0, 1, 2] {
            assert!(
                streams.get(CallId { slot: 0, stream }).is_none(),
                "it is free"
            );
        }
        assert_eq!(opened(&mut streams, 4).slot, first.slot);
        assert_eq!(opened(&mut streams, 5).slot, second.slot);
    }
}
