//! The replies of a call, taken one by one.

use super::engine::Engine;
use crate::{Metadata, Status};
use std::fmt;

/// A stream of received messages: an iterator of `Result<T, Status>`.
///
/// Messages that wait to be taken are bounded as those of [`crate::Streaming`] are. Dropping the stream
/// before its end cancels the call.
pub struct Streaming<'a, T> {
    engine: &'a Engine,
    /// Taken out by the drop only.
    messages: Option<crate::Streaming<T>>,
}

impl<'a, T> Streaming<'a, T> {
    pub(super) fn new(engine: &'a Engine, messages: crate::Streaming<T>) -> Self {
        let messages = Some(messages);
        Self { engine, messages }
    }

    /// Waits for the next message; `None` when the server has ended the stream in order.
    ///
    /// # Errors
    /// The status with which the call ended; INTERNAL for a message that cannot be decoded. Nothing
    /// comes after an error.
    pub fn message(&mut self) -> Result<Option<T>, Status> {
        match &mut self.messages {
            Some(messages) => self.engine.run(messages.message())?,
            None => Ok(None),
        }
    }

    /// The metadata that the server sent behind its last message. Takes all messages that are still to
    /// come; `None` when the stream ended with an error, and the second time.
    ///
    /// # Errors
    /// As [`Streaming::message`].
    pub fn trailers(&mut self) -> Result<Option<Metadata>, Status> {
        match &mut self.messages {
            Some(messages) => self.engine.run(messages.trailers())?,
            None => Ok(None),
        }
    }
}

impl<T> Iterator for Streaming<'_, T> {
    type Item = Result<T, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        self.message().transpose()
    }
}

/// Tells the server at once that nobody takes the rest.
impl<T> Drop for Streaming<'_, T> {
    fn drop(&mut self) {
        self.messages = None;
        self.engine.carry_out();
    }
}

impl<T> fmt::Debug for Streaming<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Streaming").field(&self.messages).finish()
    }
}
