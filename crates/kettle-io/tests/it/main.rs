//! Tests of the I/O models through their public interface.

mod allocator;
mod costs;
mod signal;
mod suite;
mod suite_unix;
mod uring;
