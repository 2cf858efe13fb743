//! A channel's way to its server, as its settings describe it.

use crate::endpoint::Endpoint;
use crate::{Code, Status};
use kettle_proto::limits::Limits;
use std::time::Duration;

/// What a channel asks of its connection.
#[derive(Debug)]
pub(crate) struct LinkConfig {
    /// Tells links apart, on whatever loop they live.
    pub(crate) id: u64,
    pub(crate) endpoint: Endpoint,
    pub(crate) connect_timeout: Duration,
    pub(crate) limits: Limits,
    pub(crate) nodelay: bool,
}

impl LinkConfig {
    /// The status of whoever waits for a connection. That a connect took too long is its caller's
    /// deadline, and a missing connection to a call.
    pub(crate) fn unreachable(&self, timed_out: bool, why: &str) -> Status {
        let code = if timed_out {
            Code::DeadlineExceeded
        } else {
            Code::Unavailable
        };
        Status::new(code, format!("cannot reach {}: {why}", self.endpoint))
    }
}
