//! How far the stop of a task has come.

use kettle_proto::Instant;
use std::time::Duration;

/// After the deadline of a graceful stop a connection gets this long to take its goodbye, as on a loop.
const GOODBYE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Running,
    /// Open calls may go on until then.
    Draining(Instant),
    /// The connection was told goodbye; it is closed then.
    Leaving(Instant),
}

/// What the time asks of a task that stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Say goodbye.
    Goodbye,
    /// End now.
    End,
}

impl Stop {
    /// A stop was asked for.
    pub(super) fn begin(&mut self, now: Instant, grace: Duration) {
        let until = now + grace;
        *self = match *self {
            Self::Running => Self::Draining(until),
            // A second stop may only make it shorter.
            Self::Draining(before) => Self::Draining(before.min(until)),
            Self::Leaving(until) => Self::Leaving(until),
        };
    }

    /// When to ask [`Stop::due`] again.
    pub(super) fn next(self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Draining(until) | Self::Leaving(until) => Some(until),
        }
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        match *self {
            Self::Draining(until) if until <= now => {
                *self = Self::Leaving(now + GOODBYE);
                Due::Goodbye
            }
            Self::Leaving(until) if until <= now => Due::End,
            _ => Due::Nothing,
        }
    }
}
