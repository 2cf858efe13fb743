//! As much of kettle as generated code touches: a channel calls a service in the same process.
#![allow(missing_docs)]

use codegen::{MethodInfo, Service};
use prost::Message;
use std::sync::Arc;

#[derive(Debug)]
pub struct Request<T>(pub T);

#[derive(Debug)]
pub struct Response<T>(pub T);

#[derive(Debug, PartialEq)]
pub struct Status(pub String);

#[derive(Debug)]
pub struct Error;

pub trait IntoRequest<T> {
    fn into_request(self) -> Request<T>;
}

impl<T> IntoRequest<T> for T {
    fn into_request(self) -> Request<T> {
        Request(self)
    }
}

impl<T> IntoRequest<T> for Request<T> {
    fn into_request(self) -> Request<T> {
        self
    }
}

/// Calls one service.
#[derive(Clone)]
pub struct Channel(Arc<dyn Service>);

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Channel {
    pub fn to(service: impl Service) -> Self {
        Self(Arc::new(service))
    }

    pub async fn connect(_url: &str) -> Result<Self, Error> {
        Err(Error)
    }

    pub async fn unary<Req: Message, Res: Message + Default>(
        &self,
        path: &str,
        request: Request<Req>,
    ) -> Result<Response<Res>, Status> {
        let is_called = |method: &MethodInfo| format!("/{}/{}", self.0.name(), method.name) == path;
        // One more than there are when there is no such method, as a careless caller may do.
        let methods = self.0.methods();
        let method = methods.iter().position(is_called).unwrap_or(methods.len());
        let Response(reply) = self
            .0
            .call(method, Request(request.0.encode_to_vec()))
            .await?;
        Ok(Response(
            Res::decode(&*reply).expect("the server encodes what the client decodes"),
        ))
    }
}

pub mod codegen {
    use super::{Request, Response, Status};
    pub use prost;
    use prost::Message;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;

    pub type BoxAnswer = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, Status>> + Send>>;
    pub type Inbound = Vec<u8>;

    pub trait Service: Send + Sync + 'static {
        fn name(&self) -> &'static str;
        fn methods(&self) -> &'static [MethodInfo];
        fn call(&self, method: usize, request: Request<Inbound>) -> BoxAnswer;
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct MethodInfo {
        pub name: &'static str,
        pub client_streaming: bool,
        pub server_streaming: bool,
    }

    impl MethodInfo {
        pub const fn new(
            name: &'static str,
            client_streaming: bool,
            server_streaming: bool,
        ) -> Self {
            Self {
                name,
                client_streaming,
                server_streaming,
            }
        }
    }

    pub fn unary<T, Req, Res, Fut>(
        service: &Arc<T>,
        request: Request<Inbound>,
        handler: impl Fn(Arc<T>, Request<Req>) -> Fut + Send + 'static,
    ) -> BoxAnswer
    where
        Req: Message + Default,
        Res: Message,
        T: Send + Sync + 'static,
        Fut: Future<Output = (Arc<T>, Result<Response<Res>, Status>)> + Send,
    {
        let service = Arc::clone(service);
        Box::pin(async move {
            let request = Req::decode(&*request.0).expect("the client encodes what is decoded");
            let (_, reply) = handler(service, Request(request)).await;
            Ok(Response(reply?.0.encode_to_vec()))
        })
    }

    pub fn unimplemented(service: &str) -> BoxAnswer {
        Box::pin(std::future::ready(Err(Status(format!(
            "{service} has no such method"
        )))))
    }
}
