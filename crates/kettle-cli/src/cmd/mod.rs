//! One file per command.

mod bench;
mod call;
mod completions;
mod get;
mod hold;
mod lab;
mod ls;
mod models;
mod put;
mod serve;

use crate::args::Command;
use crate::failure::Failure;
use std::io::Write;
use std::process::ExitCode;

/// Runs a command. What it finds out goes to `out`.
pub fn run(command: Command, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(args) => serve::run(&args, out),
        Command::Call(args) => call::run(&args, out),
        Command::Bench(args) => bench::run(&args, out),
        Command::Get(args) => get::run(&args, out),
        Command::Put(args) => put::run(&args, out),
        Command::Ls(args) => ls::run(&args, out),
        Command::Lab(args) => lab::run(args, out),
        Command::Hold(args) => hold::run(&args, out),
        Command::Models(args) => models::run(&args, out),
        Command::Completions(args) => completions::run(&args, out),
    }
}
