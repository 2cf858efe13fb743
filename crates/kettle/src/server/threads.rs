//! A thread for each connection: the `threads` model above its driver.

use super::Running;
use crate::Status;
use crate::reactor::{OwnThread, Reactor, Serves};
use kettle_io::{Address, DriverConfig, Model};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The threads of a server, each with one connection.
#[derive(Debug)]
pub(crate) struct Threads {
    serves: Arc<Serves>,
    driver: DriverConfig,
    threads_max: usize,
    running: Arc<Running>,
}

impl Threads {
    pub(crate) fn new(serves: Arc<Serves>, driver: DriverConfig, threads_max: usize) -> Self {
        let running = Arc::default();
        Self {
            serves,
            driver,
            threads_max,
            running,
        }
    }

    /// Those that run.
    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.running
    }
}

fn run(mut reactor: Reactor, stream: OwnedFd, address: &Address) {
    let stats = Arc::clone(reactor.stats());
    stats.connection_added();
    if let Err(error) = reactor.serve_one(stream, address) {
        tracing::error!(%error, "a connection's thread failed; its connection ends");
    }
}

impl OwnThread for Threads {
    fn start(self: Arc<Self>, stream: OwnedFd, address: Address) -> Result<(), (OwnedFd, Status)> {
        if self.threads_max <= self.running.count() {
            let max = self.threads_max;
            let text =
                format!("this server runs {max} threads, one for each connection (threads_max)");
            return Err((stream, Status::resource_exhausted(text)));
        }
        let driver = match kettle_io::open(Model::Threads, &self.driver) {
            Ok(driver) => driver,
            Err(error) => return Err((stream, Status::unavailable(error.to_string()))),
        };
        let mut reactor = Reactor::new(driver);
        reactor.serve(Arc::clone(&self.serves));
        let (mailbox, stats) = (Arc::clone(reactor.mailbox()), Arc::clone(reactor.stats()));
        let registered = self.running.register(mailbox, stats);
        // For a refusal that can be read, should there be no thread to be had.
        let spare = stream.try_clone();
        let threads = Arc::clone(&self);
        let serve = move || {
            let context = &threads.serves.context;
            context.run(|| run(reactor, stream, &address));
            drop(registered);
        };
        let spawned = std::thread::Builder::new()
            .name("kettle-conn".into())
            .spawn(serve);
        match (spawned, spare) {
            (Err(error), Ok(spare)) => Err((
                spare,
                Status::unavailable(format!("no thread for this connection: {error}")),
            )),
            _ => Ok(()),
        }
    }
}
