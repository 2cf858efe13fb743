//! Generates kettle services and clients from `.proto` files. Used in `build.rs`; no `protoc` binary
//! is needed.
//!
//! ```no_run
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     kettle_build::compile_protos(&["proto/echo.proto"], &["proto"])
//! }
//! ```
//!
//! writes one file per protobuf package, which `kettle::include_proto!("echo.v1")` includes (a file
//! without a package is `"_"`). For a service `Echo` it holds, beside the messages,
//!
//! - `echo_server::Echo`, the trait to implement with `async fn`s, and `echo_server::EchoServer`,
//!   which a server hosts;
//! - `echo_client::EchoClient`, which calls it;
//! - `echo_client::blocking::EchoClient`, which calls it on the caller's own thread.
//!
//! Names follow tonic's. Packages that refer to each other must be included in modules nested like
//! the packages. `bytes` fields are `bytes::Bytes`, see [`Builder::bytes_as_vec`]. The generated code
//! needs the crate `kettle` alone, and `prost-types` when it uses `google.protobuf` types.
//!
//! A client's method is the method's name in snake case; keywords become raw identifiers, and `new`
//! and `connect`, which are the client's own, become `new_` and `connect_`.
//!
//! A method that takes a stream gets a `kettle::Streaming` of messages; one that replies with a stream
//! has an associated type `METHODStream` in the trait, a `Stream` of `Result<_, kettle::Status>`. A client
//! gives any `Stream` of messages, and gets a `kettle::Streaming`.
//!
//! A blocking client's method takes an iterator of messages and gives one; beside a method that sends a
//! stream and gets one reply, `METHOD_sender` gives a `kettle::blocking::Sender` to send messages one by one. A
//! method with two streams gives a `kettle::blocking::Bidi`, which sends and receives in any order.
#![forbid(unsafe_code)]

mod blocking;
mod builder;
mod bytes_fields;
mod client;
mod error;
#[cfg(test)]
mod golden;
mod methods;
mod server;
mod service;

pub use builder::Builder;

use std::path::Path;

/// Generates servers and clients with the default settings. Shorthand for
/// [`configure`]`().compile_protos(protos, includes)`; see [`Builder::compile_protos`].
///
/// # Errors
/// As [`Builder::compile_protos`].
pub fn compile_protos(
    protos: &[impl AsRef<Path>],
    includes: &[impl AsRef<Path>],
) -> Result<(), Box<dyn std::error::Error>> {
    configure().compile_protos(protos, includes)
}

/// Settings, to be changed before [`Builder::compile_protos`].
pub fn configure() -> Builder {
    Builder::new()
}
