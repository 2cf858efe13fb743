//! What happens during a call, on stderr, for those who asked with `-v`.

use crate::metadata::{lines, to_base64};
use crate::table::{counted, latency};
use kettle::{Endpoint, Metadata, Status};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Tells, or keeps silent. `*` is what kettle did, `>` what was sent, `<` what came back.
#[derive(Debug)]
pub struct Trace {
    verbose: bool,
    /// When the call began.
    begun: Instant,
    sent: Traffic,
    received: Traffic,
}

/// Messages of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    messages: usize,
    bytes: usize,
}

impl Trace {
    /// Nothing has happened yet.
    pub fn new(verbose: bool) -> Self {
        Self {
            verbose,
            begun: Instant::now(),
            sent: Traffic::default(),
            received: Traffic::default(),
        }
    }

    /// The server has greeted.
    pub fn connected(&self, endpoint: &Endpoint, took: Duration) {
        self.say(&format!("* connected to {endpoint} in {}", shown(took)));
    }

    /// The call is made now.
    pub fn request(&mut self, path: &str, metadata: &Metadata) {
        self.say(&format!("> {path}"));
        self.entries('>', metadata);
        self.begun = Instant::now();
    }

    /// A message of so many bytes goes out.
    pub fn sent(&mut self, bytes: usize) {
        self.sent.add(bytes);
    }

    /// A message of so many bytes has come.
    pub fn received(&mut self, bytes: usize) {
        self.received.add(bytes);
    }

    /// The metadata ahead of the first reply.
    pub fn headers(&self, headers: &Metadata) {
        self.entries('<', headers);
    }

    /// How long the call has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The call is over, and took so long.
    pub fn ended(&self, status: &Status, trailers: &Metadata, took: Duration) {
        let took = shown(took);
        for line in lines(trailers) {
            self.say(&format!("< {line} (trailer)"));
        }
        if !status.details().is_empty() {
            self.say(&format!("< details: {}", to_base64(status.details())));
        }
        let (sent, received) = (self.sent, self.received);
        self.say(&format!(
            "* {} after {took}; sent {sent}, received {received}",
            status.code()
        ));
    }

    fn entries(&self, direction: char, metadata: &Metadata) {
        for line in lines(metadata) {
            self.say(&format!("{direction} {line}"));
        }
    }

    fn say(&self, line: &str) {
        if self.verbose {
            // There is nobody to tell when stderr is gone.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

impl Traffic {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

impl std::fmt::Display for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { messages, bytes } = self;
        write!(f, "{} of {bytes} B", counted(*messages, "message"))
    }
}

fn shown(duration: Duration) -> String {
    latency(duration.as_secs_f64() * 1e6)
}
