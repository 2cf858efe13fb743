//! When a task wants to be polled again, by tokio's time.

use crate::clock::Clock;
use kettle_proto::Instant;
use std::pin::Pin;
use std::task::Context;
use tokio::time::Sleep;

/// One lazy timer: a time that moves later keeps the earlier one, and is asked again then, as in
/// [`crate::timers::Timers`].
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// What it is set to, until it has come.
    set: Option<Instant>,
}

impl Timer {
    /// Whether the time has come; else the task is woken then.
    pub(super) fn is_due(
        &mut self,
        next: Option<Instant>,
        now: Instant,
        clock: Clock,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(next) = next else { return false };
        if next <= now {
            return true;
        }
        if self.set.is_none_or(|set| next < set) {
            self.set(next, clock);
        }
        while self.has_fired(cx) {
            self.set(next, clock);
        }
        false
    }

    fn has_fired(&mut self, cx: &mut Context<'_>) -> bool {
        let sleep = self.sleep.as_mut();
        sleep.is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }

    fn set(&mut self, time: Instant, clock: Clock) {
        self.set = Some(time);
        let until = clock.to_std(time).into();
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(until),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(until))),
        }
    }
}
