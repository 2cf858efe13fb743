//! Requests of a stream that are given one by one: from the caller to its loop, on the same thread.

use crate::Status;
use crate::outgoing::{Protobuf, Sink};
use crate::source::Source;
use prost::Message;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Messages that leave together, at most, and how long they are together, about: a batch is a turn of the
/// loop and mostly one send(2).
const BATCH_MAX: usize = 64;
const BATCH_BYTES: usize = 64 * 1024;

/// The caller's end.
pub(super) struct Requests<M> {
    queue: Arc<Mutex<Queue<M>>>,
}

/// The loop's end.
pub(super) struct Given<M> {
    queue: Arc<Mutex<Queue<M>>>,
}

struct Queue<M> {
    messages: VecDeque<M>,
    bytes: usize,
    /// No more messages follow.
    ended: bool,
    /// The loop has asked for more since the last message.
    drained: bool,
    /// The call is over: nobody takes messages any more.
    gone: bool,
    /// Wakes the loop's end.
    loop_waker: Option<Waker>,
    /// Wakes the caller.
    waker: Option<Waker>,
}

/// What became of the messages that were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// The call is over.
    Over,
}

pub(super) fn pair<M>() -> (Requests<M>, Given<M>) {
    let queue = Arc::new(Mutex::new(Queue {
        messages: VecDeque::new(),
        bytes: 0,
        ended: false,
        drained: true,
        gone: false,
        loop_waker: None,
        waker: None,
    }));
    let given = Given {
        queue: Arc::clone(&queue),
    };
    (Requests { queue }, given)
}

impl<M: Message> Requests<M> {
    /// Adds a message. True when so much waits that it should be sent.
    pub(super) fn push(&self, message: M) -> bool {
        let mut queue = lock(&self.queue);
        queue.bytes += message.encoded_len();
        queue.drained = false;
        queue.messages.push_back(message);
        BATCH_MAX <= queue.messages.len() || BATCH_BYTES <= queue.bytes
    }

    /// Ready when all messages are on their way, with credit for each.
    pub(super) fn poll_sent(&self, waker: &Waker) -> Poll<Sent> {
        let mut queue = lock(&self.queue);
        match &*queue {
            Queue { gone: true, .. } => Poll::Ready(Sent::Over),
            Queue { drained: true, .. } => Poll::Ready(Sent::All),
            _ => {
                queue.waker = Some(waker.clone());
                wake(queue.loop_waker.take(), queue);
                Poll::Pending
            }
        }
    }

    /// Takes back what the loop has not taken. Whether there was something.
    pub(super) fn take_back(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.bytes = 0;
        queue.drained = true;
        !std::mem::take(&mut queue.messages).is_empty()
    }

    /// No more messages follow.
    pub(super) fn end(&self) {
        let mut queue = lock(&self.queue);
        queue.ended = true;
        wake(queue.loop_waker.take(), queue);
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.queue).ended
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.queue).gone
    }
}

impl<M: Message> Source for Given<M> {
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
    ) -> Poll<Option<Result<(), Status>>> {
        let mut queue = lock(&self.queue);
        if let Some(message) = queue.messages.pop_front() {
            drop(queue);
            sink.encode(&Protobuf(&message));
            return Poll::Ready(Some(Ok(())));
        }
        // It is asked for the next message only once the last has left.
        queue.drained = true;
        queue.bytes = 0;
        let ended = queue.ended;
        queue.loop_waker = (!ended).then(|| cx.waker().clone());
        wake(queue.waker.take(), queue);
        match ended {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}

impl<M> Drop for Given<M> {
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        queue.gone = true;
        wake(queue.waker.take(), queue);
    }
}

/// Wakes somebody, outside the lock.
fn wake<M>(waker: Option<Waker>, queue: MutexGuard<'_, Queue<M>>) {
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Nothing panics under this lock but the encoding of a message, so a poisoned one is as good as new.
fn lock<M>(queue: &Mutex<Queue<M>>) -> MutexGuard<'_, Queue<M>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
