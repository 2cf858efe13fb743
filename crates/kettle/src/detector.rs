//! Finds small slices of messages that keep the large blocks that they came in.

use kettle_buf::{Chain, Segment};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// A segment below this many bytes may be a small part of the block that it lies in, which has 64 KiB.
const SMALL_BYTES: usize = 16 * 1024;

/// Slices that are watched at a time; those of later messages are not while there are so many.
const WATCHED_MAX: usize = 65_536;

/// How often in the set time the slices are looked at.
const LOOKS: u32 = 4;

/// Watches what handlers keep of the messages that came, and warns of what they keep for too long.
#[derive(Debug)]
pub(crate) struct Detector {
    after: Duration,
    state: Mutex<State>,
    /// Starts the thread that looks.
    looking: Once,
}

#[derive(Debug, Default)]
struct State {
    slices: Vec<Weak<Slice>>,
    warned: u64,
}

/// A part of a block.
#[derive(Debug)]
struct Slice {
    bytes: Segment,
    method: &'static str,
    came: Instant,
}

/// Keeps a slice for as long as anybody refers to its bytes.
struct Owner(Arc<Slice>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Detector {
    /// Warns of what is kept for longer than this.
    pub(crate) fn new(after: Duration) -> Self {
        Self {
            after,
            state: Mutex::default(),
            looking: Once::new(),
        }
    }

    /// The same message, watched.
    pub(crate) fn watch(self: &Arc<Self>, method: &'static str, message: Chain) -> Chain {
        let mut watched = Chain::new();
        for segment in message.into_segments() {
            watched.append(match segment.len() < SMALL_BYTES {
                true => self.watch_segment(method, segment),
                false => segment,
            });
        }
        watched
    }

    /// How many slices it has warned of.
    pub(crate) fn warned(&self) -> u64 {
        self.lock().warned
    }

    fn watch_segment(self: &Arc<Self>, method: &'static str, bytes: Segment) -> Segment {
        self.looking.call_once(|| look_from_now_on(self));
        let mut state = self.lock();
        if WATCHED_MAX <= state.slices.len() {
            return bytes;
        }
        let came = Instant::now();
        let slice = Arc::new(Slice {
            bytes,
            method,
            came,
        });
        state.slices.push(Arc::downgrade(&slice));
        Segment::from_owner(Owner(slice))
    }

    /// Forgets what nobody keeps any more, and what it warns of.
    fn look(&self) {
        let mut late = Vec::new();
        let mut state = self.lock();
        state.slices.retain(|slice| match slice.upgrade() {
            Some(slice) if self.after <= slice.came.elapsed() => {
                late.push(slice);
                false
            }
            Some(_) => true,
            None => false,
        });
        state.warned += late.len() as u64;
        // The last owner of a block may be among these.
        drop(state);
        for slice in late {
            tracing::warn!(
                method = slice.method,
                bytes = slice.bytes.len(),
                kept = ?slice.came.elapsed(),
                "a handler keeps a small slice of a message, and with it the block of 64 KiB that it came \
                 in: copy what is kept (Bytes::copy_from_slice)"
            );
        }
    }

    /// Nothing panics under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks until the detector is gone.
fn look_from_now_on(detector: &Arc<Detector>) {
    let (pause, detector) = (detector.after / LOOKS, Arc::downgrade(detector));
    let look = move || {
        loop {
            thread::sleep(pause);
            match detector.upgrade() {
                Some(detector) => detector.look(),
                None => return,
            }
        }
    };
    let thread = thread::Builder::new().name("kettle-detector".into());
    if let Err(error) = thread.spawn(look) {
        tracing::error!(%error, "no thread to look for kept messages with");
    }
}
