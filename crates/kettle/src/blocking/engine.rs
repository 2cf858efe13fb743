//! The loop of a blocking client: it turns while a call is made, and only then.

use crate::error::Kind;
use crate::mailbox::Mailbox;
use crate::reactor::{self, Reactor};
use crate::{Code, Error, Status};
use kettle_io::{DriverConfig, SystemCalls, Waker as LoopWaker};
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A connection that was not looked at for longer than this is looked at before a call goes out on it:
/// the server may have ended it. A look costs a system call, about 0.5 µs; calls that follow each other
/// find out by themselves.
const UNSEEN_MAX: Duration = Duration::from_millis(1);

/// What to do instead of blocking a loop.
const ON_A_LOOP: &str = "a blocking client would stop this loop and all its connections: use the async \
    client, or place the handler on the server's pool of threads (Service::on_pool)";

/// A loop, and whoever waits for something on it.
pub(super) struct Engine {
    reactor: RefCell<Reactor>,
    /// Wakes whoever waits for the loop only.
    woken: Arc<Woken>,
    waker: Waker,
    /// Wakes whoever may wait for other threads too.
    alarm: Arc<Alarm>,
    alarm_waker: Waker,
}

/// Whether the future that is being driven wants to be polled.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

/// The same, from other threads, for which the loop's sleep has to end.
#[derive(Debug)]
struct Alarm {
    woken: Arc<Woken>,
    asleep: AtomicBool,
    sleeper: LoopWaker,
}

impl Engine {
    pub(super) fn new() -> Self {
        let driver = kettle_io::open_blocking_client(&DriverConfig::default());
        let (woken, sleeper) = (Arc::<Woken>::default(), driver.waker());
        let alarm = Arc::new(Alarm {
            woken: Arc::clone(&woken),
            asleep: AtomicBool::new(false),
            sleeper,
        });
        Self {
            reactor: RefCell::new(Reactor::new(driver)),
            waker: Arc::clone(&woken).into(),
            woken,
            alarm_waker: Arc::clone(&alarm).into(),
            alarm,
        }
    }

    pub(super) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(self.reactor.borrow().mailbox())
    }

    pub(super) fn system_calls(&self) -> SystemCalls {
        self.reactor.borrow().system_calls()
    }

    /// What wakes a future that waits for this loop, and for nothing else.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// To be called before a call: whether it may be made on this thread. Finds out about a connection that
    /// was lost meanwhile, so that the call goes to a new one.
    pub(super) fn prepare(&self) -> Result<(), Status> {
        check_thread().map_err(|error| Status::new(Code::FailedPrecondition, error.to_string()))?;
        let mut reactor = self.reactor.borrow_mut();
        if UNSEEN_MAX < reactor.idle_time() {
            reactor.look().map_err(failed)?;
        }
        Ok(())
    }

    /// Turns the loop until a future is done that waits for nothing but the loop.
    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        self.drive(future, &self.waker, |reactor| reactor.sleep(false))
    }

    /// The same for a future that may wait for other threads. What waits for the loop in it should be
    /// woken by [`Engine::waker`].
    pub(super) fn run_wakeable<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        let _home = reactor::be_home(&self.mailbox());
        self.drive(future, &self.alarm_waker, |reactor| {
            // The engine has two: nobody else can wake when there are no more.
            let wakeable = 2 < Arc::strong_count(&self.alarm);
            self.alarm.asleep.store(wakeable, Ordering::SeqCst);
            let slept = match self.woken.is() {
                false => reactor.sleep(wakeable),
                true => Ok(()),
            };
            self.alarm.asleep.store(false, Ordering::SeqCst);
            slept
        })
    }

    /// Carries out what the loop was told to do and what can be done at once.
    pub(super) fn carry_out(&self) {
        if !reactor::is_current() {
            // The next call finds out about an error.
            let _ = self.reactor.borrow_mut().carry_out();
        }
    }

    /// Waits until the kernel has what is on its way, and receives meanwhile.
    pub(super) fn flush(&self) -> Result<(), Error> {
        let mut reactor = self.reactor.borrow_mut();
        reactor.carry_out().map_err(failed)?;
        while reactor.is_sending().map_err(failed)? {
            reactor.sleep(false).map_err(failed)?;
        }
        Ok(())
    }

    fn drive<T>(
        &self,
        future: impl Future<Output = T>,
        waker: &Waker,
        sleep: impl Fn(&mut Reactor) -> io::Result<()>,
    ) -> Result<T, Error> {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(waker);
        loop {
            self.woken.clear();
            if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
                return Ok(done);
            }
            let mut reactor = self.reactor.borrow_mut();
            reactor.carry_out().map_err(failed)?;
            while !self.woken.is() {
                sleep(&mut reactor).map_err(failed)?;
            }
        }
    }
}

/// Whether a blocking client may be used on this thread.
pub(super) fn check_thread() -> Result<(), Error> {
    match reactor::is_current() {
        true => Err(Error::new(Kind::Config, ON_A_LOOP)),
        false => Ok(()),
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(Kind::Io, "the loop's I/O model failed").with_source(error)
}

impl Woken {
    fn is(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn clear(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// Either this sees that the loop is about to sleep, or the loop sees that it must not.
    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.wake_by_ref();
        if self.asleep.load(Ordering::SeqCst) {
            self.sleeper.wake();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_in_a_call_waits_on_its_loop() {
        let engine = Engine::new();
        let home = engine.run_wakeable(async { reactor::home() }).unwrap();
        assert!(Arc::ptr_eq(&home.unwrap(), &engine.mailbox()));
        assert!(reactor::home().is_none());
        let wait = Duration::from_millis(5);
        let begun = std::time::Instant::now();
        engine.run_wakeable(crate::sleep(wait)).unwrap();
        assert!(wait <= begun.elapsed());
    }
}
