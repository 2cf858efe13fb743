//! How far a stop has come, on a loop or in a task.

use kettle_proto::Instant;
use std::time::Duration;

/// After the deadline of a graceful stop connections get this long to take their goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Running,
    /// Open calls may go on until then.
    Draining(Instant),
    /// Connections were told goodbye; those still open then are closed.
    Leaving(Instant),
}

/// What the time asks of whoever stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Say goodbye.
    Goodbye,
    /// End now.
    End,
}

impl Stop {
    /// A stop was asked for.
    pub(crate) fn begin(&mut self, now: Instant, grace: Duration) {
        let until = now + grace;
        *self = match *self {
            Self::Running => Self::Draining(until),
            // A second stop may only make it shorter.
            Self::Draining(before) => Self::Draining(before.min(until)),
            Self::Leaving(until) => Self::Leaving(until),
        };
    }

    /// When to ask [`Stop::due`] again.
    pub(crate) fn next(self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Draining(until) | Self::Leaving(until) => Some(until),
        }
    }

    /// Asked in every turn.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
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
