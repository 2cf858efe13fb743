//! When calls and the connection run out of time.

use super::stream::Streams;
use crate::{CallId, Instant};
use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

/// Entries of calls that are over are swept out when the heap has twice as many entries as there are
/// open calls, and this many.
const SWEEP_MIN: usize = 64;

/// Deadlines of calls, next one first. Most calls end long before their deadline, so the entry of a
/// call that is over stays until it comes up or is swept out.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, CallId)>>,
}

impl Deadlines {
    pub fn push(&mut self, at: Instant, call: CallId, streams: &mut Streams) {
        if SWEEP_MIN + 2 * streams.len() <= self.heap.len() {
            self.heap
                .retain(|Reverse((_, call))| streams.get(*call).is_some());
        }
        self.heap.push(Reverse((at, call)));
    }

    /// When the next one comes up; early when it belongs to a call that is over.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<CallId> {
        self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse((_, call))| call)
    }

    /// How many entries there are, of open calls or not.
    pub fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn entries_of_calls_that_are_over_do_not_pile_up() {
        let (mut deadlines, mut streams) = (Deadlines::default(), Streams::default());
        let at = Instant::from_nanos(1) + Duration::from_secs(60);
        let (open, _) = streams.open(1, 0, 0);
        deadlines.push(at, open, &mut streams);
        for id in 2..10_000 {
            let (call, _) = streams.open(id, 0, 0);
            deadlines.push(at, call, &mut streams);
            streams.remove(call);
            assert!(deadlines.heap.len() <= SWEEP_MIN + 4);
        }
        assert_eq!(
            deadlines.pop(at),
            Some(open),
            "a sweep keeps the calls that are open"
        );
    }
}
