//! Memory that moves without being copied.
//!
//! ```text
//!   block of the pool   [ frame 1 | frame 2 | half of frame 3 ]      64 KiB, one allocation
//!                          ▲         ▲             ▲
//!   Segment                └ slice   └ slice       └ slice           a shared run of bytes
//!   Chain                [ seg ][ seg ][ seg ]                       one message, many segments
//!   Payload              [ memory ][ file region ][ memory ]         what is sent
//! ```
//!
//! A [`Segment`] is one shared, immutable run of bytes. A [`Chain`] is a composite buffer of segments.
//! A [`Payload`] is a chain that may also hold [`FileRegion`]s, and packs small pieces together. A
//! [`Pool`] hands out the blocks that sockets receive into.
//!
//! This crate does no I/O: a [`FileRegion`] is plain data, read by whoever sends it.
#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("kettle runs on Linux: its I/O models are Linux system calls");

mod chain;
mod copied;
mod encode;
mod payload;
mod pool;
mod region;
mod segment;
mod spare;

pub use chain::Chain;
pub use copied::{copied_bytes, count_copied};
pub use encode::Encode;
pub use payload::{LINK_BYTES_MIN, Payload, Piece};
pub use pool::{LargeBuffer, Pool, PoolConfig, PoolStats};
pub use region::FileRegion;
pub use segment::Segment;
