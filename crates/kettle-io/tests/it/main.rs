//! Tests of the I/O models through their public interface.

mod costs;
mod suite;
