//! What a server has done, counted where it happens and read from anywhere.

mod method;

pub use method::MethodStats;
pub(crate) use method::{MethodCounters, Polled};

use crate::router::{RouteId, Router};
use kettle_io::{DriverStats, SendStats, SystemCalls};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// What a server has done since its start and holds now. All loops and threads together.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that are open.
    pub connections: u64,
    /// Open connections of each loop, in the order of the loops. One entry per thread on `threads`, and per
    /// task on `tokio`, where handlers that run on without a client have tasks too.
    pub connections_by_loop: Vec<u64>,
    /// Connections that were taken since the start.
    pub connections_accepted: u64,
    /// Connections that were refused for a limit.
    pub connections_refused: u64,
    /// Calls that were started.
    pub calls: u64,
    /// Calls that ended with a status other than OK, or were given up.
    pub calls_failed: u64,
    /// Handlers that are waiting for something now.
    pub handlers_pending: u64,
    /// Bytes of messages that have not come whole or wait for their handlers
    /// ([`crate::ServerBuilder::held_bytes_max`]).
    pub held_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// How they left: files by which of the ways, and what stood in the way of the one that was asked for.
    pub sends: SendStats,
    /// Bytes of messages that were copied in memory, by loops and by the pool: encoding, packing small pieces
    /// together, gathering what came in parts. What the kernel copies, and what handlers copy of their own
    /// accord, is not among them.
    pub copied_bytes: u64,
    /// Small slices of messages that were kept for too long, and keep large blocks: those that
    /// [`crate::ServerBuilder::hold_detector`] has warned of.
    pub long_holds: u64,
    /// Handlers and tasks that were woken.
    pub wakes: u64,
    /// Calls that were handed over to the pool's threads.
    pub hand_overs: u64,
    /// Allocations of buffers to receive into.
    pub buffer_allocations: u64,
    /// System calls on sockets, by kind. None on `tokio`, where the runtime makes them.
    pub system_calls: SystemCalls,
    /// Memory of receive pools, in bytes. 0 on `tokio`, where they belong to the runtime's threads and not to one
    /// server.
    pub pool_bytes: u64,
    /// Receives that got a small buffer because the pool was at its limit. Not counted on `tokio`.
    pub pool_fallbacks: u64,
    /// The longest time that one poll of a handler kept a loop, and whose it was.
    pub longest_turn: Option<LongestTurn>,
    /// What each hosted method has cost, in the order of the services. Empty before the first call.
    pub methods: Vec<MethodStats>,
}

impl Stats {
    /// Adds the counters of threads that have ended: what they did, not what they hold.
    pub(crate) fn add_past(&mut self, past: &Stats) {
        self.connections_accepted += past.connections_accepted;
        self.connections_refused += past.connections_refused;
        self.calls += past.calls;
        self.calls_failed += past.calls_failed;
        self.received_bytes += past.received_bytes;
        self.sent_bytes += past.sent_bytes;
        self.sends += past.sends;
        self.copied_bytes += past.copied_bytes;
        self.wakes += past.wakes;
        self.buffer_allocations += past.buffer_allocations;
        self.system_calls += past.system_calls;
        self.pool_fallbacks += past.pool_fallbacks;
        self.longer_turn(past.longest_turn.as_ref());
        method::add_stats(&past.methods, &mut self.methods);
    }

    fn longer_turn(&mut self, other: Option<&LongestTurn>) {
        let duration = |turn: Option<&LongestTurn>| turn.map(|turn| turn.duration);
        if duration(self.longest_turn.as_ref()) < duration(other) {
            self.longest_turn = other.cloned();
        }
    }
}

/// A handler that kept its loop for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongestTurn {
    /// How long.
    pub duration: Duration,
    /// The method's path.
    pub method: &'static str,
}

/// A handler that keeps its loop this long is warned about: every other connection of that loop
/// waits meanwhile.
pub(crate) const SLOW_POLL: Duration = Duration::from_millis(10);

/// The counters of one loop: written by the loop, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct LoopStats {
    pub(crate) connections: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) calls: AtomicU64,
    pub(crate) calls_failed: AtomicU64,
    pub(crate) pending: AtomicU64,
    pub(crate) copied: AtomicU64,
    pub(crate) wakes: AtomicU64,
    /// From the first call on.
    methods: OnceLock<Box<[MethodCounters]>>,
    driver: Mutex<DriverStats>,
    longest: Mutex<Option<LongestTurn>>,
    /// The same duration in nanoseconds, to be compared without the lock.
    longest_nanos: AtomicU64,
}

impl LoopStats {
    /// Adds to a counter that only its loop writes.
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        add(counter, n);
    }

    /// The counters of a method.
    #[inline]
    pub(crate) fn method(&self, id: RouteId, router: &Router) -> &MethodCounters {
        let counters = || router.paths().map(MethodCounters::new).collect();
        &self.methods.get_or_init(counters)[id.index()]
    }

    /// A connection was given to this loop, by whichever thread accepted it.
    pub(crate) fn connection_added(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection of this loop ended.
    pub(crate) fn connection_removed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn polled(&self, duration: Duration, method: &'static str) {
        let nanos = duration.as_nanos() as u64;
        if nanos <= self.longest_nanos.load(Ordering::Relaxed) {
            return;
        }
        self.longest_nanos.store(nanos, Ordering::Relaxed);
        let longest = LongestTurn { duration, method };
        *self.longest.lock().unwrap_or_else(PoisonError::into_inner) = Some(longest);
    }

    pub(crate) fn publish_driver(&self, stats: DriverStats) {
        *self.driver.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    /// Adds these counters to a total.
    pub(crate) fn add_to(&self, total: &mut Stats) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let driver = *self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        total.connections += read(&self.connections);
        total.connections_by_loop.push(read(&self.connections));
        total.connections_accepted += read(&self.accepted);
        total.connections_refused += read(&self.refused);
        total.calls += read(&self.calls);
        total.calls_failed += read(&self.calls_failed);
        total.handlers_pending += read(&self.pending);
        total.copied_bytes += read(&self.copied);
        total.wakes += read(&self.wakes);
        total.buffer_allocations += driver.pool.allocations;
        total.received_bytes += driver.received_bytes;
        total.sent_bytes += driver.sent_bytes;
        total.sends += driver.sends;
        total.system_calls += driver.system_calls;
        total.pool_bytes += driver.pool.bytes as u64;
        total.pool_fallbacks += driver.pool.fallbacks;
        total.longer_turn(
            self.longest
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref(),
        );
        if let Some(counters) = self.methods.get() {
            MethodCounters::add_all(counters, &mut total.methods);
        }
    }
}

/// Adds to a counter that only one thread writes: no locked instruction is needed.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
