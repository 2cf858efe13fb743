//! What a loop holds of a call on the pool: an answer that waits for the handler's result, and a source
//! that hands its messages on. Dropping either cancels the call.

use super::Pool;
use super::ahead::Behind;
use super::job::{Begin, Job};
use crate::answer::answer;
use crate::outgoing::Sink;
use crate::pending::{self, Pending};
use crate::source::Source;
use crate::{Answer, BoxAnswer, Inbound, MethodInfo, Outbound, Reply, Request, Response};
use crate::{Service, Status};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A service whose handlers run on the pool.
pub(crate) struct OnPool {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) pool: Arc<Pool>,
    /// Their streams of replies are made there too.
    pub(crate) whole: bool,
}

impl Service for OnPool {
    fn name(&self) -> &'static str {
        self.service.name()
    }

    fn methods(&self) -> &'static [MethodInfo] {
        self.service.methods()
    }

    fn call(&self, method: usize, request: Request<Inbound>) -> BoxAnswer {
        let (answered, pending) = pending::pair((|()| ()) as fn(()));
        let begin = Begin {
            service: Arc::clone(&self.service),
            method,
            request,
            whole: self.whole,
        };
        match Job::admit(&self.pool, begin, answered) {
            Ok(job) => Box::pin(Elsewhere {
                pending,
                job: Some(job),
            }),
            Err(status) => answer(std::future::ready(Err(status))),
        }
    }
}

/// Waits for the handler's result.
struct Elsewhere {
    pending: Pending<Response<Outbound>, (), fn(())>,
    /// To be cancelled by the drop.
    job: Option<Arc<Job>>,
}

impl Answer for Elsewhere {
    fn poll_answer(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        reply: &mut dyn Reply,
    ) -> Poll<()> {
        let outcome = ready!(Pin::new(&mut self.pending).poll(cx));
        self.job = None;
        reply.finish(outcome);
        Poll::Ready(())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            job.cancel();
        }
    }
}

/// The replies that the pool makes.
pub(super) struct Replies {
    behind: Behind,
    job: Arc<Job>,
}

impl Replies {
    pub(super) fn new(behind: Behind, job: Arc<Job>) -> Self {
        Self { behind, job }
    }
}

impl Source for Replies {
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
    ) -> Poll<Option<Result<(), Status>>> {
        self.behind.poll_next(cx, sink)
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.job.cancel();
    }
}
