//! The `kettle` command: calls services, hosts and loads the echo service, serves and moves files, compares the
//! I/O models.
//!
//! `args.rs` holds what can be asked for, `cmd/` one file per command, `call/` a call from JSON to JSON,
//! `load/` the load generator and `lab/` the comparison. What a command prints goes to stdout; progress,
//! logs and errors go to stderr. `proc_sample.rs` reads what a process cost.
#![forbid(unsafe_code)]

mod affinity;
mod args;
mod bell;
mod call;
mod cmd;
mod descriptors;
mod duration;
mod echo;
mod failure;
mod interrupt;
mod lab;
mod latency;
mod load;
mod log;
mod metadata;
mod proc_listener;
mod proc_sample;
mod progress;
mod recording;
mod remote;
mod schema;
mod server_counts;
mod table;
mod terminal;
mod wait;

use clap::Parser;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match cmd::run(args.command, &mut io::stdout()) {
        Ok(code) => code,
        // Whoever read the output has seen enough of it.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // There is nobody to tell when stderr is gone too.
            let _ = writeln!(io::stderr(), "kettle: {failure}");
            failure.exit_code()
        }
    }
}
