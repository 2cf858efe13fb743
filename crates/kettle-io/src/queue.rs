//! Completions that a driver produced outside of a wait.

use crate::{Completion, Token};

/// Completions of `submit`, `cancel` and `detach`, kept for the next wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    completions: Vec<Completion>,
    /// How many of them are not their operation's last: a detach must take its own out.
    parts: usize,
    /// Whether the last wait ended without looking at the sockets.
    skipped: bool,
}

impl Queue {
    pub(crate) fn push(&mut self, completion: Completion) {
        self.parts += usize::from(!completion.last);
        self.completions.push(completion);
    }

    /// Moves all to `done`. True when the wait should end at once, without a system call; that never
    /// happens twice in a row, so that whoever sends all the time does not starve the others.
    pub(crate) fn give(&mut self, done: &mut Vec<Completion>) -> bool {
        self.skipped = !self.completions.is_empty() && !self.skipped;
        self.parts = 0;
        done.append(&mut self.completions);
        self.skipped
    }

    /// Moves all to `done`, outside of a wait.
    pub(crate) fn take(&mut self, done: &mut Vec<Completion>) {
        self.parts = 0;
        done.append(&mut self.completions);
    }

    /// Takes out what must not be delivered after a detach.
    pub(crate) fn forget_parts(&mut self, token: Token) {
        if 0 < self.parts {
            self.completions
                .retain(|completion| completion.token != token || completion.last);
            self.parts = self
                .completions
                .iter()
                .filter(|completion| !completion.last)
                .count();
        }
    }
}
