//! A call whose requests are given one by one, until its reply begins.

use super::channel::Channel;
use super::engine::Engine;
use super::requests::{Given, Requests, Sent};
use crate::{BoxFuture, Inbound, Response, Status};
use prost::Message;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A call and its requests.
pub(super) struct Opened<'a, Req> {
    pub(super) engine: &'a Engine,
    pub(super) requests: Requests<Req>,
    pub(super) reply: Reply,
}

/// What has come of the reply.
pub(super) enum Reply {
    Awaited(BoxFuture<'static, Result<Response<Inbound>, Status>>),
    Begun(Response<Inbound>),
    Failed(Status),
    /// It was taken.
    Taken,
}

impl<'a, Req: Message + 'static> Opened<'a, Req> {
    pub(super) fn new(
        channel: &'a Channel,
        requests: Requests<Req>,
        reply: BoxFuture<'static, Result<Response<Inbound>, Status>>,
    ) -> Self {
        Self {
            engine: channel.engine(),
            requests,
            reply: Reply::Awaited(reply),
        }
    }

    /// Waits until all messages are on their way, as far as `poll` lets it, which is asked whenever
    /// something happens.
    pub(super) fn flush(
        &mut self,
        mut poll: impl FnMut(&mut Reply, &mut Context<'_>) -> Poll<()>,
    ) -> Result<Option<Sent>, Status> {
        let Self {
            engine,
            requests,
            reply,
        } = self;
        let sent = engine.run_wakeable(poll_fn(|cx| {
            reply.poll(cx);
            // What waits for the loop only is woken by its waker.
            let stop = poll(reply, &mut Context::from_waker(engine.waker()));
            match (requests.poll_sent(engine.waker()), stop) {
                (Poll::Ready(sent), _) => Poll::Ready(Some(sent)),
                (Poll::Pending, Poll::Ready(())) => Poll::Ready(None),
                (Poll::Pending, Poll::Pending) => Poll::Pending,
            }
        }))?;
        engine.flush()?;
        Ok(sent)
    }

    /// Waits until the reply has begun.
    pub(super) fn begun(&mut self) -> Result<(), Status> {
        let Self { engine, reply, .. } = self;
        let begun = poll_fn(|cx| {
            reply.poll(cx);
            match reply {
                Reply::Awaited(_) => Poll::Pending,
                _ => Poll::Ready(()),
            }
        });
        Ok(engine.run_wakeable(begun)?)
    }
}

impl Reply {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::Awaited(future) = self
            && let Poll::Ready(reply) = Pin::new(future).poll(cx)
        {
            *self = match reply {
                Ok(response) => Self::Begun(response),
                Err(status) => Self::Failed(status),
            };
        }
    }

    /// The reply, the first time.
    pub(super) fn take(&mut self) -> Option<Result<Response<Inbound>, Status>> {
        match std::mem::replace(self, Self::Taken) {
            Self::Begun(response) => Some(Ok(response)),
            Self::Failed(status) => Some(Err(status)),
            Self::Awaited(_) | Self::Taken => None,
        }
    }
}

/// A source of requests as a call's message.
pub(super) fn outbound<M: Message + 'static>(given: Given<M>) -> crate::Outbound {
    crate::Outbound::from_source(Box::pin(given))
}
