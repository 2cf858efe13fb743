//! A tokio runtime of the server's own, for a program that chooses the model `tokio` and has none.

use super::server::TokioServer;
use crate::error::Kind;
use crate::{Error, ServerBuilder, ServerHandle};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// How long a runtime whose server has stopped waits for work that handlers left on its threads.
const LEFT_MAX: Duration = Duration::from_millis(500);

/// Starts a server as its settings say, on a runtime and threads of its own.
pub(crate) fn start(
    builder: &ServerBuilder,
    listener: OwnedFd,
    local: SocketAddr,
) -> Result<ServerHandle, Error> {
    let failed = |error| Error::new(Kind::Io, "cannot start a tokio runtime").with_source(error);
    let runtime = runtime(builder.loops).map_err(failed)?;
    let entered = runtime.enter();
    let server = builder.tokio_server()?;
    let listener = tokio_listener(listener).map_err(failed)?;
    drop(entered);
    let serving = server.clone();
    let thread = std::thread::Builder::new()
        .name("kettle-tokio".into())
        .spawn(move || {
            runtime.block_on(serving.serve(listener));
            runtime.shutdown_timeout(LEFT_MAX);
        })
        .map_err(failed)?;
    Ok(server.handle(local, thread))
}

/// One loop is the thread itself, more are workers besides it.
fn runtime(loops: usize) -> io::Result<Runtime> {
    let mut builder = match loops {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if 1 < loops {
        builder.worker_threads(loops);
    }
    builder
        .thread_name("kettle-tokio-worker")
        .enable_all()
        .build()
}

fn tokio_listener(listener: OwnedFd) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

impl TokioServer {
    fn handle(&self, local: SocketAddr, thread: std::thread::JoinHandle<()>) -> ServerHandle {
        let host = self.host();
        let running = Arc::clone(&host.running);
        let holdings = Arc::clone(&host.serves.hosted.holdings);
        let shares = (Arc::clone(&host.serves.pool), holdings);
        ServerHandle::of_tasks(local, host.stop_grace, running, shares, thread)
    }
}
