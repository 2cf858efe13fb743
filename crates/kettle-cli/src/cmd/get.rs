//! `kettle get`: fetches a file.

use crate::args::GetArgs;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::log;
use crate::progress::Progress;
use crate::remote::Remote;
use crate::table::{bytes, rate};
use crate::wait::wait;
use kettle::Channel;
use kettle_file::{Download, DownloadOptions, Error, Fetched, Resumed};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// How often a file is fetched that is changed on the server each time.
const TRIES_MAX: usize = 3;

/// Fetches the file, and tells how it went.
pub fn run(args: &GetArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    log::init(0)?;
    let get = Get {
        args,
        remote: Remote::parse(&args.url)?,
        target: target(args)?,
        interrupt: Interrupt::install()?,
    };
    let begun = Instant::now();
    let (length, fetched) = get.fetch()?;
    let Fetched {
        crc32c, verified, ..
    } = fetched;
    let (size, rate) = (bytes(length), rate(length, begun.elapsed()));
    let verified = if verified { "verified" } else { "not verified" };
    let target = get.target.display();
    writeln!(
        out,
        "{target}: {size}, {rate}, crc32c {crc32c:08x}, {verified}"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn target(args: &GetArgs) -> Result<PathBuf, Failure> {
    let remote = Remote::parse(&args.url)?;
    let no_name = || {
        let path = &remote.path;
        Failure::Arguments(format!("path {path:?} has no name at its end: which file?"))
    };
    let name = remote.file_name().ok_or_else(no_name)?;
    Ok(match &args.output {
        None => PathBuf::from(name),
        Some(output) if output.is_dir() => output.join(name),
        Some(output) => output.clone(),
    })
}

/// What is fetched, and where it goes.
struct Get<'a> {
    args: &'a GetArgs,
    remote: Remote,
    target: PathBuf,
    interrupt: Interrupt,
}

impl Get<'_> {
    /// How long it is, and its checksum.
    fn fetch(&self) -> Result<(u64, Fetched), Failure> {
        let mut resume = self.args.resume;
        for _ in 1..TRIES_MAX {
            match self.fetch_once(resume) {
                Err(Stopped::Changed) => {
                    tell("the file was changed on the server meanwhile: it is fetched anew");
                }
                fetched => return fetched.map_err(Failure::from),
            }
            resume = false;
        }
        self.fetch_once(false).map_err(Failure::from)
    }

    fn fetch_once(&self, resume: bool) -> Result<(u64, Fetched), Stopped> {
        let channels: Result<Vec<_>, _> = (0..self.args.parallel)
            .map(|_| self.remote.channel())
            .collect();
        let channels = channels.map_err(|error| Stopped::Failed(error.into()))?;
        let mut options = DownloadOptions::default();
        options.range = self.args.range.clone();
        options.resume = resume;
        options.verify = !self.args.no_verify;
        options.ranges = self.args.parallel;
        let begin = Download::begin(&channels[0], &self.remote.path, &self.target, options);
        let begun = wait(begin, || self.interrupt.is_set()).ok_or(Stopped::Interrupted)?;
        let (download, resumed) = begun?;
        tell_resumed(&resumed, &self.target);
        let length = download.total_bytes();
        let progress = Progress::of_bytes(length, download.bytes());
        let fetched = self.fetch_ranges(&download, &channels, &progress);
        progress.done();
        if let Err(stopped) = fetched {
            self.keep(&download, &stopped);
            return Err(stopped);
        }
        let finish = download.finish(&channels[0]);
        let finished = wait(finish, || self.interrupt.is_set()).ok_or(Stopped::Interrupted)?;
        Ok((length, finished?))
    }

    /// A thread for each channel, this one among them. When one fails the others stop too.
    fn fetch_ranges(
        &self,
        download: &Download,
        channels: &[Channel],
        progress: &Progress,
    ) -> Result<(), Stopped> {
        let failed = AtomicBool::new(false);
        let fetch = |channel: &Channel| {
            let stop = || self.interrupt.is_set() || failed.load(Ordering::Relaxed);
            let fetched = wait(
                download.fetch(channel, |bytes| progress.advance(bytes)),
                stop,
            );
            let fetched = fetched.ok_or(Stopped::Interrupted)?;
            failed.fetch_or(fetched.is_err(), Ordering::Relaxed);
            fetched.map_err(Stopped::from)
        };
        let ends = thread::scope(|scope| {
            let others = channels[1..]
                .iter()
                .map(|channel| scope.spawn(|| fetch(channel)));
            let others: Vec<_> = others.collect();
            let own = fetch(&channels[0]);
            let others = others.into_iter().map(|thread| {
                let end = thread.join();
                end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            let mut ends: Vec<_> = others.collect();
            ends.push(own);
            ends
        });
        // Those that were stopped say less than the one that failed.
        let mut stopped = None;
        for end in ends.into_iter().filter_map(Result::err) {
            if let None | Some(Stopped::Interrupted) = stopped {
                stopped = Some(end);
            }
        }
        stopped.map_or(Ok(()), Err)
    }

    /// Notes what has come, and tells how to go on with it.
    fn keep(&self, download: &Download, stopped: &Stopped) {
        if matches!(stopped, Stopped::Changed) {
            return;
        }
        let (have, all) = (bytes(download.bytes()), bytes(download.total_bytes()));
        let target = self.target.display();
        match download.note() {
            Ok(()) => tell(&format!(
                "{have} of {all} are in {target}.part: --continue goes on with them"
            )),
            Err(error) => tell(&error.to_string()),
        }
    }
}

/// Why fetching stopped.
enum Stopped {
    Changed,
    Interrupted,
    Failed(Failure),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        match error {
            Error::Changed => Stopped::Changed,
            error => Stopped::Failed(error.into()),
        }
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Changed => Error::Changed.into(),
            Stopped::Interrupted => Failure::Interrupted,
            Stopped::Failed(failure) => failure,
        }
    }
}

fn tell_resumed(resumed: &Resumed, target: &Path) {
    let target = target.display();
    match resumed {
        Resumed::Nothing => {}
        Resumed::Bytes(have) => tell(&format!("goes on with {} in {target}.part", bytes(*have))),
        Resumed::Useless(why) => tell(&format!("{target}.part is of no use, {why}: begins anew")),
    }
}

fn tell(text: &str) {
    // There is nobody to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "kettle: {text}");
}
