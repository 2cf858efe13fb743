//! `kettle bench --files`: what sending a file costs a server.

use super::{Costs, Watch, local_server};
use crate::args::BenchArgs;
use crate::failure::Failure;
use crate::interrupt::{self, Interrupt};
use crate::load::{Observer, Window};
use crate::remote::Remote;
use crate::table::{bytes, number, rate};
use kettle::{Channel, LocalLoop, Model, Status};
use kettle_file::v1::{ReadReply, ReadRequest};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What a bench of files found out, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report<'a> {
    url: &'a str,
    /// Of the file.
    size: u64,
    /// Bytes of a message at most.
    chunk_bytes: u32,
    /// What was read, the warm-up left out.
    bytes: u64,
    seconds: f64,
    gb_per_s: f64,
    /// The server's processor time for 10^9 bytes, in seconds; null when it is not known.
    server_cpu_s_per_gb: Option<f64>,
    /// How many cores the server used, and this process, which has one.
    server_cores: Option<f64>,
    generator_cores: Option<f64>,
    interrupted: bool,
}

/// Reads a file again and again, and drops what comes.
pub fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let remote = Remote::parse(&args.url)?;
    let interrupt = Interrupt::install()?;
    let mut turns = LocalLoop::new(Model::Epoll)?;
    let channel = remote.channel()?;
    let request = ReadRequest {
        path: remote.path.clone(),
        chunk_bytes: args.chunk.unwrap_or(kettle_file::CHUNK_BYTES),
        ..ReadRequest::default()
    };
    let (size, channel) = {
        let (channel, path) = (channel, remote.path.clone());
        let stat = async move { (kettle_file::stat(&channel, &path, false).await, channel) };
        let (stat, channel) = turns.block_on(stat)?;
        (
            stat.map_err(failure)?.info.unwrap_or_default().size,
            channel,
        )
    };
    if size == 0 {
        let path = &remote.path;
        return Err(Failure::Text(format!(
            "{path:?} is empty, or no regular file"
        )));
    }
    let window = Window {
        warmup: args.warmup,
        duration: Duration::ZERO,
    };
    let mut reading = Reading {
        channel,
        request: request.clone(),
        bytes_max: args.bytes.unwrap_or(size),
        warmup: args.warmup,
        interrupt: interrupt.clone(),
        watch: Watch::new(window, local_server(&remote.url)),
    };
    let read = async move { (reading.read().await, reading.watch) };
    let (read, watch) = turns.block_on(read)?;
    watch.progress.done();
    let report = report(
        args,
        size,
        &request,
        read?,
        &watch.costs(),
        interrupt.is_set(),
    );
    match args.json {
        true => {
            serde_json::to_writer(&mut *out, &report)?;
            writeln!(out)?;
        }
        false => report.write(out)?,
    }
    Ok(match report.interrupted {
        true => ExitCode::from(interrupt::EXIT_CODE),
        false => ExitCode::SUCCESS,
    })
}

/// A file that is read.
struct Reading {
    channel: Channel,
    request: ReadRequest,
    bytes_max: u64,
    warmup: Duration,
    interrupt: Interrupt,
    watch: Watch,
}

impl Reading {
    /// How many bytes came while it was measured, and in what time.
    async fn read(&mut self) -> Result<(u64, Duration), Failure> {
        let begun = Instant::now();
        while begun.elapsed() < self.warmup && !self.interrupt.is_set() {
            self.pass(u64::MAX, Some(begun)).await?;
        }
        self.watch.begins()?;
        let (begun, mut bytes) = (Instant::now(), 0);
        while bytes < self.bytes_max && !self.interrupt.is_set() {
            bytes += self.pass(self.bytes_max - bytes, None).await?;
        }
        let elapsed = begun.elapsed();
        self.watch.ends()?;
        Ok((bytes, elapsed))
    }

    /// Reads the file once, or so many bytes of it, or until the warm-up that began then is over.
    async fn pass(&self, bytes_max: u64, warming_since: Option<Instant>) -> Result<u64, Failure> {
        let mut request = self.request.clone();
        request.length = Some(bytes_max);
        let replies = kettle_file::read_raw(&self.channel, &request).await;
        let (mut replies, mut bytes) = (replies.map_err(failure)?, 0);
        let is_over = || {
            let warm = warming_since.is_some_and(|begun| self.warmup <= begun.elapsed());
            warm || self.interrupt.is_set()
        };
        while !is_over()
            && let Some(reply) = replies.message().await.map_err(failure)?
        {
            let (_, data) = reply.decode_apart(ReadReply::DATA).map_err(failure)?;
            bytes += data.len() as u64;
        }
        Ok(bytes)
    }
}

fn failure(status: Status) -> Failure {
    Failure::Status(Box::new(status))
}

fn report<'a>(
    args: &'a BenchArgs,
    size: u64,
    request: &ReadRequest,
    (bytes, elapsed): (u64, Duration),
    costs: &Costs,
    interrupted: bool,
) -> Report<'a> {
    let (seconds, gigabytes) = (elapsed.as_secs_f64(), bytes as f64 / 1e9);
    let cores = |cost: Duration| cost.as_secs_f64() / costs.elapsed.as_secs_f64();
    Report {
        url: &args.url,
        size,
        chunk_bytes: request.chunk_bytes,
        bytes,
        seconds,
        gb_per_s: gigabytes / seconds,
        server_cpu_s_per_gb: costs.server.map(|cost| cost.as_secs_f64() / gigabytes),
        server_cores: costs.server.map(cores),
        generator_cores: costs.generator.map(cores),
        interrupted,
    }
}

impl Report<'_> {
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let elapsed = Duration::from_secs_f64(self.seconds);
        writeln!(
            out,
            "  read       {} of a file of {}",
            bytes(self.bytes),
            bytes(self.size)
        )?;
        writeln!(out, "  rate       {}", rate(self.bytes, elapsed))?;
        let figure = |figure: Option<f64>| figure.map_or("unknown".to_owned(), number);
        writeln!(
            out,
            "  server     {} s of CPU per GB",
            figure(self.server_cpu_s_per_gb)
        )?;
        writeln!(
            out,
            "  cores      server {}, this process {}",
            figure(self.server_cores),
            figure(self.generator_cores)
        )?;
        if self.interrupted {
            writeln!(out, "  interrupted")?;
        }
        Ok(())
    }
}
