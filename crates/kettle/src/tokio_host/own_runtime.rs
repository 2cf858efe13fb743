//! A tokio runtime of the server's own, for a program that chooses the model `tokio` and has none.

use super::accepting::Listener;
use super::server::TokioServer;
use crate::error::Kind;
use crate::server::{Bound, Listening};
use crate::{Error, ServerBuilder, ServerHandle};
use kettle_io::Address;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};

/// How long a runtime whose server has stopped waits for work that handlers left on its threads.
const LEFT_MAX: Duration = Duration::from_millis(500);

/// Starts a server as its settings say, on a runtime and threads of its own.
pub(crate) fn start(
    builder: &ServerBuilder,
    Listening { listeners, bound }: Listening,
) -> Result<ServerHandle, Error> {
    let failed = |error| Error::new(Kind::Io, "cannot start a tokio runtime").with_source(error);
    let runtime = runtime(builder.loops).map_err(failed)?;
    let entered = runtime.enter();
    let server = builder.tokio_server()?;
    let listener = listeners.into_iter().flatten().next();
    let listener = listener.ok_or_else(|| io::ErrorKind::InvalidInput.into());
    let listener = listener.and_then(|listener| tokio_listener(listener, &bound.address));
    let listener = listener.map_err(failed)?;
    drop(entered);
    let serving = server.clone();
    let thread = std::thread::Builder::new()
        .name("kettle-tokio".into())
        .spawn(move || {
            runtime.block_on(serving.serve_listener(listener));
            runtime.shutdown_timeout(LEFT_MAX);
        })
        .map_err(failed)?;
    Ok(server.handle(bound, thread))
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

fn tokio_listener(listener: OwnedFd, address: &Address) -> io::Result<Listener> {
    Ok(match address {
        Address::Tcp(_) => {
            let listener = std::net::TcpListener::from(listener);
            listener.set_nonblocking(true)?;
            Listener::Tcp(TcpListener::from_std(listener)?)
        }
        Address::Unix(_) | Address::Unnamed => {
            let listener = std::os::unix::net::UnixListener::from(listener);
            listener.set_nonblocking(true)?;
            Listener::Unix(UnixListener::from_std(listener)?)
        }
    })
}

impl TokioServer {
    fn handle(&self, bound: Bound, thread: std::thread::JoinHandle<()>) -> ServerHandle {
        let host = self.host();
        let running = Arc::clone(&host.running);
        let serves = Arc::clone(&host.serves);
        ServerHandle::of_tasks(bound, host.stop_grace, running, serves, thread)
    }
}
