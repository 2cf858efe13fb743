//! Reading the recordings that `kettle::Recorder` writes; docs/recording.md specifies them.

use crate::failure::Failure;
use crate::schema::Kind;
use crate::table::{counted, grouped};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::ValueEnum;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The version that this program reads.
const VERSION: u64 = 1;

/// Longest line: the recorder keeps at most 4 MiB of a call's messages, which base64 makes a third longer.
const LINE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Most calls that are kept of a file, of some 150 bytes each without payloads.
const CALLS_MAX: usize = 4_000_000;

/// What a server was asked.
#[derive(Debug)]
pub struct Recording {
    /// Whether the messages of requests were recorded.
    pub payloads: bool,
    /// By their arrival; at least one.
    pub calls: Vec<RecordedCall>,
    /// What its reader should know: what is missing, and why.
    pub warnings: Vec<String>,
}

/// A call as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCall {
    /// When it arrived, from the beginning of the recording.
    pub at: Duration,
    /// Which connection it came on, where that is known.
    pub connection: Option<u64>,
    /// The method's path.
    pub method: Arc<str>,
    /// Which sides were streams.
    pub kind: Kind,
    /// The messages there.
    pub requests: Flow,
    /// The messages back.
    pub replies: Flow,
    /// How long the handler took.
    pub took: Duration,
    /// The name of the status that it ended with.
    pub status: Arc<str>,
    /// The messages of the request, where all of them were recorded.
    pub payloads: Option<Vec<Bytes>>,
}

/// The messages in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Head {
    kettle_recording: u64,
    #[serde(default)]
    kettle: String,
    #[serde(default)]
    payloads: bool,
}

#[derive(Debug, Deserialize)]
struct CallLine<'a> {
    at_us: u64,
    connection: Option<u64>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    requests: u64,
    request_bytes: u64,
    replies: u64,
    reply_bytes: u64,
    took_us: u64,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    payloads: Option<Vec<Cow<'a, str>>>,
}

/// Any other line; each has one of these.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Note {
    Missed { missed: u64 },
    Full { full_us: u64 },
    End { calls: u64, unrecorded: u64 },
}

impl Recording {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, is no recording, is of another version, or has no call. A file that ends in the
    /// middle is read up to there.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let file = File::open(path)
            .map_err(|error| Failure::because(format!("cannot read {name}"), &error))?;
        match Reader::default().read(BufReader::new(file)) {
            Ok(recording) => Ok(recording),
            Err(Unreadable::Io(error)) => {
                Err(Failure::because(format!("cannot read {name}"), &error))
            }
            Err(Unreadable::Content(why)) => Err(Failure::Text(format!("{name} {why}"))),
        }
    }
}

#[derive(Debug)]
enum Unreadable {
    Io(io::Error),
    /// To be read behind the file's name.
    Content(String),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Unreadable::Io(error)
    }
}

/// A recording that is being read.
#[derive(Debug, Default)]
struct Reader {
    calls: Vec<RecordedCall>,
    names: BTreeSet<Arc<str>>,
    missed: u64,
    /// When the file had reached its limit.
    full: Option<Duration>,
    /// Calls that the last line says were not recorded; `None` before it.
    unrecorded: Option<u64>,
    warnings: Vec<String>,
}

impl Reader {
    fn read(mut self, mut input: impl BufRead) -> Result<Recording, Unreadable> {
        let mut line = Vec::new();
        let head = match next_line(&mut input, &mut line)? {
            End::OfLine => head(&line)?,
            End::OfFile if line.is_empty() => {
                return Err(Unreadable::Content("is empty".to_owned()));
            }
            End::OfFile => return Err(no_recording()),
        };
        let mut number = 1;
        loop {
            number += 1;
            match next_line(&mut input, &mut line)? {
                End::OfFile if line.is_empty() => break,
                End::OfLine if self.take(&line).is_some() => {}
                end => {
                    self.warn_of_damage(number, end);
                    break;
                }
            }
            if self.calls.len() == CALLS_MAX {
                let most = grouped(CALLS_MAX as u64);
                self.warn(format!("only its first {most} calls are used"));
                break;
            }
        }
        self.finish(&head)
    }

