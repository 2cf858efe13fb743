//! Starting a server: its listening sockets, loops and threads.

use super::handle::ServerHandle;
use super::{ServerBuilder, Threads};
use crate::error::Kind;
use crate::reactor::{Placement, Reactor, Seat};
#[cfg(feature = "tokio-host")]
use crate::tokio_host;
use crate::{Error, Model};
use kettle_io::socket;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// Starts a server as its settings say.
pub(super) fn start(builder: ServerBuilder, address: SocketAddr) -> Result<ServerHandle, Error> {
    // Without SO_REUSEPORT first, so that a second server on the port fails whatever its settings.
    let first = listen(address, false)?;
    let local = socket::local_address(&first)
        .map_err(|error| Error::new(Kind::Io, "the socket has no address").with_source(error))?;
    let own_driver = builder.open_driver.is_some();
    match builder.model {
        Model::Threads if !own_driver => start_threads(&builder, first, local),
        #[cfg(feature = "tokio-host")]
        Model::Tokio if !own_driver => tokio_host::start(&builder, first, local),
        _ if builder.reuse_port && 1 < builder.loops => {
            drop(first);
            let listeners: Result<Vec<_>, _> = (0..builder.loops)
                .map(|_| listen(local, true).map(Some))
                .collect();
            start_loops(builder, listeners?, local)
        }
        _ => {
            let mut listeners: Vec<_> = (0..builder.loops).map(|_| None).collect();
            listeners[0] = Some(first);
            start_loops(builder, listeners, local)
        }
    }
}

fn listen(address: SocketAddr, reuse_port: bool) -> Result<OwnedFd, Error> {
    socket::listen(address, reuse_port).map_err(|error| {
        Error::new(Kind::Listen, format!("cannot listen on {address}")).with_source(error)
    })
}

/// Event loops, and `blocking`, which is a loop whose driver serves one connection at a time.
fn start_loops(
    builder: ServerBuilder,
    listeners: Vec<Option<OwnedFd>>,
    local: SocketAddr,
) -> Result<ServerHandle, Error> {
    let serves = builder.serves()?;
    let (pool, holdings) = (
        Arc::clone(&serves.pool),
        Arc::clone(&serves.hosted.holdings),
    );
    let hosts_clients = builder.open_driver.is_some() || builder.model != Model::Blocking;
    let builder = Arc::new(builder);
    let (mut threads, mut seats) = (Vec::new(), Vec::new());
    let mut starters = Vec::new();
    for index in 0..listeners.len() {
        let (seat_out, seat_in) = mpsc::channel();
        let (start_out, start_in) = mpsc::channel::<Start>();
        let (builder, serves) = (Arc::clone(&builder), Arc::clone(&serves));
        let run = move || {
            let mut reactor = match builder.open_driver() {
                Ok(driver) => Reactor::new(driver),
                Err(error) => return drop(seat_out.send(Err(error))),
            };
            reactor.serve(Arc::clone(&serves));
            if hosts_clients {
                reactor.host_clients();
            }
            let seat = Seat {
                mailbox: Arc::clone(reactor.mailbox()),
                stats: Arc::clone(reactor.stats()),
            };
            drop(seat_out.send(Ok(seat)));
            // A start that never comes means that another loop could not be opened.
            if let Ok(start) = start_in.recv() {
                let max = builder.connections_max;
                serves.context.run(|| start.run(reactor, max));
            }
        };
        threads.push(spawn(format!("kettle-loop-{index}"), run)?);
        seats.push(
            seat_in
                .recv()
                .map_err(|_| Error::new(Kind::Io, "a loop ended at its start"))??,
        );
        starters.push(start_out);
    }
    let seats: Arc<[Seat]> = seats.into();
    let alone = seats.len() == 1 || builder.reuse_port;
    for (starter, listener) in starters.into_iter().zip(listeners) {
        let placement = if alone {
            Placement::Here
        } else {
            Placement::Fewest(Arc::clone(&seats))
        };
        let start = Start {
            listener: listener.map(|listener| (listener, placement)),
        };
        // A loop that has ended meanwhile is found when it is joined.
        drop(starter.send(start));
    }
    Ok(ServerHandle::new(
        local,
        builder.stop_grace,
        seats,
        threads,
        None,
        (pool, holdings),
    ))
}

/// What a loop's thread waits for before it runs.
struct Start {
    listener: Option<(OwnedFd, Placement)>,
}

impl Start {
    fn run(self, mut reactor: Reactor, connections_max: u64) {
        let listening = match self.listener {
            Some((listener, placement)) => reactor.listen(listener, placement, connections_max),
            None => Ok(()),
        };
        if let Err(error) = listening.and_then(|()| reactor.run()) {
            tracing::error!(%error, "a loop's I/O model failed; its connections end");
        }
    }
}

/// A thread that accepts, and one more for each connection.
fn start_threads(
    builder: &ServerBuilder,
    listener: OwnedFd,
    local: SocketAddr,
) -> Result<ServerHandle, Error> {
    let serves = builder.serves()?;
    let (pool, holdings) = (
        Arc::clone(&serves.pool),
        Arc::clone(&serves.hosted.holdings),
    );
    let threads = Arc::new(Threads::new(serves, builder.driver, builder.threads_max));
    let mut reactor = Reactor::new(builder.open_driver()?);
    let seat = Seat {
        mailbox: Arc::clone(reactor.mailbox()),
        stats: Arc::clone(reactor.stats()),
    };
    let running = Arc::clone(threads.running());
    let placement = Placement::Thread(threads);
    let run = move || {
        let run = reactor
            .listen(listener, placement, u64::MAX)
            .and_then(|()| reactor.run());
        if let Err(error) = run {
            tracing::error!(%error, "the accepting thread failed; no more connections are taken");
        }
    };
    let acceptor = spawn("kettle-accept".into(), run)?;
    let seats: Arc<[Seat]> = Arc::new([seat]);
    Ok(ServerHandle::new(
        local,
        builder.stop_grace,
        seats,
        vec![acceptor],
        Some(running),
        (pool, holdings),
    ))
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|error| Error::new(Kind::Io, "cannot start a thread").with_source(error))
}
