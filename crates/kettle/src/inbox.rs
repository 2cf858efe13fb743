//! Where the messages of a stream wait until they are taken: between a loop and whoever reads.

use crate::call::Place;
use crate::command::Command;
use crate::mailbox::Mailbox;
use crate::recorder::Tally;
use crate::{Metadata, Status};
use kettle_buf::Chain;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a message that waits costs beside its bytes, which may be none.
const MESSAGE_BYTES: u64 = 64;

/// Most messages of one stream that may wait. Messages with a byte or more are bounded by credit
/// before that; this is for those without.
const MESSAGES_MAX: usize = 1024 * 1024;

/// The loop's end. Dropping it ends the stream with the status that it was made with.
#[derive(Debug)]
pub(crate) struct Feed {
    inbox: Arc<Inbox>,
    orphaned: fn() -> Status,
}

/// The reader's end. Dropping it gives up what has not been taken, and on a client cancels the call.
#[derive(Debug)]
pub(crate) struct Receiver {
    inbox: Arc<Inbox>,
    /// Counts what is taken.
    tally: Option<Arc<Tally>>,
}

#[derive(Debug)]
struct Inbox {
    state: Mutex<State>,
    mailbox: Arc<Mailbox>,
    /// The loop is told each time when so much was taken.
    step: u64,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Chain>,
    /// How many of the last ones [`Feed::compact`] has not looked at.
    fresh: usize,
    /// Client: the reply has begun, with this metadata.
    begun: Option<Metadata>,
    end: Option<Status>,
    waker: Option<Waker>,
    /// Where the call runs.
    place: Option<Place>,
    taken: Taken,
    /// The loop was told to collect what was taken.
    told: bool,
    reader: Reader,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reader {
    #[default]
    Reads,
    /// The reader has the end of the stream.
    Done,
    Gone,
}

/// What was taken since the last time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    /// Bytes of messages.
    pub(crate) bytes: u64,
    /// What they cost here: see [`cost`].
    pub(crate) cost: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// `first`: since [`Feed::compact`].
    Waits { first: bool },
    /// Nobody reads any more.
    Dropped,
    /// More messages wait than may.
    TooMany,
}

/// What a message of this length costs while it waits.
pub(crate) fn cost(bytes: usize) -> u64 {
    MESSAGE_BYTES + bytes as u64
}

/// A connected pair. `step`: after how much the loop is told what was taken, where it does not look.
pub(crate) fn pair(
    mailbox: Arc<Mailbox>,
    step: u64,
    place: Option<Place>,
    orphaned: fn() -> Status,
) -> (Feed, Receiver) {
    let state = State {
        place,
        ..State::default()
    };
    let inbox = Arc::new(Inbox {
        state: Mutex::new(state),
        mailbox,
        step,
    });
    let feed = Feed {
        inbox: Arc::clone(&inbox),
        orphaned,
    };
    let tally = None;
    (feed, Receiver { inbox, tally })
}

impl Feed {
    /// The reply has begun. Only the first time counts.
    pub(crate) fn begin(&self, metadata: Metadata) {
        let mut state = self.inbox.lock();
        if state.begun.is_none() {
            state.begun = Some(metadata);
            wake(state);
        }
    }

    /// Adds a message.
    pub(crate) fn push(&self, message: Chain) -> Fed {
        let mut state = self.inbox.lock();
        if state.reader == Reader::Gone {
            return Fed::Dropped;
        }
        if MESSAGES_MAX <= state.messages.len() {
            return Fed::TooMany;
        }
        if state.begun.is_none() {
            state.begun = Some(Metadata::new());
        }
        let first = state.fresh == 0;
        state.fresh += 1;
        state.messages.push_back(message);
        wake(state);
        Fed::Waits { first }
    }

    /// Nothing more comes. Only the first time counts.
    pub(crate) fn end(&self, status: Status) {
        let mut state = self.inbox.lock();
        if state.end.is_none() {
            state.end = Some(status);
            wake(state);
        }
    }

