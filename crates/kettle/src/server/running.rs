//! What a server runs besides its loops: a thread for each connection, or a task.

use crate::command::Command;
use crate::mailbox::Mailbox;
use crate::stats::{LoopStats, Stats};
use slab::Slab;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "tokio-host")]
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Threads or tasks, each with a mailbox to stop it by and counters of its own.
#[derive(Default)]
pub(crate) struct Running {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    running: Slab<One>,
    /// Set by the stop: what starts from then on gets this grace at once.
    stopping: Option<Duration>,
    /// The counters of those that have ended.
    past: Stats,
    /// Tasks that wait until none is left.
    #[cfg(feature = "tokio-host")]
    waiting: Vec<Waker>,
}

struct One {
    mailbox: Arc<Mailbox>,
    stats: Arc<LoopStats>,
}

/// The place of a thread or task among the others, until it is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    running: Arc<Running>,
    id: usize,
}

impl Running {
    /// Lets everything end what it does; what starts from now on does so at once.
    pub(crate) fn stop(&self, grace: Duration) {
        let mut state = self.lock();
        state.stopping = Some(grace);
        state.tell_of_end();
        for (_, one) in &state.running {
            // One that has just ended needs no stop.
            let _ = one.mailbox.interrupt(Command::Stop { grace });
        }
    }

    /// Blocks until nothing is left.
    pub(crate) fn wait(&self) {
        let mut state = self.lock();
        while !state.running.is_empty() {
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Task: ready when a stop has begun, and nothing is left.
    #[cfg(feature = "tokio-host")]
    pub(crate) fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.stopping.is_some() && state.running.is_empty() {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|it| it.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().running.len()
    }

    /// Adds the counters of all, those of the past too, to a total.
    pub(crate) fn add_to(&self, total: &mut Stats) {
        let state = self.lock();
        total.add_past(&state.past);
        for (_, one) in &state.running {
            one.stats.add_to(total);
        }
    }

    /// A connection came, and was refused.
    #[cfg(feature = "tokio-host")]
    pub(crate) fn refused(&self) {
        let past = &mut self.lock().past;
        past.connections_accepted += 1;
        past.connections_refused += 1;
    }

    /// Adds one, with its counters.
    pub(crate) fn register(
        self: &Arc<Self>,
        mailbox: Arc<Mailbox>,
        stats: Arc<LoopStats>,
    ) -> Registered {
        let mut state = self.lock();
        if let Some(grace) = state.stopping {
            let _ = mailbox.send(Command::Stop { grace });
        }
        let id = state.running.insert(One { mailbox, stats });
        drop(state);
        let running = Arc::clone(self);
        Registered { running, id }
    }

    fn unregister(&self, id: usize) {
        let mut state = self.lock();
        let one = state.running.remove(id);
        one.stats.add_to(&mut state.past);
        // What it held is gone with it.
        state.past.connections_by_loop.clear();
        state.tell_of_end();
        drop(state);
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock, so a poisoned one is as good as new.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Wakes the tasks that wait until nothing is left, when that is so.
    fn tell_of_end(&mut self) {
        #[cfg(feature = "tokio-host")]
        if self.running.is_empty() {
            self.waiting.drain(..).for_each(Waker::wake);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.running.unregister(self.id);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Running").field(&self.count()).finish()
    }
}
