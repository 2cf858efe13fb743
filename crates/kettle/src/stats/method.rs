//! What the calls of each method have cost.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a server has done for one method since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MethodStats {
    /// The method's path, such as `/echo.v1.Echo/Unary`.
    pub path: &'static str,
    /// Calls that were started.
    pub calls: u64,
    /// Bytes of the messages that were sent.
    pub sent_bytes: u64,
    /// How many of them came from files, as ranges in the messages.
    pub file_bytes: u64,
    /// Bytes of its messages that loops have copied in memory: in front of, in and behind its handlers. What
    /// handlers on the pool copy is in [`crate::Stats::copied_bytes`] only.
    pub copied_bytes: u64,
}

/// The counters of one method on one loop, which alone writes them.
#[derive(Debug)]
pub(crate) struct MethodCounters {
    path: &'static str,
    calls: AtomicU64,
    sent_bytes: AtomicU64,
    file_bytes: AtomicU64,
    copied_bytes: AtomicU64,
}

/// What a poll of a handler has sent and copied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Polled {
    pub(crate) sent_bytes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) copied_bytes: u64,
}

impl MethodCounters {
    pub(crate) fn new(path: &'static str) -> Self {
        Self {
            path,
            calls: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            copied_bytes: AtomicU64::new(0),
        }
    }

    /// A call was started.
    #[inline]
    pub(crate) fn started(&self) {
        super::add(&self.calls, 1);
    }

    /// A handler was polled.
    #[inline]
    pub(crate) fn polled(&self, polled: Polled) {
        super::add(&self.sent_bytes, polled.sent_bytes);
        super::add(&self.copied_bytes, polled.copied_bytes);
        if 0 < polled.file_bytes {
            super::add(&self.file_bytes, polled.file_bytes);
        }
    }

    fn read(&self) -> MethodStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MethodStats {
            path: self.path,
            calls: read(&self.calls),
            sent_bytes: read(&self.sent_bytes),
            file_bytes: read(&self.file_bytes),
            copied_bytes: read(&self.copied_bytes),
        }
    }

    /// Adds these to a server's, which have all methods in the same order or none yet.
    pub(crate) fn add_all(counters: &[Self], total: &mut Vec<MethodStats>) {
        let stats: Vec<_> = counters.iter().map(Self::read).collect();
        add_stats(&stats, total);
    }
}

/// Adds the stats of methods to others, which are in the same order or not there yet.
pub(crate) fn add_stats(stats: &[MethodStats], total: &mut Vec<MethodStats>) {
    if total.is_empty() {
        total.extend_from_slice(stats);
        return;
    }
    for (total, stats) in total.iter_mut().zip(stats) {
        total.calls += stats.calls;
        total.sent_bytes += stats.sent_bytes;
        total.file_bytes += stats.file_bytes;
        total.copied_bytes += stats.copied_bytes;
    }
}
