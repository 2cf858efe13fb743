//! How the calls of one caller go, one after the other.

use super::call::CallFailure;
use super::record::Recorder;
use std::time::{Duration, Instant};

/// A caller whose calls fail so often in a row makes no more: a server that is gone would have it
/// count failures as fast as it can.
const FAILURES_IN_A_ROW_MAX: u32 = 100;

/// How many of a caller's last calls failed.
#[derive(Debug, Default)]
pub struct Streak {
    failures: u32,
}

impl Streak {
    /// Writes down how a call ended that began then; `succeeded` is how one that did well is. Gives the
    /// moment, which is when the next begins: one look at the clock for each call.
    pub fn note(
        &mut self,
        outcome: Result<(), CallFailure>,
        begun: Instant,
        recorder: &Recorder,
        succeeded: impl FnOnce(&Recorder, Duration, Instant),
    ) -> Instant {
        let now = Instant::now();
        match outcome {
            Ok(()) => {
                self.failures = 0;
                if recorder.measuring() {
                    succeeded(recorder, now - begun, now);
                }
            }
            Err(failure) => {
                self.failures += 1;
                recorder.failed(failure);
            }
        }
        now
    }

    /// Whether the caller is to make another call.
    pub fn goes_on(&self, recorder: &Recorder) -> bool {
        !recorder.stopping() && self.failures < FAILURES_IN_A_ROW_MAX
    }
}
