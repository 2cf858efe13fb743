use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Latencies of the requests of a measured window; printed as the line of JSON that load.py reads.
pub struct Report {
    latencies: Histogram<u64>,
    began: Instant,
}

impl Report {
    /// The window begins now.
    pub fn begin() -> Self {
        let minute_ns = 60_000_000_000;
        let latencies = Histogram::new_with_bounds(1, minute_ns, 3).unwrap();
        Report {
            latencies,
            began: Instant::now(),
        }
    }

    pub fn record(&mut self, latency: Duration) {
        self.latencies.record(latency.as_nanos() as u64).unwrap();
    }

    /// The window ends now.
    pub fn print(&self) {
        let secs = self.began.elapsed().as_secs_f64();
        let requests = self.latencies.len();
        let us = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        println!(
            "{{\"requests\":{requests},\"secs\":{secs:.3},\"rps\":{:.0},\
             \"p50_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1}}}",
            requests as f64 / secs,
            us(0.5),
            us(0.99),
            us(0.999),
        );
    }
}
