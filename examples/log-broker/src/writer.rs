//! The thread that writes: it takes all appends that wait, and writes and syncs them together.

use crate::contents::Contents;
use crate::error::Error;
use crate::index::Point;
use crate::log::Options;
use crate::record::{HEAD_BYTES, RECORD_BYTES_MAX};
use crate::tip::Tip;
use bytes::Bytes;
use futures::channel::oneshot;
use std::fmt;
use std::io;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Most records of one append.
pub const BATCH_RECORDS_MAX: usize = 10_000;

/// Most bytes of one append, heads included: 3 MiB, so that its request is below the 4 MiB of a message.
pub const BATCH_BYTES_MAX: usize = 3 << 20;

/// Most bytes of appends that wait for the writer, of which the one that is written is the last: 16 MiB. More
/// are refused.
pub const WAITING_BYTES_MAX: usize = 16 << 20;

/// The writer takes no more appends into a write of this length: 4 MiB. So a write is shorter than this and
/// a batch together.
const WRITE_BYTES: usize = 4 << 20;

/// How often [`Fsync::Interval`] syncs.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// When records are forced to the disk. In no case is a record lost when the broker alone is killed: what it
/// has written is the kernel's. A segment that is full is synced always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before they are acknowledged: nothing acknowledged is lost when the power fails. Appends that come
    /// during a sync share the next one.
    #[default]
    Always,
    /// At most [`SYNC_INTERVAL`] later: when the power fails, what is newer may be lost.
    Interval,
    /// When the kernel wants to: when the power fails, all of the newest segment may be lost.
    Never,
}

/// Why records were not added.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AppendError {
    /// The batch is outside of a limit, which the text names.
    Invalid(String),
    /// Too much waits for the writer: try again later.
    Busy,
    /// They cannot be written, for want of room perhaps. The next may be.
    Failed(Arc<Error>),
    /// A sync failed, so nobody knows what the disk has. The log takes no more records until it is opened
    /// again.
    Broken(Arc<Error>),
    /// The thread that writes has panicked.
    Ended,
}

/// The way to the thread, which ends with it.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Of the appends that wait.
    waiting_bytes: Arc<AtomicUsize>,
}

/// An append on its way to the thread.
#[derive(Debug)]
struct Job {
    payloads: Vec<Bytes>,
    /// As records.
    bytes: usize,
    reply: oneshot::Sender<Result<Range<u64>, AppendError>>,
}

impl Writer {
    pub(crate) fn start(contents: Arc<Contents>, tip: Tip, options: Options) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let writing = Writing {
            contents,
            tip,
            options,
            jobs: receiver,
            waiting_bytes: Arc::clone(&waiting_bytes),
            sync_at: None,
            broken: None,
        };
        let thread = thread::Builder::new().name("log-writer".into());
        Ok(Self {
            thread: Some(thread.spawn(|| writing.run())?),
            jobs: Some(sender),
            waiting_bytes,
        })
    }

    pub(crate) async fn append(&self, payloads: Vec<Bytes>) -> Result<Range<u64>, AppendError> {
        let bytes = check(&payloads)?;
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if WAITING_BYTES_MAX < waiting + bytes {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(AppendError::Busy);
        }
        let (reply, replied) = oneshot::channel();
        let job = Job {
            payloads,
            bytes,
            reply,
        };
        if let Some(jobs) = &self.jobs {
            // Without a thread the reply is gone too.
            let _ = jobs.send(job);
        }
        replied.await.unwrap_or(Err(AppendError::Ended))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was printed.
            let _ = thread.join();
        }
    }
}

/// The length of the records with these payloads.
fn check(payloads: &[Bytes]) -> Result<usize, AppendError> {
    let invalid = |text| Err(AppendError::Invalid(text));
    if payloads.is_empty() || BATCH_RECORDS_MAX < payloads.len() {
        let count = payloads.len();
        let text = format!("a batch has 1 to {BATCH_RECORDS_MAX} records, not {count}");
        return invalid(text);
    }
    let longest = payloads.iter().map(Bytes::len).max().unwrap_or(0);
    if RECORD_BYTES_MAX < longest {
        return invalid(format!(
            "a record has at most {RECORD_BYTES_MAX} bytes, not {longest}"
        ));
    }
    let bytes = payloads.iter().map(|it| HEAD_BYTES + it.len()).sum();
    match bytes <= BATCH_BYTES_MAX {
        true => Ok(bytes),
        false => invalid(format!(
            "a batch has at most {BATCH_BYTES_MAX} bytes with {HEAD_BYTES} more for each record, \
             not {bytes}"
        )),
    }
}

/// The thread.
struct Writing {
    contents: Arc<Contents>,
    tip: Tip,
    options: Options,
    jobs: Receiver<Job>,
    waiting_bytes: Arc<AtomicUsize>,
    /// When what was written has to be synced.
    sync_at: Option<Instant>,
    broken: Option<Arc<Error>>,
}

