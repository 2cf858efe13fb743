//! The calls of a client's connection: requests to the machine, its events to whoever waits.

use super::Turn;
use super::handler::panicked;
use super::replying::Sent;
use super::sending::Room;
use crate::call::{CallRequest, Caller, Content, Reply};
use crate::inbox::Fed;
use crate::link::Unreachable;
use crate::mailbox::Target;
use crate::numbered::NumberMap;
use crate::peer::waiting::Waiting;
use crate::{Metadata, Status};
use kettle_buf::Chain;
use kettle_proto::{CallId, Code, Event, Head, Instant, Machine, OpenError, ProtocolError};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

/// How often a call that the server did not look at is tried again on another connection.
const TRIES_MAX: u8 = 3;

/// The open calls of one connection, and those that wait for a place on it.
#[derive(Debug, Default)]
pub(crate) struct Calling {
    /// By stream: a slot may have its next call before the end of the last one was read.
    calls: NumberMap<u32, Open>,
    waiting: Waiting,
    news: News,
    pub(super) room: Room,
    /// Calls that got messages in the last round of events.
    fresh: Vec<CallId>,
    /// A call was given up here: its place is free.
    freed: bool,
}

#[derive(Debug)]
struct Open {
    request: Box<CallRequest>,
    headers: Metadata,
    message: Option<Chain>,
}

/// Messages shorter than this are copied when they wait for longer than a turn, so that they do not
/// keep the blocks that they came in.
const SHORT_BYTES: usize = 4096;

/// What the owner of the connection should know.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The handshake is done.
    pub(crate) ready: bool,
    /// The connection takes no more calls.
    pub(crate) draining: bool,
    /// The connection is over, and why.
    pub(crate) failure: Option<Failure>,
    /// Calls to be made on another connection: the server did not look at them.
    pub(crate) again: Waiting,
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Option<ProtocolError>);

impl News {
    /// Whether the connection takes no more calls.
    pub(crate) fn is_over(&self) -> bool {
        self.draining || self.failure.is_some()
    }

    /// Whether nothing happened.
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_over() && !self.ready && self.again.is_empty()
    }
}

impl Failure {
    pub(crate) fn reason(&self) -> Unreachable {
        match &self.0 {
            Some(ProtocolError::HandshakeTimeout) => Unreachable::TimedOut,
            Some(ProtocolError::Goodbye { code, .. }) if *code == Code::ResourceExhausted => {
                Unreachable::Refused
            }
            _ => Unreachable::Failed,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(error) => error.fmt(f),
            None => f.write_str("the server closed the connection"),
        }
    }
}

impl Calling {
    /// Makes a call, or lets it wait for a place.
    pub(crate) fn start(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        request: Box<CallRequest>,
    ) {
        if request.repeat().is_none() && request.caller.is_abandoned() {
            return;
        }
        let head = Head {
            path: &request.path,
            metadata: request.metadata.clone(),
            timeout: request.deadline.map(|deadline| deadline - turn.now),
        };
        let opened = match &request.content {
            Content::Message(message) => open_unary(turn.now, machine, head, message),
            Content::Stream(_) | Content::Ended => machine.open(turn.now, head, None, false),
        };
        match opened {
            Ok(call) => self.opened(turn, machine, call, request),
            Err(OpenError::TooManyCalls { .. }) => self.waiting.push(request),
            Err(OpenError::Closed) => self.news.again.push(request),
            Err(OpenError::Refused(status)) => request.fail(status),
            Err(error) => request.fail(Status::internal(error.to_string())),
        }
    }

    /// The caller went away.
    pub(crate) fn cancel(&mut self, machine: &mut dyn Machine, call: CallId) {
        let status = Status::cancelled("the caller dropped the call");
        self.give_up(machine, call, status);
    }

