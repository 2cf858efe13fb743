//! A thread for each connection: the `threads` model above its driver.

use crate::Status;
use crate::command::Command;
use crate::mailbox::Mailbox;
use crate::reactor::{OwnThread, Reactor, Serves};
use crate::stats::{LoopStats, Stats};
use kettle_io::{Address, DriverConfig, Model};
use slab::Slab;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The threads of a server, each with one connection.
pub(crate) struct Threads {
    serves: Arc<Serves>,
    driver: DriverConfig,
    threads_max: usize,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    running: Slab<Running>,
    /// Set by the stop: new connections get this grace at once.
    stopping: Option<Duration>,
    /// The counters of threads that have ended.
    past: Stats,
}

struct Running {
    mailbox: Arc<Mailbox>,
    stats: Arc<LoopStats>,
}

impl Threads {
    pub(crate) fn new(serves: Arc<Serves>, driver: DriverConfig, threads_max: usize) -> Self {
        let (state, ended) = (Mutex::default(), Condvar::new());
        Self {
            serves,
            driver,
            threads_max,
            state,
            ended,
        }
    }

    /// Lets every thread end its connection; those that start from now on do so at once.
    pub(crate) fn stop(&self, grace: Duration) {
        let mut state = self.lock();
        state.stopping = Some(grace);
        for (_, running) in &state.running {
            // A thread that has just ended needs no stop.
            let _ = running.mailbox.interrupt(Command::Stop { grace });
        }
    }

    /// Blocks until no thread is left.
    pub(crate) fn wait(&self) {
        let mut state = self.lock();
        while !state.running.is_empty() {
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Adds the counters of all threads, those of the past too, to a total.
    pub(crate) fn add_to(&self, total: &mut Stats) {
        let state = self.lock();
        total.add_past(&state.past);
        for (_, running) in &state.running {
            running.stats.add_to(total);
        }
    }

    fn run(&self, mut reactor: Reactor, stream: OwnedFd, address: &Address) {
        let stats = Arc::clone(reactor.stats());
        stats.connection_added();
        if let Err(error) = reactor.serve_one(stream, address) {
            tracing::error!(%error, "a connection's thread failed; its connection ends");
        }
    }

    fn register(&self, reactor: &Reactor) -> usize {
        let (mailbox, stats) = (Arc::clone(reactor.mailbox()), Arc::clone(reactor.stats()));
        let mut state = self.lock();
        if let Some(grace) = state.stopping {
            let _ = mailbox.send(Command::Stop { grace });
        }
        state.running.insert(Running { mailbox, stats })
    }

    fn unregister(&self, id: usize) {
        let mut state = self.lock();
        let running = state.running.remove(id);
        running.stats.add_to(&mut state.past);
        // What it held is gone with it.
        state.past.connections_by_loop.clear();
        drop(state);
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock, so a poisoned one is as good as new.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwnThread for Threads {
    fn start(self: Arc<Self>, stream: OwnedFd, address: Address) -> Result<(), (OwnedFd, Status)> {
        if self.threads_max <= self.lock().running.len() {
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
        let id = self.register(&reactor);
        // For a refusal that can be read, should there be no thread to be had.
        let spare = stream.try_clone();
        let threads = Arc::clone(&self);
        let run = move || {
            let context = &threads.serves.context;
            context.run(|| threads.run(reactor, stream, &address));
            threads.unregister(id);
        };
        let spawned = std::thread::Builder::new()
            .name("kettle-conn".into())
            .spawn(run);
        match (spawned, spare) {
            (Err(error), Ok(spare)) => {
                self.unregister(id);
                Err((
                    spare,
                    Status::unavailable(format!("no thread for this connection: {error}")),
                ))
            }
            (Err(_), Err(_)) => {
                self.unregister(id);
                Ok(())
            }
            (Ok(_), _) => Ok(()),
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("running", &self.lock().running.len())
            .finish()
    }
}
