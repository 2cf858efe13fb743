//! What generated code calls. Not meant for use by hand, but stable for it.

pub use crate::{
    BoxAnswer, Channel, Endpoint, Error, Inbound, IntoRequest, MethodInfo, Request, Response,
    Service, Status,
};
pub use bytes;
pub use prost;
pub use std::future::Future;
pub use std::sync::Arc;

use crate::answer::{answer, answer_typed};
use prost::Message;

/// Decodes the request of a unary call and starts the handler.
pub fn unary<Req, Res, Fut>(
    request: Request<Inbound>,
    handler: impl FnOnce(Request<Req>) -> Fut,
) -> BoxAnswer
where
    Req: Message + Default,
    Res: Message,
    Fut: Future<Output = Result<Response<Res>, Status>> + Send + 'static,
{
    match request.decode() {
        Ok(request) => answer_typed(handler(request)),
        Err(status) => answer(std::future::ready(Err(status))),
    }
}

/// The answer to a method number that the service does not have.
pub fn unimplemented(service: &str) -> BoxAnswer {
    let status = Status::unimplemented(format!("service {service} has no such method"));
    answer(std::future::ready(Err(status)))
}
