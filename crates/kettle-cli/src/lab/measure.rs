//! One turn of one model under one load.

use super::cell::{Reason, Round};
use super::plan::{Plan, Row, serves_one};
use super::subject::{Calls, LabServer};
use super::traffic::Work;
use crate::affinity::Cores;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::load::{Call, Connected, Generator, Observer, Record, Unserved, open_loop_model};
use crate::proc_sample::{ProcSample, anonymous_bytes};
use crate::server_counts::ServerCounts;
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
    let subject = &setup.plan.subject;
    let measured = subject
        .start(row.model, setup.cores, setup.interrupt)
        .and_then(|mut server| load(setup, row, server.as_mut()));
    match measured {
        _ if setup.interrupt.is_set() => Ok(Measured::Interrupted),
        Ok(measured) => Ok(measured),
        Err(failure) => Ok(Measured::Reason(Reason::Failed {
            why: failure.to_string(),
        })),
    }
}

fn load(setup: &Setup<'_>, row: &Row, server: &mut dyn LabServer) -> Result<Measured, Failure> {
    let calls = setup.plan.subject.calls(&row.load);
    let model = match calls {
        Calls::Same(_) => Model::Epoll,
        Calls::Script(_) => open_loop_model(row.load.total()),
    };
    let mut generator = Generator::new(model, setup.interrupt.clone())?;
    if let (Work::Churn, Calls::Same(call)) = (row.load.work, &calls) {
        return churn(setup, row, call, server, &mut generator);
    }
    let before = anonymous_bytes(server.id());
    let idle = generator.connect(server.url(), row.load.idle, row.connect_timeout())?;
    let busy = generator.connect(server.url(), row.load.connections, row.connect_timeout())?;
    if setup.interrupt.is_set() {
        return Ok(Measured::Interrupted);
    }
    let after = anonymous_bytes(server.id());
    if 0 < idle.unserved.count + busy.unserved.count {
        let counts = server.counts()?;
        let refused = counts.map(|counts| counts.connections_refused);
        return Ok(Measured::Reason(why_unserved(
            row.model, &idle, &busy, refused,
        )));
    }
    let (channels, window) = (&busy.channels, setup.plan.window);
    let mut samples = Samples {
        server,
        taken: Vec::with_capacity(2),
    };
    let record = match calls {
        Calls::Same(call) => generator.run(channels, call, row.load.pace(), window, &mut samples),
        Calls::Script(script) => generator.replay(channels, &script, window, &mut samples),
    }?;
    let memory = growth(before, after, row.load.total());
    samples.round(&record, memory)
}

/// Connections come and go, so that none of them can be told to be unserved, or what it holds.
fn churn(
    setup: &Setup<'_>,
    row: &Row,
    call: &Call,
    server: &mut dyn LabServer,
    generator: &mut Generator,
) -> Result<Measured, Failure> {
    let url = server.url().to_owned();
    let mut samples = Samples {
        server,
        taken: Vec::with_capacity(2),
    };
    let (callers, window) = (row.load.connections, setup.plan.window);
    let record = generator.churn(&url, callers, call, window, &mut samples)?;
    samples.round(&record, None)
}

/// What a server had counted and cost at one moment.
#[derive(Debug)]
struct Sample {
    /// `None` of a server that does not tell.
    counts: Option<ServerCounts>,
    cost: ProcSample,
    /// Of the load generator, which is this process.
    generator: ProcSample,
}

/// Takes a sample where the measurement begins and where it ends.
struct Samples<'a> {
    server: &'a mut dyn LabServer,
    taken: Vec<Sample>,
}

