//! One turn of one model under one load.

use super::cell::{Reason, Round};
use super::clients::Clients;
use super::plan::{Plan, Row, serves_one};
use super::servers::{Sample, Servers};
use super::subject::Calls;
use super::traffic::Work;
use crate::affinity::Cores;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::load::{Held, Observer, Record, open_loop_model};
use crate::proc_sample::ProcSample;
use kettle::{Model, Probe};

/// What all turns share.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// What is measured.
    pub plan: &'a Plan,
    /// Where server and generator run.
    pub cores: Option<Cores>,
    /// Whether somebody wants the lab to end.
    pub interrupt: &'a Interrupt,
}

/// What came of a turn.
#[derive(Debug)]
pub enum Measured {
    /// Figures.
    Round(Box<Round>),
    /// Why there are none.
    Reason(Reason),
    /// Somebody ended it.
    Interrupted,
}

/// Starts a server, loads it, and ends it. What goes wrong with the server is a reason; a failure is
/// what goes wrong with the lab itself.
pub fn measure(setup: &Setup<'_>, row: &Row) -> Result<Measured, Failure> {
    if let Probe::Refused(why) = row.model.probe() {
        return Ok(Measured::Reason(Reason::NotHere { why }));
    }
    let servers = Servers::start(&setup.plan.subject, row, setup.cores, setup.interrupt);
    let measured = servers.and_then(|mut servers| load(setup, row, &mut servers));
    match measured {
        _ if setup.interrupt.is_set() => Ok(Measured::Interrupted),
        Ok(measured) => Ok(measured),
        Err(failure) => Ok(Measured::Reason(Reason::Failed {
            why: failure.to_string(),
        })),
    }
}

fn load(setup: &Setup<'_>, row: &Row, servers: &mut Servers) -> Result<Measured, Failure> {
    let calls = setup.plan.subject.calls(&row.load);
    let model = match calls {
        Calls::Same(_) => Model::Epoll,
        Calls::Script(_) => open_loop_model(row.load.total()),
    };
    let mut clients = Clients::new(model, setup.interrupt)?;
    let memory = match row.load.work {
        // They come and go, so that none of them can be told to be unserved, or what it holds.
        Work::Churn => None,
        _ => {
            let before = servers.memory();
            let held = clients.connect(servers, row)?;
            if setup.interrupt.is_set() {
                return Ok(Measured::Interrupted);
            }
            if 0 < held.unserved.count {
                let counts = servers.counts()?;
                let refused = counts.map(|counts| counts.refused);
                return Ok(Measured::Reason(why_unserved(row, &held, refused)));
            }
            growth(before, servers.memory(), row.load.total())
        }
    };
    let url = servers.first_url().to_owned();
    let mut samples = Samples {
        servers,
        taken: Vec::with_capacity(2),
    };
    let record = clients.run(row, &url, &calls, setup.plan.window, &mut samples)?;
    samples.round(&record, memory)
}

/// Takes a sample of the servers and of the load generator, which is this process, where the measurement
/// begins and where it ends.
struct Samples<'a> {
    servers: &'a mut Servers,
    taken: Vec<(Sample, ProcSample)>,
}

impl Samples<'_> {
    fn take(&mut self) -> Result<(), Failure> {
        let servers = self.servers.sample()?;
        let generator = ProcSample::read(std::process::id())?;
        self.taken.push((servers, generator));
        Ok(())
    }

    fn round(&self, record: &Record, memory: Option<f64>) -> Result<Measured, Failure> {
        let [begin, end] = self.taken.as_slice() else {
            let text = "the measurement did not come to its end";
            return Err(Failure::Text(text.to_owned()));
        };
        let generator = end.1.since(&begin.1);
        let round = round(record, &begin.0, &end.0);
        Ok(Measured::Round(Box::new(Round {
            memory_bytes_per_connection: memory,
            generator_cores: Some(generator.nanos as f64 / 1e9 / record.seconds),
            ..round
        })))
    }
}

impl Observer for Samples<'_> {
    fn begins(&mut self) -> Result<(), Failure> {
        self.take()
    }

    fn ends(&mut self) -> Result<(), Failure> {
        self.take()
    }
}

