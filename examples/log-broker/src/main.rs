//! The command: a broker, a producer, a consumer, and a check of the files.
#![forbid(unsafe_code)]

mod cmd;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cmd::Command::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("log-broker: {error}");
            ExitCode::FAILURE
        }
    }
}
