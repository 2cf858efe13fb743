//! A `kettle hold` of the lab: a process beside the load generator that holds idle connections.

use super::own_process::OwnProcess;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::load::Held;
use std::time::{Duration, Instant};

/// How long a holder may take beyond what its connections may take.
const SLACK: Duration = Duration::from_secs(60);

/// How long to wait between looks at Ctrl-C.
const SLICE: Duration = Duration::from_millis(100);

/// A process that opens connections, and holds them until it is dropped.
#[derive(Debug)]
pub struct HolderProcess {
    process: OwnProcess,
    connect_timeout: Duration,
}

impl HolderProcess {
    /// Starts to open so many connections, on the calling thread's core.
    pub fn start(
        url: &str,
        connections: usize,
        connect_timeout: Duration,
    ) -> Result<Self, Failure> {
        let (connections, timeout) = (connections.to_string(), connect_timeout.as_secs_f64());
        let timeout = timeout.to_string();
        let hold = ["hold", url, "--connections", &connections];
        let arguments: Vec<_> = hold
            .into_iter()
            .chain(["--connect-timeout", &timeout])
            .collect();
        let process = OwnProcess::start(&arguments, |command| {
            let spawned = command.spawn();
            spawned.map_err(|error| Failure::because("cannot start a holder", &error))
        })?;
        Ok(Self {
            process,
            connect_timeout,
        })
    }

    /// Waits until its connections are served or not.
    pub fn held(&mut self, interrupt: &Interrupt) -> Result<Held, Failure> {
        let until = Instant::now() + self.connect_timeout + SLACK;
        while !self.process.has_said(SLICE)? {
            let why = match interrupt.is_set() {
                true => "interrupted",
                false if until <= Instant::now() => "a holder of idle connections said nothing",
                false => continue,
            };
            return Err(Failure::Text(why.to_owned()));
        }
        let line = self.process.read_line()?;
        let ended = || Failure::Text("a holder of idle connections ended; see above".to_owned());
        Ok(serde_json::from_str(&line.ok_or_else(ended)?)?)
    }
}
