//! What generated code calls. Not meant for use by hand, but stable for it.

pub use crate::{
    BoxAnswer, Channel, Endpoint, Error, Inbound, IntoRequest, MethodInfo, Request, Response,
    Service, Status,
};
pub use bytes;
pub use prost;
pub use std::future::Future;
pub use std::sync::Arc;

use crate::answer::{answer, answer_unary};
use prost::Message;

/// Decodes the request of a unary call and starts the handler, which gives the service back with its
/// reply.
pub fn unary<T, Req, Res, Fut>(
    service: &Arc<T>,
    request: Request<Inbound>,
    handler: impl Fn(Arc<T>, Request<Req>) -> Fut + Send + 'static,
) -> BoxAnswer
where
    T: Send + Sync + 'static,
    Req: Message + Default + 'static,
    Res: Message,
    Fut: Future<Output = (Arc<T>, Result<Response<Res>, Status>)> + Send + 'static,
{
    answer_unary(service, request, handler)
}

/// The answer to a method number that the service does not have.
pub fn unimplemented(service: &str) -> BoxAnswer {
    let status = Status::unimplemented(format!("service {service} has no such method"));
    answer(std::future::ready(Err(status)))
}
