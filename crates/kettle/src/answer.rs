//! A call that runs on a server, and where its reply goes.

use crate::{BoxFuture, Outbound, Response, Status};
use kettle_buf::Encode;
use pin_project_lite::pin_project;
use prost::Message;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A call that runs on a server: a future that gives its reply to whoever polls it, so that the
/// message is encoded where it is sent from.
///
/// Generated code makes them; [`answer`] makes one of a future.
pub trait Answer: Send {
    /// Goes on until the call has to wait, or until its reply was given: then this is ready, and is
    /// not polled again.
    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>, reply: &mut dyn Reply) -> Poll<()>;
}

/// A call on the heap that may move between threads.
pub type BoxAnswer = Pin<Box<dyn Answer>>;

/// Where the reply of a call goes.
pub trait Reply {
    /// Ends the call with a message that is encoded now.
    fn reply(&mut self, response: Response<&dyn Encode>);

    /// Ends the call with a message that is encoded already, or with a status.
    fn finish(&mut self, outcome: Result<Response<Outbound>, Status>);
}

/// The answer that a future gives: for services that are not generated.
pub fn answer(
    future: impl Future<Output = Result<Response<Outbound>, Status>> + Send + 'static,
) -> BoxAnswer {
    Box::pin(Encoded { future })
}

/// The answer that a future gives, with a message that is still to be encoded.
pub(crate) fn answer_typed<M, F>(future: F) -> BoxAnswer
where
    M: Message,
    F: Future<Output = Result<Response<M>, Status>> + Send + 'static,
{
    Box::pin(Typed { future })
}

/// The future of an answer: what interceptors see.
pub(crate) fn collect(
    mut answer: BoxAnswer,
) -> BoxFuture<'static, Result<Response<Outbound>, Status>> {
    let mut collected = Collected(None);
    Box::pin(std::future::poll_fn(move |cx| {
        ready!(answer.as_mut().poll_answer(cx, &mut collected));
        let text = "the handler ended without a reply";
        let outcome = collected.0.take();
        Poll::Ready(outcome.unwrap_or_else(|| Err(Status::internal(text))))
    }))
}

pin_project! {
    struct Encoded<F> {
        #[pin]
        future: F,
    }
}

impl<F> Answer for Encoded<F>
where
    F: Future<Output = Result<Response<Outbound>, Status>> + Send,
{
    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>, reply: &mut dyn Reply) -> Poll<()> {
        reply.finish(ready!(self.project().future.poll(cx)));
        Poll::Ready(())
    }
}

pin_project! {
    struct Typed<F> {
        #[pin]
        future: F,
    }
}

impl<F, M> Answer for Typed<F>
where
    M: Message,
    F: Future<Output = Result<Response<M>, Status>> + Send,
{
    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>, reply: &mut dyn Reply) -> Poll<()> {
        match ready!(self.project().future.poll(cx)) {
            Ok(response) => {
                let (message, headers, trailers) = response.into_parts();
                reply.reply(Response::from_parts(&Protobuf(&message), headers, trailers));
            }
            Err(status) => reply.finish(Err(status)),
        }
        Poll::Ready(())
    }
}

/// A protobuf message as a machine encodes it.
struct Protobuf<'a, M>(&'a M);

impl<M: Message> Encode for Protobuf<'_, M> {
    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    fn encode(&self, out: &mut bytes::BytesMut) {
        self.0.encode(out).expect("a buffer that grows has room");
    }
}

/// What an answer said.
struct Collected(Option<Result<Response<Outbound>, Status>>);

impl Reply for Collected {
    fn reply(&mut self, response: Response<&dyn Encode>) {
        self.0 = Some(Ok(response.map(Outbound::of)));
    }

    fn finish(&mut self, outcome: Result<Response<Outbound>, Status>) {
        self.0 = Some(outcome);
    }
}
