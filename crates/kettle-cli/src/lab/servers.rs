//! The server processes of a turn: one, or as many as it takes to hold all connections. What they count and
//! cost is added up.

use super::plan::Row;
use super::subject::{LabServer, Subject};
use crate::affinity::Cores;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::proc_sample::{Cost, ProcSample, anonymous_bytes};

/// Server processes on one model, all on the server's core. Dropping it ends them.
#[derive(Debug)]
pub struct Servers {
    all: Vec<Box<dyn LabServer>>,
}

/// What servers had counted and cost at one moment.
#[derive(Debug)]
pub struct Sample {
    /// `None` of a server that does not tell.
    pub counts: Option<Counts>,
    costs: Vec<ProcSample>,
}

/// What servers counted, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that were started.
    pub calls: u64,
    /// Connections that were refused for a limit.
    pub refused: u64,
    /// System calls on sockets and pollers.
    pub system_calls: u64,
}

impl Servers {
    /// Starts those of a row, and waits until they listen.
    pub fn start(
        subject: &Subject,
        row: &Row,
        cores: Option<Cores>,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let start = |_| subject.start(row.model, cores, interrupt);
        let all: Result<_, _> = (0..row.load.processes).map(start).collect();
        Ok(Self { all: all? })
    }

    /// Where they can be reached.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|server| server.url())
    }

    /// Where the first of them can be reached.
    pub fn first_url(&self) -> &str {
        self.all[0].url()
    }

    /// Their heaps and stacks, in bytes; `None` where the kernel does not tell.
    pub fn memory(&self) -> Option<u64> {
        self.all.iter().map(|it| anonymous_bytes(it.id())).sum()
    }

    /// What they counted so far; `None` of servers that do not tell.
    pub fn counts(&mut self) -> Result<Option<Counts>, Failure> {
        let mut sum = Counts::default();
        for server in &mut self.all {
            let Some(counts) = server.counts()? else {
                return Ok(None);
            };
            sum.calls += counts.calls;
            sum.refused += counts.connections_refused;
            sum.system_calls += counts.system_calls.total;
        }
        Ok(Some(sum))
    }

    /// What they counted and cost so far.
    pub fn sample(&mut self) -> Result<Sample, Failure> {
        let counts = self.counts()?;
        let costs: Result<_, _> = self
            .all
            .iter()
            .map(|it| ProcSample::read(it.id()))
            .collect();
        Ok(Sample {
            counts,
            costs: costs?,
        })
    }
}

impl Sample {
    /// What the servers cost together since an earlier moment.
    pub fn cost_since(&self, earlier: &Self) -> Cost {
        let pairs = self.costs.iter().zip(&earlier.costs);
        Cost::sum(pairs.map(|(now, then)| now.since(then)))
    }
}
