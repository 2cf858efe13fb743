//! Handlers that run on to their end after their clients have gone.
//!
//! Such a handler is polled in place like any other, inside of a [`Lasting`] answer. When the call is over
//! too early, that answer is dropped like any other; it posts what is left of the handler to its loop, which
//! runs it as a task. Messages that it still makes are thrown away.

use crate::ambient;
use crate::answer::collect;
use crate::command::{Command, Unfinished};
use crate::outgoing::Sink;
use crate::peer::panicked;
use crate::reactor;
use crate::source::{BoxSource, Source};
use crate::{Answer, BoxAnswer, BoxFuture, Code, Outbound, Reply, Response, Status};
use kettle_buf::{Encode, Payload};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tracing::Span;

/// What becomes of a handler that runs when its client goes away, cancels the call, or the call's deadline
/// passes. The three are treated alike because a server cannot tell them apart: a client cancels what
/// its own deadline ends, and one that is killed may do neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disconnect {
    /// It is dropped where it waits. The default.
    #[default]
    Cancel,
    /// It runs on to its end, and so do the interceptors around it; its reply is thrown away, and a line in
    /// the log (level INFO) says so. Its stream of requests ends with an error. A stream of replies is
    /// taken to its end: do not choose this for streams without one.
    ///
    /// [`crate::ServerBuilder::finishing_max`] limits how many there are. A server that stops waits for them
    /// as it waits for calls, and drops those that are left when its grace is over.
    Finish,
}

/// Messages of one stream that are thrown away in a turn.
const TURN_MESSAGES_MAX: usize = 256;

/// How many handlers of a server run on, and may.
#[derive(Debug)]
pub(crate) struct Finishing {
    running: AtomicUsize,
    max: usize,
}

impl Finishing {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            running: AtomicUsize::new(0),
            max,
        }
    }

    /// Makes the answer of this method last.
    pub(crate) fn last(self: &Arc<Self>, method: &'static str, answer: BoxAnswer) -> BoxAnswer {
        let finish = Finish {
            all: Arc::clone(self),
            method,
            span: Span::current(),
        };
        Box::pin(Lasting {
            answer: Some(answer),
            finish,
        })
    }
}

/// How a handler goes on when its call is over.
#[derive(Clone)]
struct Finish {
    all: Arc<Finishing>,
    method: &'static str,
    /// The call's.
    span: Span,
}

impl Finish {
    /// Runs what is left on the loop of this thread.
    fn run(&self, rest: impl Future<Output = Result<(), Status>> + Send + 'static) {
        let (method, max) = (self.method, self.all.max);
        if max <= self.all.running.fetch_add(1, Ordering::Relaxed) {
            self.all.running.fetch_sub(1, Ordering::Relaxed);
            return tracing::warn!(
                method,
                max,
                "a handler was dropped: too many run on without a client (finishing_max)"
            );
        }
        let task = Task {
            rest: Some(Box::pin(rest)),
            finish: self.clone(),
        };
        let command = Command::Finish(Unfinished(Box::pin(task)));
        // A loop that has ended gives it back, and so it is dropped.
        drop(reactor::home().map(|home| home.send(command)));
    }
}

/// An answer whose handler lasts.
struct Lasting {
    /// Not here while it is polled, so that one that panicked is not polled again.
    answer: Option<BoxAnswer>,
    finish: Finish,
}

impl Answer for Lasting {
    fn poll_answer(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        reply: &mut dyn Reply,
    ) -> Poll<()> {
        let Some(mut answer) = self.answer.take() else {
            return Poll::Ready(());
        };
        let finish = &self.finish;
        ambient::clear();
        let polled = answer
            .as_mut()
            .poll_answer(cx, &mut Passing { reply, finish });
        if polled.is_pending() {
            self.answer = Some(answer);
        }
        polled
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.finish.run(async {
                let (message, ..) = collect(answer).await?.into_parts();
                match message.into_source() {
                    Ok(source) => exhaust(source).await,
                    Err(_) => Ok(()),
                }
            });
        }
    }
}

/// Passes the reply on; one that is a stream lasts too.
struct Passing<'a> {
    reply: &'a mut dyn Reply,
    finish: &'a Finish,
}

impl Reply for Passing<'_> {
    fn reply(&mut self, response: Response<&dyn Encode>) {
        self.reply.reply(response);
    }

    fn finish(&mut self, outcome: Result<Response<Outbound>, Status>) {
        let outcome = outcome.map(|response| {
            response.map(|message| match message.into_source() {
                Err(message) => message,
                Ok(source) => Outbound::from_source(Box::pin(LastingSource {
                    source: Some(source),
                    finish: self.finish.clone(),
                })),
            })
        });
        self.reply.finish(outcome);
    }
}

/// A stream of replies that lasts.
struct LastingSource {
    /// Not here while it is polled, and after its end.
    source: Option<BoxSource>,
    finish: Finish,
}

impl Source for LastingSource {
    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
    ) -> Poll<Option<Result<(), Status>>> {
        let Some(mut source) = self.source.take() else {
            return Poll::Ready(None);
        };
        ambient::clear();
        let polled = source.as_mut().poll_next(cx, sink);
        if matches!(polled, Poll::Pending | Poll::Ready(Some(Ok(())))) {
            self.source = Some(source);
        }
        polled
    }
}

impl Drop for LastingSource {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            self.finish.run(exhaust(source));
        }
    }
}

