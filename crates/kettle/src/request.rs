//! A message with what travels beside it.

use crate::clock::Clock;
use crate::remote::Remote;
use crate::{Extensions, Inbound, Incoming, Metadata, Status};
use kettle_io::PeerCredentials;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request: a message with its metadata, deadline, and on a server its peer.
///
/// Name and shape follow tonic's `Request`.
#[derive(Debug)]
pub struct Request<T> {
    metadata: Metadata,
    message: T,
    extensions: Extensions,
    origin: Origin,
}

/// Where a request comes from, and how its call is made. Small, because requests are moved often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    remote: Remote,
    time: Time,
    /// What `time` says of them.
    nanos: u64,
    /// Client: what [`Request::set_wait_for_ready`] set.
    wait_for_ready: Option<bool>,
    /// Client: the deadline of the handler that makes the call does not count.
    detached: bool,
    method: MethodPath,
}

/// How long a call may take. Its nanoseconds stand beside it: inside they would make requests larger.
#[derive(Clone, Copy, Debug, Default)]
enum Time {
    #[default]
    Unlimited,
    /// Client: from the moment when it is made.
    Timeout,
    /// Server: until then.
    Deadline,
}

/// The path of a request's method.
#[derive(Clone, Debug, Default)]
enum MethodPath {
    #[default]
    Unsent,
    /// Server: one of the hosted methods.
    Hosted(&'static str),
    /// Client: whatever is called.
    Called(Arc<str>),
}

/// What a client's request says of its call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) wait_for_ready: Option<bool>,
    pub(crate) inherits_deadline: bool,
}

impl Origin {
    /// Of a request that a client sent to a server here.
    #[inline]
    pub(crate) fn hosted(
        remote: Remote,
        deadline: Option<kettle_proto::Instant>,
        path: &'static str,
    ) -> Self {
        let (time, nanos) = match deadline {
            Some(deadline) => (Time::Deadline, deadline.as_nanos()),
            None => (Time::Unlimited, 0),
        };
        Self {
            remote,
            time,
            nanos,
            wait_for_ready: None,
            detached: false,
            method: MethodPath::Hosted(path),
        }
    }
}

impl<T> Request<T> {
    /// A request with this message and nothing else.
    pub fn new(message: T) -> Self {
        Self {
            metadata: Metadata::new(),
            message,
            extensions: Extensions::new(),
            origin: Origin::default(),
        }
    }

    #[inline]
    pub(crate) fn incoming(message: T, metadata: Metadata, origin: Origin) -> Self {
        Self {
            metadata,
            message,
            extensions: Extensions::new(),
            origin,
        }
    }

    /// The message.
    pub fn get_ref(&self) -> &T {
        &self.message
    }

    /// The message, to change it.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.message
    }

    /// The message alone.
    #[inline]
    pub fn into_inner(self) -> T {
        self.message
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The metadata, to change it.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// Values that interceptors attached.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Values for those behind.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Server: the address of the peer. `None` on a request that was made here or came over a Unix-domain
    /// socket.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.origin.remote.address()
    }

    /// Server: who sent the request over a Unix-domain socket, as the kernel noted it when the connection
    /// was made. `None` over TCP, and on a request that was made here.
    pub fn peer_credentials(&self) -> Option<PeerCredentials> {
        self.origin.remote.credentials()
    }

    /// For the log.
    pub(crate) fn remote(&self) -> Remote {
        self.origin.remote
    }

    /// Server: when the call will be ended with DEADLINE_EXCEEDED. `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = self.deadline_here()?;
        Some(Clock::new().to_std(deadline))
    }

    /// The same on the clock of the loops.
    #[inline]
    pub(crate) fn deadline_here(&self) -> Option<kettle_proto::Instant> {
        match self.origin.time {
            Time::Deadline => Some(kettle_proto::Instant::from_nanos(self.origin.nanos)),
            _ => None,
        }
    }

    /// The path of the method that is called, such as `/echo.v1.Echo/Unary`; empty on a request that
    /// was not sent yet.
    pub fn method(&self) -> &str {
        match &self.origin.method {
            MethodPath::Unsent => "",
            MethodPath::Hosted(path) => path,
            MethodPath::Called(path) => path,
        }
    }

    /// The same of a request that came to a method here, for as long as the process lives; else empty.
    pub(crate) fn hosted_method(&self) -> &'static str {
        match self.origin.method {
            MethodPath::Hosted(path) => path,
            MethodPath::Unsent | MethodPath::Called(_) => "",
        }
    }

    /// Client: how long the call may take, from the moment it is made, at most 584 years. Default: the
    /// channel's setting. Inside a handler the call ends with the handler's own deadline at the latest,
    /// unless [`Request::set_inherits_deadline`] says otherwise.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.origin.nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.origin.time = Time::Timeout;
    }

    /// Client: what [`Request::set_timeout`] set.
    pub fn timeout(&self) -> Option<Duration> {
        match self.origin.time {
            Time::Timeout => Some(Duration::from_nanos(self.origin.nanos)),
            _ => None,
        }
    }

    /// Client: whether the call waits while the server cannot be reached, until it can or until the
    /// call's time is over (DEADLINE_EXCEEDED), instead of failing at once with UNAVAILABLE. Default:
    /// the channel's setting ([`crate::ChannelBuilder::wait_for_ready`]).
    ///
    /// A call that was sent on a connection which then breaks fails with UNAVAILABLE all the same: it is
    /// not known whether the server ran it.
    pub fn set_wait_for_ready(&mut self, wait: bool) {
        self.origin.wait_for_ready = Some(wait);
    }

    /// Client: what [`Request::set_wait_for_ready`] set.
    pub fn wait_for_ready(&self) -> Option<bool> {
        self.origin.wait_for_ready
    }

    /// Client: whether a call that a handler makes has the handler's deadline, when its own is later or it
    /// has none. Default true. The handler is whoever is polled on this thread when the call's future is
    /// polled first: a call in a task that the handler has spawned elsewhere inherits nothing, nor does
    /// one of a handler that runs on without its client ([`crate::Disconnect::Finish`]).
    ///
    /// Cancellation is inherited by itself: when the handler's call is cancelled, the handler is dropped,
    /// and with it the futures of the calls that it waits for, which cancels them.
    pub fn set_inherits_deadline(&mut self, inherits: bool) {
        self.origin.detached = !inherits;
    }

    /// Client: what [`Request::set_inherits_deadline`] set.
    pub fn inherits_deadline(&self) -> bool {
        !self.origin.detached
    }

    pub(crate) fn set_method(&mut self, path: Arc<str>) {
        self.origin.method = MethodPath::Called(path);
    }

    /// The same request with another message.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Request<U> {
        Request {
            metadata: self.metadata,
            message: change(self.message),
            extensions: self.extensions,
            origin: self.origin,
        }
    }

    /// What a request that is sent consists of.
    pub(crate) fn into_parts(self) -> (T, Metadata, CallOptions) {
        let options = CallOptions {
            timeout: self.timeout(),
            wait_for_ready: self.wait_for_ready(),
            inherits_deadline: self.inherits_deadline(),
        };
        (self.message, self.metadata, options)
    }
}

