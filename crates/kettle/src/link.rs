//! A channel's way to its server, as its settings describe it.

use crate::backoff::Backoff;
use crate::endpoint::Endpoint;
use crate::{Code, Status};
use kettle_proto::limits::Limits;
use std::net::IpAddr;
use std::time::Duration;

/// What a channel asks of its connections.
#[derive(Debug)]
pub(crate) struct LinkConfig {
    /// Tells links apart, on whatever loop they live.
    pub(crate) id: u64,
    pub(crate) endpoint: Endpoint,
    /// How many; at least one.
    pub(crate) connections: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) limits: Limits,
    pub(crate) nodelay: bool,
    /// Where its connections come from; the kernel chooses when it is `None`.
    pub(crate) local_address: Option<IpAddr>,
    /// What chance in the pauses begins with, on a tokio runtime.
    #[cfg(feature = "tokio-host")]
    pub(crate) seed: Option<u64>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// Nobody there, or the connection was lost.
    Failed,
    /// Not within `connect_timeout`.
    TimedOut,
    /// The server takes no more connections.
    Refused,
}

impl LinkConfig {
    /// The status of whoever waits for a connection only. [`Unreachable::of`] reads its code.
    pub(crate) fn unreachable(&self, reason: Unreachable, why: &str) -> Status {
        let text = format!("cannot reach {}: {why}", self.endpoint);
        Status::new(reason.code(), text)
    }
}

impl Unreachable {
    /// The reason behind a status of [`LinkConfig::unreachable`].
    pub(crate) fn of(status: &Status) -> Self {
        let all = [Self::TimedOut, Self::Refused];
        let found = all.into_iter().find(|it| it.code() == status.code());
        found.unwrap_or(Self::Failed)
    }

    fn code(self) -> Code {
        match self {
            Self::Failed => Code::Unavailable,
            Self::TimedOut => Code::DeadlineExceeded,
            Self::Refused => Code::ResourceExhausted,
        }
    }
}
