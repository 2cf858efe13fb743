//! The queue through which other threads, and wakers, reach a loop.
//!
//! The loop says when it is about to sleep; whoever puts something into the queue then, and only the
//! first who does, has to end the sleep. While the loop is awake a push costs no system call: the
//! loop looks into the queue in its next turn anyway.

#[cfg(kettle_loom)]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(kettle_loom))]
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Items for one loop, pushed from any thread.
#[derive(Debug)]
pub(crate) struct WakeQueue<T> {
    items: Mutex<Items<T>>,
    /// Something waits; written under the lock, read without it.
    filled: AtomicBool,
    /// The loop sleeps, or is about to, and nobody has ended that yet.
    sleeping: AtomicBool,
}

#[derive(Debug)]
struct Items<T> {
    waiting: Vec<T>,
    /// The loop has ended: what is pushed is dropped.
    closed: bool,
}

impl<T> WakeQueue<T> {
    pub(crate) fn new() -> Self {
        let items = Items {
            waiting: Vec::new(),
            closed: false,
        };
        Self {
            items: Mutex::new(items),
            filled: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
        }
    }

    /// Adds an item. True when the caller must now end the loop's sleep.
    ///
    /// After [`WakeQueue::close`] the item is given back.
    pub(crate) fn push(&self, item: T) -> Result<bool, T> {
        let mut items = self.lock();
        if items.closed {
            return Err(item);
        }
        items.waiting.push(item);
        self.filled.store(true, Ordering::Release);
        drop(items);
        // Ordered behind the push by the lock: either the loop sees the item in `doze`, or this
        // sees that the loop sleeps.
        Ok(self.sleeping.load(Ordering::SeqCst) && self.sleeping.swap(false, Ordering::SeqCst))
    }

    /// Loop: about to sleep. False when something waits, so that it must not.
    pub(crate) fn doze(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let empty = self.lock().waiting.is_empty();
        if !empty {
            self.rise();
        }
        empty
    }

    /// Loop: awake again, wakes need not be delivered.
    pub(crate) fn rise(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// Loop: whether there is nothing to take. Costs a load; what is pushed at this moment may be seen in
    /// the next turn only, since [`WakeQueue::doze`] does not rely on it.
    pub(crate) fn is_empty(&self) -> bool {
        !self.filled.load(Ordering::Acquire)
    }

    /// Loop: moves everything that waits into `taken`, which must be empty.
    pub(crate) fn take(&self, taken: &mut Vec<T>) {
        debug_assert!(taken.is_empty(), "the last turn's items were not handled");
        let mut items = self.lock();
        std::mem::swap(&mut items.waiting, taken);
        self.filled.store(false, Ordering::Release);
    }

    /// Loop: no more items are taken. Returns those that wait.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut items = self.lock();
        items.closed = true;
        std::mem::take(&mut items.waiting)
    }

    #[cfg(not(kettle_loom))]
    fn lock(&self) -> MutexGuard<'_, Items<T>> {
        // Nothing panics under this lock, so a poisoned one is as good as new.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(kettle_loom)]
    fn lock(&self) -> MutexGuard<'_, Items<T>> {
        self.items.lock().unwrap()
    }
}

#[cfg(all(test, kettle_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    /// Two threads push while the loop dozes: a loop that slept through a push must have been told.
    #[test]
    fn no_push_is_slept_through() {
        loom::model(|| {
            let queue = Arc::new(WakeQueue::new());
            let alarms = Arc::new(AtomicUsize::new(0));
            let pushers: Vec<_> = (0..2)
                .map(|i| {
                    let (queue, alarms) = (Arc::clone(&queue), Arc::clone(&alarms));
                    thread::spawn(move || {
                        if queue.push(i) == Ok(true) {
                            alarms.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            let slept = queue.doze();
            for pusher in pushers {
                pusher.join().unwrap();
            }
            assert!(!queue.is_empty());
            let mut taken = Vec::new();
            queue.take(&mut taken);
            assert!(queue.is_empty());
            assert_eq!(taken.len(), 2, "every item arrives once");
            let alarms = alarms.load(Ordering::SeqCst);
            assert!(alarms <= 1, "only the first push of a sleep ends it");
            // Asleep with items and no alarm would be a loop that never wakes.
            assert!(
                !slept || alarms == 1,
                "the loop would sleep on with items waiting"
            );
        });
    }

    /// The loop goes to sleep twice: an alarm of the first sleep may not swallow one of the second.
    #[test]
    fn each_sleep_has_its_own_alarm() {
        loom::model(|| {
            let queue = Arc::new(WakeQueue::new());
            let pusher = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.push(1) == Ok(true))
            };
            let mut taken = Vec::new();
            let first = queue.doze();
            queue.rise();
            queue.take(&mut taken);
            let second = queue.doze();
            let alarmed = pusher.join().unwrap();
            let mut rest = Vec::new();
            queue.take(&mut rest);
            assert_eq!(taken.len() + rest.len(), 1);
            assert!(
                !(second && !rest.is_empty() && !alarmed),
                "slept through; first: {first}"
            );
        });
    }

    /// A push that races the end of the loop is delivered or given back, never lost.
    #[test]
    fn close_loses_nothing() {
        loom::model(|| {
            let queue = Arc::new(WakeQueue::new());
            let pusher = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.push(1).is_err())
            };
            let left = queue.close();
            let given_back = pusher.join().unwrap();
            assert_eq!(left.len() + usize::from(given_back), 1);
        });
    }
}

#[cfg(all(test, not(kettle_loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_push_of_a_sleep_must_end_it() {
        let queue = WakeQueue::new();
        assert_eq!(queue.push(1), Ok(false), "the loop is awake");
        assert!(!queue.doze(), "an item waits");
        assert_eq!(queue.push(2), Ok(false), "the loop did not fall asleep");
        let mut taken = Vec::new();
        assert!(!queue.is_empty());
        queue.take(&mut taken);
        assert!(queue.is_empty());
        assert_eq!(taken, [1, 2]);
        assert!(queue.doze());
        assert_eq!(queue.push(3), Ok(true));
        assert_eq!(queue.push(4), Ok(false));
        assert_eq!(queue.close(), [3, 4]);
        assert_eq!(queue.push(5), Err(5));
    }
}
