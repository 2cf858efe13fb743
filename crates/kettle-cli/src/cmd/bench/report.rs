//! What a bench found out, as text and as JSON.

use crate::args::BenchArgs;
use crate::latency::Percentiles;
use crate::load::{Connected, Record};
use crate::schema::Kind;
use crate::table::{counted, grouped, kib, latency, number};
use clap::ValueEnum;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

/// From this share of a core on the load generator is the limit: the rest goes to other processes.
const LIMIT_CORES: f64 = 0.9;

/// Processor time of a measurement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    /// Between the two looks at it.
    pub elapsed: Duration,
    /// The server's; `None` when it is not known.
    pub server: Option<Duration>,
    /// The load generator's.
    pub generator: Option<Duration>,
    /// What the server's memory has grown by for each connection, in bytes.
    pub bytes_per_connection: Option<f64>,
}

/// What a bench found out, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    url: &'a str,
    method: String,
    /// unary: calls that succeeded, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<u64>,
    /// Streams: messages per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<u64>,
    errors: u64,
    errors_by_status: BTreeMap<&'a str, u64>,
    unserved: usize,
    /// Absent of streams that go one way.
    #[serde(flatten)]
    latency: Option<Percentiles>,
    /// Calls that were to be slow, when --slow was given; the other figures of latency are without them.
    #[serde(skip_serializing_if = "Option::is_none")]
    slow: Option<SlowCalls>,
    connections: usize,
    /// Connections that made no calls.
    idle: usize,
    /// Streams on each connection; null with unary.
    streams: Option<usize>,
    /// Calls in flight on each connection, or messages on each stream; null in an open loop and for
    /// streams that go one way.
    in_flight: Option<usize>,
    /// Calls per second that were asked for; null in a closed loop.
    rate: Option<f64>,
    /// Open loop: calls that were due and not made, because too many waited for their answers.
    skipped: u64,
    payload: usize,
    want: usize,
    seconds: f64,
    /// Bytes of all messages, without what the protocol adds.
    bytes: u64,
    /// The server's processor time per call or message, in microseconds; null when it is not known.
    server_cpu_us: Option<f64>,
    /// How many cores the server used, and the load generator, which has one.
    server_cores: Option<f64>,
    generator_cores: Option<f64>,
    /// What the server's heap and stacks have grown by for each connection; null when it is not known.
    server_bytes_per_connection: Option<f64>,
    /// Whether the load generator was the limit.
    generator_limit: bool,
    interrupted: bool,
}

/// What is told of calls that were to be slow.
#[derive(Debug, Serialize)]
struct SlowCalls {
    calls: u64,
    #[serde(flatten)]
    latency: Percentiles,
}

impl<'a> Report<'a> {
    /// `bytes` are those of a call, or of a message and its reply.
    pub fn new(
        args: &'a BenchArgs,
        connected: &Connected,
        record: &'a Record,
        bytes: u64,
        costs: Costs,
    ) -> Self {
        let by_status = record
            .errors
            .iter()
            .map(|(kind, errors)| (kind.as_str(), errors.count));
        let (unary, bidi) = (args.method == Kind::Unary, args.method == Kind::Bidi);
        let seconds = costs.elapsed.as_secs_f64();
        let cores = |cost: Duration| cost.as_secs_f64() / seconds;
        let generator_cores = costs.generator.map(cores);
        Self {
            url: &args.url,
            method: name(args.method),
            rps: unary.then(|| record.rps()),
            calls: unary.then_some(record.count),
            messages_per_s: (!unary).then(|| record.rps()),
            messages: (!unary).then_some(record.count),
            errors: record.failures(),
            errors_by_status: by_status.collect(),
            unserved: connected.unserved.count,
            latency: (unary || bidi).then(|| record.latencies.percentiles()),
            slow: args.slow.map(|_| SlowCalls {
                calls: record.slow.count(),
                latency: record.slow.percentiles(),
            }),
            connections: args.connections,
            idle: args.idle,
            streams: (!unary).then(|| args.streams.unwrap_or(1)),
            in_flight: ((unary || bidi) && args.rate.is_none())
                .then(|| args.in_flight.unwrap_or(1)),
            rate: args.rate,
            skipped: record.skipped,
            payload: args.payload,
            want: args.want,
            seconds: record.seconds,
            bytes: record.count * bytes,
            server_cpu_us: costs
                .server
                .map(|cost| cost.as_secs_f64() * 1e6 / record.count as f64)
                .filter(|cost| cost.is_finite()),
            server_cores: costs.server.map(cores),
            generator_cores,
            server_bytes_per_connection: costs.bytes_per_connection,
            generator_limit: generator_cores.is_some_and(|cores| LIMIT_CORES <= cores),
            interrupted: record.interrupted,
        }
    }

