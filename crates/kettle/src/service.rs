//! What a server hosts.

use crate::{BoxAnswer, Inbound, Request};
use std::future::Future;
use std::pin::Pin;

/// A future on the heap that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A service as the server sees it. Generated servers implement it; so can hand-written ones.
pub trait Service: Send + Sync + 'static {
    /// The full name, such as `echo.v1.Echo`.
    fn name(&self) -> &'static str;

    /// The methods; [`Service::call`] names one by its place in this list.
    fn methods(&self) -> &'static [MethodInfo];

    /// Starts a call. The answer is polled at once on the loop that parsed the request, and must not
    /// block: one that has to wait returns pending and wakes its waker. It is dropped when the client
    /// cancels, goes away, or the deadline passes. [`crate::answer`] makes one of a future.
    fn call(&self, method: usize, request: Request<Inbound>) -> BoxAnswer;
}

/// One method of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodInfo {
    /// The name, such as `Unary`.
    pub name: &'static str,
    /// Whether the client sends a stream of messages.
    pub client_streaming: bool,
    /// Whether the server sends a stream of messages.
    pub server_streaming: bool,
}

impl MethodInfo {
    /// A method of this name and kind.
    pub const fn new(name: &'static str, client_streaming: bool, server_streaming: bool) -> Self {
        Self {
            name,
            client_streaming,
            server_streaming,
        }
    }
}
