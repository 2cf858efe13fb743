//! Messages of a reply stream between the pool thread that makes them and the loop that sends them.

use crate::Status;
use crate::codec::encoded;
use crate::outgoing::Sink;
use crate::source::BoxSource;
use kettle_buf::{Encode, Payload};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

/// How far a stream on the pool may be ahead of its connection, in bytes: to this one message more. The
/// loop takes messages only while the connection has room for them.
const AHEAD_BYTES_MAX: u64 = 64 * 1024;

/// The same in messages, which may have no bytes.
const AHEAD_MESSAGES_MAX: usize = 256;

/// Messages of one stream in a turn of its thread; then other calls have theirs.
const TURN_MESSAGES_MAX: usize = 256;

/// The pool's end.
pub(super) struct Ahead {
    shared: Arc<Mutex<State>>,
}

/// The loop's end.
pub(super) struct Behind {
    shared: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Payload>,
    bytes: u64,
    end: Option<Result<(), Status>>,
    /// Wakes the loop's end.
    reader: Option<Waker>,
    /// Wakes the pool's end, which waits for room.
    writer: Option<Waker>,
}

/// A connected pair.
pub(super) fn pair() -> (Ahead, Behind) {
    let shared = Arc::new(Mutex::default());
    let behind = Behind {
        shared: Arc::clone(&shared),
    };
    (Ahead { shared }, behind)
}

impl Ahead {
    /// Makes messages as long as there are some and there is room. Ready when there are no more.
    pub(super) fn poll(&mut self, source: &mut BoxSource, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURN_MESSAGES_MAX {
            ready!(self.poll_room(cx));
            let end = match ready!(source.as_mut().poll_next(cx, self)) {
                Some(Ok(())) => continue,
                Some(Err(status)) => Err(status),
                None => Ok(()),
            };
            self.end(end);
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, end: Result<(), Status>) {
        let mut state = lock(&self.shared);
        state.end.get_or_insert(end);
        wake(state, |state| state.reader.take());
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.shared);
        if state.bytes < AHEAD_BYTES_MAX && state.messages.len() < AHEAD_MESSAGES_MAX {
            return Poll::Ready(());
        }
        // This is a job's own waker: neither its clone nor its drop is user code.
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Sink for Ahead {
    fn encode(&mut self, message: &dyn Encode) {
        self.send(encoded(message));
    }

    fn send(&mut self, message: Payload) {
        let mut state = lock(&self.shared);
        state.bytes += message.len();
        state.messages.push_back(message);
        wake(state, |state| state.reader.take());
    }
}

/// The loop may wait for messages: a stream that is dropped before its end has failed.
impl Drop for Ahead {
    fn drop(&mut self) {
        self.end(Err(Status::cancelled("the stream was dropped")));
    }
}

impl Behind {
    /// Gives the next message to `sink`. The pool's end is woken when half of what it may be ahead is
    /// left, so that it makes several at a time.
    pub(super) fn poll_next(
        &self,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
    ) -> Poll<Option<Result<(), Status>>> {
        // Cloning a waker and dropping one may be user code: outside the lock.
        let waker = cx.waker().clone();
        let mut state = lock(&self.shared);
        if let Some(message) = state.messages.pop_front() {
            state.bytes -= message.len();
            wake(state, |state| {
                let low = state.bytes <= AHEAD_BYTES_MAX / 2
                    && state.messages.len() <= AHEAD_MESSAGES_MAX / 2;
                state.writer.take_if(|_| low)
            });
            sink.send(message);
            return Poll::Ready(Some(Ok(())));
        }
        match state.end.take() {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(status)) => Poll::Ready(Some(Err(status))),
            None => {
                let before = state.reader.replace(waker);
                drop(state);
                drop(before);
                Poll::Pending
            }
        }
    }
}

/// Wakes whom `whom` takes out, outside the lock.
fn wake(mut state: MutexGuard<'_, State>, whom: impl FnOnce(&mut State) -> Option<Waker>) {
    let waker = whom(&mut state);
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Nothing panics under this lock, so a poisoned one is as good as new.
fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
