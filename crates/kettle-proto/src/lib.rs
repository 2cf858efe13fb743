//! Protocol machines without I/O.
//!
//! A [`Machine`] is one end of one connection: bytes and time go in, events and bytes come out. It
//! opens no socket, reads no clock and starts no thread, so every behaviour can be tested with plain
//! function calls. `machine.rs` says how to drive one.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod detect;
mod error;
mod event;
pub mod limits;
mod machine;
mod metadata;
pub mod native;
mod status;
mod time;

pub use error::{Initiator, ProtocolError};
pub use event::{CallId, Event, Method};
pub use machine::{Closing, Head, Machine, OpenError};
pub use metadata::{InvalidMetadata, Metadata};
pub use status::{Code, Status};
pub use time::Instant;
