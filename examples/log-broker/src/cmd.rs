//! The commands, a file each.

mod append;
mod check;
mod serve;
mod tail;

use clap::Parser;
use std::error::Error;

/// Why a command failed, in words for the user.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A log that many read. A record is a line where it is typed or printed.
#[derive(Debug, Parser)]
pub enum Command {
    /// Serves the log in a directory
    Serve(serve::Args),
    /// Adds the lines of stdin; prints each with its offset once it is acknowledged
    Append(append::Args),
    /// Prints records with their offsets, and waits for more
    Tail(tail::Args),
    /// Reads all files of a log and checks every record
    Check(check::Args),
}

impl Command {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Serve(args) => serve::run(args),
            Self::Append(args) => append::run(&args),
            Self::Tail(args) => tail::run(args),
            Self::Check(args) => check::run(&args),
        }
    }
}
