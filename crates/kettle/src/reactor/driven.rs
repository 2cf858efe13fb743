//! A loop that is driven by whoever calls over it, on the caller's thread and only while a call is made.

use super::Reactor;
use kettle_io::SystemCalls;
use std::io;
use std::time::Duration;

impl Reactor {
    /// Carries out what the loop was told to do, without looking at its sockets.
    pub(crate) fn carry_out(&mut self) {
        self.now = self.clock.now();
        self.work();
    }

    /// Sleeps until something has happened, and carries it out. With `wakeable` a wake from another
    /// thread ends the sleep too.
    pub(crate) fn sleep(&mut self, wakeable: bool) -> io::Result<()> {
        self.wakeable = wakeable;
        self.turn(None)
    }

    /// Carries out what has happened, without sleeping.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.turn(Some(self.clock.now()))
    }

    /// The system calls of the driver.
    pub(crate) fn system_calls(&self) -> SystemCalls {
        self.driver.stats().system_calls
    }

    /// How long ago the last turn was.
    pub(crate) fn idle_time(&self) -> Duration {
        self.clock.now() - self.now
    }

    /// Whether other threads may have something for this loop.
    pub(super) fn is_awaited(&self) -> bool {
        self.wakeable || 0 < self.lookups
    }
}
