//! As much of kettle as generated code touches: a channel calls a service in the same process. A
//! stream is a list of all its messages here, and nothing waits.
#![allow(missing_docs)]

use codegen::{MethodInfo, Service, Stream};
use prost::Message;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

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

pub trait IntoStreamingRequest {
    type Stream: Stream<Item = Self::Message> + Send + 'static;
    type Message;
    fn into_streaming_request(self) -> Request<Self::Stream>;
}

impl<S: Stream + Send + 'static> IntoStreamingRequest for S {
    type Stream = S;
    type Message = S::Item;

    fn into_streaming_request(self) -> Request<S> {
        Request(self)
    }
}

impl<S: Stream + Send + 'static> IntoStreamingRequest for Request<S> {
    type Stream = S;
    type Message = S::Item;

    fn into_streaming_request(self) -> Request<S> {
        self
    }
}

/// Messages that have come.
#[derive(Debug)]
pub struct Streaming<T>(VecDeque<T>);

impl<T: Message + Default> Streaming<T> {
    pub async fn message(&mut self) -> Result<Option<T>, Status> {
        Ok(self.0.pop_front())
    }

    fn decode(messages: &[Vec<u8>]) -> Self {
        Self(messages.iter().map(|bytes| decode(bytes)).collect())
    }
}

fn decode<T: Message + Default>(bytes: &[u8]) -> T {
    T::decode(bytes).expect("the other side encodes what is decoded")
}

/// All items of a stream that does not wait.
fn all<S: Stream>(stream: S) -> Vec<S::Item> {
    let (mut stream, mut items) = (pin!(stream), Vec::new());
    loop {
        match stream
            .as_mut()
            .poll_next(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(Some(item)) => items.push(item),
            Poll::Ready(None) => return items,
            Poll::Pending => panic!("nothing here waits"),
        }
    }
}

/// The result of a future that does not wait.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("nothing here waits"),
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
        let replies = self.call(path, vec![request.0.encode_to_vec()]).await?;
        Ok(Response(decode(&replies[0])))
    }

    pub async fn client_streaming<S: Stream<Item: Message>, Res: Message + Default>(
        &self,
        path: &str,
        request: Request<S>,
    ) -> Result<Response<Res>, Status> {
        let requests = all(request.0).iter().map(Message::encode_to_vec).collect();
        let replies = self.call(path, requests).await?;
        Ok(Response(decode(&replies[0])))
    }

    pub async fn server_streaming<Req: Message, Res: Message + Default>(
        &self,
        path: &str,
        request: Request<Req>,
    ) -> Result<Response<Streaming<Res>>, Status> {
        let replies = self.call(path, vec![request.0.encode_to_vec()]).await?;
        Ok(Response(Streaming::decode(&replies)))
    }

    pub async fn streaming<S: Stream<Item: Message>, Res: Message + Default>(
        &self,
        path: &str,
        request: Request<S>,
    ) -> Result<Response<Streaming<Res>>, Status> {
        let requests = all(request.0).iter().map(Message::encode_to_vec).collect();
        let replies = self.call(path, requests).await?;
        Ok(Response(Streaming::decode(&replies)))
    }

    async fn call(&self, path: &str, messages: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Status> {
        let is_called = |method: &MethodInfo| format!("/{}/{}", self.0.name(), method.name) == path;
        // One more than there are when there is no such method, as a careless caller may do.
        let methods = self.0.methods();
        let method = methods.iter().position(is_called).unwrap_or(methods.len());
        Ok(self.0.call(method, Request(messages)).await?.0)
    }
}

pub mod blocking {
    use super::{Error, Request, Response, Status, now};
    use prost::Message;
    use std::marker::PhantomData;

    #[derive(Clone, Debug)]
    pub struct Channel(pub super::Channel);

