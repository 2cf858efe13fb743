//! The one place that reads the clock for the loops.

use kettle_proto::Instant;
use std::sync::OnceLock;
use std::time::Instant as StdInstant;

/// Turns a monotonic clock into the machines' time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: StdInstant,
    now: fn() -> StdInstant,
}

impl Clock {
    /// The system's. All clocks of a process agree, so that a time may go from one loop to another.
    pub(crate) fn new() -> Self {
        Self::with(StdInstant::now)
    }

    /// That of the tokio runtime of this thread: the system's, unless the runtime's time is paused or simulated.
    #[cfg(feature = "tokio-host")]
    pub(crate) fn of_tokio() -> Self {
        Self::with(|| tokio::time::Instant::now().into_std())
    }

    fn with(now: fn() -> StdInstant) -> Self {
        static EPOCH: OnceLock<StdInstant> = OnceLock::new();
        let epoch = *EPOCH.get_or_init(StdInstant::now);
        Self { epoch, now }
    }

    pub(crate) fn now(&self) -> Instant {
        self.at((self.now)())
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
