//! What was found out about a model under a load: figures, or why there are none.

use super::plan::Row;
use crate::latency::Percentiles;
use crate::load::Errors;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A load generator that keeps its core busy for more than this limits the rate.
const GENERATOR_CORES_MAX: f64 = 0.95;

/// What was found out about a row.
#[derive(Debug)]
pub struct Cell {
    /// The row.
    pub row: Row,
    /// Figures of each round.
    pub rounds: Vec<Round>,
    /// Why there are none, or no more.
    pub reason: Option<Reason>,
}

/// Figures of one round.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// How long it was measured.
    pub seconds: f64,
    /// Calls that succeeded within that time.
    pub calls: u64,
    /// The same per second.
    pub rps: f64,
    /// Latencies of those.
    #[serde(flatten)]
    pub latency: Percentiles,
    /// Failed calls by status, from the first call to the last.
    pub errors: BTreeMap<String, Errors>,
    /// Replay: calls that were due and not made, because too many waited for their answers.
    pub skipped: u64,
    /// Processor time of the server process per call, in microseconds, user and system together.
    pub cpu_us_per_call: f64,
    /// Where the processor time comes from.
    pub cpu_source: &'static str,
    /// The server's system calls on sockets and pollers per call; `None` of a server that does not
    /// count them.
    pub system_calls_per_call: Option<f64>,
    /// Context switches of the server's threads per call; `None` when threads ended meanwhile.
    pub switches_per_call: Option<f64>,
    /// Growth of the server's anonymous memory from before the first connection to after the last,
    /// per connection, in bytes; `None` where the kernel does not tell.
    pub memory_bytes_per_connection: Option<f64>,
    /// Cores that the load generator kept busy: near 1 it was what limited the rate, not the server.
    pub generator_cores: Option<f64>,
}

/// Why a model has no figures under a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reason {
    /// The model serves one connection at a time; others wait.
    Waits {
        /// Connections that were served.
        served: usize,
        /// Of so many.
        of: usize,
    },
    /// The server refused connections beyond a limit.
    Refused {
        /// Connections that it took.
        at: usize,
    },
    /// This machine does not run the model.
    NotHere {
        /// What the kernel says.
        why: String,
    },
    /// Something went wrong that should not.
    Failed {
        /// What.
        why: String,
    },
}

#[cfg(test)]
impl Round {
    /// Figures for tests: a call cost this.
    pub fn made_up(cpu_us_per_call: f64) -> Self {
        Self {
            seconds: 1.0,
            calls: 100_000,
            rps: 100_000.0 / cpu_us_per_call,
            latency: Percentiles {
                p50_us: 50.0,
                p99_us: 1500.0,
                ..Percentiles::default()
            },
            errors: BTreeMap::new(),
            skipped: 0,
            cpu_us_per_call,
            cpu_source: "schedstat",
            system_calls_per_call: Some(2.0),
            switches_per_call: None,
            memory_bytes_per_connection: Some(2048.0),
            generator_cores: Some(0.5),
        }
    }
}

impl Cell {
    /// Nothing yet.
    pub fn new(row: Row) -> Self {
        Self {
            row,
            rounds: Vec::new(),
            reason: None,
        }
    }

    /// The middle of a figure over the rounds; `None` when no round has it.
    pub fn median(&self, figure: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(figure).collect())
    }

    /// Processor time per call of each round; none of a model that did not get through all of them.
    pub fn costs(&self) -> Vec<f64> {
        if self.reason.is_some() {
            return Vec::new();
        }
        self.rounds
            .iter()
            .map(|round| round.cpu_us_per_call)
            .collect()
    }

    /// The least and the most of the processor time per call.
    pub fn spread(&self) -> (f64, f64) {
        spread(&self.costs())
    }

    /// Whether the load generator, and not the server, limited the rate in most rounds.
    pub fn generator_was_the_limit(&self) -> bool {
        let cores = self.median(|round| round.generator_cores);
        cores.is_some_and(|cores| GENERATOR_CORES_MAX <= cores)
    }

    /// Why there are no figures to show; `None` when there are.
    pub fn missing(&self) -> Option<String> {
        let none = self.rounds.is_empty().then(|| "interrupted".to_owned());
        self.reason.as_ref().map(ToString::to_string).or(none)
    }

    /// Whether a call failed, or the server did.
    pub fn failed(&self) -> bool {
        let errors = self.rounds.iter().any(|round| !round.errors.is_empty());
        errors || matches!(self.reason, Some(Reason::Failed { .. }))
    }
}

/// The least and the most; infinitely far apart the wrong way round when there is none.
pub fn spread(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (least, most)
}

/// The middle value, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count.is_multiple_of(2) => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Waits { served, of } => write!(f, "waits ({served} of {of} served)"),
            Reason::Refused { at } => write!(f, "refused at {at}"),
            Reason::NotHere { why } => write!(f, "not on this kernel: {why}"),
            Reason::Failed { why } => write!(f, "FAILED: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn reasons_are_named() {
        assert_eq!(
            Reason::Waits { served: 1, of: 64 }.to_string(),
            "waits (1 of 64 served)"
        );
        assert_eq!(Reason::Refused { at: 1017 }.to_string(), "refused at 1017");
        let why = "not permitted".to_owned();
        assert_eq!(
            Reason::NotHere { why }.to_string(),
            "not on this kernel: not permitted"
        );
    }
}
