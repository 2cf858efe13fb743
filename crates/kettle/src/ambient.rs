//! The deadline of the handler that is polled on this thread: what calls inherit that it makes.
//!
//! It is written before each poll of a handler and taken away after it. Both are plain stores to the
//! thread's own memory, no call and no branch.

use kettle_proto::Instant;
use std::cell::Cell;

thread_local! {
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A handler with this deadline is polled from now on.
#[inline]
pub(crate) fn set(deadline: Option<Instant>) {
    DEADLINE.set(deadline);
}

/// No handler is polled any more, or one whose calls inherit nothing.
#[inline]
pub(crate) fn clear() {
    DEADLINE.set(None);
}

/// The deadline of the handler that is polled on this thread.
pub(crate) fn deadline() -> Option<Instant> {
    DEADLINE.get()
}
