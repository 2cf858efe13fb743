//! A call on the pool: its handler, and what becomes of it.
//!
//! ```text
//!            admit            a thread           pending
//!   (made) ────────▶ Queued ───────────▶ Running ───────▶ Idle
//!                       ▲                │ wake             │ wake, cancel
//!                       └──── pending ── Woken              │
//!                       └───────────────────────────────────┘
//! ```
//! `Over` follows `Running` when the handler is done, and every state when the call was cancelled. User code
//! runs, and is dropped, on threads of the pool; only a call that has not begun is dropped by its loop.

use super::Pool;
use super::ahead::{self, Ahead};
use super::elsewhere::Replies;
use crate::ambient;
use crate::answer::collect;
use crate::peer::panicked;
use crate::pending::Promise;
use crate::source::BoxSource;
use crate::{BoxFuture, Inbound, Outbound, Request, Response, Service, Status};
use kettle_buf::copied_bytes;
use kettle_proto::Instant;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use tracing::Span;

/// Where the handler's result goes.
pub(super) type Answered = Promise<Response<Outbound>, ()>;

/// A call on the pool.
pub(super) struct Job {
    pool: Arc<Pool>,
    /// Its place in the queue until it begins.
    ticket: u64,
    span: Span,
    /// What the calls that it makes inherit.
    deadline: Option<Instant>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Here unless it runs or is over.
    work: Option<Work>,
    cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Queued,
    Running,
    /// Runs, and was woken meanwhile.
    Woken,
    Idle,
    Over,
}

struct Work {
    stage: Stage,
    whole: bool,
    answered: Option<Answered>,
}

enum Stage {
    New(Begin),
    Handler(BoxFuture<'static, Result<Response<Outbound>, Status>>),
    /// The handler has returned a stream of replies.
    Replies(BoxSource, Ahead),
    Over,
}

/// A call that has not begun.
pub(super) struct Begin {
    pub(super) service: Arc<dyn Service>,
    pub(super) method: usize,
    pub(super) request: Request<Inbound>,
    /// A stream of replies stays on the pool.
    pub(super) whole: bool,
}

impl Job {
    /// Puts a call into the pool's queue.
    pub(super) fn admit(
        pool: &Arc<Pool>,
        begin: Begin,
        answered: Answered,
    ) -> Result<Arc<Self>, Status> {
        let work = Work {
            whole: begin.whole,
            stage: Stage::New(begin),
            answered: Some(answered),
        };
        let job = Arc::new(Self {
            pool: Arc::clone(pool),
            ticket: pool.ticket(),
            span: Span::current(),
            deadline: ambient::deadline(),
            state: Mutex::new(State {
                phase: Phase::Queued,
                work: Some(work),
                cancelled: false,
            }),
        });
        pool.admit(job.ticket, Arc::clone(&job))?;
        Ok(job)
    }

