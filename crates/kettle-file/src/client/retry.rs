//! How long broken connections are put up with.

use kettle::{Code, Status};
use std::time::{Duration, Instant};

/// The first pause after a broken connection; each further one without a byte between is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Attempts one after the other, as long as the server may still come back.
#[derive(Debug)]
pub(super) struct Retry {
    patience: Duration,
    /// Since when nothing has come.
    since: Instant,
    pause: Duration,
}

impl Retry {
    /// Gives up when nothing has come for so long.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            since: Instant::now(),
            pause: PAUSE_MIN,
        }
    }

    /// Something has come.
    pub(super) fn progressed(&mut self) {
        self.since = Instant::now();
        self.pause = PAUSE_MIN;
    }

    /// Waits until the next attempt.
    ///
    /// # Errors
    /// `status` itself when another attempt would be of no use, or patience is at its end.
    pub(super) async fn after(&mut self, status: Status) -> Result<(), Status> {
        if status.code() != Code::Unavailable || self.patience <= self.since.elapsed() {
            return Err(status);
        }
        kettle::sleep(self.pause).await;
        self.pause = PAUSE_MAX.min(2 * self.pause);
        Ok(())
    }
}