/// Throws away all messages of a stream.
async fn exhaust(mut source: BoxSource) -> Result<(), Status> {
    std::future::poll_fn(move |cx| {
        for _ in 0..TURN_MESSAGES_MAX {
            match ready!(source.as_mut().poll_next(cx, &mut Nowhere)) {
                Some(Ok(())) => {}
                Some(Err(status)) => return Poll::Ready(Err(status)),
                None => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

struct Nowhere;

impl Sink for Nowhere {
    fn encode(&mut self, _: &dyn Encode) {}

    fn send(&mut self, _: Payload) {}
}

/// What is left of a handler, as a task of its loop.
struct Task {
    /// Until it is done.
    rest: Option<BoxFuture<'static, Result<(), Status>>>,
    finish: Finish,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(rest) = &mut this.rest else {
            return Poll::Ready(());
        };
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _entered = this.finish.span.enter();
            rest.as_mut().poll(cx)
        }));
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => outcome,
            Err(panic) => Err(panicked(&*panic, "handler")),
        };
        let method = this.finish.method;
        let code = outcome.map_or_else(|status| status.code(), |()| Code::Ok);
        tracing::info!(
            method,
            ?code,
            "a handler finished after its client had gone"
        );
        this.drop_rest();
        Poll::Ready(())
    }
}

impl Task {
    /// What a handler holds may panic when it is dropped: that ends the handler and nothing else.
    fn drop_rest(&mut self) -> bool {
        let rest = self.rest.take();
        let there = rest.is_some();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(rest))) {
            panicked(&*panic, "handler");
        }
        there
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.drop_rest() {
            let method = self.finish.method;
            tracing::warn!(method, "a handler was dropped: its server has stopped");
        }
        self.finish.all.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer;
    use crate::mailbox::Mailbox;
    use kettle_io::DriverConfig;
    use std::sync::Mutex;
    use std::task::Waker;
    use tracing::field::{Field, Visit};
    use tracing::span;
    use tracing::{Event, Level, Metadata, Subscriber};

    /// The lines of a log.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            struct Line(String);
            impl Visit for Line {
                fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                    self.0 += &format!(" {field}={value:?}");
                }
            }
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    /// Drops an answer that was polled once; gives what its loop was told to run on.
    fn gone(finishing: &Arc<Finishing>, answer: BoxAnswer) -> Option<BoxFuture<'static, ()>> {
        let driver = kettle_io::open(crate::Model::Epoll, &DriverConfig::default()).unwrap();
        let mailbox = Arc::new(Mailbox::new(driver.waker()));
        let _home = reactor::be_home(&mailbox);
        let mut answer = finishing.last("/tea/Pour", answer);
        let mut cx = Context::from_waker(Waker::noop());
        let mut nobody = Passing {
            reply: &mut Deaf,
            finish: &Finish {
                all: Arc::clone(finishing),
                method: "",
                span: Span::none(),
            },
        };
        assert!(
            answer
                .as_mut()
                .poll_answer(&mut cx, &mut nobody)
                .is_pending()
        );
        drop(answer);
        let mut notes = mailbox.close();
        match notes.pop()? {
            crate::mailbox::Note::Command(Command::Finish(Unfinished(task))) => Some(task),
            note => panic!("{note:?}"),
        }
    }

    struct Deaf;

    impl Reply for Deaf {
        fn reply(&mut self, _: Response<&dyn Encode>) {}

        fn finish(&mut self, _: Result<Response<Outbound>, Status>) {}
    }

    /// Ends when it is polled the second time.
    fn twice(end: impl Fn() -> Status + Send + 'static) -> BoxAnswer {
        let mut polls = 0;
        answer(std::future::poll_fn(move |_| {
            polls += 1;
            match polls {
                1 => Poll::Pending,
                _ => Poll::Ready(Err(end())),
            }
        }))
    }

    #[test]
    fn the_log_says_what_became_of_a_handler() {
        let log = Log::default();
        let lines = || std::mem::take(&mut *log.0.lock().unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        tracing::subscriber::with_default(log.clone(), || {
            let finishing = Arc::new(Finishing::new(1));
            let mut task = gone(&finishing, twice(|| Status::not_found(""))).unwrap();
            assert!(gone(&finishing, twice(Status::default)).is_none());
            let [line] = lines().try_into().unwrap();
            assert!(
                line.starts_with("WARN") && line.contains("finishing_max"),
                "{line}"
            );
            assert!(task.as_mut().poll(&mut cx).is_ready());
            let [line] = lines().try_into().unwrap();
            assert!(line.starts_with(&Level::INFO.to_string()), "{line}");
            for text in ["finished", "client had gone", "/tea/Pour", "NOT_FOUND"] {
                assert!(line.contains(text), "{text:?} is not in {line}");
            }
            drop(task);
            // Its place is free again, and so it is when one panics or is dropped.
            let mut task = gone(&finishing, twice(|| panic!("no tea"))).unwrap();
            assert!(task.as_mut().poll(&mut cx).is_ready());
            assert!(lines().iter().any(|line| line.contains("panicked")));
            drop(task);
            drop(gone(&finishing, twice(Status::default)).unwrap());
            let [line] = lines().try_into().unwrap();
            assert!(
                line.starts_with("WARN") && line.contains("stopped"),
                "{line}"
            );
            assert!(gone(&finishing, twice(Status::default)).is_some());
        });
    }
}
