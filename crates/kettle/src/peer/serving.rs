//! The calls of a server's connection: requests to handlers, handlers' results to the machine.

use super::Turn;
use super::arriving::{Arriving, Untaken};
use super::handler::Handler;
use super::held::{Held, Holdings};
use super::replying::Replying;
use super::sending::Room;
use crate::detector::Detector;
use crate::inbox;
use crate::interceptor::Interceptors;
use crate::remote::Remote;
use crate::request::Origin;
use crate::router::{RouteId, Router};
use crate::stats::{LoopStats, SLOW_POLL};
use crate::{Inbound, Outbound, Reply, Request, Status};
use kettle_buf::{Chain, copied_bytes};
use kettle_proto::limits::Limits;
use kettle_proto::{CallId, Event, Instant, Machine, Metadata, Method};
use std::fmt;
use std::sync::Arc;
use std::task::Poll;

/// What a server hosts, shared by all its connections.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(crate) router: Router,
    pub(crate) interceptors: Interceptors<Inbound, Outbound>,
    /// What clients are told.
    pub(crate) limits: Arc<Limits>,
    pub(crate) holdings: Arc<Holdings>,
    /// Watches what handlers keep of messages.
    pub(crate) detector: Option<Arc<Detector>>,
}

impl Hosted {
    /// A message as its handler gets it.
    #[inline]
    fn watched(&self, route: RouteId, message: Chain) -> Chain {
        match &self.detector {
            Some(detector) => detector.watch(self.router.route(route).path, message),
            None => message,
        }
    }

    /// Slices of messages that were kept for too long.
    pub(crate) fn long_holds(&self) -> u64 {
        self.detector
            .as_ref()
            .map_or(0, |detector| detector.warned())
    }
}

/// The clock is read after so many polls of one connection in a row: reading it costs as much as a
/// tenth of a small call.
const POLLS_PER_WATCH: u32 = 8;

/// The open calls of one connection.
pub(crate) struct Serving {
    hosted: Arc<Hosted>,
    remote: Remote,
    /// Routes by the connection's small number for a path.
    routes: Vec<Option<RouteId>>,
    /// Calls that wait for something, by slot.
    calls: Vec<Option<Call>>,
    pending: u32,
    pub(super) room: Room,
    pub(super) untaken: Untaken,
    pub(super) held: Held,
    /// Calls that got messages in the last round of events.
    fresh: Vec<CallId>,
}

/// Polls since the clock was read, and whose the last was.
#[derive(Debug, Default)]
pub(super) struct Polls {
    count: u32,
    last: Option<RouteId>,
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
    Handler(Box<Handler>),
}

struct Head {
    route: RouteId,
    metadata: Metadata,
    deadline: Option<Instant>,
}

impl Serving {
    pub(crate) fn new(hosted: Arc<Hosted>, remote: Remote) -> Self {
        let held = Held::new(Arc::clone(&hosted.holdings));
        Self {
            hosted,
            remote,
            routes: Vec::new(),
            calls: Vec::new(),
            pending: 0,
            room: Room::default(),
            untaken: Untaken::default(),
            held,
            fresh: Vec::new(),
        }
    }

    pub(super) fn limits(&self) -> &Arc<Limits> {
        &self.hosted.limits
    }

