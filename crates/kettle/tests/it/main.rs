//! The call suite: what a call promises, on every I/O model.

mod accounting;
mod blocking;
mod blocking_streams;
mod both;
mod calls;
mod connections;
mod finish;
mod harness;
mod nested;
#[cfg(feature = "tokio-host")]
mod on_tokio;
mod pool;
mod raw;
mod recording;
mod recovery;
mod regions;
mod repeat;
mod servers;
#[cfg(feature = "tokio-host")]
mod simulated;
mod sleep;
mod streams;
mod tokio_context;
mod unix;
mod zero_copy;
