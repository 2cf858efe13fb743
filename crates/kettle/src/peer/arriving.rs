//! Streams on their way in: from the machine to a handler.

use crate::inbox::{Fed, Feed, cost};
use kettle_buf::Chain;
use kettle_proto::{CallId, Machine, Status};

/// Most that the messages of one connection may cost while handlers do not take them: their bytes,
/// and 64 for each. Beyond it the connection is not read. Credit bounds each call, and there may be many.
const UNTAKEN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Messages shorter than this are copied when they wait for longer than a turn, so that they do not
/// keep the blocks that they came in.
const SHORT_BYTES: usize = 4096;

/// What all messages of a connection cost that have come and were not taken.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    bytes: u64,
}

impl Untaken {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_too_much(&self) -> bool {
        UNTAKEN_BYTES_MAX <= self.bytes
    }
}

/// The messages of one call.
pub(super) struct Arriving {
    feed: Feed,
    /// This call's share of the connection's [`Untaken`].
    untaken: u64,
}

impl Arriving {
    pub(super) fn new(feed: Feed) -> Self {
        Self { feed, untaken: 0 }
    }

    /// A message came. One that nobody will read counts as read. Whether it is the first since
    /// [`Arriving::compact`].
    pub(super) fn push(
        &mut self,
        call: CallId,
        message: Chain,
        machine: &mut dyn Machine,
        all: &mut Untaken,
    ) -> bool {
        let bytes = message.len();
        match self.feed.push(message) {
            Fed::Waits { first } => {
                self.untaken += cost(bytes);
                all.bytes += cost(bytes);
                first
            }
            Fed::Dropped | Fed::TooMany => {
                machine.consumed(call, bytes as u64);
                false
            }
        }
    }

    /// The client has ended its stream, or the call is over.
    pub(super) fn end(&self, status: Status) {
        self.feed.end(status);
    }

    /// Gives credit for what the handler has taken.
    pub(super) fn collect(&mut self, call: CallId, machine: &mut dyn Machine, all: &mut Untaken) {
        let taken = self.feed.collect();
        self.untaken -= taken.cost;
        all.bytes -= taken.cost;
        if 0 < taken.bytes {
            machine.consumed(call, taken.bytes);
        }
    }

    /// The call is over.
    pub(super) fn forget(self, all: &mut Untaken) {
        all.bytes -= self.untaken;
    }

    /// Lets go of the blocks that short messages came in.
    pub(super) fn compact(&self) {
        self.feed.compact(SHORT_BYTES);
    }
}