    /// Pool thread: polls the handler once.
    pub(super) fn run(self: Arc<Self>) {
        let Some(mut work) = self.begin_run() else {
            return;
        };
        let waker = Waker::from(Arc::clone(&self));
        ambient::set(self.deadline);
        let copied = copied_bytes();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _entered = self.span.enter();
            work.poll(&self, &mut Context::from_waker(&waker))
        }));
        ambient::clear();
        let copied = copied_bytes() - copied;
        self.pool.copied.fetch_add(copied, Ordering::Relaxed);
        let over = match polled {
            Ok(polled) => polled.is_ready(),
            Err(panic) => {
                work.fail(panicked(&*panic, "handler"));
                true
            }
        };
        if over {
            self.lock().phase = Phase::Over;
            return discard(work);
        }
        let Some(phase) = self.end_run(work) else {
            return;
        };
        if phase == Phase::Queued {
            self.push();
        }
    }

    /// Nobody waits for this call any more.
    pub(super) fn cancel(self: &Arc<Self>) {
        // Before it has begun there is nothing of the handler's to drop.
        if self.pool.remove(self.ticket) {
            let work = {
                let mut state = self.lock();
                state.phase = Phase::Over;
                state.work.take()
            };
            return work.into_iter().for_each(discard);
        }
        let idle = {
            let mut state = self.lock();
            state.cancelled = true;
            let idle = state.phase == Phase::Idle;
            if idle {
                state.phase = Phase::Queued;
            }
            idle
        };
        if idle {
            Arc::clone(self).push();
        }
    }

    /// Queues it for its next poll, or its drop. A pool that is closed has no calls but cancelled ones.
    fn push(self: Arc<Self>) {
        if !self.pool.push(&self) {
            let work = self.lock().work.take();
            work.into_iter().for_each(discard);
        }
    }

    /// Takes the work out, to be polled; drops it when the call was cancelled.
    fn begin_run(&self) -> Option<Work> {
        let mut state = self.lock();
        let work = state.work.take();
        if state.cancelled {
            state.phase = Phase::Over;
            drop(state);
            work.into_iter().for_each(discard);
            return None;
        }
        state.phase = Phase::Running;
        work
    }

    /// Puts the work back, or drops it when the call was cancelled meanwhile.
    fn end_run(&self, work: Work) -> Option<Phase> {
        let mut state = self.lock();
        if state.cancelled {
            state.phase = Phase::Over;
            drop(state);
            discard(work);
            return None;
        }
        state.phase = match state.phase {
            Phase::Woken => Phase::Queued,
            _ => Phase::Idle,
        };
        state.work = Some(work);
        Some(state.phase)
    }

    /// Nothing panics under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        let idle = {
            let mut state = self.lock();
            let idle = state.phase == Phase::Idle;
            match state.phase {
                Phase::Idle => state.phase = Phase::Queued,
                Phase::Running => state.phase = Phase::Woken,
                _ => {}
            }
            idle
        };
        if idle {
            self.push();
        }
    }
}

impl Work {
    fn poll(&mut self, job: &Arc<Job>, cx: &mut Context<'_>) -> Poll<()> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::New(begin) => {
                Stage::Handler(collect(begin.service.call(begin.method, begin.request)))
            }
            stage => stage,
        };
        if let Stage::Handler(handler) = &mut self.stage {
            let outcome = ready!(handler.as_mut().poll(cx));
            self.stage = self.answer(job, outcome);
        }
        match &mut self.stage {
            Stage::Replies(source, ahead) => ahead.poll(source, cx),
            _ => Poll::Ready(()),
        }
    }

    /// Gives the loop what the handler returned. A stream stays here, and its messages go to the loop, unless
    /// only the handler's begin belongs here.
    fn answer(&mut self, job: &Arc<Job>, outcome: Result<Response<Outbound>, Status>) -> Stage {
        let Some(answered) = self.answered.take() else {
            return Stage::Over;
        };
        let response = match outcome {
            Ok(response) => response,
            Err(status) => {
                answered.answer(Err(status));
                return Stage::Over;
            }
        };
        if !self.whole {
            answered.answer(Ok(response));
            return Stage::Over;
        }
        let (message, headers, trailers) = response.into_parts();
        let (message, stage) = match message.into_source() {
            Ok(source) => {
                let (ahead, behind) = ahead::pair();
                let replies = Replies::new(behind, Arc::clone(job));
                let message = Outbound::from_source(Box::pin(replies));
                (message, Stage::Replies(source, ahead))
            }
            Err(message) => (message, Stage::Over),
        };
        answered.answer(Ok(Response::from_parts(message, headers, trailers)));
        stage
    }

    /// The handler panicked.
    fn fail(&mut self, status: Status) {
        match (self.answered.take(), &mut self.stage) {
            (Some(answered), _) => drop(answered.answer(Err(status))),
            (None, Stage::Replies(_, ahead)) => ahead.end(Err(status)),
            _ => {}
        }
    }
}

/// What a handler holds may panic when it is dropped: that ends the handler and nothing else.
fn discard(work: Work) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(work))) {
        panicked(&*panic, "handler");
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.lock().phase).finish()
    }
}
