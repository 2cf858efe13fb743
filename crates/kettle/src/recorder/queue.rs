//! Calls on their way from the loops to the thread that writes them.

use super::watched::Ended;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most calls that wait to be written, of 200 bytes each without payloads.
pub(super) const CALLS_MAX: usize = 65_536;

/// How long the writing thread gathers calls after the first one: so a busy loop wakes it 50 times a second
/// instead of with every call.
const GATHER: Duration = Duration::from_millis(20);

/// Calls that wait. A loop takes a lock for each, which the writing thread holds only to take them all away.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Ended>,
    /// Calls that found no place since the last batch.
    missed: u64,
    closed: bool,
}

/// What came since the last time.
#[derive(Debug)]
pub(super) struct Batch {
    /// Calls that had no place in the queue, and are lost.
    pub(super) missed: u64,
    /// Nothing comes after this.
    pub(super) last: bool,
}

impl Queue {
    /// Adds a call, unless there is no place.
    pub(super) fn push(&self, call: Ended) -> bool {
        let mut state = self.lock();
        let waiting = state.calls.len();
        if state.closed || CALLS_MAX <= waiting {
            state.missed += 1;
            drop(state);
            return false;
        }
        state.calls.push(call);
        drop(state);
        if waiting == 0 || waiting == CALLS_MAX / 2 {
            self.changed.notify_one();
        }
        true
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for calls, and gives all that there are in place of an empty `calls`.
    pub(super) fn take(&self, calls: &mut Vec<Ended>) -> Batch {
        let wait = |state: &mut State| state.calls.is_empty() && !state.closed;
        let state = self.changed.wait_while(self.lock(), wait);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let gather = |state: &mut State| state.calls.len() <= CALLS_MAX / 2 && !state.closed;
        let gathered = self.changed.wait_timeout_while(state, GATHER, gather);
        let (mut state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut state.calls, calls);
        Batch {
            missed: mem::take(&mut state.missed),
            last: state.closed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock, so a poisoned one is as good as new.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::line::tests::call;

    #[test]
    fn calls_beyond_the_bound_are_counted() {
        let queue = Queue::default();
        let kept = (0..CALLS_MAX + 3).filter(|_| queue.push(call("/a/B")));
        assert_eq!(kept.count(), CALLS_MAX);
        let mut calls = Vec::new();
        let batch = queue.take(&mut calls);
        assert_eq!(
            (calls.len(), batch.missed, batch.last),
            (CALLS_MAX, 3, false)
        );
        calls.clear();
        assert!(queue.push(call("/a/B")), "there is room again");
        queue.close();
        let batch = queue.take(&mut calls);
        assert_eq!((calls.len(), batch.missed, batch.last), (1, 0, true));
        assert!(!queue.push(call("/a/B")), "nobody takes it any more");
    }
}
