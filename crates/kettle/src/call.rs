//! A call that someone makes, on its way to a connection.

use crate::inbox::Feed;
use crate::key::PeerKey;
use crate::peer::Sending;
use crate::pending::Promise;
use crate::repeat::{self, Repeat};
use crate::{Inbound, Metadata, Response, Status};
use kettle_buf::Chain;
use kettle_proto::{CallId, Instant};
use std::sync::Arc;

/// The reply of a unary call, as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) headers: Metadata,
    pub(crate) message: Chain,
    pub(crate) trailers: Metadata,
}

/// Where a call runs: what is needed to cancel it.
pub(crate) type Place = (PeerKey, CallId);

/// A call that someone makes.
#[derive(Debug)]
pub(crate) struct CallRequest {
    pub(crate) path: Arc<str>,
    pub(crate) metadata: Metadata,
    /// When the caller wants an answer at the latest.
    pub(crate) deadline: Option<Instant>,
    /// Waits for a connection while the server cannot be reached, rather than to fail.
    pub(crate) wait_for_ready: bool,
    pub(crate) content: Content,
    pub(crate) caller: Caller,
    pub(crate) tries: u8,
}

/// What a client sends.
#[derive(Debug)]
pub(crate) enum Content {
    Message(Chain),
    Stream(Sending),
    /// The stream is over.
    Ended,
}

/// Whoever waits for the reply.
#[derive(Debug)]
pub(crate) enum Caller {
    /// For one message.
    One(Promise<Reply, Place>),
    /// For a stream.
    Many(Feed),
    /// For one message, and then for that of the next call.
    Again(Box<Repeat>),
}

impl Reply {
    pub(crate) fn into_response(self) -> Response<Inbound> {
        Response::from_parts(Inbound::new(self.message), self.headers, self.trailers)
    }
}

impl CallRequest {
    /// The call ended: tells whoever waits. Gives the request back when the call is to be made again.
    pub(crate) fn ended(mut self: Box<Self>, outcome: Result<Reply, Status>) -> Option<Box<Self>> {
        if let Caller::Again(repeat) = &mut self.caller {
            return repeat.ended(outcome).then_some(self);
        }
        match (self.caller, outcome) {
            (Caller::One(promise), outcome) => drop(promise.answer(outcome)),
            (Caller::Many(feed), Err(status)) => feed.end(status),
            (Caller::Many(_) | Caller::Again(_), _) => {}
        }
        None
    }

    /// The call ended with this status.
    pub(crate) fn fail(self: Box<Self>, status: Status) {
        if let Some(again) = self.ended(Err(status)) {
            repeat::post(again);
        }
    }

    /// Begins a repeated call anew.
    pub(crate) fn renew(&mut self, now: Instant) {
        if let Caller::Again(repeat) = &self.caller {
            self.deadline = repeat.deadline(now);
            self.tries = 0;
        }
    }

    /// What a repeated call needs.
    pub(crate) fn repeat(&self) -> Option<&Repeat> {
        match &self.caller {
            Caller::Again(repeat) => Some(repeat),
            _ => None,
        }
    }
}

impl Content {
    /// Whether all of it can be sent once more.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Message(_) => true,
            Self::Stream(sending) => !sending.has_begun(),
            Self::Ended => false,
        }
    }
}

impl Caller {
    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::One(promise) => promise.is_abandoned(),
            Self::Many(feed) => feed.is_abandoned(),
            Self::Again(repeat) => repeat.is_abandoned(),
        }
    }

    /// Says where the call runs. False when nobody waits any more.
    pub(crate) fn leave_note(&self, place: Place) -> bool {
        match self {
            Self::One(promise) => promise.leave_note(place),
            Self::Many(feed) => feed.leave_note(place),
            Self::Again(repeat) => repeat.leave_note(place),
        }
    }
}
