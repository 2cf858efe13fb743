//! The calls of a server's connection: requests to handlers, handlers' results to the machine.

use super::Turn;
use crate::interceptor::{Interceptors, Next};
use crate::mailbox::Target;
use crate::request::Origin;
use crate::router::{Route, Router};
use crate::stats::{LoopStats, SLOW_POLL};
use crate::{BoxFuture, Inbound, Outbound, Request, Response, Status};
use kettle_buf::Chain;
use kettle_proto::{CallId, Closing, Event, Instant, Machine, Metadata, Method};
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a server hosts, shared by all its connections.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(crate) router: Router,
    pub(crate) interceptors: Interceptors<Inbound, Outbound>,
}

type Outcome = Result<Response<Outbound>, Status>;

/// The open calls of one connection.
pub(crate) struct Serving {
    hosted: Arc<Hosted>,
    remote: Option<SocketAddr>,
    /// Routes by the connection's small number for a path.
    routes: Vec<Option<Route>>,
    /// By the call's slot.
    calls: Vec<Option<Call>>,
    pending: usize,
}

struct Call {
    stream: u32,
    path: Arc<str>,
    span: tracing::Span,
    stage: Stage,
}

enum Stage {
    /// The head is here, the message not yet.
    Head(Box<Head>),
    /// The message is here, its end not yet.
    Message(Box<Head>, Chain),
    Handler(BoxFuture<'static, Outcome>),
    /// Between two stages, while a method of [`Serving`] runs.
    Changing,
}

struct Head {
    route: Route,
    metadata: Metadata,
    deadline: Option<Instant>,
}

impl Serving {
    pub(crate) fn new(hosted: Arc<Hosted>, remote: Option<SocketAddr>) -> Self {
        Self {
            hosted,
            remote,
            routes: Vec::new(),
            calls: Vec::new(),
            pending: 0,
        }
    }

    /// Handlers that wait for something.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    pub(super) fn handle(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, event: Event) {
        match event {
            Event::Call {
                call,
                method,
                metadata,
                deadline,
            } => {
                self.open(turn, machine, call, &method, metadata, deadline);
            }
            Event::Message { call, message, end } => {
                self.message(turn, machine, call, message, end);
            }
            Event::End { call } => self.end(turn, machine, call),
            Event::Reset { call, .. } => {
                LoopStats::add(&turn.stats.calls_failed, 1);
                self.forget(call);
            }
            _ => {}
        }
    }

    /// Polls a handler that was woken. A call that is over, or whose slot has another call, is left alone.
    pub(super) fn wake(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, call: CallId) {
        if let Some(Call {
            stage: Stage::Handler(_),
            ..
        }) = self.get_mut(call)
        {
            self.pending -= 1;
            self.poll(turn, machine, call);
        }
    }

    fn open(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        method: &Method,
        metadata: Metadata,
        deadline: Option<Instant>,
    ) {
        LoopStats::add(&turn.stats.calls, 1);
        let Some(route) = self.route(method) else {
            LoopStats::add(&turn.stats.calls_failed, 1);
            let status = Status::unimplemented(self.hosted.router.explain_missing(&method.path));
            return machine.finish(
                call,
                Closing {
                    status,
                    ..Closing::default()
                },
            );
        };
        let path = Arc::clone(&route.path);
        let span = tracing::debug_span!("call", method = &*path, peer = ?self.remote);
        let stage = Stage::Head(Box::new(Head {
            route,
            metadata,
            deadline,
        }));
        let slot = call.slot as usize;
        if self.calls.len() <= slot {
            self.calls.resize_with(slot + 1, || None);
        }
        self.calls[slot] = Some(Call {
            stream: call.stream,
            path,
            span,
            stage,
        });
    }

    fn message(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        message: Chain,
        end: bool,
    ) {
        let Some(open) = self.get_mut(call) else {
            return;
        };
        match std::mem::replace(&mut open.stage, Stage::Changing) {
            Stage::Head(head) if end => self.start(turn, machine, call, *head, message),
            Stage::Head(head) => open.stage = Stage::Message(head, message),
            another => {
                let pending = usize::from(matches!(another, Stage::Handler(_)));
                open.stage = another;
                self.pending -= pending;
                let text = "a unary method takes one message, and the client sent another";
                self.finish(turn, machine, call, Err(Status::internal(text)));
            }
        }
    }

    fn end(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, call: CallId) {
        let Some(open) = self.get_mut(call) else {
            return;
        };
        match std::mem::replace(&mut open.stage, Stage::Changing) {
            Stage::Message(head, message) => self.start(turn, machine, call, *head, message),
            Stage::Head(_) => {
                let text = "a unary method takes one message, and the client sent none";
                self.finish(turn, machine, call, Err(Status::internal(text)));
            }
            running => open.stage = running,
        }
    }