impl Request<Inbound> {
    /// The same request with its message decoded.
    pub(crate) fn decode<M: Incoming>(self) -> Result<Request<M>, Status> {
        self.decode_for(|request| request)
    }

    /// Gives the same request with its message decoded to `then`: so that it is moved once.
    #[inline(always)]
    pub(crate) fn decode_for<M: Incoming, R>(
        self,
        then: impl FnOnce(Request<M>) -> R,
    ) -> Result<R, Status> {
        match M::from_inbound(self.message) {
            Ok(message) => Ok(then(Request {
                metadata: self.metadata,
                message,
                extensions: self.extensions,
                origin: self.origin,
            })),
            Err(status) => Err(status),
        }
    }
}

/// A reply: a message with its metadata.
///
/// Name and shape follow tonic's `Response`.
#[derive(Debug)]
pub struct Response<T> {
    metadata: Metadata,
    message: T,
    trailers: Metadata,
}

impl<T> Response<T> {
    /// A response with this message and nothing else.
    pub fn new(message: T) -> Self {
        Self {
            metadata: Metadata::new(),
            message,
            trailers: Metadata::new(),
        }
    }

    /// The message.
    pub fn get_ref(&self) -> &T {
        &self.message
    }

    /// The message, to change it.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.message
    }

    /// The message alone.
    #[inline]
    pub fn into_inner(self) -> T {
        self.message
    }

    /// Metadata that is sent ahead of the message.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Metadata that is sent ahead of the message, to change it.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// Metadata that is sent behind the message.
    pub fn trailers(&self) -> &Metadata {
        &self.trailers
    }

    /// Metadata that is sent behind the message, to change it.
    pub fn trailers_mut(&mut self) -> &mut Metadata {
        &mut self.trailers
    }

    /// The same response with another message.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Response<U> {
        Response {
            metadata: self.metadata,
            message: change(self.message),
            trailers: self.trailers,
        }
    }

    pub(crate) fn from_parts(message: T, metadata: Metadata, trailers: Metadata) -> Self {
        Self {
            metadata,
            message,
            trailers,
        }
    }

    pub(crate) fn into_parts(self) -> (T, Metadata, Metadata) {
        (self.message, self.metadata, self.trailers)
    }
}

/// What a generated client's methods take: a message, or a [`Request`] with metadata and time-out.
pub trait IntoRequest<T> {
    /// The request.
    fn into_request(self) -> Request<T>;
}

impl<T> IntoRequest<T> for T {
    fn into_request(self) -> Request<T> {
        Request::new(self)
    }
}

impl<T> IntoRequest<T> for Request<T> {
    fn into_request(self) -> Request<T> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests are moved several times with every call; up to 128 bytes that takes no call of memcpy.
    #[test]
    fn requests_are_small() {
        assert!(size_of::<Request<Inbound>>() <= 128);
    }
}
