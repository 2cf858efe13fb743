//! `kettle completions`: what a shell needs to complete the command's arguments.

use crate::args::{Args, CompletionsArgs, Shell};
use crate::failure::Failure;
use clap::CommandFactory;
use clap_complete::{Generator, Shell as Kind};
use std::io::Write;
use std::process::ExitCode;

/// Prints the script.
pub fn run(args: &CompletionsArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let kind = match args.shell {
        Shell::Bash => Kind::Bash,
        Shell::Zsh => Kind::Zsh,
        Shell::Fish => Kind::Fish,
    };
    let mut command = Args::command();
    command.set_bin_name("kettle");
    command.build();
    kind.try_generate(&command, out)?;
    Ok(ExitCode::SUCCESS)
}
