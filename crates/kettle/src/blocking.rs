//! Clients that work on the caller's own thread, for programs that are not async.
//!
//! ```text
//!   GreeterClient ──▶ Channel ──▶ Engine: the loop of a client, driven here and now
//!                                    └─ sleeps in recv(2), and nowhere else
//! ```
//!
//! Everything below [`Channel`] is what an async [`crate::Channel`] runs on too: connections, deadlines,
//! attempts that follow a failure. Read channel.rs next.

mod bidi;
mod channel;
mod engine;
mod opened;
mod request;
mod requests;
mod sender;
mod streaming;

pub use bidi::Bidi;
pub use channel::Channel;
pub use request::IntoStreamingRequest;
pub use sender::Sender;
pub use streaming::Streaming;