impl Writing {
    fn run(mut self) {
        while let Some(jobs) = self.next_jobs() {
            self.write(jobs);
        }
        self.sync_unless_broken();
    }

    /// Waits for appends, and takes all that wait; `None` when no more can come. Syncs when it is time to.
    fn next_jobs(&mut self) -> Option<Vec<Job>> {
        let first = loop {
            let Some(time) = self.sync_at else {
                break self.jobs.recv().ok()?;
            };
            let left = time.saturating_duration_since(Instant::now());
            match self.jobs.recv_timeout(left) {
                Ok(job) => break job,
                Err(RecvTimeoutError::Timeout) => self.sync_unless_broken(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        };
        let (mut bytes, mut jobs) = (first.bytes, vec![first]);
        while bytes < WRITE_BYTES
            && let Ok(job) = self.jobs.try_recv()
        {
            bytes += job.bytes;
            jobs.push(job);
        }
        Some(jobs)
    }

    /// Writes these appends together and answers them.
    fn write(&mut self, jobs: Vec<Job>) {
        let bytes = jobs.iter().map(|job| job.bytes).sum();
        let (mut payloads, mut replies) = (Vec::new(), Vec::new());
        for job in jobs {
            replies.push((job.payloads.len() as u64, job.reply));
            payloads.extend(job.payloads);
        }
        let mut next = self.tip.end().offset;
        let added = self.add(&payloads, bytes);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        for (count, reply) in replies {
            let offsets = next..next + count;
            next = offsets.end;
            // Who asked may be gone.
            let _ = reply.send(added.clone().map(|()| offsets));
        }
        if let Err(error) = self.contents.retain(self.options.retention_bytes) {
            eprintln!("an old segment stays: {error}");
        }
    }

    fn add(&mut self, payloads: &[Bytes], bytes: usize) -> Result<(), AppendError> {
        if let Some(error) = &self.broken {
            return Err(AppendError::Broken(Arc::clone(error)));
        }
        let length = self.tip.end().byte;
        if 0 < length && self.options.segment_bytes < length + bytes as u64 {
            self.roll()?;
        }
        let points = self.append(payloads)?;
        match self.options.fsync {
            Fsync::Always => self.sync()?,
            Fsync::Interval if self.sync_at.is_none() => {
                self.sync_at = Some(Instant::now() + SYNC_INTERVAL);
            }
            Fsync::Interval | Fsync::Never => {}
        }
        // From here on readers see them.
        self.contents.commit(self.tip.end(), &points);
        Ok(())
    }

    /// Begins a segment. The one before it is whole on the disk: recovery relies on that.
    fn roll(&mut self) -> Result<(), AppendError> {
        self.sync()?;
        let (directory, base) = (self.contents.directory(), self.tip.end().offset);
        let created = Tip::create(directory, base, self.options.index_bytes);
        let (tip, segment) = created.map_err(|error| AppendError::Failed(Arc::new(error)))?;
        self.tip = tip;
        self.contents.push(segment);
        Ok(())
    }

    /// Writes records whole or not at all.
    fn append(&mut self, payloads: &[Bytes]) -> Result<Vec<Point>, AppendError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let time_ms = now.map_or(0, |now| now.as_millis() as u64);
        let error = match self.tip.append(payloads, time_ms) {
            Ok(points) => return Ok(points),
            Err(error) => error,
        };
        match self.tip.cut() {
            Ok(()) => Err(AppendError::Failed(Arc::new(error))),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// After a failed sync nothing is added: the kernel may have dropped what it could not write, and the
    /// next sync would not tell.
    fn sync(&mut self) -> Result<(), AppendError> {
        self.sync_at = None;
        self.tip.sync().map_err(|error| self.broken(error))
    }

    /// Nobody waits for this one; a failure is told to the next append.
    fn sync_unless_broken(&mut self) {
        if self.broken.is_none() {
            let _ = self.sync();
        }
    }

    fn broken(&mut self, error: Error) -> AppendError {
        eprintln!("the log takes no more records: {error}");
        let error = Arc::new(error);
        self.broken = Some(Arc::clone(&error));
        AppendError::Broken(error)
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => write!(f, "{text}"),
            Self::Busy => write!(
                f,
                "{WAITING_BYTES_MAX} bytes of records wait to be written, and more may not: try again later"
            ),
            Self::Failed(error) => write!(f, "nothing was added: {error}"),
            Self::Broken(error) => write!(
                f,
                "the log takes no more records until the broker is started again: {error}"
            ),
            Self::Ended => write!(
                f,
                "the thread that writes has ended: start the broker again"
            ),
        }
    }
}

impl std::error::Error for AppendError {}

impl FromStr for Fsync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "interval" => Ok(Self::Interval),
            "never" => Ok(Self::Never),
            _ => Err("it is always, interval or never".to_owned()),
        }
    }
}
