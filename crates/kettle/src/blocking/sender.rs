//! A call that sends a stream and gets one reply.

use super::opened::{Opened, Reply};
use super::requests::Sent;
use crate::{Response, Status};
use prost::Message;
use std::fmt;
use std::marker::PhantomData;
use std::task::Poll;

/// A call that takes messages one by one, and replies when they have ended.
///
/// Dropping it before [`Sender::finish`] cancels the call.
pub struct Sender<'a, Req: Message + 'static, Res> {
    /// Taken out by the drop only.
    call: Option<Opened<'a, Req>>,
    reply: PhantomData<fn() -> Res>,
}

impl<'a, Req: Message + 'static, Res: Message + Default> Sender<'a, Req, Res> {
    pub(super) fn new(call: Opened<'a, Req>) -> Self {
        Self {
            call: Some(call),
            reply: PhantomData,
        }
    }

    /// Sends a message. Returns when the kernel has it; waits while the server takes no more.
    ///
    /// # Errors
    /// The status with which the call has ended; FAILED_PRECONDITION when the server has replied already, which
    /// [`Sender::finish`] then gives.
    pub fn send(&mut self, message: Req) -> Result<(), Status> {
        self.send_all([message])
    }

    /// Sends messages in batches, for as few system calls as there can be. A message may wait for those behind
    /// it: an iterator that itself waits for something is better sent by [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`]; the iterator is not asked further then.
    pub fn send_all(&mut self, messages: impl IntoIterator<Item = Req>) -> Result<(), Status> {
        match self.give(messages)? {
            Sent::All => Ok(()),
            Sent::Over => Err(self.over()),
        }
    }

    /// Ends the stream and waits for the reply.
    ///
    /// # Errors
    /// As [`crate::blocking::Channel::unary`].
    pub fn finish(mut self) -> Result<Response<Res>, Status> {
        let Some(call) = &mut self.call else {
            return Err(gone());
        };
        call.requests.end();
        call.begun()?;
        let response = call.reply.take().unwrap_or_else(|| Err(gone()))?;
        let (message, headers, trailers) = response.into_parts();
        Ok(Response::from_parts(message.decode()?, headers, trailers))
    }

    /// Sends messages until the call is over or there are no more.
    pub(super) fn give(&mut self, messages: impl IntoIterator<Item = Req>) -> Result<Sent, Status> {
        let Some(call) = &mut self.call else {
            return Ok(Sent::Over);
        };
        for message in messages {
            if call.requests.is_over() {
                return Ok(Sent::Over);
            }
            if call.requests.push(message) && call.flush(|_, _| Poll::Pending)? == Some(Sent::Over)
            {
                return Ok(Sent::Over);
            }
        }
        Ok(call.flush(|_, _| Poll::Pending)?.unwrap_or(Sent::Over))
    }

    /// What a message finds when the call is over.
    fn over(&self) -> Status {
        match self.call.as_ref().map(|call| &call.reply) {
            Some(Reply::Failed(status)) => status.clone(),
            _ => Status::failed_precondition(
                "the server has replied already; `finish` gives the reply",
            ),
        }
    }
}

fn gone() -> Status {
    Status::internal("the call is over")
}

/// Tells the server at once that nobody waits for its reply.
impl<Req: Message + 'static, Res> Drop for Sender<'_, Req, Res> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            let engine = call.engine;
            drop(call);
            engine.carry_out();
        }
    }
}

impl<Req: Message + 'static, Res> fmt::Debug for Sender<'_, Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}
