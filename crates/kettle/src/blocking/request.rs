//! Requests that are streams, for clients that wait.

use crate::Request;

/// What a generated blocking client's methods take that send a stream: an iterator of messages, or a
/// [`Request`] of one with metadata and time-out.
pub trait IntoStreamingRequest {
    /// The messages.
    type Messages: IntoIterator<Item = Self::Message>;

    /// One of them.
    type Message;

    /// The request.
    fn into_streaming_request(self) -> Request<Self::Messages>;
}

impl<I: IntoIterator> IntoStreamingRequest for I {
    type Messages = I;
    type Message = I::Item;

    fn into_streaming_request(self) -> Request<I> {
        Request::new(self)
    }
}

impl<I: IntoIterator> IntoStreamingRequest for Request<I> {
    type Messages = I;
    type Message = I::Item;

    fn into_streaming_request(self) -> Request<I> {
        self
    }
}
