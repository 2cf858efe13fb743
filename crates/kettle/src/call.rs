//! A call that someone makes, on its way to a connection.

use crate::inbox::Feed;
use crate::key::PeerKey;
use crate::peer::Sending;
use crate::pending::Promise;
use crate::{Metadata, Status};
use kettle_buf::{Chain, Segment};
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
    Message(Segment),
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
    /// The call ended with this status.
    pub(crate) fn fail(self, status: Status) {
        match self {
            Self::One(promise) => promise.answer(Err(status)),
            Self::Many(feed) => feed.end(status),
        }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::One(promise) => promise.is_abandoned(),
            Self::Many(feed) => feed.is_abandoned(),
        }
    }

    /// Says where the call runs. False when nobody waits any more.
    pub(crate) fn leave_note(&self, place: Place) -> bool {
        match self {
            Self::One(promise) => promise.leave_note(place),
            Self::Many(feed) => feed.leave_note(place),
        }
    }
}