/// The server's own count of calls is what its costs are divided by: both were taken at the same
/// moments. Of a server that does not count, it is the answers that came in between.
fn round(record: &Record, begin: &Sample, end: &Sample) -> Round {
    let counted = begin.counts.as_ref().zip(end.counts.as_ref());
    let calls = counted.map(|(begin, end)| end.calls.saturating_sub(begin.calls));
    let calls = calls.unwrap_or(record.count);
    let per_call = |count: f64| count / calls as f64;
    let cost = end.cost_since(begin);
    let system_calls = counted.and_then(|(begin, end)| {
        let (begin, end) = (begin.system_calls, end.system_calls);
        // Those of a runtime are nobody's count.
        (0 < end).then(|| end.saturating_sub(begin) as f64)
    });
    Round {
        seconds: record.seconds,
        calls: record.count,
        rps: record.rps(),
        latency: record.latencies.percentiles(),
        errors: record.errors.clone(),
        skipped: record.skipped,
        cpu_us_per_call: per_call(cost.nanos as f64 / 1000.0),
        cpu_source: cost.source,
        system_calls_per_call: system_calls.map(per_call),
        switches_per_call: cost.switches.map(|switches| per_call(switches as f64)),
        memory_bytes_per_connection: None,
        generator_cores: None,
    }
}

fn growth(before: Option<u64>, after: Option<u64>, connections: usize) -> Option<f64> {
    Some((after? as f64 - before? as f64) / connections as f64)
}

/// `refused` is what the servers counted; those that do not count have told their clients.
fn why_unserved(row: &Row, held: &Held, refused: Option<u64>) -> Reason {
    let Held { served, unserved } = held;
    if 0 < refused.unwrap_or(unserved.refused as u64) {
        return Reason::Refused { at: *served };
    }
    if serves_one(row.model) && unserved.timed_out == unserved.count {
        return Reason::Waits {
            served: *served,
            of: row.load.total(),
        };
    }
    let why = unserved.first.as_deref().unwrap_or_default();
    let (count, tried) = (unserved.count, served + unserved.count);
    Reason::Failed {
        why: format!("{count} of {tried} connections: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::traffic::Load;
    use kettle::Model;

    const LOAD: Load = Load::new(64, 1, 1000);

    fn row(model: Model) -> Row {
        Row {
            model,
            load: LOAD,
            alone: false,
        }
    }

    fn held(served: usize, unserved: usize, timed_out: usize) -> Held {
        let mut held = Held {
            served,
            ..Held::default()
        };
        held.unserved.count = unserved;
        held.unserved.timed_out = timed_out;
        held.unserved.first = Some("the first reason".to_owned());
        held
    }

    #[test]
    fn only_blocking_may_let_connections_wait() {
        let some = held(1, 511, 511);
        let reason = why_unserved(&row(Model::Blocking), &some, Some(0));
        assert_eq!(reason.to_string(), "waits (1 of 1064 served)");
        let reason = why_unserved(&row(Model::Epoll), &some, None);
        assert!(matches!(reason, Reason::Failed { .. }), "{reason}");
    }

    #[test]
    fn a_limit_is_told_apart_from_a_failure() {
        let some = held(7, 5, 1);
        assert_eq!(
            why_unserved(&row(Model::Select), &some, Some(5)),
            Reason::Refused { at: 7 }
        );
        let reason = why_unserved(&row(Model::Blocking), &some, None).to_string();
        assert_eq!(reason, "FAILED: 5 of 12 connections: the first reason");
    }

    #[test]
    fn a_server_that_does_not_count_tells_its_clients() {
        let mut some = held(0, 5, 0);
        some.unserved.refused = 1;
        let refused = Reason::Refused { at: 0 };
        let row = row(Model::Select);
        assert_eq!(why_unserved(&row, &some, None), refused);
        let counted = why_unserved(&row, &some, Some(0));
        assert_ne!(counted, refused, "its own count goes before");
    }

    #[test]
    fn memory_is_told_per_connection() {
        assert_eq!(growth(Some(1000), Some(3000), 4), Some(500.0));
        assert_eq!(growth(Some(3000), Some(1000), 2), Some(-1000.0));
        assert_eq!(growth(None, Some(1000), 2), None);
    }
}
