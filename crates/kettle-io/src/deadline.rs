//! When a wait is over.

use std::time::{Duration, Instant};

/// The end of a wait, and how long there is until then. Reads the clock at its beginning and after each
/// sleep, when there is an end other than at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    end: Option<Instant>,
    remaining: Option<Duration>,
}

impl Deadline {
    /// `None`, and a time beyond what the clock can say, is never.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        let later = timeout.filter(|timeout| !timeout.is_zero());
        Self {
            end: later.and_then(|timeout| Instant::now().checked_add(timeout)),
            remaining: timeout,
        }
    }

    /// How long there is left, as far as is known; `None` is for ever.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.remaining
    }

    /// Whether it has passed, after a sleep.
    pub(crate) fn has_passed(&mut self) -> bool {
        if let Some(end) = self.end {
            self.remaining = Some(end.saturating_duration_since(Instant::now()));
        }
        self.remaining == Some(Duration::ZERO)
    }
}
