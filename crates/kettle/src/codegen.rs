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
    Req: Message + Default,
    Res: Message,
    Fut: Future<Output = Result<Response<Res>, Status>> + Send,
{
    Box::pin(async move {
        let (message, rest) = request.split();
        let message = message.decode::<Req>()?;
        let response = handler(rest.map(|()| message)).await?;
        Ok(response.map(|message| Outbound::encode(&message)))
    })
}

/// The answer to a method number that the service does not have.
pub fn unimplemented(service: &str) -> BoxFuture<'static, Result<Response<Outbound>, Status>> {
    let status = Status::unimplemented(format!("service {service} has no such method"));
    Box::pin(std::future::ready(Err(status)))
}
