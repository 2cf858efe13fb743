//! A recording as a load of the lab: which of its calls are made when, and what is told of it.
//!
//! `replay/excerpt.rs` cuts a recording to a window, `replay/summary.rs` says what is in it.

mod excerpt;
mod summary;

use super::LoadResults;
use super::cell::Cell;
use super::subject::OwnProgram;
use crate::echo::PAYLOAD_BYTES_MAX;
use crate::failure::Failure;
use crate::load::{Replayed, Script, Scripted, Shape};
use crate::recording::{Flow, RecordedCall, Recording};
use crate::schema::Kind;
use crate::table::{counted, grouped, number};
use excerpt::{Excerpt, slots};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use summary::Summary;

/// How long a turn is, unless told otherwise: as long as the recording, but not shorter or longer than this.
const TURN_LEAST: Duration = Duration::from_millis(600);
const TURN_MOST: Duration = Duration::from_secs(3);

/// With fewer calls in a turn than this, one more or less shows in every figure.
const FEW_CALLS: f64 = 200.0;

/// Methods that are named in a note.
const NAMES_MAX: usize = 5;

/// Statuses of calls that their clients gave up: they would not end by themselves.
const GIVEN_UP: [&str; 2] = ["CANCELLED", "DEADLINE_EXCEEDED"];

/// A recording that is replayed.
#[derive(Debug)]
pub struct Replay {
    /// What is called when.
    pub script: Arc<Script>,
    /// Over how many connections.
    pub connections: usize,
    /// Who is called with the recorded messages; `None`: the echo service, with others of their length.
    pub program: Option<OwnProgram>,
    /// How long a turn is.
    pub turn: Duration,
    file: String,
    speed: f64,
    /// Calls that are to be had, and how long they took to come.
    calls: usize,
    length: Duration,
    pieces: usize,
    summary: Summary,
    warnings: Vec<String>,
}

/// How a recording is to be replayed.
#[derive(Debug)]
pub struct ReplayOptions {
    /// How many times as fast as it was recorded.
    pub speed: f64,
    /// How long a turn is; `None`: as the recording suggests.
    pub turn: Option<Duration>,
    /// A server of one's own.
    pub program: Option<OwnProgram>,
}

/// For the raw results.
#[derive(Debug, Serialize)]
pub struct RawReplay<'a> {
    file: &'a str,
    speed: f64,
    calls: usize,
    length_s: f64,
    connections: usize,
    calls_in_script: usize,
    script_s: f64,
    pieces: usize,
    warnings: &'a [String],
    #[serde(flatten)]
    summary: &'a Summary,
}

impl Replay {
    /// Reads a recording and prepares its replay.
    ///
    /// # Errors
    /// Those of [`Recording::read`], and when a server of one's own cannot be asked the same.
    pub fn read(path: &Path, options: ReplayOptions) -> Result<Self, Failure> {
        let mut recording = Recording::read(path)?;
        let file = path.display().to_string();
        if options.program.is_some() {
            keep_repeatable(&mut recording, &file)?;
        }
        Ok(Self::new(recording, file, options))
    }

    fn new(recording: Recording, file: String, options: ReplayOptions) -> Self {
        let Recording {
            calls,
            mut warnings,
            ..
        } = recording;
        let ReplayOptions {
            speed,
            turn,
            program,
        } = options;
        let begun = calls.first().map_or(Duration::ZERO, |call| call.at);
        let moments: Vec<_> = calls
            .iter()
            .map(|call| (call.at - begun).div_f64(speed))
            .collect();
        let length = excerpt::length(&moments);
        let turn = turn.unwrap_or(length.clamp(TURN_LEAST, TURN_MOST));
        let Excerpt {
            moments,
            period,
            pieces,
        } = Excerpt::of(&moments, length, turn);
        warnings.extend(left_out(&calls, &moments));
        let (slots, connections) = slots(&calls);
        let (own, mut large) = (program.is_some(), 0);
        let scripted = moments.into_iter().map(|(number, at)| {
            let call = &calls[number];
            large += usize::from(!own && is_large(call));
            Scripted {
                at,
                connection: slots[number],
                call: replayed(call, own),
            }
        });
        let script = Arc::new(Script {
            calls: scripted.collect(),
            period,
        });
        if 0 < large {
            let calls = counted(large, "call");
            warnings.push(format!(
                "messages of {calls} are shortened to the 4 MiB that the echo service takes"
            ));
        }
        Self {
            script,
            connections,
            program,
            turn,
            file,
            speed,
            calls: calls.len(),
            length,
            pieces,
            summary: Summary::of(&calls),
            warnings,
        }
    }

