//! Calls that cannot start yet: for want of a connection, or of a place on it.

use crate::Status;
use crate::call::CallRequest;
use kettle_proto::Instant;
use std::collections::VecDeque;

/// Calls that may wait in one queue; beyond it calls fail with RESOURCE_EXHAUSTED.
const WAITING_MAX: usize = 65_536;

/// Calls in the order in which they came; those whose deadline passes are ended.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queue: VecDeque<Box<CallRequest>>,
    /// Not later than the earliest deadline in the queue.
    deadline: Option<Instant>,
}

impl Waiting {
    /// Adds a call at the end; answers it when too many wait.
    pub(crate) fn push(&mut self, request: Box<CallRequest>) {
        if WAITING_MAX <= self.queue.len() {
            let text = format!("{WAITING_MAX} calls wait for this connection already");
            return request
                .promise
                .answer(Err(Status::resource_exhausted(text)));
        }
        self.deadline = self.deadline.into_iter().chain(request.deadline).min();
        self.queue.push_back(request);
    }

    /// Adds all calls of `other` at the end.
    pub(crate) fn append(&mut self, other: Waiting) {
        for request in other.queue {
            self.push(request);
        }
    }

    /// Takes the call that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<Box<CallRequest>> {
        self.queue.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Ends calls whose deadline has passed, and forgets those whose caller has gone.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        self.deadline = None;
        for request in std::mem::take(&mut self.queue) {
            if request.deadline.is_some_and(|deadline| deadline <= now) {
                let text = "the deadline passed while the call waited for a connection";
                request.promise.answer(Err(Status::deadline_exceeded(text)));
            } else if !request.promise.is_abandoned() {
                self.push(request);
            }
        }
    }

    /// When [`Waiting::expire`] wants to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Answers all calls with this status.
    pub(crate) fn fail(&mut self, status: &Status) {
        for request in std::mem::take(self).queue {
            request.promise.answer(Err(status.clone()));
        }
    }
}
