//! A blocking client's way to a server.

use super::engine::{Engine, check_thread};
use super::opened::{Opened, outbound};
use super::{Bidi, Sender, Streaming, requests};
use crate::channel::{call, call_streaming};
use crate::interceptor::{Last, Next};
use crate::mailbox::Mailbox;
use crate::{
    BoxFuture, ChannelBuilder, Endpoint, Error, Inbound, Outbound, Request, Response, Status,
    SystemCalls,
};
use prost::Message;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A blocking client's way to one server: calls are made on the caller's own thread.
///
/// There is no other thread and no hand-over: a unary call is a send(2) and a recv(2) in which the thread sleeps
/// until the reply has come. So it has the lowest latency of one call at a time. Many calls at a time are what
/// [`crate::Channel`] is for.
///
/// It connects at the first call (or in [`Channel::connect`]), and again when a call finds the connection gone.
/// Errors, deadlines, waiting for a server and attempts that follow a failure are as on [`crate::Channel`], and
/// so are the settings: [`ChannelBuilder::connect_blocking`] makes one from them.
///
/// **The connection is served during calls only.** Between them nobody reads from it: a server's ping is
/// answered in the next call, and a server that wants to see signs of life may have given the connection up by
/// then. The next call finds out and connects anew. A stream that is dropped is cancelled at once, but a server
/// whose replies have filled what the kernel holds (some 200 KB over a Unix-domain socket, and mostly more over
/// TCP) reads on, and learns of it, in the next call too.
///
/// Several streams may be open at a time, and other calls made meanwhile, all on one thread: what borrows a
/// channel stays on the channel's thread. The channel itself may move to another. Threads that call at the same
/// time need a channel each.
///
/// On the thread of a loop, such as in a handler, every call fails and says what to do instead: it would stop all
/// connections of the loop. Handlers on the server's pool ([`crate::Service::on_pool`]) may use it, and all
/// handlers on the models `blocking` and `threads`.
///
/// Dropping it closes the connection.
pub struct Channel {
    // Dropped first, while the loop is there.
    channel: crate::Channel,
    engine: Engine,
}

/// How a call is made, with one reply or with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    One,
    Many,
}

impl Channel {
    /// Connects to a server with default settings. Waits until the server has greeted.
    ///
    /// # Errors
    /// As [`crate::Channel::connect`], and [`Error::is_config`] on the thread of a loop.
    pub fn connect(url: impl AsRef<str>) -> Result<Self, Error> {
        Self::builder(url).connect_blocking()
    }

    /// Settings for a channel to `kettle://HOST:PORT`; [`ChannelBuilder::connect_blocking`] makes it.
    pub fn builder(url: impl AsRef<str>) -> ChannelBuilder {
        crate::Channel::builder(url)
    }

    pub(crate) fn new(
        make: impl FnOnce(Arc<Mailbox>) -> Result<crate::Channel, Error>,
    ) -> Result<Self, Error> {
        check_thread()?;
        let engine = Engine::new();
        let channel = make(engine.mailbox())?;
        Ok(Self { channel, engine })
    }

    /// Connects, and waits until the server has greeted.
    pub(crate) fn connected(self) -> Result<Self, Error> {
        self.engine.run(self.channel.connected())??;
        Ok(self)
    }

    /// The server's URL.
    pub fn endpoint(&self) -> &Endpoint {
        self.channel.endpoint()
    }

    /// The system calls that this channel has made, by kind: for a unary call a send and a receive.
    pub fn system_calls(&self) -> SystemCalls {
        self.engine.system_calls()
    }

    /// Makes a unary call to the method with this path, such as `/echo.v1.Echo/Unary`.
    ///
    /// # Errors
    /// As [`crate::Channel::unary`], and FAILED_PRECONDITION on the thread of a loop.
    pub fn unary<Req, Res>(
        &self,
        path: &'static str,
        request: Request<Req>,
    ) -> Result<Response<Res>, Status>
    where
        Req: Message,
        Res: Message + Default,
    {
        let response = self.call(path, request.map(|message| Outbound::encode(&message)))?;
        let (message, headers, trailers) = response.into_parts();
        Ok(Response::from_parts(message.decode()?, headers, trailers))
    }