    /// What was taken since the last time.
    pub(crate) fn collect(&self) -> Taken {
        let mut state = self.inbox.lock();
        state.told = false;
        std::mem::take(&mut state.taken)
    }

    /// Says where the call runs. False when the reader has gone already.
    pub(crate) fn leave_note(&self, place: Place) -> bool {
        let mut state = self.inbox.lock();
        state.place = Some(place);
        state.reader != Reader::Gone
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.inbox.lock().reader == Reader::Gone
    }

    /// Copies the short messages that have come since the last time and wait, so that they do not keep
    /// the blocks that they came in.
    pub(crate) fn compact(&self, short: usize) {
        let mut state = self.inbox.lock();
        let fresh = std::mem::take(&mut state.fresh);
        for message in state.messages.iter_mut().rev().take(fresh) {
            if message.len() < short {
                *message = Chain::from(kettle_buf::Segment::from(message.to_vec()));
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let ended = self.inbox.lock().end.is_some();
        if !ended {
            self.end((self.orphaned)());
        }
    }
}

impl Receiver {
    /// Lets what is taken from now on be counted.
    pub(crate) fn set_tally(&mut self, tally: Arc<Tally>) {
        self.tally = Some(tally);
    }

    /// Waits until the reply has begun; gives its metadata, or the error that ended it before.
    pub(crate) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Result<Metadata, Status>> {
        self.poll(cx, |state| {
            if let Some(metadata) = &mut state.begun {
                return Some(Ok(std::mem::take(metadata)));
            }
            let end = state.end.clone()?;
            if end.is_ok() {
                return Some(Ok(Metadata::new()));
            }
            state.reader = Reader::Done;
            Some(Err(end))
        })
    }

    /// The next message, or how the stream ended: after that this is not polled again.
    pub(crate) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chain, Status>> {
        let mut much = None;
        let polled = self.poll(cx, |state| match state.messages.pop_front() {
            Some(message) => {
                state.take(&message);
                much = state.tell(self.inbox.step);
                Some(Ok(message))
            }
            None => {
                let end = state.end.take()?;
                state.end = Some(Status::default());
                state.reader = Reader::Done;
                Some(Err(end))
            }
        });
        if let Some(place) = much {
            // A loop that has ended gives no credit.
            let _ = self.inbox.mailbox.send(Command::Taken(place));
        }
        if let (Some(tally), Poll::Ready(Ok(message))) = (&self.tally, &polled) {
            tally.taken(message);
        }
        polled
    }

    /// Gives what `ready` gives, or waits for a change.
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Poll<T> {
        if let Some(value) = ready(&mut self.inbox.lock()) {
            return Poll::Ready(value);
        }
        // Cloning a waker is user code: it runs outside the lock.
        let waker = cx.waker().clone();
        let mut state = self.inbox.lock();
        if let Some(value) = ready(&mut state) {
            return Poll::Ready(value);
        }
        let before = state.waker.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let (waker, messages, cancel) = {
            let mut state = self.inbox.lock();
            let messages = std::mem::take(&mut state.messages);
            for message in &messages {
                state.take(message);
            }
            let done = state.reader == Reader::Done || state.end.is_some();
            state.reader = Reader::Gone;
            (state.waker.take(), messages, state.place.filter(|_| !done))
        };
        drop((waker, messages));
        if let Some(place) = cancel {
            // A loop that has ended has no call to cancel.
            let _ = self.inbox.mailbox.send(Command::Cancel(place));
        }
    }
}

impl Inbox {
    /// Nothing panics under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, message: &Chain) {
        self.taken.bytes += message.len() as u64;
        self.taken.cost += cost(message.len());
    }

    /// Where the loop is to be told that much was taken; it was not told before.
    fn tell(&mut self, step: u64) -> Option<Place> {
        let much = step <= self.taken.cost && !self.told && self.end.is_none();
        let place = self.place.filter(|_| much);
        self.told |= place.is_some();
        place
    }
}

/// Wakes the reader. The waker is user code: it runs outside the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
