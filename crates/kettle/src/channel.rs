//! A client's way to call a server, from any executor.

use crate::call::CallRequest;
use crate::clock::Clock;
use crate::codec::{Inbound, Outbound};
use crate::command::Command;
use crate::endpoint::{Endpoint, InvalidEndpoint};
use crate::error::Kind;
use crate::interceptor::{Interceptor, Interceptors, Last, Next};
use crate::link::LinkConfig;
use crate::local::open_for_clients;
use crate::mailbox::Mailbox;
use crate::pending;
use crate::reactor::{self, Reactor};
use crate::{Code, Error, Model, Request, Response, Status};
use kettle_proto::limits::Limits;
use prost::Message;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long connecting may take, to the end of the server's greeting, unless set otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client's connection to one server. Cloning it is cheap and shares the connection.
///
/// Calls from any thread and any executor run on it at the same time. It connects at the first call
/// (or in [`Channel::connect`]), and again when a call finds the connection gone; a call that finds
/// none to be had ends with UNAVAILABLE. Calls that the server vouches not to have looked at, because
/// it was stopping, are made again on a new connection without the caller noticing.
///
/// Dropping a call's future cancels the call: the server is told, its handler is dropped. Dropping
/// the last clone closes the connection when its calls are over.
///
/// The connection lives on a loop thread that the whole process shares, started at first use; inside
/// a handler and inside a [`crate::LocalLoop`] it lives on that loop.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
    interceptors: Interceptors<Outbound, Inbound>,
}

struct Shared {
    mailbox: Arc<Mailbox>,
    link: Arc<LinkConfig>,
    timeout: Option<Duration>,
}

/// Settings of a [`Channel`].
#[derive(Clone)]
pub struct ChannelBuilder {
    url: String,
    model: Option<Model>,
    connect_timeout: Duration,
    timeout: Option<Duration>,
    nodelay: bool,
    limits: Limits,
    interceptors: Vec<Arc<dyn Interceptor<Outbound, Inbound>>>,
}

impl Channel {
    /// Connects to a server with default settings. Waits until the server has greeted.
    ///
    /// # Errors
    /// [`Error::is_config`] when the URL is not `kettle://HOST:PORT`, [`Error::is_connect`] when no
    /// connection can be made, [`Error::is_timeout`] when not within 10 s.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// Settings for a channel to `kettle://HOST:PORT`.
    pub fn builder(url: impl AsRef<str>) -> ChannelBuilder {
        let mut limits = Limits::default();
        limits.idle_timeout = None;
        ChannelBuilder {
            url: url.as_ref().to_owned(),
            model: None,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: None,
            nodelay: true,
            limits,
            interceptors: Vec::new(),
        }
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

    /// Makes a unary call with a message that is encoded already, and gives the reply undecoded.
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
        Next::new(Arc::clone(&self.interceptors), last)
            .run(request)
            .await
    }
}

async fn call(
    shared: &Arc<Shared>,
    path: Arc<str>,
    request: Request<Outbound>,
) -> Result<Response<Inbound>, Status> {
    let (message, metadata, timeout) = request.into_parts();
    let deadline = timeout
        .or(shared.timeout)
        .map(|timeout| Clock::new().now() + timeout);
    let mailbox = Arc::clone(&shared.mailbox);
    let (promise, pending) = pending::pair(move |place| {
        // A loop that has ended has no call to cancel.
        let _ = mailbox.send(Command::Cancel(place));
    });
    let message = message.into_segment();
    let request = CallRequest {
        path,
        metadata,
        deadline,
        message,
        promise,
        tries: 0,
    };
    let command = Command::Call {
        link: Arc::clone(&shared.link),
        request: Box::new(request),
    };
    // A command that a loop gives back drops its promise, which answers.
    drop(shared.mailbox.send(command));
    let reply = pending.await?;
    Ok(Response::from_parts(
        Inbound::new(reply.message),
        reply.headers,
        reply.trailers,
    ))
}

impl ChannelBuilder {
    /// The I/O model of the loop that the connection lives on. Default: the loop of the handler or
    /// [`crate::LocalLoop`] that the channel is made in, else epoll on the process-wide client loop.
    #[must_use]
    pub fn model(mut self, model: Model) -> Self {
        self.model = Some(model);
        self
    }

    /// How long connecting may take, from the look-up of the name to the end of the server's
    /// greeting. Default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take that sets no time-out of its own. Default: for ever.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether small packets are sent at once (TCP_NODELAY). Default true.
    #[must_use]
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Longest reply that is taken, in bytes. Default 4 MiB. A longer one ends its call with
    /// RESOURCE_EXHAUSTED.
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: u32) -> Self {
        self.limits.message_bytes_max = bytes;
        self
    }

    /// Adds code around every call; the first added runs first.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl Interceptor<Outbound, Inbound>) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Makes the channel and connects it. Waits until the server has greeted.
    ///
    /// # Errors
    /// As [`Channel::connect`].
    pub async fn connect(self) -> Result<Channel, Error> {
        let channel = self.connect_lazy()?;
        let (promise, pending) = pending::pair(|()| ());
        let link = Arc::clone(&channel.shared.link);
        drop(
            channel
                .shared
                .mailbox
                .send(Command::Connect { link, promise }),
        );
        match pending.await {
            Ok(()) => Ok(channel),
            Err(status) if status.code() == Code::DeadlineExceeded => {
                Err(Error::new(Kind::Timeout, status.message()))
            }
            Err(status) => Err(Error::new(Kind::Connect, status.message())),
        }
    }

    /// Makes the channel; it connects at the first call.
    ///
    /// # Errors
    /// [`Error::is_config`] when the URL is not `kettle://HOST:PORT`, or the model cannot hold
    /// several connections.
    pub fn connect_lazy(self) -> Result<Channel, Error> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let endpoint = self
            .url
            .parse()
            .map_err(|error: InvalidEndpoint| Error::new(Kind::Config, error.to_string()))?;
        let link = LinkConfig {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            endpoint,
            connect_timeout: self.connect_timeout,
            limits: self.limits,
            nodelay: self.nodelay,
        };
        let mailbox = match (self.model, reactor::current()) {
            (None, Some(mailbox)) => mailbox,
            (model, _) => client_loop(model.unwrap_or_default())?,
        };
        let shared = Shared {
            mailbox,
            link: Arc::new(link),
            timeout: self.timeout,
        };
        Ok(Channel {
            shared: Arc::new(shared),
            interceptors: self.interceptors.into(),
        })
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

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChannelBuilder").field(&self.url).finish()
    }
}

/// The process-wide client loop of a model, started at its first use. It runs as long as the process.
fn client_loop(model: Model) -> Result<Arc<Mailbox>, Error> {
    static LOOPS: Mutex<Vec<(Model, Arc<Mailbox>)>> = Mutex::new(Vec::new());
    let mut loops = LOOPS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, mailbox)) = loops.iter().find(|(have, _)| *have == model) {
        return Ok(Arc::clone(mailbox));
    }
    let mut reactor = Reactor::new(open_for_clients(model)?);
    let mailbox = Arc::clone(reactor.mailbox());
    let run = move || {
        if let Err(error) = reactor.run() {
            tracing::error!(%error, "the client loop's I/O model failed; its calls end");
        }
    };
    std::thread::Builder::new()
        .name(format!("kettle-client-{model}"))
        .spawn(run)
        .map_err(|error| {
            Error::new(Kind::Io, "cannot start the client loop's thread").with_source(error)
        })?;
    loops.push((model, Arc::clone(&mailbox)));
    Ok(mailbox)
}