    /// Prints what is in the recording, and what is made of it.
    pub fn write_summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let (calls, length) = (counted(self.calls, "call"), seconds(self.length));
        let faster = match self.speed {
            1.0 => String::new(),
            speed => format!(", at {speed} times the recorded speed"),
        };
        let connections = counted(self.connections, "connection");
        writeln!(
            out,
            "{}: {calls} in {length}{faster}, on {connections} at a time: {}/s.",
            self.file,
            number(self.calls as f64 / self.length.as_secs_f64()),
        )?;
        write!(out, "{}", self.summary.table())?;
        writeln!(out, "{}", self.what_a_turn_makes())?;
        writeln!(out, "{}", self.what_is_made())?;
        for warning in &self.warnings {
            writeln!(out, "Note: {}: {warning}.", self.file)?;
        }
        Ok(())
    }

    fn what_a_turn_makes(&self) -> String {
        let turn = seconds(self.turn);
        let times = self.turn.as_secs_f64() / self.script.period.as_secs_f64();
        let mut text = match self.pieces {
            1 if times < 1.01 => format!("A turn of {turn} makes all of them."),
            1 => format!("A turn of {turn} makes them {} times.", number(times)),
            pieces => format!(
                "A turn of {turn} makes {} of them, in {pieces} pieces from all over the recording; --duration {} \
                 makes all.",
                grouped(self.script.calls.len() as u64),
                self.length.as_secs_f64().ceil(),
            ),
        };
        if (self.script.calls.len() as f64 * times) < FEW_CALLS {
            text.push_str(
                "\nThat is few: figures differ by chance. --duration or --speed make more.",
            );
        }
        text
    }

    fn what_is_made(&self) -> &'static str {
        match self.program {
            Some(_) => {
                "Calls are made at their recorded moments, with the messages that were recorded."
            }
            None => {
                "Calls are made at their recorded moments, as calls of the echo service of the same kind and \
                 lengths.\nIt answers at once: what handlers took is not part of it."
            }
        }
    }

    /// What the raw results say of it.
    pub fn raw(&self) -> RawReplay<'_> {
        RawReplay {
            file: &self.file,
            speed: self.speed,
            calls: self.calls,
            length_s: self.length.as_secs_f64(),
            connections: self.connections,
            calls_in_script: self.script.calls.len(),
            script_s: self.script.period.as_secs_f64(),
            pieces: self.pieces,
            warnings: &self.warnings,
            summary: &self.summary,
        }
    }
}

/// For the heading of the results.
impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replay of {}", self.file)?;
        match &self.program {
            Some(program) => write!(f, " to `{}`", program.command),
            None => Ok(()),
        }
    }
}

/// Prints of which models not all calls were made, and who is to blame.
pub fn write_remarks(results: &LoadResults, out: &mut dyn Write) -> io::Result<()> {
    for cell in &results.cells {
        if let Some(share) = skipped(cell) {
            let why = match cell.generator_was_the_limit() {
                true => "the load generator could not drive this rate (*)",
                false => "the server did not keep up with this rate",
            };
            let (row, percent) = (&cell.row, number(100.0 * share));
            writeln!(
                out,
                "{row}: {percent} % of the calls that were due were not made: {why}."
            )?;
        }
    }
    Ok(())
}

/// The share of the calls that were due and not made; `None`: all were made.
fn skipped(cell: &Cell) -> Option<f64> {
    let share =
        cell.median(|round| Some(round.skipped as f64 / (round.calls + round.skipped) as f64));
    share.filter(|&share| 0.0 < share)
}

/// Keeps the calls that a server of one's own can be asked again.
fn keep_repeatable(recording: &mut Recording, file: &str) -> Result<(), Failure> {
    if !recording.payloads {
        return Err(Failure::Text(format!(
            "{file} has no payloads, and a server of one's own is asked with those: record them with `kettle serve \
             --record-payloads` or RecorderBuilder::payloads, or leave --server out"
        )));
    }
    let before = recording.calls.len();
    let given_up = |call: &RecordedCall| GIVEN_UP.contains(&&*call.status);
    recording
        .calls
        .retain(|call| call.payloads.is_some() && !given_up(call));
    let left_out = before - recording.calls.len();
    if recording.calls.is_empty() {
        let text = "has no call that can be made again: all were given up, or are without payloads";
        return Err(Failure::Text(format!("{file} {text}")));
    }
    if 0 < left_out {
        let calls = counted(left_out, "call");
        let why = "because they were given up, or are without payloads";
        recording.warnings.push(format!("{calls} left out, {why}"));
    }
    Ok(())
}

/// Says which methods have calls in the recording, but none among those with these numbers.
fn left_out(calls: &[RecordedCall], moments: &[(usize, Duration)]) -> Option<String> {
    let mut methods: BTreeSet<_> = calls.iter().map(|call| &*call.method).collect();
    for (number, _) in moments {
        methods.remove(&*calls[*number].method);
    }
    let names: Vec<_> = methods
        .iter()
        .take(NAMES_MAX)
        .map(|name| name.trim_start_matches('/'))
        .collect();
    let others = match methods.len() - names.len() {
        0 => String::new(),
        others => format!(" and {others} others"),
    };
    let text = format!("no call of {}{others} is in those pieces", names.join(", "));
    (!methods.is_empty()).then_some(text)
}

fn replayed(call: &RecordedCall, own: bool) -> Replayed {
    match (&call.payloads, own) {
        (Some(payloads), true) => Replayed::recorded(
            Arc::clone(&call.method),
            call.kind,
            payloads.clone(),
            Arc::clone(&call.status),
        ),
        _ => Replayed::echo(
            call.kind,
            Shape {
                requests: call.requests.messages,
                request_bytes: mean(call.requests),
                replies: call.replies.messages,
                reply_bytes: mean(call.replies),
            },
        ),
    }
}

/// Whether it has messages that the echo service does not take.
fn is_large(call: &RecordedCall) -> bool {
    PAYLOAD_BYTES_MAX as u64 <= mean(call.requests).max(mean(call.replies))
}

/// The length of a message.
fn mean(flow: Flow) -> u64 {
    match flow.messages {
        0 => 0,
        messages => (flow.bytes + messages / 2) / messages,
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", number(duration.as_secs_f64()))
}

/// What the kind is called in tables.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Unary => "unary",
        Kind::ClientStream => "client-stream",
        Kind::ServerStream => "server-stream",
        Kind::Bidi => "bidi",
    }
}

#[cfg(test)]
mod tests;