    /// Makes a call that sends one message and gets a stream back. Returns when the reply has begun.
    ///
    /// # Errors
    /// As [`Channel::unary`], when the call ended before the reply had begun; later errors come from
    /// the stream.
    pub fn server_streaming<Req, Res>(
        &self,
        path: &'static str,
        request: Request<Req>,
    ) -> Result<Response<Streaming<'_, Res>>, Status>
    where
        Req: Message,
        Res: Message + Default,
    {
        let request = request.map(|message| Outbound::encode(&message));
        self.engine.prepare()?;
        let begun = self.begin(path.into(), request, Replies::Many);
        let response = self.engine.run_wakeable(begun)??;
        Ok(response.map(|replies| Streaming::new(&self.engine, replies.into_streaming())))
    }

    /// Makes a call that sends a stream of messages and gets one back. The iterator is asked on this thread, and
    /// only while there is room for its messages, which leave in batches. A reply before its end ends the call.
    ///
    /// # Errors
    /// As [`Channel::unary`].
    pub fn client_streaming<I, Res>(
        &self,
        path: &'static str,
        request: Request<I>,
    ) -> Result<Response<Res>, Status>
    where
        I: IntoIterator<Item: Message + 'static>,
        Res: Message + Default,
    {
        let mut messages = None;
        let request = request.map(|iterator| messages = Some(iterator));
        let mut sender = self.sender(path, request)?;
        sender.give(messages.into_iter().flatten())?;
        sender.finish()
    }

    /// Begins a call whose messages are sent one by one, and that replies once.
    ///
    /// # Errors
    /// FAILED_PRECONDITION on the thread of a loop. What else can go wrong shows when messages are sent.
    pub fn sender<Req, Res>(
        &self,
        path: &'static str,
        request: Request<()>,
    ) -> Result<Sender<'_, Req, Res>, Status>
    where
        Req: Message + 'static,
        Res: Message + Default,
    {
        Ok(Sender::new(self.open(path, request, Replies::One)?))
    }

    /// Begins a call that sends and receives messages in any order.
    ///
    /// # Errors
    /// As [`Channel::sender`].
    pub fn bidi<Req, Res>(
        &self,
        path: &'static str,
        request: Request<()>,
    ) -> Result<Bidi<'_, Req, Res>, Status>
    where
        Req: Message + 'static,
        Res: Message + Default,
    {
        Ok(Bidi::new(self.open(path, request, Replies::Many)?))
    }

    fn open<Req: Message + 'static>(
        &self,
        path: &'static str,
        request: Request<()>,
        replies: Replies,
    ) -> Result<Opened<'_, Req>, Status> {
        self.engine.prepare()?;
        let (requests, given) = requests::pair();
        let reply = self.begin(path.into(), request.map(|()| outbound(given)), replies);
        Ok(Opened::new(self, requests, reply))
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Makes a call with a message that is encoded already, and gives the reply undecoded.
    ///
    /// # Errors
    /// As [`Channel::unary`].
    pub fn call(
        &self,
        path: impl Into<Arc<str>>,
        mut request: Request<Outbound>,
    ) -> Result<Response<Inbound>, Status> {
        self.engine.prepare()?;
        let path = path.into();
        if !self.channel.interceptors.is_empty() {
            let begun = self.begin(path, request, Replies::One);
            return self.engine.run_wakeable(begun)?;
        }
        request.set_method(Arc::clone(&path));
        let call = call(&self.channel.shared, path, request);
        self.engine.run(call)?
    }

    /// A call that is made as its future is driven by the engine.
    pub(super) fn begin(
        &self,
        path: Arc<str>,
        mut request: Request<Outbound>,
        replies: Replies,
    ) -> BoxFuture<'static, Result<Response<Inbound>, Status>> {
        request.set_method(Arc::clone(&path));
        let shared = Arc::clone(&self.channel.shared);
        let waker = self.engine.waker().clone();
        let last: Last<Outbound, Inbound> = Box::new(move |request| {
            let call: BoxFuture<'static, _> = Box::pin(async move {
                match replies {
                    Replies::One => call(&shared, path, request).await,
                    Replies::Many => call_streaming(&shared, path, request).await,
                }
            });
            Box::pin(OnLoop { call, waker })
        });
        Next::new(Arc::clone(&self.channel.interceptors), last).run(request)
    }
}

/// A call behind its interceptors: it waits for the loop only, and is woken without ado.
struct OnLoop<T> {
    call: BoxFuture<'static, T>,
    waker: Waker,
}

impl<T> Future for OnLoop<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        let Self { call, waker } = &mut *self;
        call.as_mut().poll(&mut Context::from_waker(waker))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("blocking::Channel")
            .field(self.endpoint())
            .finish()
    }
}
