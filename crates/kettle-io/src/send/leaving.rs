//! Sockets that are detached while the kernel still uses memory that they have lent it.
//!
//! What they have sent may not have left yet, and would leave as what the memory holds by then. So the memory is
//! kept as it is, and the socket stays open to hear of its release. The peer sees the end of the stream at once.

use super::Kept;
use crate::sys;
use crate::transfer::Transfer;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Sockets that may leave at a time. One more resets the oldest, whose peer has had the longest time to read.
const LEAVING_MAX: usize = 64;

/// How often they are looked at while there are some.
pub(crate) const LEAVING_CHECK: Duration = Duration::from_millis(50);

/// Those on their way, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    sockets: VecDeque<(OwnedFd, Box<Kept>)>,
}

impl Transfer {
    /// Closes a socket, at once unless it has lent memory.
    pub(crate) fn close(&mut self, stream: OwnedFd, kept: Option<Box<Kept>>) {
        let Some(kept) = kept.filter(|kept| 0 < kept.lent()) else {
            return sys::close(stream, &mut self.calls);
        };
        // A connection that is broken already has ended both sides.
        let _ = sys::shutdown_write(stream.as_fd(), &mut self.calls);
        let leaving = &mut self.sender.leaving.sockets;
        leaving.push_back((stream, kept));
        if LEAVING_MAX < leaving.len()
            && let Some((oldest, _memory)) = leaving.pop_front()
        {
            sys::close_reset(oldest, &mut self.calls);
        }
    }

    /// Whether some are still on their way, after those that are ready were closed.
    pub(crate) fn see_off(&mut self) -> bool {
        for _ in 0..self.sender.leaving.sockets.len() {
            let Some((stream, mut kept)) = self.sender.leaving.sockets.pop_front() else {
                break;
            };
            self.collect(stream.as_fd(), &mut kept);
            match kept.lent() {
                0 => sys::close(stream, &mut self.calls),
                _ => self.sender.leaving.sockets.push_back((stream, kept)),
            }
        }
        !self.sender.leaving.sockets.is_empty()
    }

    /// Closes a socket for good, by a reset when it has lent memory.
    pub(crate) fn close_now(&mut self, stream: OwnedFd, kept: Option<Box<Kept>>) {
        match kept.filter(|kept| 0 < kept.lent()) {
            Some(_memory) => sys::close_reset(stream, &mut self.calls),
            None => sys::close(stream, &mut self.calls),
        }
    }

    /// The same for all that are on their way.
    pub(crate) fn close_leaving(&mut self) {
        while let Some((stream, kept)) = self.sender.leaving.sockets.pop_front() {
            self.close_now(stream, Some(kept));
        }
    }
}
