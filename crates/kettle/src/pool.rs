//! A server's pool: threads for handlers that block, and the queue in front of them.
//!
//! It knows threads and order only; what a call does here is in `pool/job.rs`, and what the loop
//! holds of it meanwhile in `pool/elsewhere.rs`.

mod ahead;
mod elsewhere;
mod job;

pub(crate) use elsewhere::OnPool;

use crate::context::Context;
use crate::{Stats, Status};
use job::Job;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The pool's limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolConfig {
    /// At least one.
    pub(crate) threads_max: usize,
    pub(crate) queue_max: usize,
}

/// How long the end of a server waits for pool threads whose calls are over: a handler that blocks
/// cannot be interrupted.
const THREADS_GRACE: Duration = Duration::from_secs(1);

/// Most threads of a pool. Each takes its stack, and on most systems a process has 32,768.
pub(crate) const THREADS_MAX: usize = 4096;

/// Threads, started when there is work for them and none is free. They last until the pool is closed.
#[derive(Debug)]
pub(crate) struct Pool {
    config: PoolConfig,
    context: Context,
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
    tickets: AtomicU64,
    admitted: AtomicU64,
    /// Bytes of messages that its threads have copied.
    copied: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// By ticket, so that a call that is cancelled leaves no trace, wherever it stands.
    queue: BTreeMap<u64, Entry>,
    /// How many of them have not begun. The others wait for their next poll, and are as many as open
    /// calls at most.
    new: usize,
    threads: usize,
    /// Threads that run something.
    busy: usize,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    job: Arc<Job>,
    new: bool,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            threads_max: 64,
            queue_max: 1024,
        }
    }
}

impl Pool {
    /// Its threads run inside of this context.
    pub(crate) fn new(config: PoolConfig, context: Context) -> Self {
        Self {
            config,
            context,
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            tickets: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            copied: AtomicU64::new(0),
        }
    }

    /// Adds its counters to those of its server.
    pub(crate) fn add_to(&self, total: &mut Stats) {
        total.hand_overs += self.admitted.load(Ordering::Relaxed);
        total.copied_bytes += self.copied.load(Ordering::Relaxed);
    }

    /// A place in the order of the queue.
    fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a call that has not begun.
    fn admit(self: &Arc<Self>, ticket: u64, job: Arc<Job>) -> Result<(), Status> {
        let PoolConfig {
            threads_max,
            queue_max,
        } = self.config;
        let mut state = self.lock();
        if queue_max + (threads_max - state.busy) <= state.new {
            return Err(Status::resource_exhausted(format!(
                "this server's handler pool is full: its {threads_max} threads are busy \
                 (handler_threads), and {queue_max} calls wait for one (handler_queue_max)"
            )));
        }
        self.admitted.fetch_add(1, Ordering::Relaxed);
        state.new += 1;
        let new = true;
        state.queue.insert(ticket, Entry { job, new });
        if self.call_thread(state).is_err() && self.remove(ticket) {
            return Err(Status::unavailable("no thread for this call is to be had"));
        }
        Ok(())
    }

