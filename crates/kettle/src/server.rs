//! Hosting services.

mod env;
mod handle;
mod hosts;
mod listen_address;
mod listening;
mod running;
mod threads;

pub use handle::ServerHandle;
pub use listen_address::ListenAddress;
#[cfg(feature = "tokio-host")]
pub(crate) use listening::{Bound, Listening};
#[cfg(feature = "tokio-host")]
pub(crate) use running::Registered;
pub(crate) use running::Running;
pub(crate) use threads::Threads;

use crate::context::Context;
use crate::detector::Detector;
use crate::error::Kind;
use crate::finish::Finishing;
use crate::interceptor::Interceptor;
use crate::keepalive;
use crate::peer::{Holdings, Hosted};
use crate::pool::{self, Pool, PoolConfig};
use crate::reactor::Serves;
use crate::router::Router;
use crate::{Error, FileStrategy, Hosting, Inbound, Model, Outbound};
use env::Env;
use kettle_io::{Driver, DriverConfig};
use kettle_proto::limits::Limits;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Where servers begin: [`Server::builder`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Settings for a server, all at their defaults: epoll, one loop, no services.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }
}

/// Makes the drivers of a server's loops.
type OpenDriver = Arc<dyn Fn(&DriverConfig) -> io::Result<Box<dyn Driver>> + Send + Sync>;

/// Settings of a server, and its services.
#[derive(Clone)]
#[must_use = "a server does nothing until it is started"]
pub struct ServerBuilder {
    model: Model,
    open_driver: Option<OpenDriver>,
    pub(crate) loops: usize,
    services: Vec<Hosting>,
    interceptors: Vec<Arc<dyn Interceptor<Inbound, Outbound>>>,
    limits: Limits,
    pub(crate) connections_max: u64,
    held_bytes_max: u64,
    hold_detector: Option<Arc<Detector>>,
    threads_max: usize,
    pool: PoolConfig,
    finishing_max: usize,
    context: Context,
    pub(crate) stop_grace: Duration,
    nodelay: bool,
    reuse_port: bool,
    unix_mode: Option<u32>,
    driver: DriverConfig,
    env: Env,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        Self {
            model: Model::default(),
            open_driver: None,
            loops: 1,
            services: Vec::new(),
            interceptors: Vec::new(),
            limits: Limits::default(),
            connections_max: 100_000,
            held_bytes_max: 256 * 1024 * 1024,
            hold_detector: None,
            threads_max: 4096,
            pool: PoolConfig::default(),
            finishing_max: 1024,
            context: Context::default(),
            stop_grace: Duration::from_secs(30),
            nodelay: true,
            reuse_port: false,
            unix_mode: None,
            driver: DriverConfig::default(),
            env: Env::default(),
        }
    }
}

impl ServerBuilder {
    /// The network I/O model. Default [`Model::Epoll`].
    pub fn model(mut self, model: Model) -> Self {
        self.model = model;
        self
    }

    /// An I/O model of one's own: makes the driver of each loop, instead of [`ServerBuilder::model`].
    pub fn driver(
        mut self,
        open: impl Fn(&DriverConfig) -> io::Result<Box<dyn Driver>> + Send + Sync + 'static,
    ) -> Self {
        self.open_driver = Some(Arc::new(open));
        self
    }

    /// How many event loops, each on a thread of its own. Default 1. `blocking` and `threads` have no
    /// event loops and take 1 only; on `tokio` they are the workers of the server's runtime.
    pub fn loops(mut self, loops: usize) -> Self {
        self.loops = loops;
        self
    }

    /// Hosts a [`crate::Service`]. Two services of one name are an error when the server starts. Methods
    /// such as [`crate::Service::on_pool`] say how its handlers run.
    pub fn add_service(mut self, service: impl Into<Hosting>) -> Self {
        self.services.push(service.into());
        self
    }

    /// Adds code around every call; the first added runs first.
    pub fn interceptor(mut self, interceptor: impl Interceptor<Inbound, Outbound>) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Longest request message in bytes. Default 4 MiB. A longer one ends its call with
    /// RESOURCE_EXHAUSTED.
    pub fn message_bytes_max(mut self, bytes: u32) -> Self {
        self.limits.message_bytes_max = bytes;
        self
    }

