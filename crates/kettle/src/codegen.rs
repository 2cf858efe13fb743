//! What generated code calls. Not meant for use by hand, but stable for it.

pub use crate::{
    BoxFuture, Channel, Endpoint, Error, Inbound, IntoRequest, MethodInfo, Outbound, Request,
    Response, Service, Status,
};
pub use bytes;
pub use prost;
pub use std::future::Future;
pub use std::sync::Arc;

use prost::Message;

/// Decodes the request of a unary call, runs the handler, encodes its reply.
pub fn unary<Req, Res, Fut>(
    request: Request<Inbound>,
    handler: impl FnOnce(Request<Req>) -> Fut + Send + 'static,
) -> BoxFuture<'static, Result<Response<Outbound>, Status>>
where
    Req: Message + Default + 'static,
    Res: Message,
    Fut: Future<Output = Result<Response<Res>, Status>> + Send,
{
    // Decoded before the future is made, which so need not hold the encoded message.
    match request.decode() {
        Ok(request) => Box::pin(async move {
            match handler(request).await {
                Ok(response) => Ok(response.encode()),
                Err(status) => Err(status),
            }
        }),
        Err(status) => Box::pin(std::future::ready(Err(status))),
    }
}

/// The answer to a method number that the service does not have.
pub fn unimplemented(service: &str) -> BoxFuture<'static, Result<Response<Outbound>, Status>> {
    let status = Status::unimplemented(format!("service {service} has no such method"));
    Box::pin(std::future::ready(Err(status)))
}
