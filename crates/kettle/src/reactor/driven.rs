//! A loop that is driven by whoever calls over it, on the caller's thread and only while a call is made.

use super::{Reactor, Slot};
use kettle_io::SystemCalls;
use std::io;
use std::time::Duration;

impl Reactor {
    /// Carries out what the loop was told to do, and notes what was sent, without a system call for it.
    pub(crate) fn carry_out(&mut self) -> io::Result<()> {
        if self.sends() {
            // What the kernel has taken at once is known to the driver; what it has not is worth a look.
            return self.look();
        }
        self.now = self.clock.now();
        self.work();
        Ok(())
    }

    /// Whether something waits for room in the kernel.
    pub(crate) fn is_sending(&mut self) -> io::Result<bool> {
        while self.sends() {
            let before = self.driver.stats().sent_bytes;
            self.look()?;
            if self.sends() && before == self.driver.stats().sent_bytes {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a send is under way, as far as is known here.
    fn sends(&self) -> bool {
        let mut slots = self.slots.iter();
        slots.any(
            |(_, slot)| matches!(slot, Slot::Connection(connection) if connection.is_sending()),
        )
    }

    /// Sleeps until something has happened, and carries it out. With `wakeable` a wake from another
    /// thread ends the sleep too.
    pub(crate) fn sleep(&mut self, wakeable: bool) -> io::Result<()> {
        self.wakeable = wakeable;
        self.turn(None)
    }

    /// Carries out what has happened, without sleeping.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.now = self.clock.now();
        self.turn(Some(self.now))
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
