//! The two ends of something that a loop will answer: a caller's future, and the loop's promise.

use crate::Status;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a promise that was dropped without an answer says.
pub(crate) const LOOP_ENDED: &str = "the loop that this call ran on has ended";

/// The caller's end. Dropping it before the answer runs `on_drop` with the loop's note.
pub(crate) struct Pending<T, N, F: FnMut(N)> {
    shared: Arc<Mutex<Shared<T, N>>>,
    on_drop: F,
}

/// The loop's end. Dropping it answers UNAVAILABLE.
#[derive(Debug)]
pub(crate) struct Promise<T, N> {
    shared: Arc<Mutex<Shared<T, N>>>,
}

#[derive(Debug)]
struct Shared<T, N> {
    answer: Option<Result<T, Status>>,
    waker: Option<Waker>,
    /// Set by the loop: what it needs to know to give this up.
    note: Option<N>,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The promise is gone; the answer is there or was taken.
    Answered,
    /// The caller is gone.
    Abandoned,
}

/// A connected pair. `on_drop` is called when the caller goes away before the answer and after the
/// loop has left a note.
pub(crate) fn pair<T, N, F: FnMut(N)>(on_drop: F) -> (Promise<T, N>, Pending<T, N, F>) {
    let shared = Shared {
        answer: None,
        waker: None,
        note: None,
        state: State::Open,
    };
    let shared = Arc::new(Mutex::new(shared));
    (
        Promise {
            shared: Arc::clone(&shared),
        },
        Pending { shared, on_drop },
    )
}

impl<T, N> Promise<T, N> {
    /// Answers. False when the caller is gone: then it does nothing.
    pub(crate) fn answer(self, answer: Result<T, Status>) -> bool {
        settle(&self.shared, answer)
    }

    /// Leaves the note that is handed out when the caller goes away. False when it has gone already.
    pub(crate) fn leave_note(&self, note: N) -> bool {
        let mut shared = lock(&self.shared);
        shared.note = Some(note);
        shared.state != State::Abandoned
    }

    /// Whether the caller has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        lock(&self.shared).state == State::Abandoned
    }
}

impl<T, N> Drop for Promise<T, N> {
    fn drop(&mut self) {
        settle(&self.shared, Err(Status::unavailable(LOOP_ENDED)));
    }
}

/// Whether somebody gets the answer.
fn settle<T, N>(shared: &Mutex<Shared<T, N>>, answer: Result<T, Status>) -> bool {
    let mut shared = lock(shared);
    if shared.state != State::Open {
        return false;
    }
    shared.state = State::Answered;
    shared.answer = Some(answer);
    let waker = shared.waker.take();
    // The waker is user code: it runs outside the lock.
    drop(shared);
    if let Some(waker) = waker {
        waker.wake();
    }
    true
}

impl<T, N, F: FnMut(N) + Unpin> Future for Pending<T, N, F> {
    type Output = Result<T, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloning a waker is user code: it runs outside the lock.
        let waker = cx.waker().clone();
        let mut shared = lock(&self.shared);
        if let Some(answer) = shared.answer.take() {
            return Poll::Ready(answer);
        }
        let before = shared.waker.replace(waker);
        drop(shared);
        drop(before);
        Poll::Pending
    }
}

impl<T, N, F: FnMut(N)> Drop for Pending<T, N, F> {
    fn drop(&mut self) {
        // What the waker holds is let go of now, not when the loop looks here; dropping it is user code.
        let (note, _waker) = {
            let mut shared = lock(&self.shared);
            if shared.state != State::Open {
                return;
            }
            shared.state = State::Abandoned;
            (shared.note.take(), shared.waker.take())
        };
        if let Some(note) = note {
            (self.on_drop)(note);
        }
    }
}

/// Nothing panics under these locks, so a poisoned one is as good as new.
fn lock<T, N>(shared: &Mutex<Shared<T, N>>) -> MutexGuard<'_, Shared<T, N>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::pin::pin;

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_answer_arrives_once() {
        let (promise, pending) = pair::<_, (), _>(|()| panic!("it was answered"));
        let mut pending = pin!(pending);
        assert!(poll(pending.as_mut()).is_pending());
        promise.answer(Ok(7));
        assert_eq!(poll(pending.as_mut()), Poll::Ready(Ok(7)));
    }

    #[test]
    fn a_dropped_promise_answers_unavailable() {
        let (promise, pending) = pair::<(), (), _>(|()| ());
        drop(promise);
        let Poll::Ready(Err(status)) = poll(pin!(pending)) else {
            panic!("no answer")
        };
        assert_eq!(status.code(), crate::Code::Unavailable);
    }

    #[test]
    fn a_caller_that_goes_away_takes_its_waker_along() {
        struct Nothing;
        impl std::task::Wake for Nothing {
            fn wake(self: Arc<Self>) {}
        }
        let (_promise, mut pending) = pair::<(), (), _>(|()| ());
        let held = Arc::new(Nothing);
        let waker = Waker::from(Arc::clone(&held));
        let polled = Pin::new(&mut pending).poll(&mut Context::from_waker(&waker));
        drop(waker);
        assert_eq!((polled.is_pending(), Arc::strong_count(&held)), (true, 2));
        drop(pending);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn a_caller_that_goes_away_hands_the_note_out() {
        let noted = Cell::new(0);
        let (promise, pending) = pair::<(), _, _>(|note| noted.set(note));
        assert!(promise.leave_note(3));
        drop(pending);
        assert_eq!(noted.get(), 3);
        assert!(promise.is_abandoned());
        let (promise, pending) = pair::<(), i32, _>(|_| panic!("there is no note yet"));
        drop(pending);
        assert!(!promise.leave_note(4), "the loop learns that nobody waits");
    }
}
