//! A client's way to call a server, from any executor.

mod builder;

pub use builder::ChannelBuilder;
pub(crate) use builder::client_loop;

use crate::call::{CallRequest, Caller, Content, Place};
use crate::codec::{Inbound, Outbound, Requested};
use crate::command::Command;
use crate::endpoint::Endpoint;
use crate::error::Kind;
use crate::interceptor::{Interceptors, Last, Next};
use crate::link::{LinkConfig, Unreachable};
use crate::mailbox::Mailbox;
use crate::outgoing::Outgoing;
use crate::peer::Sending;
use crate::pending::Promise;
use crate::repeat::Repeat;
use crate::{BoxFuture, Error, Metadata, Request, Response, Status, Streaming};
use crate::{ambient, inbox, pending, source};
use futures_core::Stream;
use prost::Message;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

/// A client's way to one server. Cloning it is cheap and shares the connection.
///
/// Calls from any thread and any executor run on it at the same time. It connects at the first call
/// (or in [`Channel::connect`]), and again when a call finds the connection gone. While the server
/// cannot be reached calls end with UNAVAILABLE, or wait if they want to
/// ([`ChannelBuilder::wait_for_ready`]), and attempts to connect become rarer
/// ([`ChannelBuilder::reconnect_backoff`]). A connection that breaks ends the calls that were sent on it
/// with UNAVAILABLE. Calls that the server vouches not to have looked at, because it was stopping, are
/// made again on a new connection without the caller noticing.
///
/// Dropping a call's future cancels the call: the server is told, its handler is dropped. Dropping
/// the last clone closes the connection when its calls are over.
///
/// A call that a handler makes ends with the handler's deadline at the latest, and with the handler when that
/// is dropped: see [`Request::set_inherits_deadline`].
///
/// The connection lives on a loop thread that the whole process shares, started at first use; inside
/// a handler and inside a [`crate::LocalLoop`] it lives on that loop. With the feature `tokio-host` it may be a task of
/// a tokio runtime instead, over any stream (`ChannelBuilder::connect_over`, `connect_with`).
#[derive(Clone)]
pub struct Channel {
    pub(crate) shared: Arc<Shared>,
    pub(crate) interceptors: Interceptors<Outbound, Inbound>,
}

pub(crate) struct Shared {
    mailbox: Arc<Mailbox>,
    link: Arc<LinkConfig>,
    timeout: Option<Duration>,
    wait_for_ready: bool,
}

impl Channel {
    /// Connects to a server with default settings. Waits until the server has greeted.
    ///
    /// # Errors
    /// [`Error::is_config`] when the URL is not `kettle://HOST:PORT`, [`Error::is_connect`] when no
    /// connection can be made, with [`Error::is_timeout`] when not within 10 s and
    /// [`Error::is_refused`] when the server takes no more.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// Settings for a channel to `kettle://HOST:PORT`.
    pub fn builder(url: impl AsRef<str>) -> ChannelBuilder {
        ChannelBuilder::new(url.as_ref())
    }

