//! `kettle bench`: loads an echo service.

use crate::args::BenchArgs;
use crate::descriptors;
use crate::failure::Failure;
use crate::interrupt::{self, Interrupt};
use crate::latency::Percentiles;
use crate::load::{Call, Connected, Generator, Observer, Pace, Record, Window};
use crate::log;
use crate::progress::{Progress, millis};
use crate::table::{counted, grouped, latency, number};
use kettle::Model;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Open loops up to so many connections run on poll(2), whose time-outs are as fine as the schedule;
/// those of epoll_wait(2) are whole milliseconds. Beyond, poll's walk over all of them costs more.
const POLL_CONNECTIONS_MAX: usize = 128;

/// What a bench found out, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report<'a> {
    url: &'a str,
    rps: f64,
    calls: u64,
    errors: u64,
    errors_by_status: BTreeMap<&'a str, u64>,
    unserved: usize,
    #[serde(flatten)]
    latency: Percentiles,
    connections: usize,
    /// Calls in flight on each connection; null in an open loop.
    in_flight: Option<usize>,
    /// Calls per second that were asked for; null in a closed loop.
    rate: Option<f64>,
    /// Open loop: calls that were due and not made, because too many waited for their answers.
    skipped: u64,
    payload: usize,
    want: usize,
    seconds: f64,
    /// Bytes of all requests and replies, without what the protocol adds.
    bytes: u64,
    interrupted: bool,
}

/// Loads a server and tells what came of it.
pub fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    log::init(0)?;
    descriptors::raise_limit();
    descriptors::need(args.connections)?;
    let call = Call::echo(args.payload, args.want);
    if !call.fits() {
        return Err(Failure::Text(
            "payload and want together exceed a message of 4 MiB".into(),
        ));
    }
    let interrupt = Interrupt::install()?;
    let mut generator = Generator::new(model(args), interrupt.clone())?;
    let connected = generator.connect(&args.url, args.connections, args.connect_timeout)?;
    if interrupt.is_set() && connected.channels.len() < args.connections {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    if connected.channels.is_empty() {
        let why = connected.unserved.first.unwrap_or_default();
        let count = args.connections;
        return Err(Failure::Text(format!(
            "none of {count} connections was served: {why}"
        )));
    }
    let window = Window {
        warmup: args.warmup,
        duration: args.duration,
    };
    let mut shown = Shown::new(window);
    let channels = &connected.channels;
    let record = generator.run(channels, call.clone(), pace(args), window, &mut shown)?;
    shown.progress.done();
    let report = report(args, &connected, &record, call.message_bytes());
    match args.json {
        true => {
            serde_json::to_writer(&mut *out, &report)?;
            writeln!(out)?;
        }
        false => write_text(args, &report, &connected, &record, out)?,
    }
    Ok(exit_code(&record))
}

fn model(args: &BenchArgs) -> Model {
    match args.rate {
        Some(_) if args.connections <= POLL_CONNECTIONS_MAX => Model::Poll,
        _ => Model::Epoll,
    }
}

fn pace(args: &BenchArgs) -> Pace {
    match args.rate {
        Some(rate) => Pace::Open {
            rate,
            outstanding_max: args.outstanding_max,
        },
        None => Pace::Closed {
            in_flight: args.in_flight,
        },
    }
}

fn report<'a>(
    args: &'a BenchArgs,
    connected: &Connected,
    record: &'a Record,
    bytes_per_call: u64,
) -> Report<'a> {
    let by_status = record
        .errors
        .iter()
        .map(|(kind, errors)| (kind.as_str(), errors.count));
    Report {
        url: &args.url,
        rps: record.rps(),
        calls: record.calls(),
        errors: record.failures(),
        errors_by_status: by_status.collect(),
        unserved: connected.unserved.count,
        latency: record.latencies.percentiles(),
        connections: args.connections,
        in_flight: args.rate.is_none().then_some(args.in_flight),
        rate: args.rate,
        skipped: record.skipped,
        payload: args.payload,
        want: args.want,
        seconds: record.seconds,
        bytes: record.calls() * bytes_per_call,
        interrupted: record.interrupted,
    }
}

fn write_text(
    args: &BenchArgs,
    report: &Report<'_>,
    connected: &Connected,
    record: &Record,
    out: &mut dyn Write,
) -> io::Result<()> {
    let served = connected.channels.len();
    let over = counted(served, "connection");
    let load = match report.rate {
        Some(rate) => format!("{} calls/s asked for, over {over}", number(rate)),
        None => format!("{over} with {} in flight", counted(args.in_flight, "call")),
    };
    writeln!(
        out,
        "{load}, {} B payload, {:.2} s",
        args.payload, report.seconds
    )?;
    writeln!(out, "  calls/s  {}", grouped(report.rps.round() as u64))?;
    let told = &report.latency;
    for (name, micros) in [
        ("p50", told.p50_us),
        ("p90", told.p90_us),
        ("p99", told.p99_us),
        ("p99.9", told.p999_us),
        ("max", told.max_us),
    ] {
        writeln!(out, "  {name:<7}  {}", latency(micros))?;
    }
    writeln!(out, "  calls    {}", grouped(report.calls))?;
    writeln!(out, "  errors   {}", grouped(report.errors))?;
    for (kind, errors) in &record.errors {
        writeln!(
            out,
            "    {kind}: {} ({})",
            grouped(errors.count),
            errors.first
        )?;
    }
    if 0 < report.unserved {
        let first = connected.unserved.first.as_deref().unwrap_or_default();
        writeln!(
            out,
            "  unserved {} of {} connections ({first})",
            report.unserved, args.connections
        )?;
    }
    if 0 < report.skipped {
        let max = args.outstanding_max;
        let skipped = grouped(report.skipped);
        writeln!(
            out,
            "  skipped  {skipped} calls: {max} were waiting (--outstanding-max)"
        )?;
    }
    if report.interrupted {
        writeln!(out, "  interrupted")?;
    }
    Ok(())
}

fn exit_code(record: &Record) -> ExitCode {
    match (record.interrupted, record.failures(), record.calls()) {
        (true, _, _) => ExitCode::from(interrupt::EXIT_CODE),
        (false, 0, 1..) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Progress over time.
struct Shown {
    progress: Progress,
    warmup: Duration,
    /// Whether the warm-up is over.
    measuring: bool,
}

impl Shown {
    fn new(window: Window) -> Self {
        let progress = Progress::new(millis(window.warmup + window.duration));
        progress.doing("warming up".to_owned());
        Self {
            progress,
            warmup: window.warmup,
            measuring: false,
        }
    }
}

impl Observer for Shown {
    fn begins(&mut self) -> Result<(), Failure> {
        self.progress.doing("measuring".to_owned());
        self.measuring = true;
        Ok(())
    }

    fn goes_on(&mut self, elapsed: Duration) {
        let before = if self.measuring {
            self.warmup
        } else {
            Duration::ZERO
        };
        self.progress.at(millis(before + elapsed));
    }
}
