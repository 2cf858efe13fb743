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
    /// Server processes that share all connections.
    pub processes: usize,
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
            processes: 1,
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
            Load::new(64, 1, 19_000),
            Load::new(64, 1, 40_000),
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

    /// The same with as many server processes as it takes when each holds so many connections at most.
    pub fn with_processes_of(self, connections_max: usize) -> Self {
        let processes = self.total().div_ceil(connections_max.max(1)).max(1);
        Self { processes, ..self }
    }

    /// Connections that the load generator holds itself: those that are idle have processes of their own
    /// where a server is not enough for all, because then a load generator is not either.
    pub fn held_by_generator(&self) -> usize {
        match self.processes {
            1 => self.total(),
            _ => self.connections,
        }
    }

    /// The share of one of the server processes: its busy connections, and its idle ones.
    pub fn share(&self, process: usize) -> (usize, usize) {
        let share = |all: usize| all / self.processes + usize::from(process < all % self.processes);
        (share(self.connections), share(self.idle))
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
        if 1 < self.processes {
            let each = grouped(self.total().div_ceil(self.processes) as u64);
            let about = if self.total().is_multiple_of(self.processes) {
                ""
            } else {
                "about "
            };
            let processes = self.processes;
            words.push_str(&format!(
                "; on {processes} server processes × {about}{each} connections"
            ));
        }
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
        if let Some(name) = self.work.name() {
            write!(f, ", {name}")?;
        }
        match self.processes {
            1 => Ok(()),
            processes => write!(f, ", {processes} processes"),
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
    fn more_connections_than_a_process_holds_are_shared() {
        let load = Load::new(64, 1, 19_000).with_processes_of(19_936);
        assert_eq!(load, Load::new(64, 1, 19_000), "one is enough");
        assert_eq!(load.held_by_generator(), 19_064);
        let load = Load::new(64, 1, 40_000).with_processes_of(19_936);
        assert_eq!((load.processes, load.held_by_generator()), (3, 64));
        let shares = [0, 1, 2].map(|process| load.share(process));
        assert_eq!(shares, [(22, 13_334), (21, 13_333), (21, 13_333)]);
        assert_eq!(load.to_string(), "40,000 idle + 64 × 1, 3 processes");
        let words = load.in_words();
        let wanted = "; on 3 server processes × about 13,355 connections";
        assert!(words.ends_with(wanted), "{words}");
        let words = load.with_processes_of(10_016).in_words();
        let wanted = "; on 4 server processes × 10,016 connections";
        assert!(words.ends_with(wanted), "{words}");
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
