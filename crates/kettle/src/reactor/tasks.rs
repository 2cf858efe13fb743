//! Futures of the user that run on a loop beside its connections.

use super::Reactor;
use crate::BoxFuture;
use crate::mailbox::{Alarm, Target};
use slab::Slab;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The tasks of a loop.
#[derive(Default)]
pub(super) struct Tasks {
    tasks: Slab<Task>,
    generation: u32,
}

struct Task {
    generation: u32,
    /// Taken out while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    /// One waker for the task's whole life.
    waker: Waker,
}

impl Tasks {
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn clear(&mut self) {
        self.tasks.clear();
    }
}

impl Reactor {
    /// Adds a task; it is polled first in the next turn.
    pub(crate) fn spawn(&mut self, future: BoxFuture<'static, ()>) {
        self.tasks.generation = self.tasks.generation.wrapping_add(1);
        let (generation, entry) = (self.tasks.generation, self.tasks.tasks.vacant_entry());
        let target = Target::Task(u64::from(generation) << 32 | entry.key() as u64);
        let waker = Waker::from(Arc::new(Alarm::new(&self.mailbox, target)));
        waker.wake_by_ref();
        entry.insert(Task {
            generation,
            future: Some(future),
            waker,
        });
    }

    /// How many tasks are not done.
    pub(crate) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Drops all tasks where they are.
    pub(crate) fn drop_tasks(&mut self) {
        self.tasks.clear();
    }

    pub(super) fn poll_task(&mut self, task: u64) {
        let (slot, generation) = (task as u32 as usize, (task >> 32) as u32);
        let Some(task) = self.tasks.tasks.get_mut(slot) else {
            return;
        };
        if task.generation != generation {
            return;
        }
        let Some(mut future) = task.future.take() else {
            return;
        };
        let waker = task.waker.clone();
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => self.tasks.tasks[slot].future = Some(future),
            Poll::Ready(()) => drop(self.tasks.tasks.remove(slot)),
        }
        self.now = self.clock.now();
    }
}
