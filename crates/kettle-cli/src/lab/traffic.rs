//! Traffic from one process to another: connections, calls on them, and what a call asks of the server.

use crate::load::{Call, Pace, Slow};
use crate::schema::Kind;
use crate::table::{counted, grouped};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// How long a call keeps the processor, or waits, under the loads that are about handlers.
const WORK: Duration = Duration::from_millis(1);

/// One call of a hundred is slow, by as much as this.
const SLOW: Slow = Slow {
    percent: 1.0,
    wait: Duration::from_millis(5),
};

/// Traffic from one process to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Connections that make calls.
    pub connections: usize,
    /// Calls in flight on each of them.
    pub in_flight: usize,
    /// Connections that make none.
    pub idle: usize,
    /// Bytes of each payload, there and back; `None`: as for all loads.
    pub payload: Option<usize>,
    /// What a call asks of the server.
    pub work: Work,
}

/// What a call asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// To give the payload back at once.
    Echo,
    /// A millisecond of processor time, on the connection's loop.
    Compute,
    /// The same on the server's pool of threads.
    ComputeOnPool,
    /// To wait a millisecond, on the connection's loop.
    Wait,
    /// The same on the server's pool of threads, each of which stands still meanwhile.
    WaitOnPool,
    /// One call of a hundred is to wait 5 ms; figures are those of the others.
    SomeSlow,
    /// To take a connection for each call, and see it closed.
    Churn,
    /// What a recording says, when it says so.
    Replay,
}

impl Load {
    /// Calls that are answered at once.
    pub const fn new(connections: usize, in_flight: usize, idle: usize) -> Self {
        Self {
            connections,
            in_flight,
            idle,
            payload: None,
            work: Work::Echo,
        }
    }

    /// What the lab measures unless told otherwise.
    pub const USUAL: [Load; 4] = [
        Load::new(1, 1, 0),
        Load::new(64, 1, 0),
        Load::new(64, 16, 0),
        Load::new(64, 1, 1000),
    ];

    /// Every load that the lab knows.
    pub fn full() -> Vec<Load> {
        let payload = |bytes, load| Load {
            payload: Some(bytes),
            ..load
        };
        let work = |work, load| Load { work, ..load };
        vec![
            Load::new(1, 1, 0),
            Load::new(4, 1, 0),
            Load::new(16, 1, 0),
            Load::new(64, 1, 0),
            Load::new(256, 1, 0),
            Load::new(1000, 1, 0),
            Load::new(1, 64, 0),
            Load::new(64, 16, 0),
            Load::new(64, 1, 100),
            Load::new(64, 1, 1000),
            Load::new(64, 1, 9000),
            payload(4 * 1024, Load::new(64, 16, 0)),
            payload(64 * 1024, Load::new(4, 4, 0)),
            payload(1024 * 1024, Load::new(2, 2, 0)),
            work(Work::Compute, Load::new(4, 1, 0)),
            work(Work::ComputeOnPool, Load::new(4, 1, 0)),
            work(Work::Wait, Load::new(64, 1, 0)),
            work(Work::WaitOnPool, Load::new(64, 1, 0)),
            work(Work::SomeSlow, Load::new(64, 1, 0)),
            work(Work::Churn, Load::new(16, 1, 0)),
        ]
    }

    /// Calls that a recording says, over so many connections.
    pub fn replay(connections: usize) -> Self {
        Self {
            work: Work::Replay,
            ..Self::new(connections, 0, 0)
        }
    }

    /// All connections.
    pub fn total(&self) -> usize {
        self.connections + self.idle
    }

    /// Whether it is about connections and calls, and about nothing else.
    pub fn is_plain(&self) -> bool {
        self.payload.is_none() && self.work == Work::Echo
    }