    /// The same for people.
    pub fn write(
        &self,
        args: &BenchArgs,
        connected: &Connected,
        record: &Record,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.write_load(connected.channels.len(), out)?;
        let what = match self.streams {
            None => "calls",
            Some(_) => "messages",
        };
        let rate = format!("{what}/s");
        writeln!(out, "  {rate:<10} {}", grouped(record.rps().round() as u64))?;
        self.write_latency(out)?;
        writeln!(out, "  {what:<10} {}", grouped(record.count))?;
        writeln!(out, "  errors     {}", grouped(self.errors))?;
        for (kind, errors) in &record.errors {
            writeln!(
                out,
                "    {kind}: {} ({})",
                grouped(errors.count),
                errors.first
            )?;
        }
        if 0 < self.unserved {
            let first = connected.unserved.first.as_deref().unwrap_or_default();
            writeln!(
                out,
                "  unserved   {} of {} connections ({first})",
                self.unserved,
                args.total()
            )?;
        }
        if 0 < self.skipped {
            let max = args.outstanding_max;
            let skipped = grouped(self.skipped);
            writeln!(
                out,
                "  skipped    {skipped} calls: {max} were waiting (--outstanding-max)"
            )?;
        }
        self.write_costs(what, out)?;
        if self.interrupted {
            writeln!(out, "  interrupted")?;
        }
        Ok(())
    }

    fn write_load(&self, served: usize, out: &mut dyn Write) -> io::Result<()> {
        let busy = counted(served, "connection");
        let over = match self.idle {
            0 => busy,
            idle => format!("{busy} (and {} idle)", grouped(idle as u64)),
        };
        let each = if served == 1 { "" } else { " each" };
        let load = match (self.rate, self.streams, self.in_flight) {
            (Some(rate), ..) => format!("{} calls/s asked for, over {over}", number(rate)),
            (_, None, in_flight) => {
                format!(
                    "{over} with {} in flight",
                    counted(in_flight.unwrap_or(1), "call")
                )
            }
            (_, Some(streams), None) => {
                format!(
                    "{over} with {}{each} ({})",
                    counted(streams, "stream"),
                    self.method
                )
            }
            (_, Some(streams), Some(in_flight)) => format!(
                "{over} with {}{each} ({}), {} in flight on each",
                counted(streams, "stream"),
                self.method,
                counted(in_flight, "message")
            ),
        };
        writeln!(
            out,
            "{load}, {} B payload, {:.2} s",
            self.payload, self.seconds
        )
    }

    fn write_latency(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(told) = &self.latency else {
            return Ok(());
        };
        for (name, micros) in [
            ("p50", told.p50_us),
            ("p90", told.p90_us),
            ("p99", told.p99_us),
            ("p99.9", told.p999_us),
            ("max", told.max_us),
        ] {
            writeln!(out, "  {name:<10} {}", latency(micros))?;
        }
        if let Some(slow) = &self.slow {
            let SlowCalls {
                calls,
                latency: told,
            } = slow;
            let (p50, p99) = (latency(told.p50_us), latency(told.p99_us));
            writeln!(out, "  slow       {calls} calls: p50 {p50}, p99 {p99}")?;
        }
        Ok(())
    }

    fn write_costs(&self, what: &str, out: &mut dyn Write) -> io::Result<()> {
        let percent = |cores: f64| (cores * 100.0).round();
        if let Some((cpu, cores)) = self.server_cpu_us.zip(self.server_cores) {
            let one = what.trim_end_matches('s');
            let cores = percent(cores);
            writeln!(
                out,
                "  server     {cpu:.3} µs of CPU per {one}, {cores} % of a core"
            )?;
        }
        if let Some(grown) = self.server_bytes_per_connection {
            writeln!(out, "  memory     {} for each connection", kib(grown))?;
        }
        if let Some(cores) = self.generator_cores {
            let limit = match self.generator_limit {
                true => ": it was the limit",
                false => "",
            };
            writeln!(out, "  bench      {} % of a core{limit}", percent(cores))?;
        }
        Ok(())
    }
}

/// As on the command line.
fn name(kind: Kind) -> String {
    let value = kind.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}
