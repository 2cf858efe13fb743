//! What generated code calls. Not meant for use by hand, but stable for it.

pub use crate::{
    BoxAnswer, Channel, Endpoint, Error, Inbound, IntoRequest, IntoStreamingRequest, MethodInfo,
    Request, Response, Service, Status, Streaming,
};
pub use bytes;
pub use futures_core::Stream;
pub use prost;
pub use std::future::Future;
pub use std::sync::Arc;

use crate::answer::{answer, answer_unary};
use crate::{Incoming, Outbound, Outgoing, source};

/// Decodes the request of a unary call and starts the handler, which gives the service back with its
/// reply.
pub fn unary<T, Req, Res, Fut>(
    service: &Arc<T>,
    request: Request<Inbound>,
    handler: impl Fn(Arc<T>, Request<Req>) -> Fut + Send + 'static,
) -> BoxAnswer
where
    T: Send + Sync + 'static,
    Req: Incoming + 'static,
    Res: Outgoing,
    Fut: Future<Output = (Arc<T>, Result<Response<Res>, Status>)> + Send + 'static,
{
    answer_unary(service, request, handler)
}

/// Starts the handler of a method that takes a stream.
pub fn client_streaming<T, Req, Res, Fut>(
    service: &Arc<T>,
    request: Request<Inbound>,
    handler: impl FnOnce(Arc<T>, Request<Streaming<Req>>) -> Fut,
) -> BoxAnswer
where
    Req: Incoming,
    Res: Outgoing,
    Fut: Future<Output = (Arc<T>, Result<Response<Res>, Status>)> + Send + 'static,
    T: 'static,
{
    let handler = handler(Arc::clone(service), request.map(Inbound::into_streaming_of));
    answer(async move {
        let (_service, reply) = handler.await;
        let (message, headers, trailers) = reply?.into_parts();
        let message = Outbound::of_outgoing(message)?;
        Ok(Response::from_parts(message, headers, trailers))
    })
}

/// Decodes the request of a method that replies with a stream, and starts the handler.
pub fn server_streaming<T, Req, Res, Replies, Fut>(
    service: &Arc<T>,
    request: Request<Inbound>,
    handler: impl FnOnce(Arc<T>, Request<Req>) -> Fut,
) -> BoxAnswer
where
    T: 'static,
    Req: Incoming,
    Res: Outgoing + 'static,
    Replies: Stream<Item = Result<Res, Status>> + Send + 'static,
    Fut: Future<Output = (Arc<T>, Result<Response<Replies>, Status>)> + Send + 'static,
{
    match request.decode() {
        Ok(request) => answer(stream_of(handler(Arc::clone(service), request))),
        Err(status) => answer(std::future::ready(Err(status))),
    }
}

/// Starts the handler of a method that takes a stream and replies with one.
pub fn streaming<T, Req, Res, Replies, Fut>(
    service: &Arc<T>,
    request: Request<Inbound>,
    handler: impl FnOnce(Arc<T>, Request<Streaming<Req>>) -> Fut,
) -> BoxAnswer
where
    T: 'static,
    Req: Incoming,
    Res: Outgoing + 'static,
    Replies: Stream<Item = Result<Res, Status>> + Send + 'static,
    Fut: Future<Output = (Arc<T>, Result<Response<Replies>, Status>)> + Send + 'static,
{
    let request = request.map(Inbound::into_streaming_of);
    answer(stream_of(handler(Arc::clone(service), request)))
}

/// A handler's replies as they are sent.
async fn stream_of<T, Res, Replies>(
    handler: impl Future<Output = (Arc<T>, Result<Response<Replies>, Status>)>,
) -> Result<Response<Outbound>, Status>
where
    Res: Outgoing + 'static,
    Replies: Stream<Item = Result<Res, Status>> + Send + 'static,
{
    let (_service, replies) = handler.await;
    Ok(replies?.map(|stream| Outbound::from_source(source::replies(stream))))
}

/// The answer to a method number that the service does not have.
pub fn unimplemented(service: &str) -> BoxAnswer {
    let status = Status::unimplemented(format!("service {service} has no such method"));
    answer(std::future::ready(Err(status)))
}
