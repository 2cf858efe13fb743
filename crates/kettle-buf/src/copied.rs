//! How many bytes of messages this thread has copied in memory.

use std::cell::Cell;

thread_local! {
    static COPIED: Cell<u64> = const { Cell::new(0) };
}

/// How many bytes this thread has copied from memory to memory since it began: into payloads and out of
/// chains, by encoding, gathering and packing. What the kernel copies is not among them.
///
/// What something copies is the difference between two of these.
#[inline]
pub fn copied_bytes() -> u64 {
    COPIED.get()
}

/// Counts bytes that were copied elsewhere, such as by encoding.
#[inline]
pub fn count_copied(bytes: usize) {
    COPIED.set(COPIED.get() + bytes as u64);
}
