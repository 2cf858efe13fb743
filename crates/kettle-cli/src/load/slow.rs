//! A closed loop in which some calls take their time in the server, for what that does to the others.

use super::call::Call;
use super::record::Recorder;
use super::streak::Streak;
use kettle::{Channel, LocalLoop};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Which calls are slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// So many of a hundred, spread evenly.
    pub percent: f64,
    /// How long the server waits with its reply to each.
    pub wait: Duration,
}

impl Slow {
    /// Whether the call with this number, counted from 0, is one of them.
    fn is(self, number: u64) -> bool {
        let before = |count: u64| (count as f64 * self.percent / 100.0).floor();
        before(number) < before(number + 1)
    }
}

/// Starts so many callers on each connection.
pub fn start(
    local: &mut LocalLoop,
    channels: &[Channel],
    in_flight: usize,
    (fast, slow): (&Call, Slow),
    recorder: &Arc<Recorder>,
) {
    let calls = (fast.clone(), fast.waiting(slow.wait));
    let numbers = Arc::new(AtomicU64::new(0));
    for channel in channels {
        for _ in 0..in_flight {
            recorder.caller_begins();
            let (channel, calls) = (channel.clone(), calls.clone());
            let (numbers, recorder) = (Arc::clone(&numbers), Arc::clone(recorder));
            local.spawn(async move {
                let is_slow = || slow.is(numbers.fetch_add(1, Ordering::Relaxed));
                caller(channel, calls, is_slow, &recorder).await;
                recorder.caller_ends();
            });
        }
    }
}

async fn caller(
    channel: Channel,
    (fast, slow): (Call, Call),
    is_slow: impl Fn() -> bool,
    recorder: &Recorder,
) {
    let mut streak = Streak::default();
    while streak.goes_on(recorder) {
        let (slowly, begun) = (is_slow(), Instant::now());
        let (call, succeeded): (_, fn(&Recorder, Duration, Instant)) = match slowly {
            true => (&slow, Recorder::succeeded_slowly),
            false => (&fast, Recorder::succeeded),
        };
        let outcome = call.make(&channel).await;
        streak.note(outcome, begun, recorder, succeeded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_calls_are_spread_evenly() {
        let numbers = |percent, count| {
            let wait = Duration::ZERO;
            let slow = Slow { percent, wait };
            (0..count).filter(|n| slow.is(*n)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1.0, 300), [99, 199, 299]);
        assert_eq!(numbers(40.0, 10), [2, 4, 7, 9]);
        assert_eq!(numbers(0.0, 1000), [0; 0]);
        assert_eq!(numbers(0.1, 10_000).len(), 10);
    }
}