    /// Polls the stream of a call's requests.
    pub(super) fn wake(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, call: CallId) {
        let Some(open) = self.calls.get_mut(&call.stream) else {
            return;
        };
        let Content::Stream(sending) = &mut open.request.content else {
            return;
        };
        let mut cx = Context::from_waker(turn.spare.alarm.waker(Target::Handler(turn.key, call)));
        let room = &mut self.room;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            sending.poll(&mut cx, call, machine, room, &mut Sent::default())
        }));
        match polled {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(Ok(()))) => {
                open.request.content = Content::Ended;
                machine.end(call);
            }
            Ok(Poll::Ready(Err(status))) => self.give_up(machine, call, status),
            Err(panic) => self.give_up(machine, call, panicked(&*panic, "request stream")),
        }
    }

    /// Gives credit for what was taken of a call's messages.
    pub(super) fn taken(&mut self, machine: &mut dyn Machine, call: CallId) {
        if let Some(open) = self.calls.get_mut(&call.stream)
            && let Caller::Many(feed) = &open.request.caller
        {
            machine.consumed(call, feed.collect().bytes);
        }
    }

    /// What is to be done before events are handled: lets streams go on that had to wait for room, makes
    /// calls for which there is a place now, and lets go of the blocks that short messages came in.
    pub(super) fn begin_round(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine) {
        for call in std::mem::take(&mut self.fresh) {
            if let Some(open) = self.calls.get(&call.stream)
                && let Caller::Many(feed) = &open.request.caller
            {
                feed.compact(SHORT_BYTES);
            }
        }
        if std::mem::take(&mut self.freed) {
            self.start_waiting(turn, machine);
        }
        for _ in 0..self.room.waiting() {
            if !self.room.is_there(machine) {
                return;
            }
            let Some(call) = self.room.pop() else { return };
            if let Some(open) = self.calls.get_mut(&call.stream)
                && let Content::Stream(sending) = &mut open.request.content
            {
                sending.resumed();
                self.wake(turn, machine, call);
            }
        }
    }

    /// What happened since the last time. When the connection takes no more calls, those that wait for a
    /// place on it are to be made elsewhere too.
    pub(crate) fn take_news(&mut self) -> News {
        let mut news = std::mem::take(&mut self.news);
        if news.is_over() {
            news.again.append(std::mem::take(&mut self.waiting));
        }
        news
    }

    /// Ends waiting calls whose deadline has passed.
    pub(super) fn timeout(&mut self, now: Instant) {
        self.waiting.expire(now);
    }

    /// When [`Calling::timeout`] wants to be called next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.waiting.next_deadline()
    }

    pub(super) fn handle(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine, event: Event) {
        match event {
            Event::Ready => self.news.ready = true,
            Event::Headers { call, metadata } => {
                if let Some(open) = self.get_mut(call) {
                    match &open.request.caller {
                        Caller::One(_) | Caller::Again(_) => open.headers = metadata,
                        Caller::Many(feed) => feed.begin(metadata),
                    }
                }
            }
            Event::Message { call, message, .. } => self.message(machine, call, message),
            Event::Finished {
                call,
                status,
                unprocessed,
            } => {
                if let Some(mut again) = self.finished(call, status, unprocessed) {
                    again.renew(turn.now);
                    self.start(turn, machine, again);
                }
                self.start_waiting(turn, machine);
            }
            Event::Room { call } => self.wake(turn, machine, call),
            Event::Draining => self.news.draining = true,
            _ => {}
        }
    }

    pub(super) fn closed(&mut self, error: Option<ProtocolError>) {
        self.news.failure = Some(Failure(error));
    }

    fn opened(
        &mut self,
        turn: &mut Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        request: Box<CallRequest>,
    ) {
        if !request.caller.leave_note((turn.key, call)) {
            return machine.reset(call, &Status::cancelled("the caller dropped the call"));
        }
        let streams = matches!(request.content, Content::Stream(_));
        let open = Open {
            request,
            headers: Metadata::new(),
            message: None,
        };
        self.calls.insert(call.stream, open);
        if streams {
            self.wake(turn, machine, call);
        }
    }

    fn message(&mut self, machine: &mut dyn Machine, call: CallId, message: Chain) {
        let Some(open) = self.calls.get_mut(&call.stream) else {
            return;
        };
        let bytes = message.len() as u64;
        let status = match &open.request.caller {
            Caller::One(_) | Caller::Again(_) if open.message.is_none() => {
                open.message = Some(message);
                // A second one, which must not be, has to be seen.
                return machine.consumed(call, bytes);
            }
            Caller::One(_) | Caller::Again(_) => {
                Status::internal("the server sent a second reply to a unary call")
            }
            Caller::Many(feed) => match feed.push(message) {
                Fed::Waits { first } => {
                    if first {
                        self.fresh.push(call);
                    }
                    return;
                }
                Fed::Dropped => return machine.consumed(call, bytes),
                Fed::TooMany => Status::resource_exhausted("too many messages wait to be taken"),
            },
        };
        self.give_up(machine, call, status);
    }

    /// Ends a call from this side.
    fn give_up(&mut self, machine: &mut dyn Machine, call: CallId, status: Status) {
        if let Some(open) = self.take(call) {
            machine.reset(call, &status);
            open.request.fail(status);
            self.freed = true;
        }
    }

    /// A call is over. Gives it back when it is to be made once more.
    fn finished(
        &mut self,
        call: CallId,
        status: Status,
        unprocessed: bool,
    ) -> Option<Box<CallRequest>> {
        let mut open = self.take(call)?;
        if unprocessed && open.request.tries < TRIES_MAX && open.request.content.is_whole() {
            open.request.tries += 1;
            self.news.again.push(open.request);
            return None;
        }
        if let Caller::Many(feed) = open.request.caller {
            feed.end(status);
            return None;
        }
        let outcome = match (status.is_ok(), open.message) {
            (false, _) => Err(status),
            (true, None) => Err(Status::internal(
                "the server ended a unary call without a reply",
            )),
            (true, Some(message)) => Ok(Reply {
                headers: open.headers,
                message,
                trailers: status.metadata().clone(),
            }),
        };
        open.request.ended(outcome)
    }

    /// Makes the calls that waited, as many as there are places for now.
    fn start_waiting(&mut self, turn: &mut Turn<'_>, machine: &mut dyn Machine) {
        if self.waiting.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        while let Some(request) = waiting.pop() {
            self.start(turn, machine, request);
            if !self.waiting.is_empty() {
                // Still no place: it keeps its turn, which is the first.
                break;
            }
        }
        self.waiting.append(waiting);
    }

    fn get_mut(&mut self, call: CallId) -> Option<&mut Open> {
        self.calls.get_mut(&call.stream)
    }

    fn take(&mut self, call: CallId) -> Option<Open> {
        self.calls.remove(&call.stream)
    }
}

/// Opens a call with its only message. It stays with the caller, in case that the call is made again.
fn open_unary(
    now: Instant,
    machine: &mut dyn Machine,
    head: Head<'_>,
    message: &Chain,
) -> Result<CallId, OpenError> {
    let short = match message.segment_count() {
        0 | 1 => machine.open_unary(now, &head, message.front())?,
        _ => None,
    };
    match short {
        Some(call) => Ok(call),
        None => machine.open(now, head, Some(message.clone().into()), true),
    }
}
