//! What a loop can be told to do.

use crate::BoxFuture;
use crate::call::{CallRequest, Place};
use crate::key::PeerKey;
use crate::link::LinkConfig;
use crate::pending::Promise;
use crate::sleep::Dropped;
use kettle_io::Address;
use kettle_proto::Instant;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// What a loop can be told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take over a connection that the acceptor chose this loop for.
    Adopt { stream: OwnedFd, address: Address },
    /// Take no new connections and calls; end when the open ones are over, or after this time.
    Stop { grace: Duration },
    /// Get a client's connection ready.
    Connect {
        link: Arc<LinkConfig>,
        promise: Promise<(), ()>,
    },
    /// Make a call.
    Call {
        link: Arc<LinkConfig>,
        request: Box<CallRequest>,
    },
    /// The caller of a call has gone, or whoever took its messages.
    Cancel(Place),
    /// Much was taken of a call's messages, where the loop does not see it.
    Taken(Place),
    /// A host name was looked up.
    Resolved {
        key: PeerKey,
        addresses: io::Result<Vec<Address>>,
    },
    /// Wake a sleep at its time.
    Sleep {
        until: Instant,
        promise: Promise<(), Dropped>,
    },
    /// Run what is left of a handler whose call is over.
    Finish(Unfinished),
    /// Nobody uses this client's connection any more.
    Forget { link: u64 },
}

/// What is left of a handler.
pub(crate) struct Unfinished(pub(crate) BoxFuture<'static, ()>);

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unfinished")
    }
}
