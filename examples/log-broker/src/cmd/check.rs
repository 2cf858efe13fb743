//! `log-broker check`.

use crate::cmd::Failure;
use log_broker::Checked;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The log
    directory: PathBuf,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let Checked {
        segments,
        offsets,
        torn,
    } = log_broker::check(&args.directory)?;
    let (start, end) = (offsets.start, offsets.end);
    println!("offsets {start} to {end} in {segments} segments, all whole");
    if let Some(flaw) = torn {
        println!("what follows is no whole record, and is cut off by the next start: {flaw}");
    }
    Ok(())
}
