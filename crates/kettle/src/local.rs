//! A loop on the caller's own thread.

use crate::error::Kind;
use crate::reactor::Reactor;
use crate::{BoxFuture, Error, Model};
use kettle_io::DriverConfig;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A loop on the caller's own thread, for programs whose work is making calls: channels that are
/// used in its tasks live on it, so that a call costs no hand-over to another thread.
///
/// It runs futures and connections, and [`crate::sleep`] in them; it has no files, and no other sockets.
/// Dropping it drops its tasks and ends their calls.
pub struct LocalLoop {
    reactor: Reactor,
}

impl LocalLoop {
    /// A loop on this I/O model.
    ///
    /// # Errors
    /// [`Error::is_config`] for `blocking` and `threads`, which hold one connection only, and for `tokio`,
    /// which is no loop of kettle's; else when this kernel cannot run the model.
    pub fn new(model: Model) -> Result<Self, Error> {
        let driver = open_for_clients(model)?;
        Ok(Self {
            reactor: Reactor::new(driver),
        })
    }

    /// Adds a task. It runs while one of the other methods does.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        self.reactor.spawn(Box::pin(future));
    }

    /// Runs until the future is done, and gives its result. Tasks that are not done stay.
    ///
    /// # Errors
    /// When the I/O model fails.
    pub fn block_on<T: Send + 'static>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Error> {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let take =
            |slot: &Mutex<Option<T>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task: BoxFuture<'static, ()> = Box::pin(async move {
            let done = future.await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        });
        self.reactor.spawn(task);
        loop {
            self.reactor.local_turn(None).map_err(failed)?;
            if let Some(done) = take(&result) {
                return Ok(done);
            }
        }
    }

    /// Runs until all tasks are done or the time has come. Whether all are done.
    ///
    /// # Errors
    /// When the I/O model fails.
    pub fn run_until(&mut self, time: Instant) -> Result<bool, Error> {
        while 0 < self.reactor.tasks() {
            if time <= Instant::now() {
                return Ok(false);
            }
            self.reactor.local_turn(Some(time)).map_err(failed)?;
        }
        Ok(true)
    }

    /// Drops all tasks where they are; their calls are cancelled.
    pub fn drop_tasks(&mut self) {
        self.reactor.drop_tasks();
    }
}

impl fmt::Debug for LocalLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLoop")
            .field("tasks", &self.reactor.tasks())
            .finish()
    }
}

/// Opens a model for client connections, of which a loop may have several.
pub(crate) fn open_for_clients(model: Model) -> Result<Box<dyn kettle_io::Driver>, Error> {
    if matches!(model, Model::Blocking | Model::Threads) {
        let text = format!("model {model} holds one connection and cannot run a client's loop");
        return Err(Error::new(Kind::Config, text));
    }
    if !model.has_driver() {
        let text = format!("model {model} has no loop of kettle's own");
        return Err(Error::new(Kind::Config, text));
    }
    kettle_io::open(model, &DriverConfig::default()).map_err(|error| {
        Error::new(Kind::Io, format!("cannot open model {model}")).with_source(error)
    })
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Kind::Io, "the loop's I/O model failed").with_source(error)
}
