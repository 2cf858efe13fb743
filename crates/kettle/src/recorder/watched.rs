//! One call that is being recorded, from its arrival to its end.

use super::Shared;
use super::payloads::Payloads;
use super::tally::{Flow, Tally};
use crate::outgoing::Sink;
use crate::remote::Remote;
use crate::source::{BoxSource, Source};
use crate::{Code, Inbound, Outbound, Request, Response, Status};
use kettle_buf::{Encode, Payload};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// A call that has ended, as it goes to the file.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) at: Duration,
    pub(super) took: Duration,
    pub(super) remote: Remote,
    pub(super) path: &'static str,
    pub(super) streams: Streams,
    pub(super) requests: Flow,
    pub(super) replies: Flow,
    pub(super) status: Code,
}

/// Which sides of a call are streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streams {
    pub(super) requests: bool,
    pub(super) replies: bool,
}

/// A call that runs. It is handed over when it is dropped, in whatever way the call ends.
pub(super) struct Watched {
    shared: Arc<Shared>,
    path: &'static str,
    remote: Remote,
    begun: Instant,
    requests: Requests,
    replies: Flow,
    streams: Streams,
    /// `None` until it is known: a call that is dropped before was cancelled.
    status: Option<Code>,
}

enum Requests {
    One(Flow),
    /// They are taken by the handler, wherever it runs.
    Many(Arc<Tally>),
}

impl Watched {
    /// Of a call that arrives now.
    pub(super) fn begin(shared: Arc<Shared>, request: &mut Request<Inbound>) -> Self {
        let payloads = shared.with_payloads.then(|| Payloads::new(&shared.budget));
        let mut flow = Flow::new(payloads);
        let (path, remote) = (request.hosted_method(), request.remote());
        let requests = match request.get_mut().as_message() {
            Ok(message) => {
                flow.pass(message);
                Requests::One(flow)
            }
            Err(receiver) => {
                let tally = Arc::new(Tally::new(flow));
                receiver.set_tally(Arc::clone(&tally));
                Requests::Many(tally)
            }
        };
        let streams = Streams {
            requests: matches!(requests, Requests::Many(_)),
            replies: false,
        };
        Self {
            shared,
            path,
            remote,
            begun: Instant::now(),
            requests,
            replies: Flow::default(),
            streams,
            status: None,
        }
    }

    /// The handler has replied, or failed. A stream of replies goes on to be counted.
    pub(super) fn ended(
        mut self,
        outcome: Result<Response<Outbound>, Status>,
    ) -> Result<Response<Outbound>, Status> {
        let response = match outcome {
            Ok(response) => response,
            Err(status) => {
                self.status = Some(status.code());
                return Err(status);
            }
        };
        if let Some(bytes) = response.get_ref().message_len() {
            self.replies.count(bytes);
            self.status = Some(Code::Ok);
            return Ok(response);
        }
        self.streams.replies = true;
        Ok(response.map(|reply| match reply.into_source() {
            Ok(source) => Outbound::from_source(Box::pin(Counted {
                source,
                watched: self,
            })),
            Err(message) => message,
        }))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let requests = match &mut self.requests {
            Requests::One(flow) => mem::take(flow),
            Requests::Many(tally) => tally.finish(),
        };
        let status = self.status.unwrap_or(match std::thread::panicking() {
            true => Code::Internal,
            false => Code::Cancelled,
        });
        self.shared.ended(Ended {
            at: self.begun.saturating_duration_since(self.shared.begun),
            took: self.begun.elapsed(),
            remote: self.remote,
            path: self.path,
            streams: self.streams,
            requests,
            replies: mem::take(&mut self.replies),
            status,
        });
    }
}

impl Shared {
    fn ended(&self, call: Ended) {
        if !self.is_open() || !self.queue.push(call) {
            self.count_unrecorded(1);
        }
    }
}

/// A stream of replies that is counted while it is sent.
struct Counted {
    source: BoxSource,
    watched: Watched,
}

impl Source for Counted {
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
    ) -> Poll<Option<Result<(), Status>>> {
        let this = self.get_mut();
        let flow = &mut this.watched.replies;
        let mut counting = Counting { sink, flow };
        let next = ready!(this.source.as_mut().poll_next(cx, &mut counting));
        match &next {
            None => this.watched.status = Some(Code::Ok),
            Some(Err(status)) => this.watched.status = Some(status.code()),
            Some(Ok(())) => {}
        }
        Poll::Ready(next)
    }
}

/// Counts what goes on to another sink.
struct Counting<'a> {
    sink: &'a mut dyn Sink,
    flow: &'a mut Flow,
}

impl Sink for Counting<'_> {
    fn encode(&mut self, message: &dyn Encode) {
        self.flow.count(message.encoded_len() as u64);
        self.sink.encode(message);
    }

    fn send(&mut self, message: Payload) {
        self.flow.count(message.len());
        self.sink.send(message);
    }
}
