//! Everything that the lab found out, as JSON.

use super::cell::{Cell, Reason, Round};
use super::plan::{Plan, WAIT_TIMEOUT};
use super::replay::{RawReplay, Replay};
use super::subject::Subject;
use super::traffic::Load;
use super::verdict::Verdict;
use super::{LoadResults, Results, conclusion};
use crate::failure::Failure;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Serialize)]
struct Raw<'a> {
    kettle: &'static str,
    command: Vec<String>,
    /// When the lab ended, in seconds since 1970.
    ended_unix_s: u64,
    interrupted: bool,
    machine: Machine,
    settings: Settings<'a>,
    loads: Vec<RawLoad<'a>>,
    /// Of all loads together; null of one.
    conclusion: Option<String>,
    verdicts: &'a [Verdict],
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// How many cores of it were to be had.
    pub cores: usize,
    /// Null when server and load generator shared a core.
    server_core: Option<usize>,
    generator_core: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Settings<'a> {
    models: Vec<&'a str>,
    /// Null of a server of one's own, and the other way round.
    payload: Option<usize>,
    transport: Option<String>,
    server: Option<&'a str>,
    call: Option<&'a str>,
    message_bytes: Option<usize>,
    replay: Option<RawReplay<'a>>,
    rounds: usize,
    warmup_s: f64,
    duration_s: f64,
    wait_timeout_s: f64,
}

#[derive(Debug, Serialize)]
struct RawLoad<'a> {
    #[serde(flatten)]
    load: Load,
    conclusion: String,
    rows: Vec<RawRow<'a>>,
}

#[derive(Debug, Serialize)]
struct RawRow<'a> {
    model: &'static str,
    /// With one connection in place of all.
    alone: bool,
    #[serde(flatten)]
    load: Load,
    rounds: &'a [Round],
    reason: Option<&'a Reason>,
}

/// Whether results can be written to this file, before time is spent on them. What it holds stays.
pub fn try_file(path: &Path) -> Result<(), Failure> {
    let opened = File::options().create(true).append(true).open(path);
    opened.map(drop).map_err(|error| cannot_write(path, &error))
}

/// Writes everything to a file.
pub fn write(plan: &Plan, results: &Results, path: &Path) -> Result<(), Failure> {
    let failed = |error| cannot_write(path, &error);
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    serde_json::to_writer_pretty(&mut file, &raw(plan, results))?;
    writeln!(file).and_then(|()| file.flush()).map_err(failed)
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::because(format!("cannot write {}", path.display()), error)
}

fn raw<'a>(plan: &'a Plan, results: &'a Results) -> Raw<'a> {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Raw {
        kettle: env!("CARGO_PKG_VERSION"),
        command: command(),
        ended_unix_s: since_1970.as_secs(),
        interrupted: results.interrupted,
        machine: machine(results),
        settings: settings(plan),
        loads: results.loads.iter().map(raw_load).collect(),
        conclusion: conclusion::of_run(&results.loads).map(|it| it.to_string()),
        verdicts: &results.verdicts,
    }
}

fn settings(plan: &Plan) -> Settings<'_> {
    let (echo, own) = match &plan.subject {
        Subject::Echo { payload, transport } => (Some((*payload, transport)), None),
        Subject::Own(own) => (None, Some(own)),
        Subject::Replay(_) => (None, None),
    };
    Settings {
        models: plan.models.iter().map(|model| model.name()).collect(),
        payload: echo.map(|(payload, _)| payload),
        transport: echo.map(|(_, transport)| transport.to_string()),
        server: plan
            .subject
            .program()
            .map(|program| program.command.as_str()),
        call: own.map(|own| own.path.trim_start_matches('/')),
        message_bytes: own.map(|own| own.message.len()),
        replay: plan.subject.replay().map(Replay::raw),
        rounds: plan.rounds,
        warmup_s: plan.window.warmup.as_secs_f64(),
        duration_s: plan.window.duration.as_secs_f64(),
        wait_timeout_s: WAIT_TIMEOUT.as_secs_f64(),
    }
}

fn raw_load(results: &LoadResults) -> RawLoad<'_> {
    RawLoad {
        load: results.load,
        conclusion: conclusion::of_load(results).to_string(),
        rows: results.cells.iter().map(raw_row).collect(),
    }
}

fn raw_row(cell: &Cell) -> RawRow<'_> {
    RawRow {
        model: cell.row.model.name(),
        alone: cell.row.alone,
        load: cell.row.load,
        rounds: &cell.rounds,
        reason: cell.reason.as_ref(),
    }
}

/// What was asked for.
pub fn command() -> Vec<String> {
    let arguments = std::env::args_os();
    arguments
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect()
}

/// The machine that the results are from.
pub fn machine(results: &Results) -> Machine {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    Machine {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        processor: processor(&read("/proc/cpuinfo")),
        cores: results.cores_usable,
        server_core: results.cores.map(|cores| cores.server),
        generator_core: results.cores.map(|cores| cores.generator),
    }
}

/// The processor's name as the kernel tells it; empty where it does not.
fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line
        .and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim());
    name.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_a_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t: fpu\n";
        assert_eq!(processor(text), "AMD EPYC");
        assert_eq!(processor("CPU part: 0xd0c\n"), "");
    }
}
