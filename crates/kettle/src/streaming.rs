//! Streams of received messages, and requests that are streams.

use crate::codec::Body;
use crate::inbox::Receiver;
use crate::{Metadata, Request, Status};
use futures_core::Stream;
use kettle_buf::Chain;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A stream of received messages: the request of a client-streaming method, or the reply of a
/// server-streaming one. Name and shape follow tonic's `Streaming`.
///
/// Messages that wait to be taken are bounded: the peer may send ahead one message and the call's
/// credit (1 MiB), and gets new credit when messages are taken. Dropping the stream gives up what
/// has not come; a client's call is cancelled then.
///
/// It is also a [`Stream`] of `Result<T, Status>`.
pub struct Streaming<T> {
    messages: Messages,
    decode: fn(Chain) -> Result<T, Status>,
    trailers: Option<Metadata>,
}

#[derive(Debug)]
enum Messages {
    One(Chain),
    Many(Receiver),
    Over,
}

impl<T> Streaming<T> {
    pub(crate) fn new(body: Body, decode: fn(Chain) -> Result<T, Status>) -> Self {
        Self {
            messages: match body {
                Body::Message(message) => Messages::One(message),
                Body::Stream(receiver) => Messages::Many(receiver),
            },
            decode,
            trailers: None,
        }
    }

    /// The next message; `None` when the peer has ended the stream in order.
    ///
    /// # Errors
    /// The status with which the call ended, on a client the server's; INTERNAL for a message that
    /// cannot be decoded. Nothing comes after an error.
    pub async fn message(&mut self) -> Result<Option<T>, Status> {
        poll_fn(|cx| self.poll_message(cx)).await.transpose()
    }

    /// Client: the metadata that the server sent behind its last message. Takes all messages that
    /// are still to come; `None` when the stream ended with an error, and the second time.
    ///
    /// # Errors
    /// As [`Streaming::message`].
    pub async fn trailers(&mut self) -> Result<Option<Metadata>, Status> {
        while self.message().await?.is_some() {}
        Ok(self.trailers.take())
    }

    pub(crate) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Status>>> {
        let next = match &mut self.messages {
            Messages::Over => return Poll::Ready(None),
            Messages::One(message) => {
                let message = std::mem::take(message);
                self.messages = Messages::Over;
                self.trailers = Some(Metadata::new());
                Ok(message)
            }
            Messages::Many(receiver) => std::task::ready!(receiver.poll_message(cx)),
        };
        let next = match next {
            Ok(message) => (self.decode)(message),
            Err(end) if end.is_ok() => {
                self.messages = Messages::Over;
                self.trailers = Some(end.metadata().clone());
                return Poll::Ready(None);
            }
            Err(end) => Err(end),
        };
        if next.is_err() {
            self.messages = Messages::Over;
        }
        Poll::Ready(Some(next))
    }
}

impl<T> Stream for Streaming<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(cx)
    }
}

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Streaming").field(&self.messages).finish()
    }
}

/// What a generated client's methods take that send a stream: a [`Stream`] of messages, or a
/// [`Request`] of one with metadata and time-out.
pub trait IntoStreamingRequest {
    /// The messages.
    type Stream: Stream<Item = Self::Message> + Send + 'static;

    /// One of them.
    type Message;

    /// The request.
    fn into_streaming_request(self) -> Request<Self::Stream>;
}

impl<S: Stream + Send + 'static> IntoStreamingRequest for S {
    type Stream = S;
    type Message = S::Item;

    fn into_streaming_request(self) -> Request<S> {
        Request::new(self)
    }
}

impl<S: Stream + Send + 'static> IntoStreamingRequest for Request<S> {
    type Stream = S;
    type Message = S::Item;

    fn into_streaming_request(self) -> Request<S> {
        self
    }
}