    /// How many calls one connection may have open at once. Default 1,024.
    pub fn calls_max(mut self, calls: u32) -> Self {
        self.limits.calls_max = calls;
        self
    }

    /// How many connections the server takes. Default 100,000; the kernel's limit on descriptors is
    /// usually lower. More are refused with RESOURCE_EXHAUSTED.
    pub fn connections_max(mut self, connections: u64) -> Self {
        self.connections_max = connections;
        self
    }

    /// `threads`: how many connections, each with a thread, at once. Default 4,096. More are refused
    /// with RESOURCE_EXHAUSTED.
    pub fn threads_max(mut self, threads: usize) -> Self {
        self.threads_max = threads;
        self
    }

    /// How many threads run handlers of methods that are placed on the pool ([`crate::Service::on_pool`]).
    /// Default 64, at most 4,096. Each is started when there is work for it and no other is free, and
    /// lasts until the server ends.
    pub fn handler_threads(mut self, threads: usize) -> Self {
        self.pool.threads_max = threads;
        self
    }

    /// How many calls may wait for a thread of the pool. Default 1,024; with 0 none waits. More end at
    /// once with RESOURCE_EXHAUSTED. Calls that have begun are not counted: they wait for their next
    /// poll in the same queue, and are as many as open calls at most.
    pub fn handler_queue_max(mut self, calls: usize) -> Self {
        self.pool.queue_max = calls;
        self
    }

    /// How many handlers may run on after their clients have gone, where the service wants that
    /// ([`crate::Disconnect::Finish`]). Default 1,024. More are dropped, and the log says so (level WARN).
    pub fn finishing_max(mut self, handlers: usize) -> Self {
        self.finishing_max = handlers;
        self
    }

