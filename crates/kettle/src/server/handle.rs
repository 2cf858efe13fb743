//! A running server, as those who started it see it.

use super::Running;
use super::listening::Bound;
use crate::command::Command;
use crate::error::Kind;
use crate::reactor::Seat;
use crate::reactor::Serves;
use crate::stats::Stats;
use crate::{Error, pending};
use kettle_io::Address;
use kettle_io::socket::SocketFile;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running server.
///
/// Dropping it stops the server at once: open calls end with UNAVAILABLE. [`ServerHandle::stop`] and
/// [`ServerHandle::wait`] let them finish.
pub struct ServerHandle {
    address: Address,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    signals: Mutex<Option<Handle>>,
}

struct Shared {
    grace: Duration,
    seats: Arc<[Seat]>,
    /// Threads or tasks with a connection each.
    running: Option<Arc<Running>>,
    serves: Arc<Serves>,
    /// Of a Unix-domain socket, until the server stops.
    file: Mutex<Option<SocketFile>>,
}

impl ServerHandle {
    pub(super) fn new(
        bound: Bound,
        grace: Duration,
        seats: Arc<[Seat]>,
        threads: Vec<JoinHandle<()>>,
        running: Option<Arc<Running>>,
        serves: Arc<Serves>,
    ) -> Self {
        let shared = Arc::new(Shared {
            grace,
            seats,
            running,
            serves,
            file: Mutex::new(bound.file),
        });
        Self {
            address: bound.address,
            shared,
            threads: Mutex::new(threads),
            signals: Mutex::new(None),
        }
    }

    /// A server whose connections are tasks of the runtime that runs on this thread.
    #[cfg(feature = "tokio-host")]
    pub(crate) fn of_tasks(
        bound: Bound,
        grace: Duration,
        running: Arc<Running>,
        serves: Arc<Serves>,
        thread: JoinHandle<()>,
    ) -> Self {
        let (seats, running) = (Arc::default(), Some(running));
        Self::new(bound, grace, seats, vec![thread], running, serves)
    }

    /// Where the server listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address that the server listens on, with the port that the kernel chose when 0 was asked for.
    /// With a Unix-domain socket it is `0.0.0.0:0`, which is nowhere: see [`ServerHandle::address`].
    pub fn local_addr(&self) -> SocketAddr {
        match self.address {
            Address::Tcp(address) => address,
            Address::Unix(_) | Address::Unnamed => (Ipv4Addr::UNSPECIFIED, 0).into(),
        }
    }

    /// Begins a graceful stop: no new connections and calls, open calls may go on for the time that
    /// [`crate::ServerBuilder::stop_grace`] gives. Does not block.
    pub fn stop(&self) {
        self.shared.stop(self.shared.grace);
    }

    /// Begins to stop at once: open calls end with UNAVAILABLE. Does not block.
    pub fn stop_now(&self) {
        self.shared.stop(Duration::ZERO);
    }

    /// Blocks until the server has stopped, whoever stops it. Several threads may wait.
    ///
    /// A handler on the pool cannot be interrupted while it blocks: when its call is over and it still
    /// does after 1 s, its thread is left to end with it.
    ///
    /// # Errors
    /// When a thread of the server panicked, which is a defect of kettle: handlers' panics are caught.
    pub fn wait(&self) -> Result<(), Error> {
        let mut panicked = false;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            panicked |= thread.join().is_err();
        }
        if let Some(running) = &self.shared.running {
            running.wait();
        }
        self.shared.serves.pool.close();
        if let Some(signals) = self
            .signals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            signals.close();
        }
        match panicked {
            true => Err(Error::new(
                Kind::Io,
                "a thread of the server panicked; the log says why",
            )),
            false => Ok(()),
        }
    }

    /// As [`ServerHandle::wait`], for async code. Dropping the future stops the server at once.
    ///
    /// # Errors
    /// As [`ServerHandle::wait`].
    pub async fn stopped(self) -> Result<(), Error> {
        let (promise, pending) = pending::pair(|()| ());
        let mut guard = StopOnDrop(Some(Arc::clone(&self.shared)));
        let wait = move || {
            let result = self.wait();
            promise.answer(Ok(result));
        };
        std::thread::Builder::new()
            .name("kettle-wait".into())
            .spawn(wait)
            .map_err(|error| Error::new(Kind::Io, "cannot start a thread").with_source(error))?;
        let result = pending.await;
        guard.0 = None;
        result.unwrap_or_else(|status| Err(Error::new(Kind::Io, status.to_string())))
    }

    /// What the server has done and holds.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Lets SIGINT and SIGTERM stop the server from now on: the first gracefully, the second at once.
    /// [`crate::ServerBuilder::serve`] does this by itself.
    ///
    /// # Errors
    /// When the kernel gives no descriptor or thread to watch the signals with.
    pub fn stop_on_signals(&self) -> Result<(), Error> {
        let failed = |error| Error::new(Kind::Io, "cannot take signals").with_source(error);
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
        let handle = signals.handle();
        let shared = Arc::clone(&self.shared);
        let watch = move || {
            for (count, signal) in signals.forever().enumerate() {
                tracing::info!(signal, "stopping");
                shared.stop(if count == 0 {
                    shared.grace
                } else {
                    Duration::ZERO
                });
            }
        };
        std::thread::Builder::new()
            .name("kettle-signals".into())
            .spawn(watch)
            .map_err(failed)?;
        *self.signals.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(())
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        let threads = self.threads.get_mut();
        if !threads.unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.stop_now();
            // The log has said what went wrong, should anything have.
            let _ = self.wait();
        }
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn stop(&self, grace: Duration) {
        // First, so that whoever comes from now on goes to the next server.
        drop(
            self.file
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        for seat in self.seats.iter() {
            // A loop that has ended needs no stop.
            let _ = seat.mailbox.interrupt(Command::Stop { grace });
        }
        if let Some(running) = &self.running {
            running.stop(grace);
        }
    }

    fn stats(&self) -> Stats {
        let mut total = Stats::default();
        for seat in self.seats.iter() {
            seat.stats.add_to(&mut total);
        }
        if let Some(running) = &self.running {
            running.add_to(&mut total);
        }
        self.serves.add_to(&mut total);
        total
    }
}

/// Stops the server at once when the future that waits for it is dropped.
struct StopOnDrop(Option<Arc<Shared>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.stop(Duration::ZERO);
        }
    }
}
