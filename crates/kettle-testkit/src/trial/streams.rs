//! The streams of the trial service.

use super::{
    Behaviour, Counters, Later, Outcome, Started, Task, behave, failure, request_echo, thread_name,
    wake_self,
};
use futures_core::Stream;
use kettle::{BoxFuture, Request, Response, Sleep, Status, Streaming};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Does what each task says, and counts them and their bytes.
pub(super) async fn collect(
    request: Request<Streaming<Task>>,
    counters: &Arc<Counters>,
) -> Result<Response<Outcome>, Status> {
    let mut response = request_echo(request, |tasks| tasks);
    let tasks = response.get_mut();
    let (mut count, mut number) = (0u64, 0);
    while let Some(task) = tasks.message().await? {
        counters.taken.fetch_add(1, Ordering::SeqCst);
        count += 1;
        number += task.payload.len() as u64;
        behave(Request::new(task), Arc::clone(counters)).await?;
    }
    let payload = count.to_string().into();
    Ok(response.map(|_| Outcome { payload, number }))
}

/// The replies to one task. [`Behaviour::Echo`]: the payload, `number` times; [`Behaviour::Large`]: messages
/// of `number` bytes without end; [`Behaviour::Never`]: none, without end; [`Behaviour::Thread`]: the payload
/// again and again, another thread having slept for `number` milliseconds before each; [`Behaviour::Sleep`]: the
/// payload again and again, with a sleep of `number` microseconds before each;
/// [`Behaviour::ThreadNames`]: the name of the thread that makes it, `number` times;
/// [`Behaviour::PanicLater`] and [`Behaviour::Fail`]: the payload three times, then a panic or the error.
#[derive(Debug)]
pub struct Push {
    request: Request<Task>,
    sent: u64,
    later: Option<Later>,
    sleep: Option<Sleep>,
    started: Option<Started>,
}

impl Push {
    /// Behaviours that are none of a stream's show before it begins.
    pub(super) async fn begin(
        request: Request<Task>,
        started: Started,
    ) -> Result<Response<Self>, Status> {
        match request.get_ref().behaviour() {
            Behaviour::Panic => panic!("told to panic at once"),
            Behaviour::SelfWake => wake_self(request.get_ref().number).await,
            _ => {}
        }
        Ok(request_echo(request, |task| Self {
            request: Request::new(task),
            sent: 0,
            later: None,
            sleep: None,
            started: Some(started),
        }))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Outcome, Status>>> {
        let task = self.request.get_ref();
        let number = self.sent;
        let mut payload = task.payload.clone();
        match task.behaviour() {
            Behaviour::Echo | Behaviour::SelfWake | Behaviour::ThreadNames
                if number == task.number =>
            {
                return Poll::Ready(None);
            }
            Behaviour::Metadata if number == 1 => return Poll::Ready(None),
            Behaviour::Large => payload = vec![b'x'; task.number as usize].into(),
            Behaviour::ThreadNames => payload = thread_name().into(),
            Behaviour::Never => return Poll::Pending,
            Behaviour::Thread => {
                let pause = Duration::from_millis(task.number);
                let later = self.later.get_or_insert_with(|| Later::after(pause));
                ready!(Pin::new(later).poll(cx));
                self.later = None;
            }
            Behaviour::Sleep => {
                let pause = Duration::from_micros(task.number);
                let sleep = self.sleep.get_or_insert_with(|| kettle::sleep(pause));
                ready!(Pin::new(sleep).poll(cx));
                self.sleep = None;
            }
            Behaviour::PanicLater if number == 3 => panic!("told to panic later"),
            Behaviour::Fail if number == 3 => {
                return Poll::Ready(Some(Err(failure(&self.request))));
            }
            _ => {}
        }
        Poll::Ready(Some(Ok(Outcome { payload, number })))
    }
}

impl Stream for Push {
    type Item = Result<Outcome, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.poll(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                self.sent += 1;
                if let Some(started) = &self.started {
                    started.counters.made.fetch_add(1, Ordering::SeqCst);
                }
            }
            Poll::Ready(_) => self.started.take().into_iter().for_each(Started::done),
            Poll::Pending => {}
        }
        polled
    }
}

/// The replies to a stream of tasks, as `Run` would give them, in order.
pub struct Chat {
    tasks: Streaming<Task>,
    current: Option<BoxFuture<'static, Result<Response<Outcome>, Status>>>,
    started: Option<Started>,
    counters: Arc<Counters>,
}

impl Chat {
    pub(super) fn new(tasks: Streaming<Task>, started: Started) -> Self {
        Self {
            tasks,
            current: None,
            counters: Arc::clone(&started.counters),
            started: Some(started),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Outcome, Status>>> {
        if self.current.is_none() {
            match ready!(Pin::new(&mut self.tasks).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                Some(Ok(task)) => {
                    let counters = Arc::clone(&self.counters);
                    self.current = Some(Box::pin(behave(Request::new(task), counters)));
                }
            }
        }
        let Some(current) = &mut self.current else {
            return Poll::Pending;
        };
        let outcome = ready!(current.as_mut().poll(cx));
        self.current = None;
        Poll::Ready(Some(outcome.map(Response::into_inner)))
    }
}

impl Stream for Chat {
    type Item = Result<Outcome, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.poll(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.started.take().into_iter().for_each(Started::done);
        }
        polled
    }
}

impl std::fmt::Debug for Chat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chat").finish_non_exhaustive()
    }
}