    /// Handlers that wait for something.
    pub(crate) fn pending(&self) -> u32 {
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
                    Some(message) => self.start_at_once(turn, machine, call, head, message),
                    None => self.begin(turn, machine, call, head),
                }
            }
            Event::Message { call, message, end } => {
                self.message(turn, machine, call, message, end);
            }
            Event::End { call } => self.end(turn, machine, call),
            Event::Room { call } => self.wake(turn, machine, call),
            Event::Reset { call, status } => {
                LoopStats::add(&turn.stats.calls_failed, 1);
                if let Some(arriving) = arriving(&mut self.calls, call) {
                    arriving.end(status);
                }
                self.take(call);
            }
            _ => {}
        }
    }

    /// Lets streams go on that had to wait until the connection has room.
    #[inline]
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine) {
        for _ in 0..self.room.waiting() {
            if !self.room.is_there(machine) {
                return;
            }
            let Some(call) = self.room.pop() else { return };
            if let Some(Stage::Handler(handler)) = stage(&mut self.calls, call) {
                handler.resumed();
                self.wake(turn, machine, call);
            }
        }
    }

    /// Much was taken of a call's messages, by someone whom this loop does not poll.
    pub(super) fn taken(&mut self, machine: &mut dyn Machine, call: CallId) {
        if let Some(Stage::Handler(handler)) = stage(&mut self.calls, call)
            && let Some(arriving) = &mut handler.arriving
        {
            arriving.collect(call, machine, &mut self.untaken);
        }
    }

    /// Polls a handler that was woken. A call that is over, or whose slot has another call, is left alone.
    pub(super) fn wake(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, call: CallId) {
        let Some(Stage::Handler(handler)) = stage(&mut self.calls, call) else {
            return;
        };
        let copied = copied_bytes();
        let mut reply = Replying::new(call, machine, &mut self.room, turn.stats);
        let (route, polled) = (handler.route(), handler.poll(turn, &mut reply));
        let cost = reply.cost(copied);
        let counters = turn.stats.method(route, &self.hosted.router);
        counters.polled(cost);
        self.count_poll(turn, route);
        match polled {
            Poll::Ready(()) => drop(self.take(call)),
            Poll::Pending => self.taken(machine, call),
        }
    }

    /// Notes how long the polls since the last time took, and moves the turn's time on.
    pub(super) fn watch(&self, turn: &mut Turn<'_>) {
        let (Some(route), 1..) = (turn.polls.last, std::mem::take(&mut turn.polls.count)) else {
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

    fn refuse(
        &mut self,
        turn: &Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        method: &Method,
    ) {
        let path = machine.method_path(method).unwrap_or_default();
        let status = Status::unimplemented(self.hosted.router.explain_missing(path));
        Replying::new(call, machine, &mut self.room, turn.stats).finish(Err(status));
    }

    fn message(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        message: Chain,
        end: bool,
    ) {
        if let Some(Stage::Handler(handler)) = stage(&mut self.calls, call)
            && let Some(arriving) = &mut handler.arriving
        {
            let message = self.hosted.watched(handler.route, message);
            if arriving.push(call, message, machine, &mut self.untaken) {
                self.fresh.push(call);
            }
            if end {
                arriving.end(Status::default());
            }
            return;
        }
        // What breaks the rules of the method has to be seen.
        machine.consumed(call, message.len() as u64);
        match self.take(call) {
            Some(Stage::Head(head)) if end => self.start(turn, machine, call, *head, message),
            Some(Stage::Head(head)) => self.put_away(call, Stage::Message(head, message)),
            Some(Stage::Message(..) | Stage::Handler(_)) => {
                let text = "a unary method takes one message, and the client sent another";
                Replying::new(call, machine, &mut self.room, turn.stats)
                    .finish(Err(Status::internal(text)));
            }
            None => {}
        }
    }

    fn end(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, call: CallId) {
        if let Some(arriving) = arriving(&mut self.calls, call) {
            return arriving.end(Status::default());
        }
        match self.take(call) {
            Some(Stage::Message(head, message)) => self.start(turn, machine, call, *head, message),
            Some(Stage::Head(_)) => {
                let text = "a unary method takes one message, and the client sent none";
                Replying::new(call, machine, &mut self.room, turn.stats)
                    .finish(Err(Status::internal(text)));
            }
            Some(running @ Stage::Handler(_)) => self.put_away(call, running),
            None => {}
        }
    }

    /// A call whose messages follow: a method that takes a stream begins at once.
    fn begin(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, call: CallId, head: Head) {
        if self.hosted.router.route(head.route).client_streaming {
            self.start_stream(turn, machine, call, head, None);
        } else {
            self.put_away(call, Stage::Head(Box::new(head)));
        }
    }

    /// As [`Serving::start_at_once`], for a call that came in several events.
    fn start(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        head: Head,
        message: Chain,
    ) {
        self.start_at_once(turn, machine, call, head, message);
    }

    /// Makes the handler and polls it at once. Most are done then, and are never put away.
    #[inline(always)]
    fn start_at_once(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        head: Head,
        message: Chain,
    ) {
        if self.hosted.router.route(head.route).client_streaming {
            return self.start_stream(turn, machine, call, head, Some(message));
        }
        let message = self.hosted.watched(head.route, message);
        if let Some(handler) = self.run(turn, machine, call, head, Inbound::new(message)) {
            self.put_away(call, Stage::Handler(handler));
        }
    }

    /// The same for a method that takes a stream; `only`: its one message, when all of it came at once.
    fn start_stream(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        head: Head,
        only: Option<Chain>,
    ) {
        let (mailbox, place) = (Arc::clone(turn.spare.alarm.mailbox()), (turn.key, call));
        let over = || Status::cancelled("the call is over");
        // Handlers take notice of what was taken from their streams after each poll; elsewhere it is
        // told in steps of this many bytes.
        let step = u64::from(self.hosted.limits.call_credit_bytes / 2);
        let (feed, receiver) = inbox::pair(mailbox, step, Some(place), over);
        let mut arriving = Arriving::new(feed);
        if let Some(message) = only {
            let message = self.hosted.watched(head.route, message);
            arriving.push(call, message, machine, &mut self.untaken);
            arriving.end(Status::default());
        }
        let waits = self.run(turn, machine, call, head, Inbound::stream(receiver));
        arriving.collect(call, machine, &mut self.untaken);
        match waits {
            Some(mut handler) => {
                handler.arriving = Some(arriving);
                self.put_away(call, Stage::Handler(handler));
            }
            None => arriving.forget(&mut self.untaken),
        }
    }

    #[inline(always)]
    fn run(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        head: Head,
        message: Inbound,
    ) -> Option<Box<Handler>> {
        let route = self.hosted.router.route(head.route);
        let origin = Origin::hosted(self.remote, head.deadline, route.path);
        let mut request = Some(Request::incoming(message, head.metadata, origin));
        let interceptors = &self.hosted.interceptors;
        let copied = copied_bytes();
        let mut reply = Replying::new(call, machine, &mut self.room, turn.stats);
        let request = &mut request;
        let waits = Handler::start(turn, &mut reply, head.route, route, interceptors, request);
        let cost = reply.cost(copied);
        let counters = turn.stats.method(head.route, &self.hosted.router);
        counters.started();
        counters.polled(cost);
        self.count_poll(turn, head.route);
        waits
    }

    fn count_poll(&self, turn: &mut Turn<'_>, route: RouteId) {
        turn.polls.count += 1;
        turn.polls.last = Some(route);
        if turn.polls.count == POLLS_PER_WATCH {
            self.watch(turn);
        }
    }

    fn put_away(&mut self, call: CallId, stage: Stage) {
        let slot = call.slot as usize;
        if self.calls.len() <= slot {
            self.calls.resize_with(slot + 1, || None);
        }
        self.pending += u32::from(matches!(stage, Stage::Handler(_)));
        let stream = call.stream;
        self.calls[slot] = Some(Call { stream, stage });
    }

    fn take(&mut self, call: CallId) -> Option<Stage> {
        stage(&mut self.calls, call)?;
        let mut stage = self.calls[call.slot as usize].take()?.stage;
        if let Stage::Handler(handler) = &mut stage {
            self.pending -= 1;
            if let Some(arriving) = handler.arriving.take() {
                arriving.forget(&mut self.untaken);
            }
        }
        Some(stage)
    }

    /// Messages that were left from the round of events before the last let go of their blocks.
    #[inline]
    pub(super) fn compact(&mut self) {
        for call in std::mem::take(&mut self.fresh) {
            if let Some(arriving) = arriving(&mut self.calls, call) {
                arriving.compact();
            }
        }
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

fn stage(calls: &mut [Option<Call>], call: CallId) -> Option<&mut Stage> {
    let open = calls.get_mut(call.slot as usize)?.as_mut()?;
    (open.stream == call.stream).then_some(&mut open.stage)
}

/// The messages that come for a call's handler, when its method takes a stream.
fn arriving(calls: &mut [Option<Call>], call: CallId) -> Option<&mut Arriving> {
    match stage(calls, call)? {
        Stage::Handler(handler) => handler.arriving.as_mut(),
        _ => None,
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}
