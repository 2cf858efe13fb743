//! Settings of a channel, and how it begins.

use super::{Channel, Shared};
use crate::backoff::Backoff;
use crate::codec::{Inbound, Outbound};
use crate::endpoint::{Endpoint, InvalidEndpoint};
use crate::error::Kind;
use crate::interceptor::Interceptor;
use crate::keepalive;
use crate::link::LinkConfig;
use crate::local::open_for_clients;
use crate::mailbox::Mailbox;
use crate::reactor::{self, Reactor};
use crate::{Error, Model, blocking};
use kettle_proto::limits::Limits;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long connecting may take, to the end of the server's greeting, unless set otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most connections of one channel. One is enough for what one core sends; these are for many cores.
const CONNECTIONS_MAX: usize = 256;

/// The shortest pause after a failed attempt to connect that can be set.
const BACKOFF_MIN: Duration = Duration::from_millis(1);

/// Settings of a [`Channel`].
#[derive(Clone)]
pub struct ChannelBuilder {
    url: String,
    model: Option<Model>,
    connections: usize,
    connect_timeout: Duration,
    backoff: Backoff,
    timeout: Option<Duration>,
    wait_for_ready: bool,
    nodelay: bool,
    local_address: Option<IpAddr>,
    #[cfg(feature = "tokio-host")]
    seed: Option<u64>,
    limits: Limits,
    interceptors: Vec<Arc<dyn Interceptor<Outbound, Inbound>>>,
}

impl ChannelBuilder {
    pub(super) fn new(url: &str) -> Self {
        let mut limits = Limits::default();
        limits.idle_timeout = None;
        Self {
            url: url.to_owned(),
            model: None,
            connections: 1,
            connect_timeout: CONNECT_TIMEOUT,
            backoff: Backoff::DEFAULT,
            timeout: None,
            wait_for_ready: false,
            nodelay: true,
            local_address: None,
            #[cfg(feature = "tokio-host")]
            seed: None,
            limits,
            interceptors: Vec::new(),
        }
    }

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

    /// How many connections the channel has. Default 1, at most 256.
    ///
    /// Each call goes to the one with the fewest open calls; each connects, and connects again, by
    /// itself. One connection carries many calls at a time; several are for servers with several loops,
    /// and for more traffic than one loop of the server carries. Calls that wait for the first
    /// connection all go to it.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How long the channel waits after failed attempts to connect. Default 100 ms after the first,
    /// growing by the factor 1.6 with each further one up to 10 s, all by chance up to 20 % shorter or
    /// longer. `base` is at least 1 ms, and not longer than `max`.
    ///
    /// A connection that is lost is made again at the next call without a pause. During a pause no
    /// connection is tried, and calls fail at once with UNAVAILABLE and the last reason, but for those
    /// that wait ([`ChannelBuilder::wait_for_ready`]). After it the next call connects. An attempt has
    /// failed when the server has not greeted, for whatever reason; its greeting makes the next pause
    /// the first again.
    #[must_use]
    pub fn reconnect_backoff(mut self, base: Duration, max: Duration) -> Self {
        self.backoff = Backoff { base, max };
        self
    }