    /// The tokio runtime whose context handlers run in, on loops and on the pool, so that they may use its
    /// timers and sockets, and spawn tasks. Default: that of the thread that starts the server, if there is
    /// one.
    ///
    /// A handler is polled by kettle all the same; what it waits for is driven by the runtime, which must go
    /// on running: one of the flavour `current_thread` does so during its `block_on` only.
    #[cfg(feature = "tokio")]
    pub fn tokio_runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.context.runtime = Some(runtime);
        self
    }

    /// How long a new connection may take to say which protocol it speaks and to greet. Default 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handshake_timeout = timeout;
        self
    }

    /// How long a connection without calls and without bytes stays open; `None`: for ever. It counts from the
    /// last bytes or the end of the last call, whichever is later. Default 10 min.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.limits.idle_timeout = timeout;
        self
    }

    /// Asks a client for a sign of life (PING) when it has calls open and nothing has come from it for
    /// `interval`. When nothing comes for `timeout` more, the connection is given up, and its handlers
    /// that still wait are dropped. Default: never. Both at least 10 ms.
    ///
    /// Anything that comes is a sign of life. A client must be able to take what was sent before the
    /// PING within `timeout`, so set it longer than your slowest readers pause. A connection without
    /// calls is not asked: [`ServerBuilder::idle_timeout`] closes it.
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        keepalive::set(&mut self.limits, interval, timeout);
        self
    }

    /// How long calls may go on after a stop began, and handlers that run on without a client. Default 30 s.
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// Whether small packets are sent at once (TCP_NODELAY). Default true.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Whether each loop listens for itself (SO_REUSEPORT) and the kernel spreads connections over
    /// them, instead of one acceptor that gives each to the loop with the fewest. Default false. The
    /// port is tried without the option first, so a second server still fails. A Unix-domain socket always
    /// has one acceptor.
    pub fn reuse_port(mut self, reuse_port: bool) -> Self {
        self.reuse_port = reuse_port;
        self
    }

    /// The mode of the file of a Unix-domain socket, up to 0o777; whoever may write it may connect. Default:
    /// 0o777 without the bits of the process's umask, as a rule 0o755, so that only its own user and root
    /// connect. It is set before the socket listens: at no moment anybody connects whom it shuts out.
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.unix_mode = Some(mode);
        self
    }

    /// Most bytes of messages that have not come whole, or wait for their handlers, on all connections
    /// together. Default 256 MiB. Each connection has limits of its own, of 16 MiB and one message for the
    /// former and 16 MiB for the latter; this is for many connections.
    ///
    /// At the bound only those connections are read that hold nothing, whose calls are short, and one of
    /// those that wait for the rest of a message: so messages become whole one after the other. It has
    /// 10 s; then it ends with RESOURCE_EXHAUSTED.
    pub fn held_bytes_max(mut self, bytes: u64) -> Self {
        self.held_bytes_max = bytes;
        self
    }

    /// For debugging: warns in the log, with the method, of what handlers keep of a message for longer than
    /// this, when it is a small part of the block that it came in: a `Bytes` of a few bytes keeps 64 KiB.
    /// Counted in [`crate::Stats::long_holds`]. Messages are watched at the price of an allocation for
    /// each. At least 1 ms. Default: off.
    pub fn hold_detector(mut self, after: Duration) -> Self {
        let after = after.max(Duration::from_millis(1));
        self.hold_detector = Some(Arc::new(Detector::new(after)));
        self
    }

    /// `scan`: how long to sleep after a pass that found nothing; `None`: never. Default `None`.
    pub fn scan_nap(mut self, nap: Option<Duration>) -> Self {
        self.driver.scan_nap = nap;
        self
    }

    /// How regions of files are sent. Default: splice(2). The model `tokio` always copies.
    pub fn file_strategy(mut self, strategy: FileStrategy) -> Self {
        self.driver.file_strategy = strategy;
        self
    }

    /// Pipes that each loop, or each thread of `threads`, may have open for sending files by splice(2), two
    /// descriptors each. Default 16; without a free one, files are sent by sendfile(2).
    pub fn pipes_max(mut self, pipes: usize) -> Self {
        self.driver.pipes_max = pipes;
        self
    }

    /// Memory of at least so many bytes is sent without copying it (MSG_ZEROCOPY, SEND_ZC); `None`: never.
    /// Default `None`: to a peer on the same machine the kernel copies all the same, and a connection goes back
    /// to plain sends once it has said so. The models `blocking`, `threads` and `tokio` always copy.
    pub fn zero_copy_bytes_min(mut self, bytes: Option<usize>) -> Self {
        self.driver.zero_copy_bytes_min = bytes;
        self
    }

    /// Most bytes of the pool of receive buffers of each loop. Default 64 MiB.
    pub fn pool_bytes_max(mut self, bytes: usize) -> Self {
        self.driver.pool.limit_bytes = bytes;
        self
    }

    /// Serves at this address until SIGINT or SIGTERM, which let open calls finish ([`ServerBuilder::stop_grace`]; a
    /// second signal ends them), then returns. Blocks the calling thread.
    ///
    /// # Errors
    /// As [`ServerBuilder::spawn`]; also inside a tokio runtime, whose thread it would take away:
    /// use [`ServerBuilder::serve_async`] or [`ServerBuilder::spawn`] there.
    pub fn serve(self, address: impl Into<ListenAddress>) -> Result<(), Error> {
        refuse_inside_tokio()?;
        let handle = self.spawn(address)?;
        handle.stop_on_signals()?;
        handle.wait()
    }

    /// As [`ServerBuilder::serve`], for async code: the future is done when the server has stopped.
    /// Dropping it stops the server at once.
    ///
    /// # Errors
    /// As [`ServerBuilder::spawn`].
    pub async fn serve_async(self, address: impl Into<ListenAddress>) -> Result<(), Error> {
        let handle = self.spawn(address)?;
        handle.stop_on_signals()?;
        handle.stopped().await
    }

    /// Starts the server on threads of its own and returns.
    ///
    /// The file of a Unix-domain socket (`unix:///run/greeter.sock`) is removed when the server begins to
    /// stop. One that a killed server has left is taken over, once connecting to it is refused; where
    /// somebody listens, or what is there is not a socket, it is an error, and nothing is removed.
    ///
    /// # Errors
    /// [`Error::is_config`] when a setting is wrong, [`Error::is_listen`] when the address cannot be
    /// listened on, else when this kernel cannot run the model.
    pub fn spawn(self, address: impl Into<ListenAddress>) -> Result<ServerHandle, Error> {
        self.check()?;
        let address = match &self.env.listen {
            Some(listen) => {
                ListenAddress::from(listen).resolve(&format!("{}={listen}", env::LISTEN))?
            }
            None => address.into().resolve("the address")?,
        };
        hosts::start(self, &address)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let config = |text: String| Err(Error::new(Kind::Config, text));
        if let Some(wrong) = &self.env.wrong {
            return config(wrong.clone());
        }
        if self.loops == 0 || LOOPS_MAX < self.loops {
            let text = format!("loops is {}, and must be 1 to {LOOPS_MAX}", self.loops);
            return config(text);
        }
        let threads = self.pool.threads_max;
        if threads == 0 || pool::THREADS_MAX < threads {
            let max = pool::THREADS_MAX;
            return config(format!(
                "handler_threads is {threads}, and must be 1 to {max}"
            ));
        }
        if let Some(mode) = self.unix_mode.filter(|&mode| 0o777 < mode) {
            return config(format!("unix_mode is {mode:#o}, and must be 0o777 at most"));
        }
        if let Some(unknown) = self
            .services
            .iter()
            .find_map(|hosting| hosting.unknown.clone())
        {
            return config(unknown);
        }
        keepalive::check(&self.limits)?;
        if self.is_on_tokio() && cfg!(not(feature = "tokio-host")) {
            let origin = self.env.origin();
            return config(format!(
                "model {} needs kettle's feature `tokio-host`, which this program is built without{origin}",
                self.model
            ));
        }
        let loopless = matches!(self.model, Model::Blocking | Model::Threads);
        if loopless && self.open_driver.is_none() && self.loops != 1 {
            let (model, origin) = (self.model, self.env.origin());
            return config(format!(
                "model {model} has no event loops: loops must be 1{origin}"
            ));
        }
        Ok(())
    }

    /// Whether connections are tasks of a tokio runtime.
    fn is_on_tokio(&self) -> bool {
        self.open_driver.is_none() && !self.model.has_driver()
    }

    /// What all loops share.
    pub(crate) fn serves(&self) -> Result<Arc<Serves>, Error> {
        let (mut router, context) = (Router::default(), self.context.or_current());
        let pool = Arc::new(Pool::new(self.pool, context.clone()));
        let finishing = Arc::new(Finishing::new(self.finishing_max));
        for hosting in &self.services {
            if !router.add(hosting, &pool, &finishing) {
                let text = format!("service {} was added twice", hosting.service.name());
                return Err(Error::new(Kind::Config, text));
            }
        }
        let hosted = Hosted {
            router,
            interceptors: self.interceptors.clone().into(),
            limits: Arc::new(self.limits.clone()),
            holdings: Arc::new(Holdings::new(self.held_bytes_max)),
            detector: self.hold_detector.clone(),
        };
        Ok(Arc::new(Serves {
            hosted: Arc::new(hosted),
            nodelay: self.nodelay,
            pool,
            context,
        }))
    }

    fn open_driver(&self) -> Result<Box<dyn Driver>, Error> {
        let opened = match &self.open_driver {
            Some(open) => open(&self.driver),
            None => kettle_io::open(self.model, &self.driver),
        };
        opened.map_err(|error| {
            Error::new(Kind::Io, format!("cannot open model {}", self.model)).with_source(error)
        })
    }
}

/// Most event loops of one server; more than the cores of any machine this was tried on.
const LOOPS_MAX: usize = 1024;

#[cfg(feature = "tokio")]
fn refuse_inside_tokio() -> Result<(), Error> {
    if tokio::runtime::Handle::try_current().is_ok() {
        let text = "serve would block a thread of this tokio runtime: use serve_async or spawn";
        return Err(Error::new(Kind::Config, text));
    }
    Ok(())
}

#[cfg(not(feature = "tokio"))]
fn refuse_inside_tokio() -> Result<(), Error> {
    Ok(())
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<_> = self.services.iter().map(|it| it.service.name()).collect();
        f.debug_struct("ServerBuilder")
            .field("model", &self.model)
            .field("loops", &self.loops)
            .field("services", &services)
            .finish_non_exhaustive()
    }
}