    /// The server's URL.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.link.endpoint
    }

    /// Makes a unary call to the method with this path, such as `/echo.v1.Echo/Unary`.
    ///
    /// # Errors
    /// The status with which the server ended the call; DEADLINE_EXCEEDED when the request's or the
    /// channel's time-out passed; UNAVAILABLE when there is no connection or it broke. After a broken
    /// connection it is not known whether the server ran the method.
    pub async fn unary<Req, Res>(
        &self,
        path: &'static str,
        request: Request<Req>,
    ) -> Result<Response<Res>, Status>
    where
        Req: Message,
        Res: Message + Default,
    {
        let response = self
            .call(path, request.map(|message| Outbound::encode(&message)))
            .await?;
        let (message, headers, trailers) = response.into_parts();
        Ok(Response::from_parts(message.decode()?, headers, trailers))
    }

    /// Makes a call that sends a stream of messages and gets one back. The stream is polled on the
    /// channel's loop, and only while there is room for its messages. A reply before its end ends the
    /// call.
    ///
    /// # Errors
    /// As [`Channel::unary`].
    pub async fn client_streaming<S, Res>(
        &self,
        path: &'static str,
        request: Request<S>,
    ) -> Result<Response<Res>, Status>
    where
        S: Stream<Item: Outgoing> + Send + 'static,
        Res: Message + Default,
    {
        let request = request.map(|stream| Outbound::from_source(source::requests(stream)));
        let response = self.call(path, request).await?;
        let (message, headers, trailers) = response.into_parts();
        Ok(Response::from_parts(message.decode()?, headers, trailers))
    }

    /// Makes a call that sends one message and gets a stream back. Returns when the reply has begun.
    ///
    /// # Errors
    /// As [`Channel::unary`], when the call ended before the reply had begun; later errors come from
    /// the stream.
    pub async fn server_streaming<Req, Res>(
        &self,
        path: &'static str,
        request: Request<Req>,
    ) -> Result<Response<Streaming<Res>>, Status>
    where
        Req: Message,
        Res: Message + Default,
    {
        let request = request.map(|message| Outbound::encode(&message));
        let response = self.call_streaming(path, request).await?;
        Ok(response.map(Inbound::into_streaming))
    }

    /// Makes a call that sends a stream of messages and gets one back. The requests are polled as in
    /// [`Channel::client_streaming`]; the call goes on as long as the replies are not dropped.
    ///
    /// # Errors
    /// As [`Channel::server_streaming`].
    pub async fn streaming<S, Res>(
        &self,
        path: &'static str,
        request: Request<S>,
    ) -> Result<Response<Streaming<Res>>, Status>
    where
        S: Stream<Item: Outgoing> + Send + 'static,
        Res: Message + Default,
    {
        let request = request.map(|stream| Outbound::from_source(source::requests(stream)));
        let response = self.call_streaming(path, request).await?;
        Ok(response.map(Inbound::into_streaming))
    }

    /// Makes a call with a message or a stream of messages that are encoded already, and gives the one
    /// reply undecoded.
    ///
    /// # Errors
    /// As [`Channel::unary`].
    pub async fn call(
        &self,
        path: impl Into<Arc<str>>,
        mut request: Request<Outbound>,
    ) -> Result<Response<Inbound>, Status> {
        let path = path.into();
        request.set_method(Arc::clone(&path));
        if self.interceptors.is_empty() {
            return call(&self.shared, path, request).await;
        }
        let shared = Arc::clone(&self.shared);
        let last: Last<Outbound, Inbound> =
            Box::new(move |request| Box::pin(async move { call(&shared, path, request).await }));
        self.intercept(last, request).await
    }

    /// As [`Channel::call`], for a method that replies with a stream; returns when the reply has begun.
    ///
    /// # Errors
    /// As [`Channel::server_streaming`].
    pub async fn call_streaming(
        &self,
        path: impl Into<Arc<str>>,
        mut request: Request<Outbound>,
    ) -> Result<Response<Inbound>, Status> {
        let path = path.into();
        request.set_method(Arc::clone(&path));
        if self.interceptors.is_empty() {
            return call_streaming(&self.shared, path, request).await;
        }
        let shared = Arc::clone(&self.shared);
        let last: Last<Outbound, Inbound> = Box::new(move |request| {
            Box::pin(async move { call_streaming(&shared, path, request).await })
        });
        self.intercept(last, request).await
    }

    /// What it asks of its connections.
    #[cfg(feature = "tokio-host")]
    pub(crate) fn link(&self) -> Arc<LinkConfig> {
        Arc::clone(&self.shared.link)
    }

    /// Connects, and waits until the server has greeted.
    pub(crate) async fn connected(&self) -> Result<(), Error> {
        let (promise, pending) = pending::pair(|()| ());
        let link = Arc::clone(&self.shared.link);
        drop(self.shared.mailbox.send(Command::Connect { link, promise }));
        pending.await.map_err(|status| {
            let kind = match Unreachable::of(&status) {
                Unreachable::Failed => Kind::Connect,
                Unreachable::TimedOut => Kind::Timeout,
                Unreachable::Refused => Kind::Refused,
            };
            Error::new(kind, status.message())
        })
    }

    /// Makes a unary call again and again, until `observe` says no: for programs that load a server.
    ///
    /// The next call is made where the reply to the last one was read, on the channel's loop, so that
    /// it costs no hand-over to another thread or task. `observe` runs there too, must not block, and
    /// gets how each call ended. Calls that fail are made again like others: while the server cannot be
    /// reached they may fail as fast as the loop turns, so `observe` should count. The time-out holds for
    /// each call. Interceptors are not asked.
    ///
    /// Dropping the future cancels the call that is open, and makes no more.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when the request is a stream; INTERNAL when `observe` panicked; UNAVAILABLE when
    /// the channel's loop has ended.
    pub async fn repeat(
        &self,
        path: impl Into<Arc<str>>,
        request: Request<Outbound>,
        observe: impl FnMut(Result<Response<Inbound>, Status>) -> bool + Send + 'static,
    ) -> Result<(), Status> {
        if request.get_ref().message_len().is_none() {
            let text = "a stream is gone when it was sent, and cannot be sent again";
            return Err(Status::invalid_argument(text));
        }
        let shared = &self.shared;
        let (promise, pending) = shared.promise();
        let timeout = request.timeout().or(shared.timeout);
        let home = (Arc::clone(&shared.mailbox), Arc::clone(&shared.link));
        let repeat = Repeat::new(Box::new(observe), timeout, home, promise);
        shared.make(path.into(), request, Caller::Again(Box::new(repeat)));
        pending.await
    }

    fn intercept(
        &self,
        last: Last<Outbound, Inbound>,
        request: Request<Outbound>,
    ) -> BoxFuture<'static, Result<Response<Inbound>, Status>> {
        Next::new(Arc::clone(&self.interceptors), last).run(request)
    }
}

