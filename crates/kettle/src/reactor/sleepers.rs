//! The loop's end of [`crate::Sleep`]: who is to be woken when.

use crate::pending::Promise;
use crate::sleep::Dropped;
use kettle_proto::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Sleeps that were dropped before their time are swept when they are more than the others by this many. Below it a
/// sweep costs more than the memory is worth: some 100 B for each.
const DROPPED_MAX: usize = 64;

/// The sleeps of a loop by their times; those of the same time in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    waiting: BTreeMap<(Instant, u64), Promise<(), Dropped>>,
    /// For the order.
    begun: u64,
    /// How many of those that wait were dropped. Below zero for a moment when one is swept before whoever drops it
    /// has counted it.
    dropped: Dropped,
}

impl Sleepers {
    /// Keeps a sleep until its time, unless it was dropped already.
    pub(super) fn add(&mut self, until: Instant, promise: Promise<(), Dropped>) {
        if promise.leave_note(Arc::clone(&self.dropped)) {
            self.waiting.insert((until, self.begun), promise);
            self.begun += 1;
        }
    }

    /// The earliest time, when the loop is about to sleep: nobody is worth waking it who was dropped.
    pub(super) fn next(&mut self) -> Option<Instant> {
        while let Some(first) = self.waiting.first_entry() {
            if !first.get().is_abandoned() {
                return Some(first.key().0);
            }
            first.remove();
            self.dropped.fetch_sub(1, Ordering::Relaxed);
        }
        None
    }

    /// Wakes those whose time has come; to be called in every turn.
    pub(super) fn wake(&mut self, now: Instant) {
        self.sweep();
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            if !first.remove().answer(Ok(())) {
                self.dropped.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Forgets those that were dropped, when they are many.
    fn sweep(&mut self) {
        let dropped = usize::try_from(self.dropped.load(Ordering::Relaxed)).unwrap_or(0);
        let living = self.waiting.len().saturating_sub(dropped);
        if dropped <= living + DROPPED_MAX {
            return;
        }
        let before = self.waiting.len();
        self.waiting.retain(|_, promise| !promise.is_abandoned());
        let swept = before - self.waiting.len();
        self.dropped.fetch_sub(swept as isize, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reactor;
    use super::*;
    use crate::Model;
    use crate::pending;
    use crate::sleep::sleep;
    use kettle_io::DriverConfig;
    use std::future::{Future, poll_fn};
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    /// Writes down who is woken.
    struct Name(u64, Arc<Mutex<Vec<u64>>>);

    impl Wake for Name {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[test]
    fn sleeps_are_woken_in_order_and_not_early() {
        let at = Instant::from_nanos;
        let (mut sleepers, woken) = (Sleepers::default(), Arc::default());
        let mut dues: Vec<_> = [(30, 3), (10, 1), (20, 0), (20, 2), (10, 4)]
            .into_iter()
            .map(|(time, name)| {
                let (promise, mut due) = pending::pair(|dropped: Dropped| {
                    dropped.fetch_add(1, Ordering::Relaxed);
                });
                let waker = Waker::from(Arc::new(Name(name, Arc::clone(&woken))));
                assert!(
                    Pin::new(&mut due)
                        .poll(&mut Context::from_waker(&waker))
                        .is_pending()
                );
                sleepers.add(at(time), promise);
                due
            })
            .collect();
        drop(dues.remove(2));
        assert_eq!(sleepers.next(), Some(at(10)));
        sleepers.wake(at(9));
        assert!(woken.lock().unwrap().is_empty(), "it is not time");
        sleepers.wake(at(25));
        assert_eq!(*woken.lock().unwrap(), [1, 4, 2]);
        assert_eq!(sleepers.next(), Some(at(30)));
        dues.clear();
        assert_eq!(sleepers.next(), None, "the loop is not woken for nobody");
        assert_eq!(sleepers.dropped.load(Ordering::Relaxed), 0);
        sleepers.wake(at(u64::MAX));
        assert_eq!(*woken.lock().unwrap(), [1, 4, 2]);
    }

    fn reactor() -> Reactor {
        let driver = kettle_io::open(Model::Epoll, &DriverConfig::default()).unwrap();
        Reactor::new(driver)
    }

    /// Turns the loop for a task that polls so many sleeps of an hour, and gives them to `keep`.
    fn begin(reactor: &mut Reactor, count: usize, keep: impl Fn(crate::Sleep) + Send + 'static) {
        let mut left = count;
        reactor.spawn(Box::pin(poll_fn(move |cx| {
            if let Some(less) = left.checked_sub(1) {
                left = less;
                let mut sleep = sleep(Duration::from_secs(3600));
                assert!(Pin::new(&mut sleep).poll(cx).is_pending());
                keep(sleep);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })));
        while 0 < reactor.tasks() {
            reactor.local_turn(None).unwrap();
        }
    }

    #[test]
    fn sleeps_that_were_dropped_leave_nothing() {
        const MANY: usize = 10_000;
        let mut reactor = reactor();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        begin(&mut reactor, MANY, move |sleep| {
            keep.lock().unwrap().push(sleep)
        });
        assert_eq!(reactor.sleepers.waiting.len(), MANY);
        // One is left, and is first: what follows it is found too.
        kept.lock().unwrap().truncate(1);
        begin(&mut reactor, 1, drop);
        let left = reactor.sleepers.waiting.len();
        assert!(left <= 2 + DROPPED_MAX, "{left} are left");
        // One after the other, none of which is dropped in the turn in which it began.
        let one = Mutex::new(None);
        begin(&mut reactor, MANY, move |sleep| {
            *one.lock().unwrap() = Some(sleep)
        });
        let left = reactor.sleepers.waiting.len();
        assert!(left <= 3 + DROPPED_MAX, "{left} are left");
        let sleepers = &reactor.sleepers;
        let dropped = sleepers.waiting.values().filter(|it| it.is_abandoned());
        let counted = sleepers.dropped.load(Ordering::Relaxed);
        assert_eq!(counted, dropped.count() as isize);
    }

    #[test]
    fn a_loop_keeps_the_time_of_its_own_sleeps() {
        let (mut outer, mut inner) = (reactor(), reactor());
        begin(&mut inner, 3, std::mem::forget);
        assert_eq!(inner.sleepers.waiting.len(), 3);
        // A loop on the thread of another.
        let home = super::super::be_home(outer.mailbox());
        begin(&mut inner, 1, std::mem::forget);
        assert_eq!(inner.sleepers.waiting.len(), 4);
        let mut sleep = sleep(Duration::from_secs(3600));
        assert!(
            Pin::new(&mut sleep)
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        drop(home);
        outer.look().unwrap();
        assert_eq!(outer.sleepers.waiting.len(), 1);
    }
}
