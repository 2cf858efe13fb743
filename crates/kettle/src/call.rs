//! A call that someone makes, on its way to a connection.

use crate::Metadata;
use crate::key::PeerKey;
use crate::pending::Promise;
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
    pub(crate) message: Segment,
    pub(crate) promise: Promise<Reply, Place>,
    pub(crate) tries: u8,
}
