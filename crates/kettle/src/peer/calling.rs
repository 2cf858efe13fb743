//! The calls of a client's connection: requests to the machine, its events to whoever waits.

use super::Turn;
use crate::call::{CallRequest, Reply};
use crate::numbered::NumberMap;
use crate::peer::waiting::Waiting;
use crate::{Metadata, Status};
use kettle_buf::Chain;
use kettle_proto::{CallId, Event, Head, Instant, Machine, OpenError, ProtocolError};

/// How often a call that the server did not look at is tried again on another connection.
const TRIES_MAX: u8 = 3;

/// The open calls of one connection, and those that wait for a place on it.
#[derive(Debug, Default)]
pub(crate) struct Calling {
    /// By stream: a slot may have its next call before the end of the last one was read.
    calls: NumberMap<u32, Open>,
    waiting: Waiting,
    news: News,
}

#[derive(Debug)]
struct Open {
    request: Box<CallRequest>,
    headers: Metadata,
    message: Option<Chain>,
}

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

impl Calling {
    /// Makes a call, or lets it wait for a place.
    pub(crate) fn start(
        &mut self,
        turn: &Turn<'_>,
        machine: &mut dyn Machine,
        request: Box<CallRequest>,
    ) {
        if request.promise.is_abandoned() {
            return;
        }
        let head = Head {
            path: &request.path,
            metadata: request.metadata.clone(),
            timeout: request.deadline.map(|deadline| deadline - turn.now),
        };
        match machine.open(turn.now, head, Some(request.message.clone().into()), true) {
            Ok(call) => self.opened(turn, machine, call, request),
            Err(OpenError::TooManyCalls { .. }) => self.waiting.push(request),
            Err(OpenError::Closed) => self.news.again.push(request),
            Err(OpenError::Refused(status)) => request.promise.answer(Err(status)),
            Err(error) => request
                .promise
                .answer(Err(Status::internal(error.to_string()))),
        }
    }

    /// The caller went away.
    pub(crate) fn cancel(&mut self, machine: &mut dyn Machine, call: CallId) {
        if self.take(call).is_some() {
            machine.reset(call, &Status::cancelled("the caller dropped the call"));
        }
    }

    /// What happened since the last time.
    pub(crate) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Calls that wait for a place, to be made elsewhere.
    pub(crate) fn take_waiting(&mut self) -> Waiting {
        std::mem::take(&mut self.waiting)
    }

    /// Ends waiting calls whose deadline has passed.
    pub(super) fn timeout(&mut self, now: Instant) {
        self.waiting.expire(now);
    }

    /// When [`Calling::timeout`] wants to be called next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.waiting.next_deadline()
    }

    pub(super) fn handle(&mut self, turn: &Turn<'_>, machine: &mut dyn Machine, event: Event) {
        match event {
            Event::Ready => self.news.ready = true,
            Event::Headers { call, metadata } => {
                if let Some(open) = self.get_mut(call) {
                    open.headers = metadata;
                }
            }
            Event::Message { call, message, .. } => self.message(machine, call, message),
            Event::Finished {
                call,
                status,
                unprocessed,
            } => {
                self.finished(call, status, unprocessed);
                self.start_waiting(turn, machine);
            }
            Event::Draining => self.news.draining = true,
            _ => {}
        }
    }

    pub(super) fn closed(&mut self, error: Option<ProtocolError>) {
        self.news.failure = Some(Failure(error));
    }

    fn opened(
        &mut self,
        turn: &Turn<'_>,
        machine: &mut dyn Machine,
        call: CallId,
        request: Box<CallRequest>,
    ) {
        if !request.promise.leave_note((turn.key, call)) {
            return machine.reset(call, &Status::cancelled("the caller dropped the call"));
        }
        let open = Open {
            request,
            headers: Metadata::new(),
            message: None,
        };
        self.calls.insert(call.stream, open);
    }

    fn message(&mut self, machine: &mut dyn Machine, call: CallId, message: Chain) {
        let Some(open) = self.get_mut(call) else {
            return;
        };
        if open.message.is_none() {
            open.message = Some(message);
            return;
        }
        let status = Status::internal("the server sent a second reply to a unary call");
        machine.reset(call, &status);
        if let Some(open) = self.take(call) {
            open.request.promise.answer(Err(status));
        }
    }

    fn finished(&mut self, call: CallId, status: Status, unprocessed: bool) {
        let Some(mut open) = self.take(call) else {
            return;
        };
        if unprocessed && open.request.tries < TRIES_MAX {
            open.request.tries += 1;
            return self.news.again.push(open.request);
        }
        let answer = match (status.is_ok(), open.message) {
            (false, _) => Err(status),
            (true, None) => Err(Status::internal(
                "the server ended a unary call without a reply",
            )),
            (true, Some(message)) => {
                let trailers = status.metadata().clone();
                Ok(Reply {
                    headers: open.headers,
                    message,
                    trailers,
                })
            }
        };
        open.request.promise.answer(answer);
    }

    /// Makes the calls that waited, as many as there are places for now.
    fn start_waiting(&mut self, turn: &Turn<'_>, machine: &mut dyn Machine) {
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
