//! `kettle bench`: loads an echo service.
//!
//! `bench/report.rs` tells what came of it, `bench/files.rs` reads files instead.

mod files;
mod report;

use crate::args::BenchArgs;
use crate::descriptors;
use crate::failure::Failure;
use crate::interrupt::{self, Interrupt};
use crate::load::{
    self, Call, Connected, Generator, Observer, Pace, Record, Slow, Streams, Window,
};
use crate::log;
use crate::proc_listener;
use crate::proc_sample::{ProcSample, anonymous_bytes};
use crate::progress::{Progress, millis};
use crate::schema::Kind;
use kettle::{Endpoint, Model};
use report::{Costs, Report};
use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Loads a server and tells what came of it.
pub fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    if let Some(misplaced) = args.misplaced() {
        return Err(Failure::Arguments(misplaced));
    }
    log::init(0)?;
    if args.files {
        return files::run(args, out);
    }
    descriptors::raise_limit();
    descriptors::need(args.total())?;
    let call = Call::echo(args.method, args.payload, args.want);
    if !call.fits() {
        return Err(Failure::Text(
            "payload and want together exceed a message of 4 MiB".into(),
        ));
    }
    let interrupt = Interrupt::install()?;
    let server = local_server(&args.url);
    if args.blocking {
        return run_blocking(args, &call, &interrupt, server, out);
    }
    let before = server.and_then(anonymous_bytes);
    let mut generator = Generator::new(model(args), interrupt.clone())?
        .with_local_addresses(args.local_address.clone());
    let mut connect = |count| generator.connect(&args.url, count, args.connect_timeout);
    let (mut connected, idle) = (connect(args.connections)?, connect(args.idle)?);
    let served = connected.channels.len() + idle.channels.len();
    if interrupt.is_set() && served < args.total() {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    if connected.channels.is_empty() {
        let why = connected.unserved.first.unwrap_or_default();
        let count = args.connections;
        return Err(Failure::Text(format!(
            "none of {count} connections was served: {why}"
        )));
    }
    connected.unserved.add_all(idle.unserved);
    let after = server.and_then(anonymous_bytes);
    let window = window(args);
    let mut watch = Watch::new(window, server);
    let channels = &connected.channels;
    let record = generator.run(channels, call.clone(), pace(args), window, &mut watch)?;
    watch.progress.done();
    let costs = Costs {
        bytes_per_connection: growth(before, after, served),
        ..watch.costs()
    };
    tell(args, &call, &connected, &record, costs, out)
}

/// The same with a blocking client.
fn run_blocking(
    args: &BenchArgs,
    call: &Call,
    interrupt: &Interrupt,
    server: Option<u32>,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let builder = kettle::blocking::Channel::builder(&args.url);
    let channel = builder
        .connect_timeout(args.connect_timeout)
        .connect_blocking()?;
    let window = window(args);
    let mut watch = Watch::new(window, server);
    let record = load::blocking::run(&channel, call, window, interrupt, &mut watch)?;
    watch.progress.done();
    tell(
        args,
        call,
        &Connected::default(),
        &record,
        watch.costs(),
        out,
    )
}

fn window(args: &BenchArgs) -> Window {
    Window {
        warmup: args.warmup,
        duration: args.duration,
    }
}

fn tell(
    args: &BenchArgs,
    call: &Call,
    connected: &Connected,
    record: &Record,
    costs: Costs,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let report = Report::new(args, connected, record, call.message_bytes(), costs);
    match args.json {
        true => {
            serde_json::to_writer(&mut *out, &report)?;
            writeln!(out)?;
        }
        false => report.write(args, connected, record, out)?,
    }
    Ok(exit_code(record))
}

fn model(args: &BenchArgs) -> Model {
    match args.rate {
        Some(_) => load::open_loop_model(args.connections),
        None => Model::Epoll,
    }
}

fn pace(args: &BenchArgs) -> Pace {
    let in_flight = args.in_flight.unwrap_or(1);
    if let Some(percent) = args.slow {
        let wait = args.slow_wait;
        let slow = Slow { percent, wait };
        return Pace::Mixed { in_flight, slow };
    }
    match (args.method, args.rate) {
        (Kind::Unary, Some(rate)) => Pace::Open {
            rate,
            outstanding_max: args.outstanding_max,
        },
        (Kind::Unary, None) => Pace::Closed { in_flight },
        (kind, _) => Pace::Streams(Streams {
            kind,
            on_each: args.streams.unwrap_or(1),
            in_flight,
        }),
    }
}

fn exit_code(record: &Record) -> ExitCode {
    match (record.interrupted, record.failures(), record.count) {
        (true, _, _) => ExitCode::from(interrupt::EXIT_CODE),
        (false, 0, 1..) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The process that serves this URL, when it is on this machine and we may look at it.
fn local_server(url: &str) -> Option<u32> {
    let endpoint: Endpoint = url.parse().ok()?;
    if let Some(path) = endpoint.path() {
        return proc_listener::unix_listener(path);
    }
    let ip: Result<IpAddr, _> = endpoint.host().parse();
    let local = ip.map_or(endpoint.host() == "localhost", |ip| ip.is_loopback());
    local
        .then(|| proc_listener::listener(endpoint.port()))
        .flatten()
}

/// What a process has grown by, for each connection.
fn growth(before: Option<u64>, after: Option<u64>, connections: usize) -> Option<f64> {
    Some((after? as f64 - before? as f64) / connections as f64)
}

/// Shows the progress, and takes a sample where the measurement begins and where it ends.
struct Watch {
    progress: Progress,
    warmup: Duration,
    server: Option<u32>,
    samples: Vec<Sample>,
}

/// What server and load generator have cost so far.
struct Sample {
    at: Instant,
    server: Option<ProcSample>,
    generator: Option<ProcSample>,
}

impl Watch {
    fn new(window: Window, server: Option<u32>) -> Self {
        let progress = Progress::new(millis(window.warmup + window.duration));
        progress.doing("warming up".to_owned());
        Self {
            progress,
            warmup: window.warmup,
            server,
            samples: Vec::with_capacity(2),
        }
    }

    /// Whoever cannot be looked at costs something unknown: that is no failure.
    fn take(&mut self) {
        self.samples.push(Sample {
            at: Instant::now(),
            server: self.server.and_then(|pid| ProcSample::read(pid).ok()),
            generator: ProcSample::read(std::process::id()).ok(),
        });
    }

    fn costs(&self) -> Costs {
        let [begin, end] = self.samples.as_slice() else {
            return Costs::default();
        };
        let cost = |begin: &Option<ProcSample>, end: &Option<ProcSample>| {
            let (begin, end) = begin.as_ref().zip(end.as_ref())?;
            Some(Duration::from_nanos(end.since(begin).nanos))
        };
        Costs {
            elapsed: end.at - begin.at,
            server: cost(&begin.server, &end.server),
            generator: cost(&begin.generator, &end.generator),
            bytes_per_connection: None,
        }
    }
}

impl Observer for Watch {
    fn begins(&mut self) -> Result<(), Failure> {
        self.progress.doing("measuring".to_owned());
        self.take();
        Ok(())
    }

    fn ends(&mut self) -> Result<(), Failure> {
        self.take();
        Ok(())
    }

    fn goes_on(&mut self, elapsed: Duration) {
        let before = match self.samples.is_empty() {
            true => Duration::ZERO,
            false => self.warmup,
        };
        self.progress.at(millis(before + elapsed));
    }
}
