//! `kettle put`: sends a file.

use crate::args::PutArgs;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::log;
use crate::progress::Progress;
use crate::remote::Remote;
use crate::table::{bytes, rate};
use crate::wait::wait;
use kettle_file::{UploadOptions, upload};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// Sends the file, and tells how it went.
pub fn run(args: &PutArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    log::init(0)?;
    let mut remote = Remote::parse(&args.url)?;
    if remote.path.is_empty() || remote.path.ends_with('/') {
        remote.path.push_str(own_name(args)?);
    }
    let mut options = UploadOptions::default();
    options.overwrite = args.overwrite;
    options.fsync = args.fsync;
    options.mode = args.mode;
    options.verify = !args.no_verify;
    let interrupt = Interrupt::install()?;
    let channel = remote.channel()?;
    let length = args.file.metadata().map(|metadata| metadata.len());
    let progress = Progress::of_bytes(length.unwrap_or(0), 0);
    let begun = Instant::now();
    let sent = {
        let progress = progress.clone();
        let each = move |bytes| progress.advance(bytes);
        let upload = upload(&channel, &args.file, &remote.path, &options, each);
        wait(upload, || interrupt.is_set())
    };
    progress.done();
    let reply = sent.ok_or(Failure::Interrupted)??;
    let length = reply.info.unwrap_or_default().size;
    let (size, rate, crc32c) = (bytes(length), rate(length, begun.elapsed()), reply.crc32c);
    let verified = if args.no_verify {
        "not verified"
    } else {
        "verified"
    };
    let path = &remote.path;
    writeln!(
        out,
        "{path}: {size}, {rate}, crc32c {crc32c:08x}, {verified}"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn own_name(args: &PutArgs) -> Result<&str, Failure> {
    let name = args.file.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| {
        let file = args.file.display();
        Failure::Arguments(format!(
            "{file} has no name that fits: give one behind the URL"
        ))
    })
}
