//! `kettle serve`: hosts the echo service, and files.

use crate::args::ServeArgs;
use crate::descriptors;
use crate::echo::Echo;
use crate::echo::v1::echo_server::EchoServer;
use crate::failure::Failure;
use crate::log;
use crate::server_counts::ServerCounts;
use crate::table::{counted, grouped};
use kettle::{Model, Probe, Recorded, Recorder, Server, ServerBuilder, ServerHandle, Service};
use kettle_file::{FILE_BYTES_MAX, FilesService};
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Hosts the echo service until a signal stops it.
pub fn run(args: &ServeArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    match args.record {
        Some(_) => log::init_with_warnings(args.verbose, "kettle::recorder")?,
        None => log::init(args.verbose)?,
    }
    descriptors::raise_limit();
    if let Probe::Refused(reason) = args.model.probe() {
        return Err(Failure::Text(format!(
            "model {} does not run here: {reason}",
            args.model
        )));
    }
    let (mut builder, recorder) = (builder(args)?, recorder(args)?);
    if let Some(recorder) = &recorder {
        builder = builder.interceptor(recorder.clone());
    }
    let server = builder.spawn(args.listen.as_str());
    let server = Arc::new(server.inspect_err(|_| forget(args))?);
    server.stop_on_signals()?;
    announce(args.model, args.loops, &server, out)?;
    if args.stats {
        report_on_request(&server)?;
    }
    server.wait()?;
    if let (Some(recorder), Some(path)) = (recorder, &args.record) {
        tell(&recorder.stop(), path, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn recorder(args: &ServeArgs) -> Result<Option<Recorder>, Failure> {
    let Some(path) = &args.record else {
        return Ok(None);
    };
    let mut builder = Recorder::builder().payloads(args.record_payloads);
    if let Some(bytes) = args.record_bytes_max {
        builder = builder.bytes_max(bytes);
    }
    Ok(Some(builder.create(path)?))
}

/// The server did not start: the next attempt is to find no file in its way.
fn forget(args: &ServeArgs) {
    if let Some(path) = &args.record {
        // One that stays is told then.
        let _ = std::fs::remove_file(path);
    }
}

/// Says what came of the recording.
fn tell(recorded: &Recorded, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    let calls = counted(recorded.calls as usize, "call");
    let mut line = format!("recorded {calls} in {}", path.display());
    if 0 < recorded.unrecorded {
        let why = match (&recorded.failure, recorded.is_full) {
            (Some(error), _) => error,
            (None, true) => "the file is full",
            (None, false) => "they came faster than they could be written",
        };
        let unrecorded = grouped(recorded.unrecorded);
        line.push_str(&format!("; {unrecorded} more were not recorded: {why}"));
    }
    on_stdout(out, &line)
}

fn builder(args: &ServeArgs) -> Result<ServerBuilder, Failure> {
    let mut builder = Server::builder()
        .model(args.model)
        .loops(args.loops)
        .reuse_port(args.reuse_port)
        .scan_nap(args.scan_nap)
        .add_service(EchoServer::new(Echo).method_on_pool("Pooled"));
    if let Some(directory) = &args.files {
        builder = builder.add_service(files(args, directory)?.host());
    }
    if let Some(strategy) = args.file_strategy {
        builder = builder.file_strategy(strategy);
    }
    if let Some(threads) = args.threads_max {
        builder = builder.threads_max(threads);
    }
    if let Some(connections) = args.connections_max {
        builder = builder.connections_max(connections);
    }
    if let Some(mode) = args.unix_mode {
        builder = builder.unix_mode(mode);
    }
    if let Some(grace) = args.stop_grace {
        builder = builder.stop_grace(grace);
    }
    Ok(builder)
}

fn files(args: &ServeArgs, directory: &Path) -> Result<FilesService, Failure> {
    let service = FilesService::new(directory).map_err(|error| {
        Failure::because(
            format!("cannot serve the files of {}", directory.display()),
            &error,
        )
    })?;
    let bytes_max = args.file_bytes_max.unwrap_or(FILE_BYTES_MAX);
    Ok(service.writable(args.writable).file_bytes_max(bytes_max))
}

/// Whoever waits for this line may connect once it is there.
fn announce(
    model: Model,
    loops: usize,
    server: &ServerHandle,
    out: &mut dyn Write,
) -> io::Result<()> {
    let address = server.address();
    let line = format!("listening on {address} model={model} loops={loops}");
    on_stdout(out, &line)
}

fn on_stdout(out: &mut dyn Write, line: &str) -> io::Result<()> {
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        // A server serves on when nobody reads what it prints.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Prints counts whenever a line comes in, and stops the server when no more can come: whoever
/// started it for its counts has ended, in whatever way.
fn report_on_request(server: &Arc<ServerHandle>) -> io::Result<()> {
    let server = Arc::clone(server);
    let report = move || {
        for line in io::stdin().lock().lines() {
            if line.and_then(|_| report(&server)).is_err() {
                break;
            }
        }
        server.stop_now();
    };
    std::thread::Builder::new()
        .name("kettle-stats".into())
        .spawn(report)?;
    Ok(())
}

fn report(server: &ServerHandle) -> io::Result<()> {
    let mut line = serde_json::to_vec(&ServerCounts::from(&server.stats()))?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
