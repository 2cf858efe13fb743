//! `kettle hold`: the lab's process that holds idle connections.

use crate::args::HoldArgs;
use crate::descriptors;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::load::Generator;
use kettle::Model;
use std::io::{self, Read, Write};
use std::process::{self, ExitCode};
use std::thread;

/// Opens connections, tells how many, and holds them until stdin ends.
pub fn run(args: &HoldArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    end_with_stdin()?;
    descriptors::raise_limit();
    descriptors::need(args.connections)?;
    let mut generator = Generator::new(Model::Epoll, Interrupt::default())?;
    generator.use_addresses_for(&args.url, args.connections);
    let connected =
        generator.connect_while_served(&args.url, args.connections, args.connect_timeout)?;
    serde_json::to_writer(&mut *out, &connected.held())?;
    writeln!(out)?;
    out.flush()?;
    generator.hold()?;
    Ok(ExitCode::SUCCESS)
}

/// Whoever started this process has ended then, in whatever way, and nothing is to be kept.
fn end_with_stdin() -> io::Result<()> {
    let watch = || {
        // An error ends it as the end does.
        let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
        process::exit(0);
    };
    thread::Builder::new()
        .name("kettle-stdin".into())
        .spawn(watch)?;
    Ok(())
}
