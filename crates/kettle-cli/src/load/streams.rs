//! Streams that are kept busy: a message follows another, or its reply.

use super::call::{Call, CallFailure};
use super::record::Recorder;
use super::streak::Streak;
use crate::bell::Bell;
use crate::schema::Kind;
use bytes::Bytes;
use futures_core::Stream;
use kettle::{Channel, Inbound, LocalLoop, Outbound, Request, Status, Streaming};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

/// Replies that are taken at a time, with one look at the clock.
const BATCH_MAX: u64 = 1024;

/// How streams are kept busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Which way they go; not unary.
    pub kind: Kind,
    /// How many there are on each connection.
    pub on_each: usize,
    /// Both ways: messages of each that wait for their replies.
    pub in_flight: usize,
}

/// Starts the streams on all connections.
pub fn start(
    local: &mut LocalLoop,
    channels: &[Channel],
    streams: Streams,
    call: &Call,
    recorder: &Arc<Recorder>,
) {
    for channel in channels {
        for _ in 0..streams.on_each {
            recorder.caller_begins();
            let streamer = Streamer {
                channel: channel.clone(),
                call: call.clone(),
                recorder: Arc::clone(recorder),
            };
            local.spawn(streamer.run(streams));
        }
    }
}

/// Keeps one stream busy, and begins another when it breaks.
struct Streamer {
    channel: Channel,
    call: Call,
    recorder: Arc<Recorder>,
}

impl Streamer {
    async fn run(self, streams: Streams) {
        let mut streak = Streak::default();
        while streak.goes_on(&self.recorder) {
            let ended = match streams.kind {
                Kind::Unary | Kind::ServerStream => self.receive().await,
                Kind::ClientStream => self.send().await,
                Kind::Bidi => self.converse(streams.in_flight as u64).await,
            };
            // Messages are counted as they pass, so that the end of a stream is no call.
            streak.note(ended, Instant::now(), &self.recorder, |_, _, _| ());
        }
        self.recorder.caller_ends();
    }

    /// Takes the replies of a stream that does not end, until the end of the load; then it is cancelled.
    async fn receive(&self) -> Result<(), CallFailure> {
        let request = Outbound::from_bytes(self.call.request());
        let mut replies = self.open(request).await?;
        while !self.recorder.stopping() {
            match self.batch(&mut replies).await? {
                0 => {
                    let text = "the stream of replies ended".to_owned();
                    return Err(CallFailure::wrong_reply(text));
                }
                count => self.recorder.passed(count),
            }
        }
        Ok(())
    }

    /// Sends until the end of the load. The one reply says how many bytes the server has taken.
    async fn send(&self) -> Result<(), CallFailure> {
        let sent = Arc::<AtomicU64>::default();
        let requests = Endless {
            request: self.call.request(),
            recorder: Arc::clone(&self.recorder),
            sent: Arc::clone(&sent),
        };
        let request = Request::new(Outbound::from_stream(requests));
        let reply = self.channel.call(self.call.path(), request).await?;
        let sent = sent.load(Ordering::Relaxed);
        self.call.check_total(reply.into_inner(), sent)
    }

    /// Sends a message for each reply, until the end of the load.
    async fn converse(&self, in_flight: u64) -> Result<(), CallFailure> {
        let window = Arc::new(Window::new(in_flight));
        // Messages that wait for their replies, by the moment when they could be sent.
        let mut begun = VecDeque::from([(Instant::now(), in_flight)]);
        let requests = Windowed {
            request: self.call.request(),
            window: Arc::clone(&window),
        };
        let mut replies = self.open(Outbound::from_stream(requests)).await?;
        let mut answered = 0;
        loop {
            let count = self.batch(&mut replies).await?;
            answered += count;
            if count == 0 {
                return window.check(answered, self.recorder.stopping());
            }
            // The end of one round trip is the beginning of the next.
            let now = Instant::now();
            self.record(&mut begun, count, now);
            begun.push_back((now, count));
            match self.recorder.stopping() {
                true => window.end(),
                false => window.allow(count),
            }
        }
    }

    /// Writes down the round trips of the oldest messages.
    fn record(&self, begun: &mut VecDeque<(Instant, u64)>, mut count: u64, now: Instant) {
        while let Some((moment, waiting)) = begun.front_mut()
            && 0 < count
        {
            let answered = count.min(*waiting);
            self.recorder.answered(now - *moment, answered);
            count -= answered;
            *waiting -= answered;
            if *waiting == 0 {
                begun.pop_front();
            }
        }
    }

