//! Streams on their way out: when they are polled, and when they have to wait for room.

use super::replying::Sent;
use crate::Status;
use crate::codec::encoded;
use crate::outbox::HIGH_BYTES;
use crate::outgoing::Sink;
use crate::source::BoxSource;
use kettle_buf::{Encode, Payload};
use kettle_proto::{CallId, Machine};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

/// Messages of one stream in a turn; then the other calls of the loop have theirs.
const MESSAGES_MAX: usize = 256;

/// Most bytes of streams whose readers give no credit that may wait on a connection: each stream may
/// leave one message waiting, and there may be many. Beyond it no stream of the connection goes on.
const STALLED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Whether the streams of a connection may go on, and which of them wait for that.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The outbox is over its high mark.
    pub(super) outbox_full: bool,
    /// Boxed, because few connections have any; never empty.
    paused: Option<Box<Paused>>,
}

/// The streams that wait, those that have waited longest first.
#[derive(Debug, Default)]
struct Paused {
    calls: VecDeque<CallId>,
}

impl Room {
    /// Whether the connection as a whole has room for messages.
    pub(super) fn is_there(&self, machine: &dyn Machine) -> bool {
        let room = super::busy(machine) < HIGH_BYTES;
        !self.outbox_full && room && machine.stalled_bytes() < STALLED_BYTES_MAX
    }

    /// Whether a stream waits.
    pub(super) fn is_wanted(&self) -> bool {
        self.paused.is_some()
    }

    /// How many streams wait.
    pub(super) fn waiting(&self) -> usize {
        self.paused.as_ref().map_or(0, |paused| paused.calls.len())
    }

    /// The stream that has waited longest.
    pub(super) fn pop(&mut self) -> Option<CallId> {
        let calls = &mut self.paused.as_mut()?.calls;
        let first = calls.pop_front();
        if calls.is_empty() {
            self.paused = None;
        }
        first
    }
}

/// A stream of messages on its way out.
pub(crate) struct Sending {
    /// Taken out only by the drop.
    source: Option<BoxSource>,
    /// Whether a message was sent.
    begun: bool,
    /// Stands among the paused.
    paused: bool,
}

impl Sending {
    pub(crate) fn new(source: BoxSource) -> Self {
        Self {
            source: Some(source),
            begun: false,
            paused: false,
        }
    }

    /// Whether a message was sent.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// It was taken from among the paused.
    pub(super) fn resumed(&mut self) {
        self.paused = false;
    }

    /// Sends messages as long as there are some and there is room. Ready when there are no more, or
    /// with the error that is to end the call. Runs code of the user, which may panic.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        call: CallId,
        machine: &mut dyn Machine,
        room: &mut Room,
        sent: &mut Sent,
    ) -> Poll<Result<(), Status>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(Ok(()));
        };
        for _ in 0..MESSAGES_MAX {
            if !room.is_there(machine) {
                if !std::mem::replace(&mut self.paused, true) {
                    let paused = room.paused.get_or_insert_default();
                    paused.calls.push_back(call);
                }
                return Poll::Pending;
            }
            if !machine.has_room(call) {
                // `Event::Room` follows.
                return Poll::Pending;
            }
            let mut outlet = Outlet {
                call,
                machine,
                sent,
            };
            match source.as_mut().poll_next(cx, &mut outlet) {
                Poll::Ready(Some(Ok(()))) => self.begun = true,
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(status)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What a stream holds may panic when it is dropped: that ends the stream and nothing else.
impl Drop for Sending {
    fn drop(&mut self) {
        let source = self.source.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(source))) {
            super::handler::panicked(&*panic, "stream");
        }
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sending")
    }
}

/// The machine as where one call's messages go.
struct Outlet<'a> {
    call: CallId,
    machine: &'a mut dyn Machine,
    sent: &'a mut Sent,
}

impl Sink for Outlet<'_> {
    fn encode(&mut self, message: &dyn Encode) {
        match self.machine.encode_message(self.call, message, false) {
            Some(length) => self.sent.encoded(length),
            None => self.send(encoded(message)),
        }
    }

    fn send(&mut self, message: Payload) {
        self.sent.given(&message);
        self.machine.send_message(self.call, message, false);
    }
}
