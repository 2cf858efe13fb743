//! Network I/O models behind one trait.
//!
//! A [`Driver`] takes operations and gives completions, as io_uring does natively. A [`Selector`]
//! reports readiness, as select, poll and epoll do; the adapter [`Ready`] turns any selector into a
//! driver. [`open`] chooses by [`Model`] at run time. `driver.rs` numbers the promises that
//! every model keeps; the driver suite tests each of them on each model.
//!
//! This is the only crate of kettle with `unsafe` code, and the only one that makes system calls on
//! sockets: all of them stand in `sys.rs`, where they are counted.

#[cfg(not(target_os = "linux"))]
compile_error!("kettle runs on Linux: its I/O models are Linux system calls");

mod address;
mod attached;
mod credentials;
mod deadline;
mod driver;
mod file_strategy;
mod linking;
pub mod model;
mod op;
mod queue;
mod ready;
mod selector;
mod send;
pub mod socket;
mod sys;
mod transfer;
mod wake;

pub use address::{Address, UNIX_PATH_BYTES_MAX};
pub use credentials::PeerCredentials;
pub use driver::{Driver, DriverConfig, DriverStats, PIPES_MAX, Patience};
pub use file_strategy::{FileStrategy, UnknownFileStrategy};
pub use linking::LinkingBuf;
pub use model::{
    Feature, Model, Probe, Traits, UnknownModel, UringFeatures, open, open_blocking_client,
};
pub use op::{Completion, Op, OpKind, Outcome, Role, SocketId, Token};
pub use ready::Ready;
pub use selector::{Interest, Readiness, Selector};
pub use send::SendStats;
pub use sys::SystemCalls;
pub use wake::Waker;