    /// Adds a call that wants to be polled again. False when the pool is closed.
    fn push(self: &Arc<Self>, job: &Arc<Job>) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        let (job, new) = (Arc::clone(job), false);
        state.queue.insert(self.ticket(), Entry { job, new });
        // A call that has begun had a thread, and threads last.
        let _ = self.call_thread(state);
        true
    }

    /// Takes a call that has not begun out of the queue. False when it is not there any more.
    fn remove(&self, ticket: u64) -> bool {
        let mut state = self.lock();
        let removed = state.queue.remove(&ticket);
        state.new -= usize::from(removed.is_some());
        // The call is user code when it is dropped: outside the lock.
        drop(state);
        removed.is_some()
    }

    /// Ends the threads when the queue is empty.
    pub(crate) fn begin_close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    /// The same, and waits for them; those that are kept by a handler which blocks end with it.
    pub(crate) fn close(&self) {
        self.begin_close();
        let mut state = self.lock();
        let until = Instant::now() + THREADS_GRACE;
        while 0 < state.threads {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                let threads = state.threads;
                return tracing::warn!(threads, "handlers block their pool threads after the end");
            };
            let waited = self.ended.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sees to it that what was added finds a thread. An error when there is none and none to be had.
    fn call_thread(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Result<(), ()> {
        if state.queue.len() <= state.threads - state.busy {
            self.work.notify_one();
            return Ok(());
        }
        if state.threads == self.config.threads_max {
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let pool = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("kettle-pool".into())
            .spawn(move || pool.context.run(|| pool.work()));
        let Err(error) = spawned else { return Ok(()) };
        tracing::warn!(%error, "cannot start a pool thread");
        let mut state = self.lock();
        state.threads -= 1;
        self.work.notify_one();
        if state.threads == 0 { Err(()) } else { Ok(()) }
    }

    /// The life of a thread.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some((_, Entry { job, new })) = state.queue.pop_first() {
                state.new -= usize::from(new);
                state.busy += 1;
                drop(state);
                job.run();
                state = self.lock();
                state.busy -= 1;
            } else if state.closed {
                break;
            } else {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.threads -= 1;
        self.ended.notify_all();
    }

    /// Nothing panics under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxAnswer, Inbound, MethodInfo, Request, Response, Service, answer};
    use std::task::{Context, Poll, Waker};

    /// Method 0 waits until the gate is opened, method 1 is pending for ever.
    struct Gated(Arc<(Mutex<bool>, Condvar)>);

    impl Service for Gated {
        fn name(&self) -> &'static str {
            "gated"
        }

        fn methods(&self) -> &'static [MethodInfo] {
            &[]
        }

        fn call(&self, method: usize, _: Request<Inbound>) -> BoxAnswer {
            let gate = Arc::clone(&self.0);
            answer(async move {
                if method == 1 {
                    std::future::pending::<()>().await;
                }
                let open = gate.0.lock().unwrap();
                drop(gate.1.wait_while(open, |open| !*open).unwrap());
                Err(Status::aborted("done")) as Result<Response<_>, _>
            })
        }
    }

    struct Said(Option<Status>);

    impl crate::Reply for Said {
        fn reply(&mut self, _: Response<&dyn kettle_buf::Encode>) {}

        fn finish(&mut self, outcome: Result<Response<crate::Outbound>, Status>) {
            self.0 = outcome.err();
        }
    }

    struct Rig {
        pool: Arc<Pool>,
        service: OnPool,
        gate: Arc<(Mutex<bool>, Condvar)>,
    }

    impl Rig {
        fn new(threads_max: usize, queue_max: usize) -> Self {
            let config = PoolConfig {
                threads_max,
                queue_max,
            };
            let (pool, gate) = (
                Arc::new(Pool::new(config, crate::context::Context::default())),
                Arc::default(),
            );
            let service = OnPool {
                service: Arc::new(Gated(Arc::clone(&gate))),
                pool: Arc::clone(&pool),
                whole: true,
            };
            Self {
                pool,
                service,
                gate,
            }
        }

        fn call(&self, method: usize) -> BoxAnswer {
            self.service
                .call(method, Request::new(Inbound::new(Default::default())))
        }

        fn open(&self) {
            *self.gate.0.lock().unwrap() = true;
            self.gate.1.notify_all();
        }

        /// Waits until the pool is as it should be.
        fn until(&self, is_so: impl Fn(&State) -> bool) {
            let begin = Instant::now();
            while !is_so(&self.pool.lock()) {
                assert!(begin.elapsed() < Duration::from_secs(30));
                std::thread::yield_now();
            }
        }
    }

    /// What an answer says, if it is there.
    fn said(answer: &mut BoxAnswer) -> Option<Status> {
        let mut said = Said(None);
        let cx = &mut Context::from_waker(Waker::noop());
        match answer.as_mut().poll_answer(cx, &mut said) {
            Poll::Ready(()) => said.0,
            Poll::Pending => None,
        }
    }

    #[test]
    fn threads_are_started_as_they_are_needed_and_end() {
        let rig = Rig::new(3, 10);
        let calls: Vec<_> = (0..5).map(|_| rig.call(0)).collect();
        rig.until(|state| state.busy == 3);
        assert_eq!(rig.pool.lock().queue.len(), 2);
        rig.open();
        rig.until(|state| state.busy == 0 && state.queue.is_empty());
        assert_eq!(rig.pool.lock().threads, 3);
        let mut calls = calls;
        for call in &mut calls {
            assert_eq!(said(call).unwrap().message(), "done");
        }
        // One that is free is used again.
        let mut one = rig.call(0);
        rig.until(|state| state.busy == 0 && state.queue.is_empty());
        assert!(said(&mut one).is_some());
        assert_eq!(rig.pool.lock().threads, 3);
        rig.pool.close();
        assert_eq!(rig.pool.lock().threads, 0);
    }

    #[test]
    fn cancelled_calls_leave_nothing_behind() {
        let rig = Rig::new(1, 2);
        let pending = rig.call(1);
        rig.until(|state| state.threads == 1 && state.busy == 0 && state.queue.is_empty());
        let running = rig.call(0);
        rig.until(|state| state.busy == 1);
        for _ in 0..100 {
            let waiting = [rig.call(0), rig.call(0)];
            let refused = said(&mut rig.call(0)).expect("it is full");
            assert_eq!(refused.code(), crate::Code::ResourceExhausted);
            drop(waiting);
            let state = rig.pool.lock();
            assert_eq!((state.queue.len(), state.new), (0, 0));
        }
        // What has begun is dropped by a thread.
        drop(pending);
        assert_eq!(rig.pool.lock().queue.len(), 1);
        drop(running);
        rig.open();
        rig.pool.close();
        assert_eq!(Arc::strong_count(&rig.gate), 2, "no call is left");
        // The thread lets go of the pool at its very end; no call holds it.
        rig.until(|_| Arc::strong_count(&rig.pool) == 2);
    }

    #[test]
    fn a_thread_that_is_blocked_is_left_behind() {
        let rig = Rig::new(1, 0);
        let blocked = rig.call(0);
        rig.until(|state| state.busy == 1);
        drop(blocked);
        rig.pool.close();
        assert_eq!(rig.pool.lock().threads, 1);
        rig.open();
        rig.until(|state| state.threads == 0);
    }
}
