//! The output buffer that a thread uses again: a batch of replies needs one for as long as its send
//! takes, and getting one from the allocator and giving it back costs page faults.

use bytes::BytesMut;
use std::cell::Cell;

/// Size of the buffer in bytes. Each thread that sends keeps one.
pub(crate) const SPARE_BYTES: usize = 128 * 1024;

thread_local! {
    static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// The thread's buffer, empty and of [`SPARE_BYTES`], when nobody has it.
pub(crate) fn take() -> Option<BytesMut> {
    SPARE.try_with(Cell::take).ok().flatten()
}

/// Another one, to be [`put`] later.
pub(crate) fn new() -> BytesMut {
    BytesMut::with_capacity(SPARE_BYTES)
}

/// Keeps a buffer that came from [`take`] and is not needed any more; drops any other.
pub(crate) fn put(mut buffer: BytesMut) {
    buffer.clear();
    if buffer.try_reclaim(SPARE_BYTES) {
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|spare| spare.set(Some(buffer)));
    }
}