    /// Takes what a line says; `None` when it says nothing that is known.
    fn take(&mut self, line: &[u8]) -> Option<()> {
        if let Ok(call) = serde_json::from_slice::<CallLine<'_>>(line) {
            let call = self.call(call)?;
            self.calls.push(call);
            return Some(());
        }
        match serde_json::from_slice(line).ok()? {
            Note::Missed { missed } => self.missed += missed,
            Note::Full { full_us } => self.full = Some(Duration::from_micros(full_us)),
            Note::End { calls, unrecorded } if calls == self.calls.len() as u64 => {
                self.unrecorded = Some(unrecorded);
            }
            Note::End { .. } => return None,
        }
        Some(())
    }

    fn call(&mut self, line: CallLine<'_>) -> Option<RecordedCall> {
        let decode = |text: Cow<'_, str>| STANDARD.decode(&*text).ok().map(Bytes::from);
        let payloads = match line.payloads {
            Some(payloads) => Some(payloads.into_iter().map(decode).collect::<Option<_>>()?),
            None => None,
        };
        Some(RecordedCall {
            at: Duration::from_micros(line.at_us),
            connection: line.connection,
            method: self.name(&line.method),
            kind: Kind::from_str(&line.kind, false).ok()?,
            requests: Flow {
                messages: line.requests,
                bytes: line.request_bytes,
            },
            replies: Flow {
                messages: line.replies,
                bytes: line.reply_bytes,
            },
            took: Duration::from_micros(line.took_us),
            status: self.name(&line.status),
            payloads,
        })
    }

    /// The one copy of a name that stands in many calls.
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name = Arc::<str>::from(name);
        self.names.insert(Arc::clone(&name));
        name
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    fn warn_of_damage(&mut self, number: u64, end: End) {
        let calls = counted(self.calls.len(), "whole call");
        let what = match end {
            End::OfFile => "its last line is cut".to_owned(),
            End::OfLine => format!("line {number} does not belong into a recording"),
        };
        self.warn(format!("{what}; used: the {calls} before it"));
    }

    fn warn_of_the_unrecorded(&mut self) {
        let unrecorded = self.unrecorded.unwrap_or(self.missed);
        let how_many = match unrecorded {
            // A server that was killed has not told.
            0 => "further calls".to_owned(),
            _ => counted(unrecorded as usize, "further call"),
        };
        if let Some(full) = self.full {
            self.warn(format!(
                "not recorded: {how_many}, because the file had reached its limit after {full:.1?}"
            ));
        } else if 0 < unrecorded {
            self.warn(format!(
                "not recorded: {how_many}, because they came faster than they could be written"
            ));
        }
    }

    fn finish(mut self, head: &Head) -> Result<Recording, Unreadable> {
        if self.calls.is_empty() {
            let text =
                "has no calls: nobody called the server while it was recorded, or the file was cut";
            return Err(Unreadable::Content(text.to_owned()));
        }
        if self.unrecorded.is_none() && self.warnings.is_empty() {
            let calls = counted(self.calls.len(), "whole call");
            self.warn(format!(
                "it was not completed, because its server was killed or the file was cut; used: its {calls}"
            ));
        }
        self.warn_of_the_unrecorded();
        // They stand in the order of their ends.
        self.calls.sort_by_key(|call| call.at);
        Ok(Recording {
            payloads: head.payloads,
            calls: self.calls,
            warnings: self.warnings,
        })
    }
}

fn head(line: &[u8]) -> Result<Head, Unreadable> {
    let head: Head = serde_json::from_slice(line).map_err(|_| no_recording())?;
    match head.kettle_recording {
        VERSION => Ok(head),
        other => {
            let by = match head.kettle.is_empty() {
                true => String::new(),
                false => format!(", written by kettle {}", head.kettle),
            };
            Err(Unreadable::Content(format!(
                "is a recording of version {other}{by}; this program reads version {VERSION}"
            )))
        }
    }
}

fn no_recording() -> Unreadable {
    let text =
        "is no recording: its first line is not one of `kettle serve --record` or kettle::Recorder";
    Unreadable::Content(text.to_owned())
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    OfLine,
    /// The file is over, or the line is longer than any line of a recording.
    OfFile,
}

/// The next line, without what ends it.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<End> {
    line.clear();
    input.take(LINE_BYTES_MAX).read_until(b'\n', line)?;
    Ok(match line.pop_if(|last| *last == b'\n') {
        Some(_) => End::OfLine,
        None => End::OfFile,
    })
}

#[cfg(test)]
mod tests;
