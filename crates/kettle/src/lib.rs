//! An RPC framework for Linux in which the network I/O model is a setting.
//!
//! The same service runs on blocking sockets, a thread per connection, a non-blocking scan, select, poll,
//! epoll or signal-driven I/O: [`Model`] chooses. Services and clients are generated from `.proto` files by
//! `kettle-build`; [`Server`] hosts services, [`Channel`] calls them from any executor.
//!
//! Start with [`Server::builder`] and [`Channel::connect`]. The README of the repository has a service
//! that runs, its ARCHITECTURE.md follows one request through the code.
#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("kettle runs on Linux: its I/O models are Linux system calls");

mod ambient;
mod answer;
mod backoff;
pub mod blocking;
mod call;
mod channel;
mod clock;
mod codec;
pub mod codegen;
mod command;
mod composed;
mod context;
mod detector;
mod endpoint;
mod error;
mod extensions;
mod finish;
mod hosting;
mod inbox;
mod incoming;
mod interceptor;
mod keepalive;
mod key;
mod link;
mod local;
mod mailbox;
mod numbered;
mod outbox;
mod outgoing;
mod peer;
mod pending;
mod pool;
mod reactor;
mod recorder;
mod remote;
mod repeat;
mod request;
mod router;
mod server;
mod service;
mod sleep;
mod source;
mod stats;
mod stopping;
mod streaming;
mod timers;
#[cfg(feature = "tokio-host")]
mod tokio_host;
mod wake_queue;

pub use answer::{Answer, BoxAnswer, Reply, answer};
pub use channel::{Channel, ChannelBuilder};
pub use codec::{Inbound, Outbound};
pub use composed::{BytesField, Composed, MessageField};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::Error;
pub use extensions::Extensions;
pub use finish::Disconnect;
pub use hosting::Hosting;
pub use incoming::Incoming;
pub use interceptor::{Interceptor, Next};
pub use kettle_buf::{Chain, Encode, FileRegion, Payload, Segment};
pub use kettle_io::{
    Address, Driver, DriverConfig, Feature, FileStrategy, Model, PeerCredentials, Probe, SendStats,
    SystemCalls, UringFeatures,
};
pub use kettle_proto::{Code, InvalidMetadata, Metadata, Status};
pub use local::LocalLoop;
pub use outgoing::Outgoing;
pub use recorder::{Recorded, Recorder, RecorderBuilder};
pub use request::{IntoRequest, Request, Response};
pub use server::{ListenAddress, Server, ServerBuilder, ServerHandle};
pub use service::{BoxFuture, MethodInfo, Service};
pub use sleep::{Sleep, sleep};
pub use stats::{LongestTurn, MethodStats, Stats};
pub use streaming::{IntoStreamingRequest, Streaming};
#[cfg(feature = "tokio-host")]
pub use tokio_host::TokioServer;

/// Includes the code that `kettle-build` generated for a protobuf package:
/// `kettle::include_proto!("echo.v1");` in a module of one's own.
#[macro_export]
macro_rules! include_proto {
    ($package:tt) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
}
