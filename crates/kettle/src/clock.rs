//! The one place that reads the clock for the loops.

use kettle_proto::Instant;
use std::sync::OnceLock;
use std::time::Instant as StdInstant;

/// Turns the system's monotonic clock into the machines' time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: StdInstant,
}

impl Clock {
    /// All clocks of a process agree, so that a time may go from one loop to another.
    pub(crate) fn new() -> Self {
        static EPOCH: OnceLock<StdInstant> = OnceLock::new();
        Self {
            epoch: *EPOCH.get_or_init(StdInstant::now),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.epoch.elapsed().as_nanos() as u64)
    }

    /// A point on the system's clock as the machines' time.
    pub(crate) fn at(self, instant: StdInstant) -> Instant {
        Instant::from_nanos(instant.saturating_duration_since(self.epoch).as_nanos() as u64)
    }

    /// The machines' time as a point on the system's clock.
    pub(crate) fn to_std(self, instant: Instant) -> StdInstant {
        self.epoch + std::time::Duration::from_nanos(instant.as_nanos())
    }
}
