//! When which connection wants to be called next.

use kettle_proto::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A lazy queue of wake-up times. A key whose time moves later keeps its earlier entry: it is asked
/// again then. So the usual case, a time-out that every byte pushes back, costs nothing here.
///
/// Holds at most [`Timers::set`]'s calls since the last pop of the same key: callers set a key only
/// when its time moves earlier.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Timers {
    /// Wakes `key` at `time`, besides other times it may have.
    pub(crate) fn set(&mut self, time: Instant, key: u64) {
        self.heap.push(Reverse((time, key)));
    }

    /// The earliest time.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((time, _))| *time)
    }

    /// Takes the next key whose time has come, with that time.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, u64)> {
        match self.heap.peek() {
            Some(Reverse((time, _))) if *time <= now => self.heap.pop().map(|Reverse(due)| due),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_order_and_not_early() {
        let at = Instant::from_nanos;
        let mut timers = Timers::default();
        for (time, key) in [(30, 3), (10, 1), (20, 2), (10, 4)] {
            timers.set(at(time), key);
        }
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.pop(at(25)), Some((at(10), 1)));
        assert_eq!(timers.pop(at(25)), Some((at(10), 4)));
        assert_eq!(timers.pop(at(25)), Some((at(20), 2)));
        assert_eq!(timers.pop(at(25)), None);
        assert_eq!(timers.next(), Some(at(30)));
    }
}
