//! A handler that runs: user code, kept from harming the loop.

use super::arriving::Arriving;
use super::replying::{ReplyStream, Replying};
use super::{Spare, Turn};
use crate::ambient;
use crate::answer::{BoxAnswer, Reply, answer, collect};
use crate::interceptor::{Interceptors, Next};
use crate::mailbox::Target;
use crate::router::{Route, RouteId};
use crate::{Inbound, Outbound, Request, Status};
use kettle_proto::Instant;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tracing::Span;

/// A handler that waits for something.
pub(super) struct Handler {
    pub(super) route: RouteId,
    span: Span,
    /// What the calls that it makes inherit.
    deadline: Option<Instant>,
    /// Taken out only by the drop.
    work: Option<Work>,
    /// One waker for all polls but the first.
    waker: Option<Waker>,
    /// The messages that come, of a method that takes a stream.
    pub(super) arriving: Option<Arriving>,
}

enum Work {
    Answer(BoxAnswer),
    /// The handler has returned a stream of replies.
    Stream(Box<ReplyStream>),
}

impl Handler {
    /// Makes the answer of a call and polls it. The handler is kept only when it has to wait. A panic
    /// ends the call. The request is taken out: it comes by reference because it is large, and moved often.
    #[inline]
    pub(super) fn start(
        turn: &mut Turn<'_>,
        reply: &mut Replying<'_>,
        id: RouteId,
        route: &Route,
        interceptors: &Interceptors<Inbound, Outbound>,
        request: &mut Option<Request<Inbound>>,
    ) -> Option<Box<Handler>> {
        let peer = |request: &Option<Request<Inbound>>| Some(request.as_ref()?.remote());
        let span = tracing::debug_span!("call", method = route.path, peer = ?peer(request));
        let Spare {
            alarm,
            answer: spare,
        } = &mut *turn.spare;
        let mut cx = Context::from_waker(alarm.waker(Target::Handler(turn.key, reply.call)));
        ambient::set(request.as_ref().and_then(Request::deadline_here));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _entered = span.enter();
            if let Some(again) = spare.get(id) {
                return match again.begin(request, &mut cx, reply) {
                    Poll::Ready(()) => None,
                    Poll::Pending => spare.take(),
                };
            }
            let request = request.take()?;
            let mut answer = run(interceptors, route, request);
            match answer.as_mut().poll_answer(&mut cx, reply) {
                Poll::Ready(()) => {
                    spare.put(id, answer);
                    None
                }
                Poll::Pending => Some(answer),
            }
        }));
        let deadline = ambient::deadline();
        ambient::clear();
        let (work, streams) = match polled {
            Ok(None) => (Work::Stream(reply.take_stream()?), true),
            Ok(Some(answer)) => (Work::Answer(answer), false),
            Err(panic) => {
                drop_safely(turn.spare.answer.take());
                reply.finish(Err(panicked(&*panic, "handler")));
                return None;
            }
        };
        let mut handler = Box::new(Handler {
            route: id,
            span,
            deadline,
            work: Some(work),
            waker: None,
            arriving: None,
        });
        let done = streams && handler.poll(turn, reply).is_ready();
        (!done).then_some(handler)
    }

    /// Polls again.
    pub(super) fn poll(&mut self, turn: &mut Turn<'_>, reply: &mut Replying<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(());
        };
        let target = Target::Handler(turn.key, reply.call);
        let waker = self
            .waker
            .get_or_insert_with(|| turn.spare.alarm.waker(target).clone());
        let mut cx = Context::from_waker(waker);
        ambient::set(self.deadline);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _entered = self.span.enter();
            work.poll(&mut cx, reply)
        }));
        ambient::clear();
        polled.unwrap_or_else(|panic| {
            reply.finish(Err(panicked(&*panic, "handler")));
            Poll::Ready(())
        })
    }

    /// It was taken from among the streams that wait for room.
    pub(super) fn resumed(&mut self) {
        if let Some(Work::Stream(stream)) = &mut self.work {
            stream.resumed();
        }
    }

    pub(super) fn route(&self) -> RouteId {
        self.route
    }
}

impl Work {
    fn poll(&mut self, cx: &mut Context<'_>, reply: &mut Replying<'_>) -> Poll<()> {
        if let Work::Answer(answer) = self {
            ready!(answer.as_mut().poll_answer(cx, reply));
            match reply.take_stream() {
                Some(stream) => *self = Work::Stream(stream),
                None => return Poll::Ready(()),
            }
        }
        match self {
            Work::Answer(_) => Poll::Ready(()),
            Work::Stream(stream) => reply.poll_stream(stream, cx),
        }
    }
}

/// What a handler holds may panic when it is dropped: that ends the handler and nothing else.
impl Drop for Handler {
    fn drop(&mut self) {
        drop_safely(self.work.take());
    }
}

fn drop_safely<T>(work: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(work))) {
        panicked(&*panic, "handler");
    }
}

/// The answer to a call: the method's, behind the interceptors.
fn run(
    interceptors: &Interceptors<Inbound, Outbound>,
    route: &Route,
    request: Request<Inbound>,
) -> BoxAnswer {
    if route.finishing.is_some() {
        // What it does is not to stop half-way.
        ambient::clear();
    }
    let answer = if interceptors.is_empty() {
        route.service.call(route.method, request)
    } else {
        let (service, method) = (Arc::clone(&route.service), route.method);
        let last = Box::new(move |request| collect(service.call(method, request)));
        answer(Next::new(Arc::clone(interceptors), last).run(request))
    };
    match &route.finishing {
        Some(finishing) => finishing.last(route.path, answer),
        None => answer,
    }
}

/// The status of a call in which something panicked. The panic's text goes to the log, not to the peer.
pub(crate) fn panicked(panic: &(dyn Any + Send), what: &str) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("no text"), "a {what} panicked");
    Status::internal(format!("the {what} of this call panicked"))
}