    /// Makes the handler's future and polls it at once.
    fn start(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        head: Head,
        message: Chain,
    ) {
        let origin = Origin {
            remote_addr: self.remote,
            deadline: head.deadline.map(|deadline| turn.clock.to_std(deadline)),
            method: Some(Arc::clone(&head.route.path)),
        };
        let request = Request::incoming(Inbound::new(message), head.metadata, origin);
        let interceptors = &self.hosted.interceptors;
        let future = catch_unwind(AssertUnwindSafe(|| run(interceptors, head.route, request)));
        match (future, self.get_mut(call)) {
            (Ok(future), Some(open)) => {
                open.stage = Stage::Handler(future);
                self.poll(turn, machine, call);
            }
            (Err(panic), _) => {
                self.finish(turn, machine, call, Err(panicked(&*panic)));
            }
            (Ok(_), None) => {}
        }
    }

    fn poll(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, call: CallId) {
        let Some(open) = self.get_mut(call) else {
            return;
        };
        let Stage::Handler(future) = &mut open.stage else {
            return;
        };
        let waker = turn.spare.waker(Target::Handler(turn.key, call));
        let mut cx = Context::from_waker(&waker);
        let entered = open.span.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
        drop(entered);
        drop(waker);
        watch(turn, &open.path);
        match polled {
            Ok(Poll::Pending) => self.pending += 1,
            Ok(Poll::Ready(outcome)) => self.finish(turn, machine, call, outcome),
            Err(panic) => self.finish(turn, machine, call, Err(panicked(&*panic))),
        }
    }

    /// Answers a call and forgets it.
    fn finish(
        &mut self,
        turn: &Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        outcome: Outcome,
    ) {
        if let Some(open) = self
            .calls
            .get_mut(call.slot as usize)
            .and_then(Option::take)
        {
            drop_quietly(open);
        }
        let closing = match outcome {
            Ok(response) => {
                let (message, headers, trailers) = response.into_parts();
                let status = Status::default().with_metadata(trailers);
                Closing {
                    headers,
                    message: Some(message.into_payload()),
                    status,
                }
            }
            Err(status) => {
                LoopStats::add(&turn.stats.calls_failed, 1);
                Closing {
                    status,
                    ..Closing::default()
                }
            }
        };
        machine.finish(call, closing);
    }

    fn forget(&mut self, call: CallId) {
        if self.get_mut(call).is_none() {
            return;
        }
        if let Some(open) = self.calls[call.slot as usize].take() {
            self.pending -= usize::from(matches!(open.stage, Stage::Handler(_)));
            drop_quietly(open);
        }
    }

    fn get_mut(&mut self, call: CallId) -> Option<&mut Call> {
        let open = self.calls.get_mut(call.slot as usize)?.as_mut()?;
        (open.stream == call.stream).then_some(open)
    }

    /// The route of a method, looked up once for each path with a small number.
    fn route(&mut self, method: &Method) -> Option<Route> {
        let Some(memo) = method.memo.map(usize::from) else {
            return self.hosted.router.find(&method.path).cloned();
        };
        if let Some(Some(route)) = self.routes.get(memo) {
            return Some(route.clone());
        }
        let route = self.hosted.router.find(&method.path)?.clone();
        if self.routes.len() <= memo {
            self.routes.resize_with(memo + 1, || None);
        }
        self.routes[memo] = Some(route.clone());
        Some(route)
    }
}

/// A call's handler may drop things that panic; that ends the call and nothing else.
impl Drop for Serving {
    fn drop(&mut self) {
        self.calls.drain(..).flatten().for_each(drop_quietly);
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

/// The future of a call: the method's, behind the interceptors.
fn run(
    interceptors: &Interceptors<Inbound, Outbound>,
    route: Route,
    request: Request<Inbound>,
) -> BoxFuture<'static, Outcome> {
    if interceptors.is_empty() {
        return route.service.call(route.method, request);
    }
    let last = Box::new(move |request| route.service.call(route.method, request));
    Next::new(Arc::clone(interceptors), last).run(request)
}

/// Notes how long a poll took, and moves the turn's time on.
fn watch(turn: &mut Turn<'_>, path: &Arc<str>) {
    let now = turn.clock.now();
    let took = now - turn.now;
    turn.now = now;
    turn.stats.polled(took, path);
    if SLOW_POLL < took {
        tracing::warn!(
            method = &**path,
            ?took,
            "a handler kept its loop: give it a thread of its own"
        );
    }
}

/// Drops a call; a panic on the way is caught, as one in a poll is.
fn drop_quietly(call: Call) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(call))) {
        tracing::error!(status = %panicked(&*panic), "a handler panicked while it was dropped");
    }
}

/// The status of a call whose handler panicked. The text goes to the log, not to the client.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("no text"), "a handler panicked");
    Status::internal("the handler of this call panicked")
}
