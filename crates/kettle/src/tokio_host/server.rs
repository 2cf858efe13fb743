//! A server on the user's runtime.

use super::accepting::{self, Listener};
use super::serving::{Place, Serving};
use crate::ServerBuilder;
use crate::clock::Clock;
use crate::reactor::{self, Serves};
use crate::remote::Remote;
use crate::server::Running;
use crate::stats::Stats;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// How long a connection that is refused may take to read why.
const REFUSAL_MAX: Duration = Duration::from_secs(1);

/// A server whose connections are tasks of the user's own tokio runtime, over any streams: TCP, Unix sockets,
/// memory ([`tokio::io::duplex`]), a simulated network. Made by [`ServerBuilder::on_tokio`]. Cloning it is cheap
/// and means the same server.
///
/// ```no_run
/// # async fn run(listener: tokio::net::TcpListener) -> Result<(), kettle::Error> {
/// let server = kettle::Server::builder().on_tokio()?;
/// let stop = server.clone();
/// tokio::spawn(async move {
///     tokio::time::sleep(std::time::Duration::from_secs(60)).await;
///     stop.stop();
/// });
/// server.serve(listener).await;
/// # Ok(())
/// # }
/// ```
///
/// Dropping it stops nothing: connections go on as long as their futures are polled.
#[derive(Clone)]
pub struct TokioServer {
    host: Arc<Host>,
}

/// What the connections of a server share.
#[derive(Debug)]
pub(crate) struct Host {
    pub(super) serves: Arc<Serves>,
    pub(super) running: Arc<Running>,
    pub(super) connections: AtomicU64,
    pub(super) connections_max: u64,
    pub(super) stop_grace: Duration,
}

impl TokioServer {
    pub(crate) fn new(serves: Arc<Serves>, connections_max: u64, stop_grace: Duration) -> Self {
        let host = Host {
            serves,
            running: Arc::default(),
            connections: AtomicU64::new(0),
            connections_max,
            stop_grace,
        };
        Self {
            host: Arc::new(host),
        }
    }

    pub(super) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Takes connections from a listener, each to a task of its own ([`tokio::spawn`]), and is done when the server
    /// has stopped ([`TokioServer::stop`]). While the kernel has no descriptor for a connection it waits, and says so
    /// in the log (level WARN). Dropping the future closes the listener; connections go on.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without timers and I/O.
    pub async fn serve(&self, listener: TcpListener) {
        self.serve_listener(Listener::Tcp(listener)).await;
    }

    pub(super) async fn serve_listener(&self, listener: Listener) {
        accepting::accept(self, listener).await;
        self.stopped().await;
    }

    /// Serves one connection over any stream: the future is done when it has ended. Its place among the server's
    /// connections is taken at this call. `remote` is what handlers see as [`crate::Request::remote_addr`].
    ///
    /// All of the connection's handlers run inside of the future, but for those on the pool. Dropping it ends the
    /// connection at once. It may be spawned, or awaited in place.
    ///
    /// # Panics
    /// When it is polled outside of a tokio runtime, or in one without timers.
    #[must_use = "a connection is served only while its future is polled"]
    pub fn serve_connection<S>(
        &self,
        stream: S,
        remote: Option<SocketAddr>,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.serve_remote(stream, remote.map_or(Remote::Nobody, Remote::Tcp))
    }

    /// The same for whoever this is from.
    pub(super) fn serve_remote<S>(
        &self,
        stream: S,
        remote: Remote,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let place = Place::take(&self.host);
        if place.is_none() {
            self.host.running.refused();
        }
        let max = self.host.connections_max;
        async move {
            match place {
                Some(place) => Serving::new(place, stream, remote).await,
                None => refuse(stream, max).await,
            }
        }
    }

    /// Begins a graceful stop, as [`crate::ServerHandle::stop`]: no new calls, open ones may go on for the time that
    /// [`ServerBuilder::stop_grace`] gives, counted by each connection's runtime. Does not wait.
    pub fn stop(&self) {
        self.host.running.stop(self.host.stop_grace);
    }

    /// Begins to stop at once: open calls end with UNAVAILABLE. Does not wait.
    pub fn stop_now(&self) {
        self.host.running.stop(Duration::ZERO);
    }

    /// Waits until a stop was begun and the last connection has ended. Dropping the future changes nothing.
    pub async fn stopped(&self) {
        poll_fn(|cx| self.host.running.poll_stopped(cx)).await;
    }

    /// What the server has done and holds. System calls and receive pools are the runtime's, and not counted.
    pub fn stats(&self) -> Stats {
        let mut total = Stats::default();
        self.host.running.add_to(&mut total);
        self.host.serves.add_to(&mut total);
        total
    }
}

/// The last connection has ended, and no more can come: so do the pool's threads.
impl Drop for Host {
    fn drop(&mut self) {
        self.serves.pool.begin_close();
    }
}

/// Tells a client why it is not served, as far as it takes that in time.
async fn refuse<S: AsyncRead + AsyncWrite>(stream: S, max: u64) {
    let status = reactor::too_many(max);
    tracing::debug!(%status, "connection refused");
    let goodbye = reactor::goodbye(&status, Clock::of_tokio().now());
    let mut stream = Box::pin(stream);
    let say = async {
        stream.write_all(&goodbye).await?;
        stream.shutdown().await?;
        // Closing a socket with unread bytes resets it, and a reset can destroy what was not read yet.
        while 0 < stream.read(&mut [0; 1024]).await? {}
        std::io::Result::Ok(())
    };
    // Who does not want to know is not told.
    let _ = tokio::time::timeout(REFUSAL_MAX, say).await;
}

impl fmt::Debug for TokioServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioServer")
            .field("running", &self.host.running)
            .finish_non_exhaustive()
    }
}

impl ServerBuilder {
    /// Makes a server that runs on the user's tokio runtime, over any streams: see [`TokioServer`]. Inside of a
    /// runtime its pool's handlers run in that runtime's context.
    ///
    /// All settings hold but the model, the driver, `loops`, `reuse_port` and `pool_bytes_max`: connections receive
    /// into pools of the runtime's threads, of at most 64 MiB each.
    ///
    /// # Errors
    /// [`crate::Error::is_config`] when a setting is wrong.
    pub fn on_tokio(self) -> Result<TokioServer, crate::Error> {
        self.check()?;
        self.tokio_server()
    }

    /// The same, with settings that were checked.
    pub(super) fn tokio_server(&self) -> Result<TokioServer, crate::Error> {
        let serves = self.serves()?;
        Ok(TokioServer::new(
            serves,
            self.connections_max,
            self.stop_grace,
        ))
    }
}
