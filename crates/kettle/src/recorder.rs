//! Recording what a server is asked, to measure with it later.
//!
//! `recorder/watched.rs` is one call that is being recorded and `tally.rs` counts its messages, `queue.rs` takes
//! calls from the loops to the thread of `writer.rs`, `line.rs` is what stands in the file, and docs/recording.md
//! of the repository its specification.

mod line;
mod payloads;
mod queue;
mod tally;
mod watched;
mod writer;

pub(crate) use tally::Tally;

use crate::error::Kind;
use crate::{BoxFuture, Error, Inbound, Interceptor, Next, Outbound, Request, Response, Status};
use payloads::Budget;
use queue::Queue;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use watched::Watched;
use writer::Writer;

/// Longest file unless told otherwise: some 400,000 calls without payloads.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The shortest longest file: room for the first line, the last ones, and a few calls.
const FILE_BYTES_LEAST: u64 = 4096;

/// Records the calls of a server into a file, from which `kettle lab --replay` makes the same traffic again.
///
/// For each call: the path of its method, which sides were streams, the number and the bytes of messages each
/// way, when it arrived, how long its handler took, the status, and a number for its connection. Metadata and
/// addresses are not recorded; payloads of requests only when asked for
/// ([`RecorderBuilder::payloads`]). Calls of methods that the server does not host are not seen.
///
/// A call is written when it has ended, by a thread of the recorder's own. It reaches that thread by a queue of
/// 65,536 calls; a call that finds it full is counted instead of written, so that no loop waits for a disk.
/// Neither a full file nor an error ends the server: recording stops, the log says so once (level WARN),
/// and the calls that follow are counted. A killed server leaves a file that is whole up to its last line, which
/// is at most 20 ms old plus what the disk is behind.
///
/// Clones record into the same file. When the last one is dropped, as with the server whose interceptor it is,
/// the file is completed as by [`Recorder::stop`].
///
/// ```no_run
/// # fn main() -> Result<(), kettle::Error> {
/// let recorder = kettle::Recorder::builder().create("traffic.jsonl")?;
/// let server = kettle::Server::builder()
///     .interceptor(recorder.clone())
///     // .add_service(…)
///     .serve("127.0.0.1:50051")?;
/// let recorded = recorder.stop();
/// println!("{} calls, {} were not recorded", recorded.calls, recorded.unrecorded);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    closing: Arc<Closing>,
}

/// Settings of a [`Recorder`].
#[derive(Clone, Debug)]
#[must_use = "nothing is recorded until a file is created"]
pub struct RecorderBuilder {
    payloads: bool,
    bytes_max: u64,
}

/// What a [`Recorder`] has done so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Calls that stand in the file.
    pub calls: u64,
    /// Calls that do not: the file was full or could not be written, or the queue was full.
    pub unrecorded: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether recording stopped because the file has reached its limit.
    pub is_full: bool,
    /// Why recording stopped before that: an error of writing.
    pub failure: Option<String>,
}

/// What loops, calls and the writing thread share.
struct Shared {
    queue: Queue,
    budget: Arc<Budget>,
    with_payloads: bool,
    /// What arrivals count from.
    begun: Instant,
    /// Whether calls are still recorded.
    open: AtomicBool,
    calls: AtomicU64,
    unrecorded: AtomicU64,
    bytes: AtomicU64,
    full: AtomicBool,
    failure: OnceLock<String>,
}

/// Ends the writing thread when nobody records any more.
struct Closing {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Settings, all at their defaults: no payloads, a file of 64 MiB at most.
    pub fn builder() -> RecorderBuilder {
        RecorderBuilder {
            payloads: false,
            bytes_max: FILE_BYTES_MAX,
        }
    }

    /// What was recorded so far.
    pub fn recorded(&self) -> Recorded {
        let shared = &self.shared;
        Recorded {
            calls: shared.calls.load(Ordering::Relaxed),
            unrecorded: shared.unrecorded.load(Ordering::Relaxed),
            bytes: shared.bytes.load(Ordering::Relaxed),
            is_full: shared.full.load(Ordering::Relaxed),
            failure: shared.failure.get().cloned(),
        }
    }

    /// Ends the recording: waits until what has ended is written, with a last line that says how many calls
    /// there are. Calls that end later are not recorded. Does nothing the second time. Blocks as long as the disk
    /// takes, and so does dropping the last clone.
    pub fn stop(&self) -> Recorded {
        self.closing.close();
        self.recorded()
    }
}

impl RecorderBuilder {
    /// Whether the messages of requests are recorded, with which a server of one's own can be asked the same
    /// again. Default false. The file then holds what clients have sent.
    ///
    /// Messages of a call beyond 4 MiB are left out, and so are those of all calls while 64 MiB of them wait to
    /// be written; the call is then recorded without any.
    pub fn payloads(mut self, payloads: bool) -> Self {
        self.payloads = payloads;
        self
    }

    /// Longest file in bytes. Default 64 MiB, at least 4,096. A call takes about 170 bytes, and four bytes for each
    /// three of payloads.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Creates the file, readable by its user only, and starts the thread that writes it.
    ///
    /// # Errors
    /// [`Error::is_config`] when a setting is wrong; else when the file is there already, cannot be written, or
    /// the thread cannot be started.
    pub fn create(self, path: impl AsRef<Path>) -> Result<Recorder, Error> {
        let (path, bytes_max) = (path.as_ref(), self.bytes_max);
        if bytes_max < FILE_BYTES_LEAST {
            let text = format!("bytes_max is {bytes_max}, and must be {FILE_BYTES_LEAST} at least");
            return Err(Error::new(Kind::Config, text));
        }
        let failed = |error: io::Error| {
            let text = match error.kind() {
                io::ErrorKind::AlreadyExists => "a recording overwrites no file",
                _ => "the recording cannot be written",
            };
            Error::new(Kind::Io, format!("{}: {text}", path.display())).with_source(error)
        };
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let shared = Arc::new(Shared::new(self.payloads));
        let mut writer = Writer::new(file, Arc::clone(&shared), bytes_max);
        writer.head(&self.head()).map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("kettle-recorder".into())
            .spawn(move || writer.run())
            .map_err(failed)?;
        let closing = Closing {
            shared: Arc::clone(&shared),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Recorder {
            shared,
            closing: Arc::new(closing),
        })
    }

    fn head(&self) -> line::Head {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        line::Head {
            started_unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            payloads: self.payloads,
            bytes_max: self.bytes_max,
        }
    }
}

impl Interceptor<Inbound, Outbound> for Recorder {
    fn call(
        &self,
        mut request: Request<Inbound>,
        next: Next<Inbound, Outbound>,
    ) -> BoxFuture<'static, Result<Response<Outbound>, Status>> {
        if !self.shared.is_open() {
            self.shared.count_unrecorded(1);
            return next.run(request);
        }
        let watched = Watched::begin(Arc::clone(&self.shared), &mut request);
        Box::pin(async move {
            let outcome = next.run(request).await;
            watched.ended(outcome)
        })
    }
}

impl Shared {
    fn new(with_payloads: bool) -> Self {
        Self {
            queue: Queue::default(),
            budget: Arc::default(),
            with_payloads,
            begun: Instant::now(),
            open: AtomicBool::new(true),
            calls: AtomicU64::new(0),
            unrecorded: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            full: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    fn count_unrecorded(&self, calls: u64) {
        self.unrecorded.fetch_add(calls, Ordering::Relaxed);
    }
}

impl Closing {
    fn close(&self) {
        self.shared.queue.close();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recorder").field(&self.recorded()).finish()
    }
}
