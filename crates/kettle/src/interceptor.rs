//! Code around calls: authentication, logging, limits.

use crate::{BoxFuture, Request, Response, Status};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// Code around every call of a server or a channel. May look at and change the request, answer by
/// itself, wait, and look at the reply.
///
/// On a server `In` is [`crate::Inbound`] and `Out` [`crate::Outbound`]; on a channel the other way
/// round. Functions are interceptors:
///
/// ```
/// # use kettle::{Inbound, Next, Outbound, Request, Response, Status};
/// async fn authenticate(
///     request: Request<Inbound>,
///     next: Next<Inbound, Outbound>,
/// ) -> Result<Response<Outbound>, Status> {
///     match request.metadata().get("authorization") {
///         Some("Bearer open sesame") => next.run(request).await,
///         _ => Err(Status::unauthenticated("say the word")),
///     }
/// }
/// # let _ = kettle::Server::builder().interceptor(authenticate);
/// ```
pub trait Interceptor<In, Out>: Send + Sync + 'static {
    /// Handles a call; `next.run(request)` goes on to the next interceptor and at last to the method.
    fn call(
        &self,
        request: Request<In>,
        next: Next<In, Out>,
    ) -> BoxFuture<'static, Result<Response<Out>, Status>>;
}

impl<In, Out, F, Fut> Interceptor<In, Out> for F
where
    F: Fn(Request<In>, Next<In, Out>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Out>, Status>> + Send + 'static,
{
    fn call(
        &self,
        request: Request<In>,
        next: Next<In, Out>,
    ) -> BoxFuture<'static, Result<Response<Out>, Status>> {
        Box::pin(self(request, next))
    }
}

/// Interceptors in the order in which they run.
pub(crate) type Interceptors<In, Out> = Arc<[Arc<dyn Interceptor<In, Out>>]>;

impl<In, Out> fmt::Debug for dyn Interceptor<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interceptor")
    }
}

/// What stands behind the last interceptor.
pub(crate) type Last<In, Out> =
    Box<dyn FnOnce(Request<In>) -> BoxFuture<'static, Result<Response<Out>, Status>> + Send>;

/// The rest of the way of one call, behind an interceptor.
pub struct Next<In, Out> {
    interceptors: Interceptors<In, Out>,
    at: usize,
    last: Last<In, Out>,
}

impl<In: 'static, Out: 'static> Next<In, Out> {
    pub(crate) fn new(interceptors: Interceptors<In, Out>, last: Last<In, Out>) -> Self {
        Self {
            interceptors,
            at: 0,
            last,
        }
    }

    /// Goes on with the call.
    pub fn run(
        mut self,
        request: Request<In>,
    ) -> BoxFuture<'static, Result<Response<Out>, Status>> {
        match self.interceptors.get(self.at).cloned() {
            Some(interceptor) => {
                self.at += 1;
                interceptor.call(request, self)
            }
            None => (self.last)(request),
        }
    }
}

impl<In, Out> fmt::Debug for Next<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Next({} of {})", self.at, self.interceptors.len())
    }
}
