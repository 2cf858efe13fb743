//! The messages of a call's request, kept until they are written, within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most bytes of the messages of one call. One message of the default limit fits.
const CALL_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Most bytes of all calls together that wait to be written.
const HELD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a message costs beside its bytes, which may be none.
const MESSAGE_BYTES: u64 = 64;

/// Most messages of one call: with the cost of each it is bounded also when none has bytes.
const CALL_COST_MAX: u64 = CALL_BYTES_MAX + 1024 * MESSAGE_BYTES;

/// What the messages of all calls cost now.
#[derive(Debug, Default)]
pub(super) struct Budget {
    held: AtomicU64,
}

/// The messages of one call. Dropping it gives back what they cost.
#[derive(Debug)]
pub(super) struct Payloads {
    budget: Arc<Budget>,
    cost: u64,
    /// `None` when not all of them could be kept.
    messages: Option<Vec<Vec<u8>>>,
}

impl Payloads {
    /// None yet.
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            cost: 0,
            messages: Some(Vec::new()),
        }
    }

    /// Keeps one more of this length. When there is no room, none is kept.
    pub(super) fn push(&mut self, bytes: usize, copy: impl FnOnce() -> Vec<u8>) {
        let Some(messages) = &mut self.messages else {
            return;
        };
        let cost = bytes as u64 + MESSAGE_BYTES;
        if CALL_COST_MAX < self.cost + cost || !self.budget.take(cost) {
            self.messages = None;
            return self.give_back();
        }
        self.cost += cost;
        messages.push(copy());
    }

    /// All messages; `None` when one had no room.
    pub(super) fn messages(&self) -> Option<&[Vec<u8>]> {
        self.messages.as_deref()
    }

    fn give_back(&mut self) {
        let cost = std::mem::take(&mut self.cost);
        self.budget.held.fetch_sub(cost, Ordering::Relaxed);
    }
}

impl Drop for Payloads {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Budget {
    fn take(&self, cost: u64) -> bool {
        let before = self.held.fetch_add(cost, Ordering::Relaxed);
        let fits = before + cost <= HELD_BYTES_MAX;
        if !fits {
            self.held.fetch_sub(cost, Ordering::Relaxed);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(payloads: &mut Payloads, bytes: usize) -> usize {
        payloads.push(bytes, || vec![7; bytes]);
        payloads.messages().map_or(0, <[_]>::len)
    }

    #[test]
    fn the_messages_of_a_call_are_bounded() {
        let budget = Arc::<Budget>::default();
        let mut payloads = Payloads::new(&budget);
        assert_eq!(push(&mut payloads, CALL_BYTES_MAX as usize), 1);
        assert_eq!(push(&mut payloads, CALL_BYTES_MAX as usize), 0);
        assert_eq!(push(&mut payloads, 1), 0, "a part of them is of no use");
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
        let mut empty = Payloads::new(&budget);
        let most = (0..100_000).map(|_| push(&mut empty, 0)).max().unwrap();
        assert!((1024..100_000).contains(&most), "{most}");
    }

    #[test]
    fn the_messages_of_all_calls_are_bounded() {
        let budget = Arc::<Budget>::default();
        let mut calls: Vec<_> = (0..20).map(|_| Payloads::new(&budget)).collect();
        let kept: usize = calls
            .iter_mut()
            .map(|it| push(it, CALL_BYTES_MAX as usize))
            .sum();
        assert_eq!(kept, 15, "each costs a little more than its bytes");
        drop(calls);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
        assert_eq!(push(&mut Payloads::new(&budget), 5), 1);
    }
}
