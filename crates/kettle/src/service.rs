//! What a server hosts.

use crate::{BoxAnswer, Disconnect, Hosting, Inbound, Request};
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
    /// cancels, goes away, or the deadline passes, unless [`Service::on_disconnect`] says otherwise. [`crate::answer`] makes one of a future.
    fn call(&self, method: usize, request: Request<Inbound>) -> BoxAnswer;

    /// Runs the handlers of all methods on the server's pool of threads, where they may block. Default:
    /// on the loops. For handlers that block, or compute for longer than about 100 µs: the way to another
    /// thread and back costs tens of microseconds.
    ///
    /// The request is decoded there, the handler is polled there, also when it was woken, and its streams
    /// are read and made there; interceptors stay on the loop. A call that finds the pool full ends with
    /// RESOURCE_EXHAUSTED. [`crate::ServerBuilder::handler_threads`] and
    /// [`crate::ServerBuilder::handler_queue_max`] are the limits. A stream of replies runs at most 64 KiB
    /// and one message ahead of its connection.
    ///
    /// When the call is cancelled, what waits in the queue is dropped, and a handler that has begun is
    /// dropped by a pool thread at its next point of waiting: nothing can interrupt one that blocks.
    fn on_pool(self) -> Hosting
    where
        Self: Sized,
    {
        Hosting::from(self).on_pool()
    }

    /// Runs the handlers of one method, such as `SayHello`, on the server's pool of threads; see
    /// [`Service::on_pool`]. A name that the service does not have is an error when the server starts.
    fn method_on_pool(self, method: &str) -> Hosting
    where
        Self: Sized,
    {
        Hosting::from(self).method_on_pool(method)
    }

    /// Runs the handlers of one method on the server's pool of threads until they reply, and makes their
    /// streams of replies on the loop: for a handler that blocks, as by opening a file, and a stream that does
    /// not. Where a method replies with one message this is [`Service::method_on_pool`]. A name that the service
    /// does not have is an error when the server starts.
    fn method_begins_on_pool(self, method: &str) -> Hosting
    where
        Self: Sized,
    {
        Hosting::from(self).method_begins_on_pool(method)
    }

    /// What becomes of the handlers of all methods when their clients go away. Default:
    /// [`Disconnect::Cancel`].
    fn on_disconnect(self, disconnect: Disconnect) -> Hosting
    where
        Self: Sized,
    {
        Hosting::from(self).on_disconnect(disconnect)
    }

    /// What becomes of the handlers of one method, such as `SayHello`, when their clients go away. A name
    /// that the service does not have is an error when the server starts.
    fn method_on_disconnect(self, method: &str, disconnect: Disconnect) -> Hosting
    where
        Self: Sized,
    {
        Hosting::from(self).method_on_disconnect(method, disconnect)
    }
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
