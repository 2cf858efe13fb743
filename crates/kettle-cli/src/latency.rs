//! Latencies and what is told of them.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// The longest latency that is told apart, in nanoseconds: a minute. Longer ones count as this.
const NANOS_MAX: u64 = 60_000_000_000;

/// Every figure is within a thousandth of what was measured.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies of calls, in bounded memory.
#[derive(Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

/// Latencies in microseconds. All 0 when there was no call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the calls took at most this long.
    pub p50_us: f64,
    /// Nine of ten.
    pub p90_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_max(NANOS_MAX, SIGNIFICANT_DIGITS);
        Self {
            histogram: histogram.expect("the bounds are constants that fit"),
        }
    }

    /// Counts one.
    pub fn record(&mut self, latency: Duration) {
        self.record_many(latency, 1);
    }

    /// Counts so many of the same.
    pub fn record_many(&mut self, latency: Duration, count: u64) {
        let nanos = latency.as_nanos() as u64;
        self.histogram.saturating_record_n(nanos, count);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// What is told of them.
    pub fn percentiles(&self) -> Percentiles {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let at = |quantile| micros(self.histogram.value_at_quantile(quantile));
        Percentiles {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(self.histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, wanted: f64) -> bool {
        (value - wanted).abs() <= wanted / 1000.0
    }

    #[test]
    fn percentiles_of_known_latencies() {
        let mut latencies = Latencies::new();
        for micros in 1..=10_000 {
            latencies.record(Duration::from_micros(micros));
        }
        let told = latencies.percentiles();
        assert_eq!(latencies.histogram.len(), 10_000);
        assert!(near(told.p50_us, 5000.0), "{told:?}");
        assert!(near(told.p90_us, 9000.0), "{told:?}");
        assert!(near(told.p99_us, 9900.0), "{told:?}");
        assert!(near(told.p999_us, 9990.0), "{told:?}");
        assert!(near(told.max_us, 10_000.0), "{told:?}");
    }

    #[test]
    fn no_latency_at_all() {
        assert_eq!(Latencies::new().percentiles(), Percentiles::default());
    }

    #[test]
    fn one_that_is_longer_than_can_be_told_is_still_counted() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_secs(3600));
        assert_eq!(latencies.histogram.len(), 1);
        assert!(near(latencies.percentiles().p50_us, 60e6));
    }
}