    /// A call of the echo service under this load, with so much payload unless the load has its own.
    pub fn echo(&self, payload: usize) -> Call {
        let payload = self.payload.unwrap_or(payload);
        let call = Call::echo(Kind::Unary, payload, 0);
        match self.work {
            Work::Echo | Work::SomeSlow | Work::Churn | Work::Replay => call,
            Work::Compute => call.computing(WORK),
            Work::ComputeOnPool => call.computing(WORK).on_pool(),
            Work::Wait => call.waiting(WORK),
            Work::WaitOnPool => call.waiting(WORK).on_pool(),
        }
    }

    /// How calls follow each other.
    pub fn pace(&self) -> Pace {
        let in_flight = self.in_flight;
        match self.work {
            Work::SomeSlow => Pace::Mixed {
                in_flight,
                slow: SLOW,
            },
            _ => Pace::Closed { in_flight },
        }
    }

    /// For a heading.
    pub fn in_words(&self) -> String {
        let connections = counted(self.connections, "connection");
        if self.work == Work::Replay {
            return format!("{connections} with calls at their recorded moments");
        }
        let calls = counted(self.in_flight, "call");
        let mut words = format!("{connections} with {calls} in flight");
        if let Some(payload) = self.payload {
            words.push_str(&format!(" of {} KiB", payload / 1024));
        }
        if 0 < self.idle {
            words.push_str(&format!(
                ", beside {}",
                counted(self.idle, "idle connection")
            ));
        }
        words.push_str(self.work.in_words());
        words
    }
}

impl Work {
    /// A word for a load's name.
    fn name(self) -> Option<&'static str> {
        match self {
            Work::Echo => None,
            Work::Compute => Some("compute"),
            Work::ComputeOnPool => Some("compute on the pool"),
            Work::Wait => Some("wait"),
            Work::WaitOnPool => Some("wait on the pool"),
            Work::SomeSlow => Some("some slow"),
            Work::Churn => Some("churn"),
            Work::Replay => Some("replay"),
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Work::Echo => "",
            Work::Compute => "; each computes for 1 ms on its loop",
            Work::ComputeOnPool => "; each computes for 1 ms on the pool",
            Work::Wait => "; each waits for 1 ms without a thread",
            Work::WaitOnPool => "; each holds a thread of the pool for 1 ms",
            Work::SomeSlow => "; one of a hundred waits for 5 ms, and the others are measured",
            Work::Churn => "; a connection is made for each call, and closed",
            Work::Replay => "; calls come when they were recorded",
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if 0 < self.idle {
            write!(f, "{} idle + ", grouped(self.idle as u64))?;
        }
        let connections = grouped(self.connections as u64);
        if self.work == Work::Replay {
            return write!(f, "replay × {connections}");
        }
        write!(f, "{connections} × {}", self.in_flight)?;
        if let Some(payload) = self.payload {
            write!(f, ", {} KiB", payload / 1024)?;
        }
        match self.work.name() {
            Some(name) => write!(f, ", {name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn loads_have_names() {
        let names = Load::USUAL.map(|load| load.to_string());
        assert_eq!(names, ["1 × 1", "64 × 1", "64 × 16", "1000 idle + 64 × 1"]);
        let full = Load::full();
        let names: HashSet<_> = full.iter().map(Load::to_string).collect();
        assert_eq!(names.len(), full.len(), "each has its own");
        assert!(names.contains("4 × 4, 64 KiB") && names.contains("64 × 1, some slow"));
        assert!(Load::USUAL.iter().all(|load| full.contains(load)));
    }

    #[test]
    fn loads_are_told_in_words() {
        let words = Load::new(1, 16, 1000).in_words();
        let wanted = "1 connection with 16 calls in flight, beside 1000 idle connections";
        assert_eq!(words, wanted);
        let load = Load {
            payload: Some(65_536),
            work: Work::Wait,
            ..Load::new(2, 1, 0)
        };
        let wanted =
            "2 connections with 1 call in flight of 64 KiB; each waits for 1 ms without a thread";
        assert_eq!(load.in_words(), wanted);
    }
}
