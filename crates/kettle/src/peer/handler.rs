//! A handler that runs: user code, kept from harming the loop.

use super::Turn;
use crate::interceptor::{Interceptors, Next};
use crate::mailbox::Target;
use crate::router::{Route, RouteId};
use crate::{BoxFuture, Inbound, Outbound, Request, Response, Status};
use kettle_proto::CallId;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use tracing::Span;

/// How a call ended.
pub(super) type Outcome = Result<Response<Outbound>, Status>;

/// A handler that waits for something.
pub(super) struct Handler {
    route: RouteId,
    span: Span,
    /// Taken out only by the drop.
    future: Option<BoxFuture<'static, Outcome>>,
}

/// What a poll brought.
pub(super) enum Polled {
    Pending,
    Ready(Outcome),
}

impl Handler {
    /// Makes the future of a call and polls it. The handler is kept only when it has to wait. A panic
    /// is an outcome.
    pub(super) fn start(
        turn: &mut Turn<'_>,
        call: CallId,
        id: RouteId,
        route: &Route,
        interceptors: &Interceptors<Inbound, Outbound>,
        request: Request<Inbound>,
    ) -> Result<Outcome, Handler> {
        let peer = request.remote_addr();
        let span = tracing::debug_span!("call", method = route.path, ?peer);
        let mut cx = Context::from_waker(turn.spare.waker(Target::Handler(turn.key, call)));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _entered = span.enter();
            let mut future = run(interceptors, route, request);
            match future.as_mut().poll(&mut cx) {
                Poll::Ready(outcome) => Ok(outcome),
                Poll::Pending => Err(future),
            }
        }));
        match polled {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(future)) => Err(Handler {
                route: id,
                span,
                future: Some(future),
            }),
            Err(panic) => Ok(Err(panicked(&*panic))),
        }
    }

    /// Polls again.
    pub(super) fn poll(&mut self, turn: &mut Turn<'_>, call: CallId) -> Polled {
        let Some(future) = &mut self.future else {
            return Polled::Pending;
        };
        let mut cx = Context::from_waker(turn.spare.waker(Target::Handler(turn.key, call)));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            self.span.in_scope(|| future.as_mut().poll(&mut cx))
        }));
        match polled {
            Ok(Poll::Pending) => Polled::Pending,
            Ok(Poll::Ready(outcome)) => Polled::Ready(outcome),
            Err(panic) => Polled::Ready(Err(panicked(&*panic))),
        }
    }

    pub(super) fn route(&self) -> RouteId {
        self.route
    }
}

/// What a handler holds may panic when it is dropped: that ends the handler and nothing else.
impl Drop for Handler {
    fn drop(&mut self) {
        let future = self.future.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
            panicked(&*panic);
        }
    }
}

/// The future of a call: the method's, behind the interceptors.
fn run(
    interceptors: &Interceptors<Inbound, Outbound>,
    route: &Route,
    request: Request<Inbound>,
) -> BoxFuture<'static, Outcome> {
    if interceptors.is_empty() {
        return route.service.call(route.method, request);
    }
    let (service, method) = (Arc::clone(&route.service), route.method);
    let last = Box::new(move |request| service.call(method, request));
    Next::new(Arc::clone(interceptors), last).run(request)
}

/// The status of a call whose handler panicked. The text goes to the log, not to the client.
fn panicked(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("no text"), "a handler panicked");
    Status::internal("the handler of this call panicked")
}
