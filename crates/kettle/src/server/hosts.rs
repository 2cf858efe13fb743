//! Starting a server: its listening sockets, loops and threads.

use super::handle::ServerHandle;
use super::listening::Listening;
use super::{ServerBuilder, Threads};
use crate::error::Kind;
use crate::reactor::{Placement, Reactor, Seat};
#[cfg(feature = "tokio-host")]
use crate::tokio_host;
use crate::{Error, Model};
use kettle_io::Address;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// Starts a server as its settings say.
pub(super) fn start(builder: ServerBuilder, address: &Address) -> Result<ServerHandle, Error> {
    let listening = Listening::open(&builder, address)?;
    match builder.model {
        Model::Threads if builder.open_driver.is_none() => start_threads(&builder, listening),
        #[cfg(feature = "tokio-host")]
        Model::Tokio if builder.open_driver.is_none() => tokio_host::start(&builder, listening),
        _ => start_loops(builder, listening),
    }
}

/// Event loops, and `blocking`, which is a loop whose driver serves one connection at a time.
fn start_loops(
    builder: ServerBuilder,
    Listening { listeners, bound }: Listening,
) -> Result<ServerHandle, Error> {
    let serves = builder.serves()?;
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
    let alone = listeners.iter().all(Option::is_some);
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
        bound,
        builder.stop_grace,
        seats,
        threads,
        None,
        serves,
    ))
}

/// What a loop's thread waits for before it runs.
struct Start {
    listener: Option<(OwnedFd, Placement)>,
}

impl Start {
    fn run(self, reactor: Reactor, connections_max: u64) {
        if let Err(error) = self.listen_and_run(reactor, connections_max) {
            tracing::error!(%error, "a loop's I/O model failed; its connections end");
        }
    }

    fn listen_and_run(self, mut reactor: Reactor, connections_max: u64) -> io::Result<()> {
        if let Some((listener, placement)) = self.listener {
            reactor.listen(listener, placement, connections_max)?;
        }
        reactor.run()
    }
}

/// A thread that accepts, and one more for each connection.
fn start_threads(
    builder: &ServerBuilder,
    Listening { listeners, bound }: Listening,
) -> Result<ServerHandle, Error> {
    let serves = builder.serves()?;
    let threads = Arc::new(Threads::new(
        Arc::clone(&serves),
        builder.driver,
        builder.threads_max,
    ));
    let reactor = Reactor::new(builder.open_driver()?);
    let seat = Seat {
        mailbox: Arc::clone(reactor.mailbox()),
        stats: Arc::clone(reactor.stats()),
    };
    let running = Arc::clone(threads.running());
    let placement = Placement::Thread(threads);
    let start = Start {
        listener: listeners
            .into_iter()
            .flatten()
            .next()
            .map(|listener| (listener, placement)),
    };
    let run = move || {
        if let Err(error) = start.listen_and_run(reactor, u64::MAX) {
            tracing::error!(%error, "the accepting thread failed; no more connections are taken");
        }
    };
    let acceptor = spawn("kettle-accept".into(), run)?;
    let seats: Arc<[Seat]> = Arc::new([seat]);
    Ok(ServerHandle::new(
        bound,
        builder.stop_grace,
        seats,
        vec![acceptor],
        Some(running),
        serves,
    ))
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|error| Error::new(Kind::Io, "cannot start a thread").with_source(error))
}