    async fn open(&self, request: Outbound) -> Result<Streaming<Inbound>, CallFailure> {
        let request = Request::new(request);
        let replies = self.channel.call_streaming(self.call.path(), request);
        Ok(replies.await?.into_inner().into_stream())
    }

    /// Waits for replies, and takes all that have come. 0 at their end.
    async fn batch(&self, replies: &mut Streaming<Inbound>) -> Result<u64, CallFailure> {
        let mut count = 0;
        poll_fn(|cx| {
            while count < BATCH_MAX {
                match Pin::new(&mut *replies).poll_next(cx) {
                    Poll::Ready(Some(reply)) => self.call.check(&reply?)?,
                    Poll::Pending if count == 0 => return Poll::Pending,
                    Poll::Ready(None) | Poll::Pending => break,
                }
                count += 1;
            }
            Poll::Ready(Ok(count))
        })
        .await
    }
}

/// Messages without end, as fast as there is room for them.
struct Endless {
    request: Bytes,
    recorder: Arc<Recorder>,
    sent: Arc<AtomicU64>,
}

impl Stream for Endless {
    type Item = Result<Outbound, Status>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.recorder.stopping() {
            return Poll::Ready(None);
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.recorder.passed(1);
        Poll::Ready(Some(Ok(Outbound::from_bytes(self.request.clone()))))
    }
}

/// How many messages may be sent.
#[derive(Debug)]
struct Window {
    allowed: AtomicU64,
    sent: AtomicU64,
    ended: AtomicBool,
    bell: Bell,
}

impl Window {
    fn new(allowed: u64) -> Self {
        Self {
            allowed: AtomicU64::new(allowed),
            sent: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            bell: Bell::default(),
        }
    }

    fn allow(&self, count: u64) {
        self.allowed.fetch_add(count, Ordering::Relaxed);
        self.bell.ring();
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.bell.ring();
    }

    /// Whether a stream may have ended now, with so many replies.
    fn check(&self, answered: u64, stopping: bool) -> Result<(), CallFailure> {
        let sent = self.sent.load(Ordering::Relaxed);
        match stopping && sent == answered {
            true => Ok(()),
            false => Err(CallFailure::wrong_reply(format!(
                "the stream ended after {answered} replies to {sent} messages"
            ))),
        }
    }
}

/// Messages as far as the window allows.
struct Windowed {
    request: Bytes,
    window: Arc<Window>,
}

impl Stream for Windowed {
    type Item = Result<Outbound, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let window = &self.window;
        if window.ended.load(Ordering::Relaxed) {
            return Poll::Ready(None);
        }
        // Everything happens on one thread: what is read here does not change meanwhile.
        let allowed = window.allowed.load(Ordering::Relaxed);
        if allowed == 0 {
            window.bell.leave(cx.waker());
            return Poll::Pending;
        }
        window.allowed.store(allowed - 1, Ordering::Relaxed);
        window
            .sent
            .store(window.sent.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Outbound::from_bytes(self.request.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// How many messages may be sent, and whether the stream goes on behind them.
    fn take(stream: &mut Windowed) -> (u64, bool) {
        let mut nobody = Context::from_waker(Waker::noop());
        let mut count = 0;
        loop {
            match Pin::new(&mut *stream).poll_next(&mut nobody) {
                Poll::Ready(Some(_)) => count += 1,
                Poll::Ready(None) => return (count, false),
                Poll::Pending => return (count, true),
            }
        }
    }

    #[test]
    fn no_more_messages_wait_than_may() {
        let window = Arc::new(Window::new(3));
        let mut stream = Windowed {
            request: Bytes::new(),
            window: Arc::clone(&window),
        };
        assert_eq!(take(&mut stream), (3, true));
        assert_eq!(take(&mut stream), (0, true));
        window.allow(2);
        assert_eq!(take(&mut stream), (2, true));
        window.allow(1);
        window.end();
        assert_eq!(take(&mut stream), (0, false));
        assert_eq!(window.check(5, true), Ok(()));
        for (answered, stopping) in [(4, true), (6, true), (5, false)] {
            assert!(window.check(answered, stopping).is_err());
        }
    }
}