impl Samples<'_> {
    fn take(&mut self) -> Result<(), Failure> {
        let counts = self.server.counts()?;
        let cost = ProcSample::read(self.server.id())?;
        let generator = ProcSample::read(std::process::id())?;
        self.taken.push(Sample {
            counts,
            cost,
            generator,
        });
        Ok(())
    }

    fn round(&self, record: &Record, memory: Option<f64>) -> Result<Measured, Failure> {
        let [begin, end] = self.taken.as_slice() else {
            let text = "the measurement did not come to its end";
            return Err(Failure::Text(text.to_owned()));
        };
        Ok(Measured::Round(Box::new(round(record, begin, end, memory))))
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
fn round(record: &Record, begin: &Sample, end: &Sample, memory: Option<f64>) -> Round {
    let counted = begin.counts.as_ref().zip(end.counts.as_ref());
    let calls = counted.map(|(begin, end)| end.calls.saturating_sub(begin.calls));
    let calls = calls.unwrap_or(record.count);
    let per_call = |count: f64| count / calls as f64;
    let cost = end.cost.since(&begin.cost);
    let generator = end.generator.since(&begin.generator);
    let system_calls = counted.and_then(|(begin, end)| {
        let (begin, end) = (begin.system_calls.total, end.system_calls.total);
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
        memory_bytes_per_connection: memory,
        generator_cores: Some(generator.nanos as f64 / 1e9 / record.seconds),
    }
}

fn growth(before: Option<u64>, after: Option<u64>, connections: usize) -> Option<f64> {
    Some((after? as f64 - before? as f64) / connections as f64)
}

/// `refused` is what the server counted; one that does not count has told its clients.
fn why_unserved(model: Model, idle: &Connected, busy: &Connected, refused: Option<u64>) -> Reason {
    let served = idle.channels.len() + busy.channels.len();
    let unserved = [&idle.unserved, &busy.unserved];
    let count: usize = unserved.iter().map(|unserved| unserved.count).sum();
    let timed_out: usize = unserved.iter().map(|unserved| unserved.timed_out).sum();
    let told: usize = unserved.iter().map(|unserved| unserved.refused).sum();
    let first = |unserved: &&Unserved| unserved.first.clone();
    if 0 < refused.unwrap_or(told as u64) {
        return Reason::Refused { at: served };
    }
    if serves_one(model) && timed_out == count {
        return Reason::Waits {
            served,
            of: served + count,
        };
    }
    let why = unserved.iter().find_map(first).unwrap_or_default();
    Reason::Failed {
        why: format!("{count} of {} connections: {why}", served + count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(unserved: usize, timed_out: usize) -> Connected {
        let first = (0 < unserved).then(|| "the first reason".to_owned());
        let unserved = Unserved {
            count: unserved,
            timed_out,
            refused: 0,
            first,
        };
        Connected {
            channels: Vec::new(),
            unserved,
        }
    }

    #[test]
    fn only_blocking_may_let_connections_wait() {
        let (none, some) = (connected(0, 0), connected(63, 63));
        let reason = why_unserved(Model::Blocking, &none, &some, Some(0));
        assert_eq!(reason, Reason::Waits { served: 0, of: 63 });
        let reason = why_unserved(Model::Epoll, &none, &some, None);
        assert!(matches!(reason, Reason::Failed { .. }), "{reason}");
    }

    #[test]
    fn a_limit_is_told_apart_from_a_failure() {
        let (none, some) = (connected(0, 0), connected(5, 1));
        assert_eq!(
            why_unserved(Model::Select, &none, &some, Some(5)),
            Reason::Refused { at: 0 }
        );
        let reason = why_unserved(Model::Blocking, &some, &none, None).to_string();
        assert_eq!(reason, "FAILED: 5 of 5 connections: the first reason");
    }

    #[test]
    fn a_server_that_does_not_count_tells_its_clients() {
        let (none, mut some) = (connected(0, 0), connected(5, 0));
        some.unserved.refused = 1;
        let refused = Reason::Refused { at: 0 };
        assert_eq!(why_unserved(Model::Select, &none, &some, None), refused);
        let counted = why_unserved(Model::Select, &none, &some, Some(0));
        assert_ne!(counted, refused, "its own count goes before");
    }

    #[test]
    fn memory_is_told_per_connection() {
        assert_eq!(growth(Some(1000), Some(3000), 4), Some(500.0));
        assert_eq!(growth(Some(3000), Some(1000), 2), Some(-1000.0));
        assert_eq!(growth(None, Some(1000), 2), None);
    }
}