    /// How long a call may take that sets no time-out of its own. Default: for ever.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether calls wait while the server cannot be reached, until it can or until their time is over
    /// (DEADLINE_EXCEEDED), instead of failing at once with UNAVAILABLE. Default false. A call may say
    /// otherwise ([`crate::Request::set_wait_for_ready`]).
    ///
    /// At most 65,536 calls of a channel wait; more fail with RESOURCE_EXHAUSTED.
    #[must_use]
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.wait_for_ready = wait;
        self
    }

    /// Asks the server for a sign of life (PING) when calls are open and nothing has come from it for
    /// `interval`. When nothing comes for `timeout` more, the connection is given up, and its calls end
    /// with UNAVAILABLE: so a connection whose other end is gone without a word fails its calls within
    /// the two together. Default: never; such calls wait for their deadline. Both at least 10 ms.
    ///
    /// Anything that comes is a sign of life, so a busy connection is never asked. A connection without
    /// calls is not asked either; the first call after a longer silence asks at once.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        keepalive::set(&mut self.limits, interval, timeout);
        self
    }

    /// Whether small packets are sent at once (TCP_NODELAY). Default true.
    #[must_use]
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// The address of this machine that connections come from. Default: the kernel chooses. An address
    /// that this machine does not have fails connecting.
    #[must_use]
    pub fn local_address(mut self, address: IpAddr) -> Self {
        self.local_address = Some(address);
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

    /// Makes the channel and connects it. Waits until the server has greeted, on each connection, but
    /// not for a server that is not there: use [`ChannelBuilder::connect_lazy`] with
    /// [`ChannelBuilder::wait_for_ready`] for that.
    ///
    /// # Errors
    /// As [`Channel::connect`]; [`Error::is_config`] also as [`ChannelBuilder::connect_lazy`].
    pub async fn connect(self) -> Result<Channel, Error> {
        let channel = self.connect_lazy()?;
        channel.connected().await?;
        Ok(channel)
    }

    /// Makes the channel; it connects at the first call.
    ///
    /// # Errors
    /// [`Error::is_config`] when the URL is not `kettle://HOST:PORT`, a setting is out of its range, or
    /// the model cannot hold several connections.
    pub fn connect_lazy(self) -> Result<Channel, Error> {
        let model = self.model;
        self.channel(|| match (model, reactor::current()) {
            (None, Some(mailbox)) => Ok(mailbox),
            (model, _) => client_loop(model.unwrap_or_default()),
        })
    }

    /// Makes a channel whose calls are made on the caller's own thread, and connects it. Waits as
    /// [`ChannelBuilder::connect`].
    ///
    /// # Errors
    /// As [`ChannelBuilder::connect`] and [`ChannelBuilder::connect_lazy_blocking`].
    pub fn connect_blocking(self) -> Result<blocking::Channel, Error> {
        self.connect_lazy_blocking()?.connected()
    }

    /// The same without connecting: that is done at the first call.
    ///
    /// # Errors
    /// [`Error::is_config`] as [`ChannelBuilder::connect_lazy`], with a model or several connections, and on
    /// the thread of a loop.
    pub fn connect_lazy_blocking(self) -> Result<blocking::Channel, Error> {
        let wrong = |what: &str| {
            let text = format!("a blocking channel {what}");
            Err(Error::new(Kind::Config, text))
        };
        match (self.model, self.connections) {
            (Some(_), _) => wrong("has the model of its own thread, so that none can be chosen"),
            (None, 1) => blocking::Channel::new(|mailbox| self.channel(|| Ok(mailbox))),
            (None, connections) => wrong(&format!(
                "has one connection, and connections is {connections}"
            )),
        }
    }

    /// Makes the pauses of [`ChannelBuilder::reconnect_backoff`] the same in every run of a simulation, of channels that
    /// are made by [`ChannelBuilder::connect_with`] and its kin. Default: other pauses at each start.
    #[cfg(feature = "tokio-host")]
    #[must_use]
    pub fn backoff_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether this can be the channel of a tokio task, which has one connection.
    #[cfg(feature = "tokio-host")]
    pub(crate) fn check_for_task(&self) -> Result<(), Error> {
        let text = match (self.model, self.connections) {
            (None | Some(Model::Tokio), 1) => return Ok(()),
            (None | Some(Model::Tokio), connections) => {
                format!(
                    "a channel over a stream has one connection, and connections is {connections}"
                )
            }
            (Some(model), _) => {
                format!("a channel over a stream of tokio's cannot live on model {model}")
            }
        };
        Err(Error::new(Kind::Config, text))
    }

    /// A channel on the loop with this mailbox.
    pub(crate) fn channel(
        self,
        mailbox: impl FnOnce() -> Result<Arc<Mailbox>, Error>,
    ) -> Result<Channel, Error> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        self.check()?;
        let endpoint: Endpoint = self
            .url
            .parse()
            .map_err(|error: InvalidEndpoint| Error::new(Kind::Config, error.to_string()))?;
        if endpoint.path().is_some() && self.local_address.is_some() {
            let text = "local_address is for TCP, and a Unix-domain socket has none";
            return Err(Error::new(Kind::Config, text));
        }
        let link = LinkConfig {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            endpoint,
            connections: self.connections,
            connect_timeout: self.connect_timeout,
            backoff: self.backoff,
            limits: self.limits,
            nodelay: self.nodelay,
            local_address: self.local_address,
            #[cfg(feature = "tokio-host")]
            seed: self.seed,
        };
        let shared = Shared {
            mailbox: mailbox()?,
            link: Arc::new(link),
            timeout: self.timeout,
            wait_for_ready: self.wait_for_ready,
        };
        Ok(Channel {
            shared: Arc::new(shared),
            interceptors: self.interceptors.into(),
        })
    }

    fn check(&self) -> Result<(), Error> {
        keepalive::check(&self.limits)?;
        let Backoff { base, max } = self.backoff;
        let wrong = if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            let connections = self.connections;
            format!("connections is {connections}, and must be 1 to {CONNECTIONS_MAX}")
        } else if base < BACKOFF_MIN || max < base {
            format!(
                "reconnect_backoff is {base:?} to {max:?}, and must begin with {BACKOFF_MIN:?} or more"
            )
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::Config, wrong))
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChannelBuilder").field(&self.url).finish()
    }
}

/// The process-wide client loop of a model, started at its first use. It runs as long as the process.
pub(crate) fn client_loop(model: Model) -> Result<Arc<Mailbox>, Error> {
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
