//! A handler that runs: user code, kept from harming the loop.

use super::replying::Replying;
use super::{Spare, Turn};
use crate::answer::{BoxAnswer, Reply, answer, collect};
use crate::interceptor::{Interceptors, Next};
use crate::mailbox::Target;
use crate::router::{Route, RouteId};
use crate::{Inbound, Outbound, Request, Status};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use tracing::Span;

/// A handler that waits for something.
pub(super) struct Handler {
    route: RouteId,
    span: Span,
    /// Taken out only by the drop.
    answer: Option<BoxAnswer>,
}

impl Handler {
    /// Makes the answer of a call and polls it. The handler is kept only when it has to wait. A panic
    /// ends the call.
    pub(super) fn start(
        turn: &mut Turn<'_>,
        reply: &mut Replying<'_>,
        id: RouteId,
        route: &Route,
        interceptors: &Interceptors<Inbound, Outbound>,
        request: Request<Inbound>,
    ) -> Option<Handler> {
        let peer = request.remote_addr();
        let span = tracing::debug_span!("call", method = route.path, ?peer);
        let Spare {
            alarm,
            answer: spare,
        } = &mut *turn.spare;
        let mut cx = Context::from_waker(alarm.waker(Target::Handler(turn.key, reply.call)));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _entered = span.enter();
            let mut answer = match spare.take(id) {
                Some(mut spare) => {
                    spare.as_mut().begin(request);
                    spare
                }
                None => run(interceptors, route, request),
            };
            match answer.as_mut().poll_answer(&mut cx, reply) {
                Poll::Ready(()) => {
                    spare.put(id, answer);
                    None
                }
                Poll::Pending => Some(answer),
            }
        }));
        match polled {
            Ok(None) => None,
            Ok(answer) => Some(Handler {
                route: id,
                span,
                answer,
            }),
            Err(panic) => {
                reply.finish(Err(panicked(&*panic)));
                None
            }
        }
    }

    /// Polls again.
    pub(super) fn poll(&mut self, turn: &mut Turn<'_>, reply: &mut Replying<'_>) -> Poll<()> {
        let Some(answer) = &mut self.answer else {
            return Poll::Pending;
        };
        let waker = turn
            .spare
            .alarm
            .waker(Target::Handler(turn.key, reply.call));
        let mut cx = Context::from_waker(waker);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            self.span
                .in_scope(|| answer.as_mut().poll_answer(&mut cx, reply))
        }));
        polled.unwrap_or_else(|panic| {
            reply.finish(Err(panicked(&*panic)));
            Poll::Ready(())
        })
    }

    pub(super) fn route(&self) -> RouteId {
        self.route
    }
}

/// What a handler holds may panic when it is dropped: that ends the handler and nothing else.
impl Drop for Handler {
    fn drop(&mut self) {
        let answer = self.answer.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(answer))) {
            panicked(&*panic);
        }
    }
}

/// The answer to a call: the method's, behind the interceptors.
fn run(
    interceptors: &Interceptors<Inbound, Outbound>,
    route: &Route,
    request: Request<Inbound>,
) -> BoxAnswer {
    if interceptors.is_empty() {
        return route.service.call(route.method, request);
    }
    let (service, method) = (Arc::clone(&route.service), route.method);
    let last = Box::new(move |request| collect(service.call(method, request)));
    answer(Next::new(Arc::clone(interceptors), last).run(request))
}

/// The status of a call whose handler panicked. The text goes to the log, not to the client.
fn panicked(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("no text"), "a handler panicked");
    Status::internal("the handler of this call panicked")
}
