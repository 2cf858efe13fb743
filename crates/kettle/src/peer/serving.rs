//! The calls of a server's connection: requests to handlers, handlers' results to the machine.

use super::Turn;
use super::handler::Handler;
use super::replying::Replying;
use crate::interceptor::Interceptors;
use crate::request::Origin;
use crate::router::{RouteId, Router};
use crate::stats::{LoopStats, SLOW_POLL};
use crate::{Inbound, Outbound, Reply, Request, Status};
use kettle_buf::Chain;
use kettle_proto::{CallId, Event, Instant, Machine, Metadata, Method};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// What a server hosts, shared by all its connections.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(crate) router: Router,
    pub(crate) interceptors: Interceptors<Inbound, Outbound>,
}

/// The clock is read after so many polls of one connection in a row: reading it costs as much as a
/// tenth of a small call.
const POLLS_PER_WATCH: u32 = 8;

/// The open calls of one connection.
pub(crate) struct Serving {
    hosted: Arc<Hosted>,
    remote: Option<SocketAddr>,
    /// Routes by the connection's small number for a path.
    routes: Vec<Option<RouteId>>,
    /// Calls that wait for something, by slot.
    calls: Vec<Option<Call>>,
    pending: usize,
    /// Polls since the clock was read, and whose the last was.
    unwatched: u32,
    polled: Option<RouteId>,
}

struct Call {
    stream: u32,
    stage: Stage,
}

enum Stage {
    /// The head is here, the message not yet.
    Head(Box<Head>),
    /// The message is here, its end not yet.
    Message(Box<Head>, Chain),
    Handler(Handler),
}

struct Head {
    route: RouteId,
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
            unwatched: 0,
            polled: None,
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
                message,
            } => {
                LoopStats::add(&turn.stats.calls, 1);
                let Some(route) = self.route(machine, &method) else {
                    return self.refuse(turn, machine, call, &method);
                };
                let head = Head {
                    route,
                    metadata,
                    deadline,
                };
                match message {
                    Some(message) => self.start(turn, machine, call, head, message),
                    None => self.put_away(call, Stage::Head(Box::new(head))),
                }
            }
            Event::Message { call, message, end } => {
                self.message(turn, machine, call, message, end);
            }
            Event::End { call } => self.end(turn, machine, call),
            Event::Reset { call, .. } => {
                LoopStats::add(&turn.stats.calls_failed, 1);
                self.take(call);
            }
            _ => {}
        }
    }

    /// Polls a handler that was woken. A call that is over, or whose slot has another call, is left alone.
    pub(super) fn wake(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, call: CallId) {
        let Some(Stage::Handler(handler)) = self.stage(call) else {
            return;
        };
        let mut reply = Replying::new(call, machine, turn.stats);
        let (route, polled) = (handler.route(), handler.poll(turn, &mut reply));
        self.count_poll(turn, route);
        if polled.is_ready() {
            self.take(call);
        }
    }

    /// Notes how long the polls since the last time took, and moves the turn's time on.
    pub(super) fn watch(&mut self, turn: &mut Turn<'_>) {
        let (Some(route), 1..) = (self.polled, std::mem::take(&mut self.unwatched)) else {
            return;
        };
        let now = turn.clock.now();
        let took = now - turn.now;
        turn.now = now;
        let method = self.hosted.router.route(route).path;
        turn.stats.polled(took, method);
        if SLOW_POLL < took {
            tracing::warn!(
                method,
                ?took,
                "a handler kept its loop, and all its connections"
            );
        }
    }

    fn refuse(&self, turn: &Turn<'_>, machine: &mut dyn Machine, call: CallId, method: &Method) {
        let path = machine.method_path(method).unwrap_or_default();
        let status = Status::unimplemented(self.hosted.router.explain_missing(path));
        Replying::new(call, machine, turn.stats).finish(Err(status));
    }

    fn message(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        message: Chain,
        end: bool,
    ) {
        match self.take(call) {
            Some(Stage::Head(head)) if end => self.start(turn, machine, call, *head, message),
            Some(Stage::Head(head)) => self.put_away(call, Stage::Message(head, message)),
            Some(Stage::Message(..) | Stage::Handler(_)) => {
                let text = "a unary method takes one message, and the client sent another";
                Replying::new(call, machine, turn.stats).finish(Err(Status::internal(text)));
            }
            None => {}
        }
    }

    fn end(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, call: CallId) {
        match self.take(call) {
            Some(Stage::Message(head, message)) => self.start(turn, machine, call, *head, message),
            Some(Stage::Head(_)) => {
                let text = "a unary method takes one message, and the client sent none";
                Replying::new(call, machine, turn.stats).finish(Err(Status::internal(text)));
            }
            Some(running @ Stage::Handler(_)) => self.put_away(call, running),
            None => {}
        }
    }

    /// Makes the handler and polls it at once. Most are done then, and are never put away.
    fn start(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        head: Head,
        message: Chain,
    ) {
        let route = self.hosted.router.route(head.route);
        let origin = Origin::hosted(self.remote, head.deadline, route.path);
        let request = Request::incoming(Inbound::new(message), head.metadata, origin);
        let interceptors = &self.hosted.interceptors;
        let mut reply = Replying::new(call, machine, turn.stats);
        let waits = Handler::start(turn, &mut reply, head.route, route, interceptors, request);
        self.count_poll(turn, head.route);
        if let Some(handler) = waits {
            self.put_away(call, Stage::Handler(handler));
        }
    }

    fn count_poll(&mut self, turn: &mut Turn<'_>, route: RouteId) {
        self.unwatched += 1;
        self.polled = Some(route);
        if self.unwatched == POLLS_PER_WATCH {
            self.watch(turn);
        }
    }

    fn put_away(&mut self, call: CallId, stage: Stage) {
        let slot = call.slot as usize;
        if self.calls.len() <= slot {
            self.calls.resize_with(slot + 1, || None);
        }
        self.pending += usize::from(matches!(stage, Stage::Handler(_)));
        let stream = call.stream;
        self.calls[slot] = Some(Call { stream, stage });
    }

    fn stage(&mut self, call: CallId) -> Option<&mut Stage> {
        let open = self.calls.get_mut(call.slot as usize)?.as_mut()?;
        (open.stream == call.stream).then_some(&mut open.stage)
    }

    fn take(&mut self, call: CallId) -> Option<Stage> {
        self.stage(call)?;
        let stage = self.calls[call.slot as usize].take()?.stage;
        self.pending -= usize::from(matches!(stage, Stage::Handler(_)));
        Some(stage)
    }

    /// The route of a method, looked up once for each path with a small number.
    fn route(&mut self, machine: &dyn Machine, method: &Method) -> Option<RouteId> {
        if let Method::Known(number) = method
            && let Some(Some(route)) = self.routes.get(usize::from(*number))
        {
            return Some(*route);
        }
        let route = self.hosted.router.find(machine.method_path(method)?)?;
        if let Method::Known(number) = method {
            let place = usize::from(*number);
            if self.routes.len() <= place {
                self.routes.resize(place + 1, None);
            }
            self.routes[place] = Some(route);
        }
        Some(route)
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}