    /// As far as it shows, the messages borrow the channel.
    #[derive(Debug)]
    pub struct Streaming<'a, T>(super::Streaming<T>, PhantomData<&'a Channel>);

    impl Channel {
        pub fn connect(_url: &str) -> Result<Self, Error> {
            Err(Error)
        }

        pub fn unary<Req: Message, Res: Message + Default>(
            &self,
            path: &str,
            request: Request<Req>,
        ) -> Result<Response<Res>, Status> {
            now(self.0.unary(path, request))
        }

        pub fn client_streaming<I: IntoIterator<Item: Message>, Res: Message + Default>(
            &self,
            path: &'static str,
            request: Request<I>,
        ) -> Result<Response<Res>, Status> {
            let mut sender = self.sender(path, Request(()))?;
            request
                .0
                .into_iter()
                .for_each(|message| sender.send(message));
            Ok(Response(sender.finish()?.remove(0)))
        }

        pub fn sender<Req, Res>(
            &self,
            path: &'static str,
            _request: Request<()>,
        ) -> Result<Sender<'_, Req, Res>, Status> {
            Ok(self.handle(path))
        }

        pub fn bidi<Req, Res>(
            &self,
            path: &'static str,
            _request: Request<()>,
        ) -> Result<Bidi<'_, Req, Res>, Status> {
            Ok(self.handle(path))
        }

        fn handle<Req, Res, const MANY: bool>(
            &self,
            path: &'static str,
        ) -> Handle<'_, Req, Res, MANY> {
            Handle {
                channel: self,
                path,
                requests: Vec::new(),
                replies: PhantomData,
            }
        }

        pub fn server_streaming<Req: Message, Res: Message + Default>(
            &self,
            path: &str,
            request: Request<Req>,
        ) -> Result<Response<Streaming<'_, Res>>, Status> {
            let Response(replies) = now(self.0.server_streaming(path, request))?;
            Ok(Response(Streaming(replies, PhantomData)))
        }
    }

    pub trait IntoStreamingRequest {
        type Messages: IntoIterator<Item = Self::Message>;
        type Message;
        fn into_streaming_request(self) -> Request<Self::Messages>;
    }

    impl<I: IntoIterator> IntoStreamingRequest for I {
        type Messages = I;
        type Message = I::Item;

        fn into_streaming_request(self) -> Request<I> {
            Request(self)
        }
    }

    /// What both handles do: the messages go when they have ended.
    #[derive(Debug)]
    pub struct Handle<'a, Req, Res, const MANY: bool> {
        channel: &'a Channel,
        path: &'static str,
        requests: Vec<Req>,
        replies: PhantomData<Res>,
    }

    pub type Sender<'a, Req, Res> = Handle<'a, Req, Res, false>;
    pub type Bidi<'a, Req, Res> = Handle<'a, Req, Res, true>;

    impl<Req: Message, Res: Message + Default, const MANY: bool> Handle<'_, Req, Res, MANY> {
        pub fn send(&mut self, message: Req) {
            self.requests.push(message);
        }

        pub fn finish(self) -> Result<Vec<Res>, Status> {
            let requests = self.requests.iter().map(Message::encode_to_vec).collect();
            let replies = now(self.channel.0.call(self.path, requests))?;
            Ok(replies.iter().map(|bytes| super::decode(bytes)).collect())
        }
    }

    impl<T> Iterator for Streaming<'_, T> {
        type Item = Result<T, Status>;

        fn next(&mut self) -> Option<Self::Item> {
            self.0.0.pop_front().map(Ok)
        }
    }
}

pub mod codegen {
    use super::{Request, Response, Status, Streaming, all, decode};
    pub use futures_core::Stream;
    pub use prost;
    use prost::Message;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;

    pub type Messages = Vec<Vec<u8>>;
    pub type Inbound = Messages;
    pub type BoxAnswer = Pin<Box<dyn Future<Output = Result<Response<Messages>, Status>> + Send>>;

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
            let (_, reply) = handler(service, Request(decode(&request.0[0]))).await;
            Ok(Response(vec![reply?.0.encode_to_vec()]))
        })
    }

    pub fn client_streaming<T, Req, Res, Fut>(
        service: &Arc<T>,
        request: Request<Inbound>,
        handler: impl FnOnce(Arc<T>, Request<Streaming<Req>>) -> Fut + Send + 'static,
    ) -> BoxAnswer
    where
        Req: Message + Default,
        Res: Message,
        T: Send + Sync + 'static,
        Fut: Future<Output = (Arc<T>, Result<Response<Res>, Status>)> + Send,
    {
        let service = Arc::clone(service);
        Box::pin(async move {
            let (_, reply) = handler(service, Request(Streaming::decode(&request.0))).await;
            Ok(Response(vec![reply?.0.encode_to_vec()]))
        })
    }

    pub fn server_streaming<T, Req, Res, Replies, Fut>(
        service: &Arc<T>,
        request: Request<Inbound>,
        handler: impl FnOnce(Arc<T>, Request<Req>) -> Fut + Send + 'static,
    ) -> BoxAnswer
    where
        Req: Message + Default,
        Res: Message,
        T: Send + Sync + 'static,
        Replies: Stream<Item = Result<Res, Status>> + Send + 'static,
        Fut: Future<Output = (Arc<T>, Result<Response<Replies>, Status>)> + Send,
    {
        let service = Arc::clone(service);
        Box::pin(async move {
            let (_, replies) = handler(service, Request(decode(&request.0[0]))).await;
            collect(replies?)
        })
    }

    pub fn streaming<T, Req, Res, Replies, Fut>(
        service: &Arc<T>,
        request: Request<Inbound>,
        handler: impl FnOnce(Arc<T>, Request<Streaming<Req>>) -> Fut + Send + 'static,
    ) -> BoxAnswer
    where
        Req: Message + Default,
        Res: Message,
        T: Send + Sync + 'static,
        Replies: Stream<Item = Result<Res, Status>> + Send + 'static,
        Fut: Future<Output = (Arc<T>, Result<Response<Replies>, Status>)> + Send,
    {
        let service = Arc::clone(service);
        Box::pin(async move {
            let (_, replies) = handler(service, Request(Streaming::decode(&request.0))).await;
            collect(replies?)
        })
    }

    fn collect<Res: Message>(
        replies: Response<impl Stream<Item = Result<Res, Status>>>,
    ) -> Result<Response<Messages>, Status> {
        let replies = all(replies.0).into_iter();
        let encode = |reply: Result<Res, Status>| Ok(reply?.encode_to_vec());
        Ok(Response(replies.map(encode).collect::<Result<_, _>>()?))
    }

    pub fn unimplemented(service: &str) -> BoxAnswer {
        Box::pin(std::future::ready(Err(Status(format!(
            "{service} has no such method"
        )))))
    }
}