/// What a promise that was dropped without an answer says, of a call with a stream of replies.
fn loop_ended() -> Status {
    Status::unavailable(pending::LOOP_ENDED)
}

pub(crate) async fn call(
    shared: &Arc<Shared>,
    path: Arc<str>,
    request: Request<Outbound>,
) -> Result<Response<Inbound>, Status> {
    let (promise, pending) = shared.promise();
    shared.make(path, request, Caller::One(promise));
    Ok(pending.await?.into_response())
}

pub(crate) async fn call_streaming(
    shared: &Arc<Shared>,
    path: Arc<str>,
    request: Request<Outbound>,
) -> Result<Response<Inbound>, Status> {
    let step = u64::from(shared.link.limits.call_credit_bytes / 2);
    let mailbox = Arc::clone(&shared.mailbox);
    let (feed, mut receiver) = inbox::pair(mailbox, step, None, loop_ended);
    shared.make(path, request, Caller::Many(feed));
    let headers = poll_fn(|cx| receiver.poll_begun(cx)).await?;
    let replies = Inbound::stream(receiver);
    Ok(Response::from_parts(replies, headers, Metadata::new()))
}

impl Shared {
    /// The two ends of a call. It is cancelled when the caller's end is dropped.
    fn promise<T>(
        &self,
    ) -> (
        Promise<T, Place>,
        impl Future<Output = Result<T, Status>> + use<T>,
    ) {
        let mailbox = Arc::clone(&self.mailbox);
        pending::pair(move |place| {
            // A loop that has ended has no call to cancel.
            let _ = mailbox.send(Command::Cancel(place));
        })
    }

    /// Sends a call to the loop.
    fn make(&self, path: Arc<str>, request: Request<Outbound>, caller: Caller) {
        let (message, metadata, options) = request.into_parts();
        let timeout = options.timeout.or(self.timeout);
        let own = timeout.map(|timeout| self.mailbox.clock().now() + timeout);
        let inherited = ambient::deadline().filter(|_| options.inherits_deadline);
        let deadline = own.into_iter().chain(inherited).min();
        let (content, refusal) = match message.into_request() {
            Ok(Requested::Message(message)) => (Content::Message(message), None),
            Ok(Requested::Stream(source)) => (Content::Stream(Sending::new(source)), None),
            Err(status) => (Content::Ended, Some(status)),
        };
        let request = CallRequest {
            path,
            metadata,
            deadline,
            wait_for_ready: options.wait_for_ready.unwrap_or(self.wait_for_ready),
            content,
            caller,
            tries: 0,
        };
        let request = Box::new(request);
        if let Some(status) = refusal {
            return request.fail(status);
        }
        let command = Command::Call {
            link: Arc::clone(&self.link),
            request,
        };
        // A command that a loop gives back drops its caller, which answers.
        drop(self.mailbox.send(command));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A loop that has ended has no connection to close.
        let _ = self.mailbox.send(Command::Forget { link: self.link.id });
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel")
            .field(&self.shared.link.endpoint)
            .finish()
    }
}
