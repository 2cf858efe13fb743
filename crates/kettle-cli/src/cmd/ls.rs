//! `kettle ls`: lists a directory.

use crate::args::LsArgs;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::log;
use crate::remote::Remote;
use crate::wait::wait;
use kettle_file::v1::{Entry, FileKind};
use std::io::{self, Write};
use std::process::ExitCode;

/// Prints a line for each entry.
pub fn run(args: &LsArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    log::init(0)?;
    let remote = Remote::parse(&args.url)?;
    let interrupt = Interrupt::install()?;
    let channel = remote.channel()?;
    let mut written = Ok(());
    let each = |entry: Entry| {
        if written.is_ok() {
            written = write(&entry, out);
        }
    };
    let listed = wait(kettle_file::list(&channel, &remote.path, each), || {
        interrupt.is_set()
    });
    let listed = listed.ok_or(Failure::Interrupted)?;
    listed.map_err(|status| Failure::Status(Box::new(status)))?;
    written?;
    Ok(ExitCode::SUCCESS)
}

fn write(entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
    let info = entry.info.clone().unwrap_or_default();
    let ending = match info.kind() {
        FileKind::Regular | FileKind::Unknown => "",
        FileKind::Directory => "/",
        FileKind::Symlink => "@",
        FileKind::Other => "?",
    };
    let size = info.size;
    let name: String = entry.name.chars().map(shown).collect();
    writeln!(out, "{size:>14} {name}{ending}")
}

/// A name must not steer the terminal.
fn shown(letter: char) -> String {
    match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    }
}
