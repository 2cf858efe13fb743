//! What happens during a call, on stderr, for those who asked with `-v`.

use crate::metadata::{lines, to_base64};
use crate::table::{counted, latency};
use kettle::{Endpoint, Metadata, Status};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Tells, or keeps silent. `*` is what kettle did, `>` what was sent, `<` what came back.
#[derive(Debug)]
pub struct Trace {
    verbose: bool,
    /// When the call began.
    begun: Instant,
    sent: Arc<Traffic>,
    received: Traffic,
}

/// Messages of one direction, counted where they pass.
#[derive(Debug, Default)]
pub struct Traffic {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Trace {
    /// Nothing has happened yet.
    pub fn new(verbose: bool) -> Self {
        Self {
            verbose,
            begun: Instant::now(),
            sent: Arc::default(),
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

    /// What goes out.
    pub fn sent(&self) -> &Arc<Traffic> {
        &self.sent
    }

    /// What comes.
    pub fn received(&self) -> &Traffic {
        &self.received
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
        let (sent, received) = (&self.sent, &self.received);
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
    /// Counts a message of so many bytes.
    pub fn add(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl std::fmt::Display for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let (messages, bytes) = (read(&self.messages), read(&self.bytes));
        write!(f, "{} of {bytes} B", counted(messages, "message"))
    }
}

fn shown(duration: Duration) -> String {
    latency(duration.as_secs_f64() * 1e6)
}
