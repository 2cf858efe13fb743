//! The second host of peers: a task of the user's tokio runtime for each connection, over any stream.
//!
//! One poll of a task is a few turns. A turn reads notes, receives once, pumps the peer and sends what it has
//! to say in one write, as a turn of a loop does; the task sleeps when a turn brought nothing. The time is
//! tokio's, so that it may be paused or simulated.

mod accepting;
mod calling;
mod channel;
mod connection;
mod desk;
mod leftover;
mod own_runtime;
mod server;
mod serving;
mod timer;
mod turns;
mod wire;

pub(crate) use own_runtime::start;
pub use server::TokioServer;
