//! Waiting for a time to pass, by the timers of the loop that is at hand.
//!
//! The future is here; `reactor/sleepers.rs` has the loop's end. A tokio task has no loop: its timers are tokio's.

use crate::channel::client_loop;
use crate::clock::Clock;
use crate::command::Command;
use crate::mailbox::Mailbox;
use crate::pending::{self, Pending};
use crate::{Model, reactor};
use kettle_proto::Instant;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Waits until the time has passed, counted from this call.
///
/// It is for handlers that wait, and works on every I/O model without another runtime:
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn handler() {
/// kettle::sleep(Duration::from_millis(5)).await;
/// # }
/// ```
///
/// The timer belongs to the loop on whose thread the future is polled: a server's, a [`crate::LocalLoop`], or
/// that of a blocking client's call. It costs no other thread and no hand-over. Where no loop runs, such as on
/// the threads of a server's pool or of another executor, it belongs to the loop thread that clients of the whole
/// process share, which is started when it is needed. In what kettle polls on a tokio runtime
/// ([`crate::Model::Tokio`]) it is a timer of that runtime, and counts its time, also when that is paused or simulated.
///
/// It never ends early. How late it ends is up to the I/O model: epoll_wait(2) counts in whole milliseconds, the
/// others are as fine as the kernel's timers; and a loop that is busy ends it when it comes to that. A duration of
/// zero is over at the first poll, and lets nobody else run. One that is too long for the clock, more than 500
/// years, never ends.
pub fn sleep(duration: Duration) -> Sleep {
    let clock = reactor::home().map_or_else(Clock::new, |home| home.clock());
    Sleep {
        until: clock.now() + duration,
        clock,
        timer: None,
    }
}

/// Done when its time has passed: see [`sleep`].
///
/// Dropping it before its end wakes nobody, and lets go of the waker at once. What the loop knows of it takes some
/// memory until more of a loop's sleeps were dropped than wait, and 64 more.
///
/// It is never left waiting: when the loop ends on which it waits, or when it is polled on another, it goes on
/// there, and where no loop runs on the shared one. Should that not start, for want of a descriptor or a thread,
/// it asks to be polled again and again until its time has passed. What cannot help is to block the thread of a
/// loop until a sleep is done that was polled there, as with another executor's `block_on` in a handler: the loop
/// that is to wake it stands still.
#[must_use = "a future waits only while it is polled"]
pub struct Sleep {
    until: Instant,
    clock: Clock,
    timer: Option<Timer>,
}

/// What a loop counts those with that were dropped before their time.
pub(crate) type Dropped = Arc<AtomicIsize>;

/// The place of a sleep on a loop.
struct Timer {
    /// The loop; `None` is the one that all clients share.
    home: Option<Arc<Mailbox>>,
    due: Due,
}

/// What wakes a sleep.
enum Due {
    Loop(Pending<(), Dropped, fn(Dropped)>),
    #[cfg(feature = "tokio-host")]
    Task(Pin<Box<tokio::time::Sleep>>),
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.until <= self.clock.now() {
            self.timer = None;
            return Poll::Ready(());
        }
        let home = reactor::home();
        let timer = self.timer.take().filter(|timer| timer.is_on(&home));
        self.timer = timer
            .and_then(|timer| timer.wait(cx))
            .or_else(|| Timer::begin(self.until, Some(home?))?.wait(cx))
            .or_else(|| Timer::begin(self.until, None)?.wait(cx));
        if self.timer.is_none() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Timer {
    /// Tells a loop. `None` when it has ended.
    fn begin(until: Instant, home: Option<Arc<Mailbox>>) -> Option<Self> {
        let mailbox = match &home {
            #[cfg(feature = "tokio-host")]
            Some(mailbox) if mailbox.is_of_task() => {
                let until = mailbox.clock().to_std(until).into();
                let due = Due::Task(Box::pin(tokio::time::sleep_until(until)));
                return Some(Self { home, due });
            }
            Some(mailbox) => Arc::clone(mailbox),
            None => client_loop(Model::default()).ok()?,
        };
        let count: fn(Dropped) = |dropped| {
            dropped.fetch_add(1, Ordering::Relaxed);
        };
        let (promise, due) = pending::pair(count);
        mailbox.send(Command::Sleep { until, promise }).ok()?;
        let due = Due::Loop(due);
        Some(Self { home, due })
    }

    /// Whether this loop is to wake it.
    fn is_on(&self, home: &Option<Arc<Mailbox>>) -> bool {
        self.home.as_ref().map(Arc::as_ptr) == home.as_ref().map(Arc::as_ptr)
    }

    /// Lets the loop wake whoever polls. `None` when it did already, at its end or because it was time.
    fn wait(mut self, cx: &mut Context<'_>) -> Option<Self> {
        let pending = match &mut self.due {
            Due::Loop(due) => Pin::new(due).poll(cx).is_pending(),
            #[cfg(feature = "tokio-host")]
            Due::Task(due) => due.as_mut().poll(cx).is_pending(),
        };
        pending.then_some(self)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.until - self.clock.now();
        f.debug_struct("Sleep").field("left", &left).finish()
    }
}
