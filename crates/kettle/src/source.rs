//! Streams of messages that are to be sent, encoded where they are sent from.

use crate::outgoing::{Outgoing, Sink};
use crate::{Outbound, Status};
use futures_core::Stream;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Messages that are made while they are sent.
pub(crate) trait Source: Send {
    /// Gives the next message to `sink`. `None`: there is none; an error ends the call.
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
    ) -> Poll<Option<Result<(), Status>>>;
}

/// A source on the heap that may move between threads.
pub(crate) type BoxSource = Pin<Box<dyn Source>>;

/// The replies of a handler.
pub(crate) fn replies<M, S>(stream: S) -> BoxSource
where
    M: Outgoing,
    S: Stream<Item = Result<M, Status>> + Send + 'static,
{
    let give = |item: Result<M, Status>, sink: &mut dyn Sink| item?.give(sink);
    Box::pin(Given { stream, give })
}

/// The requests of a client.
pub(crate) fn requests<M, S>(stream: S) -> BoxSource
where
    M: Outgoing,
    S: Stream<Item = M> + Send + 'static,
{
    let give = |item: M, sink: &mut dyn Sink| item.give(sink);
    Box::pin(Given { stream, give })
}

/// Messages that are encoded already.
pub(crate) fn encoded<S>(stream: S) -> BoxSource
where
    S: Stream<Item = Result<Outbound, Status>> + Send + 'static,
{
    let give = |item: Result<Outbound, Status>, sink: &mut dyn Sink| {
        let message = item?.into_payload();
        let stream = |_| Status::internal("a stream among the messages of a stream");
        sink.send(message.map_err(stream)?);
        Ok(())
    };
    Box::pin(Given { stream, give })
}

pin_project! {
    struct Given<S, G> {
        #[pin]
        stream: S,
        give: G,
    }
}

impl<S, G> Source for Given<S, G>
where
    S: Stream + Send,
    G: FnMut(S::Item, &mut dyn Sink) -> Result<(), Status> + Send,
{
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
    ) -> Poll<Option<Result<(), Status>>> {
        let this = self.project();
        let item = std::task::ready!(this.stream.poll_next(cx));
        Poll::Ready(item.map(|item| (this.give)(item, sink)))
    }
}
