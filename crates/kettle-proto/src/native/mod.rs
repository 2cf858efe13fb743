//! kettle's native protocol: `docs/protocol.md` is its specification.
//!
//! ```text
//!   handle_bytes ─▶ hello.rs, frame.rs, sections.rs ─▶ receive.rs, accept.rs ─▶ events
//!        └────────▶ whole.rs: the commonest frames, in one step ──────────────▶
//!                                                         │ stream.rs: the open calls
//!   open, finish … ─────────────────▶ open.rs, send.rs ───┴─▶ output ─▶ poll_transmit
//! ```
//!
//! [`Connection`] is either end of a connection. `connection.rs` has its state, start and end, and is
//! where to start reading; `machine.rs` has the verbs, `credit.rs` the flow control of both directions.

mod accept;
mod connection;
mod credit;
mod frame;
mod gather;
mod hello;
mod machine;
mod open;
mod receive;
mod sections;
mod send;
mod stream;
mod timers;
mod whole;

pub use connection::{Config, Connection};
pub use hello::{MAGIC, VERSION, VERSION_MIN};

/// Longest path of a method in bytes.
pub const PATH_BYTES_MAX: usize = 1024;

/// Longest text of a reset or goodbye in bytes; a longer one is cut when it is sent.
pub const TEXT_BYTES_MAX: usize = 1024;

/// A message up to this many bytes goes into the output at once when there is credit; a longer one
/// is cut into frames when its turn comes, so that calls share the connection and a cancel takes
/// effect between frames. Default 16 KiB, from which on a payload is linked and not copied.
pub const DIRECT_BYTES_MAX: u64 = 16 * 1024;
