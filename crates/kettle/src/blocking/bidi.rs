//! A call that sends a stream and gets one back.

use super::opened::{Opened, Reply};
use super::requests::Sent;
use crate::inbox::cost;
use crate::{Inbound, Metadata, Status, Streaming};
use prost::Message;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::task::{Context, Poll};

/// Most that replies may cost, with 64 bytes for each beside its own, which have come while messages were
/// sent, and were not taken.
const AHEAD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A call that sends and receives messages in any order.
///
/// A send that has to wait goes on receiving, so that two sides that both send do not wait for each other: up
/// to 16 MiB of replies are kept until they are taken.
///
/// It is also an iterator over the replies. Dropping it before their end cancels the call.
pub struct Bidi<'a, Req: Message + 'static, Res> {
    /// Taken out by the drop only.
    call: Option<Opened<'a, Req>>,
    replies: Replies,
    reply: PhantomData<fn() -> Res>,
}

/// The replies, as far as they have come.
#[derive(Debug, Default)]
struct Replies {
    metadata: Metadata,
    messages: Option<Streaming<Inbound>>,
    ahead: VecDeque<Inbound>,
    ahead_bytes: u64,
    /// Behind what is ahead; an error is given once.
    end: Option<Result<(), Status>>,
    told: bool,
}

impl<'a, Req: Message + 'static, Res: Message + Default> Bidi<'a, Req, Res> {
    pub(super) fn new(call: Opened<'a, Req>) -> Self {
        Self {
            call: Some(call),
            replies: Replies::default(),
            reply: PhantomData,
        }
    }

    /// Sends a message. Returns when the kernel has it; waits while the server takes no more.
    ///
    /// # Errors
    /// The status with which the call has ended; FAILED_PRECONDITION when it has ended in order, or after
    /// [`Bidi::finish`]; RESOURCE_EXHAUSTED when the server takes no more and 16 MiB of its replies wait:
    /// the message is not sent, and the call goes on once some are taken.
    pub fn send(&mut self, message: Req) -> Result<(), Status> {
        self.send_all([message])
    }

    /// Sends messages in batches, for as few system calls as there can be. A message may wait for those behind
    /// it: an iterator that itself waits for something is better sent by [`Bidi::send`].
    ///
    /// # Errors
    /// As [`Bidi::send`]; the iterator is not asked further then, and the last batch may be sent in part.
    pub fn send_all(&mut self, messages: impl IntoIterator<Item = Req>) -> Result<(), Status> {
        for message in messages {
            let Some(call) = &mut self.call else {
                return Err(over());
            };
            if call.requests.has_ended() {
                let text = "`finish` has ended the requests of this call";
                return Err(Status::failed_precondition(text));
            }
            if call.requests.is_over() || call.requests.push(message) {
                self.flush()?;
            }
        }
        self.flush()
    }

    /// Ends the requests; replies go on.
    ///
    /// # Errors
    /// When the loop's I/O model fails.
    pub fn finish(&mut self) -> Result<(), Status> {
        if let Some(call) = &mut self.call {
            call.requests.end();
            call.engine.flush()?;
        }
        Ok(())
    }

    /// Waits for the next reply; `None` when the server has ended them in order.
    ///
    /// # Errors
    /// The status with which the call ended; INTERNAL for a message that cannot be decoded.
    pub fn recv(&mut self) -> Result<Option<Res>, Status> {
        let next = match self.replies.take_ahead() {
            Some(next) => next,
            None => self.receive()?,
        };
        next.map(Inbound::decode).transpose()
    }

    /// Waits until the reply has begun; gives its metadata.
    ///
    /// # Errors
    /// The status with which the call ended before.
    pub fn metadata(&mut self) -> Result<&Metadata, Status> {
        self.begun()?;
        match &self.replies.end {
            Some(Err(status)) if self.replies.messages.is_none() => Err(status.clone()),
            _ => Ok(&self.replies.metadata),
        }
    }

    /// The metadata that the server sent behind its last message. Takes all messages that are still to
    /// come; `None` when the stream ended with an error, and the second time.
    ///
    /// # Errors
    /// As [`Bidi::recv`].
    pub fn trailers(&mut self) -> Result<Option<Metadata>, Status> {
        while self.recv()?.is_some() {}
        match (&self.call, &mut self.replies.messages) {
            (Some(call), Some(messages)) => call.engine.run(messages.trailers())?,
            _ => Ok(None),
        }
    }

    fn flush(&mut self) -> Result<(), Status> {
        let Some(call) = &mut self.call else {
            return Err(over());
        };
        let replies = &mut self.replies;
        let sent = call.flush(|reply, cx| {
            replies.begin(reply);
            replies.poll_ahead(cx)
        })?;
        match sent {
            Some(Sent::All) => Ok(()),
            Some(Sent::Over) => {
                // The end stands behind what has come.
                let waker = call.engine.waker();
                let _ = replies.poll_ahead(&mut Context::from_waker(waker));
                match &replies.end {
                    Some(Err(status)) => Err(status.clone()),
                    _ => Err(over()),
                }
            }
            // What the loop has taken leaves when credit comes.
            None if !call.requests.take_back() => Ok(()),
            None => Err(Status::resource_exhausted(format!(
                "the server takes no more messages, and {} bytes of replies wait to be taken; \
                 at most {AHEAD_BYTES_MAX} may: receive some first",
                replies.ahead_bytes
            ))),
        }
    }

    fn receive(&mut self) -> Result<Option<Inbound>, Status> {
        self.begun()?;
        if let Some(end) = &self.replies.end {
            let told = std::mem::replace(&mut self.replies.told, true);
            return match end {
                Err(status) if !told => Err(status.clone()),
                _ => Ok(None),
            };
        }
        let (Some(call), Some(messages)) = (&self.call, &mut self.replies.messages) else {
            return Ok(None);
        };
        let next = call.engine.run(messages.message())?;
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => self.replies.end = Some(Ok(())),
            Err(status) => {
                self.replies.end = Some(Err(status.clone()));
                self.replies.told = true;
            }
        }
        next
    }

    /// Waits until the reply has begun.
    fn begun(&mut self) -> Result<(), Status> {
        if let Some(call) = &mut self.call {
            call.begun()?;
            self.replies.begin(&mut call.reply);
        }
        Ok(())
    }
}

impl Replies {
    /// Takes the reply over, once it has begun.
    fn begin(&mut self, reply: &mut Reply) {
        if let Reply::Awaited(_) = reply {
            return;
        }
        match reply.take() {
            Some(Ok(response)) => {
                let (replies, metadata, _) = response.into_parts();
                self.metadata = metadata;
                self.messages = Some(replies.into_stream());
            }
            Some(Err(status)) => self.end = Some(Err(status)),
            None => {}
        }
    }

    /// Takes what has come, so that the server may go on. Ready when there is no room for more.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(messages) = &mut self.messages else {
            return Poll::Pending;
        };
        while self.end.is_none() {
            if AHEAD_BYTES_MAX <= self.ahead_bytes {
                return Poll::Ready(());
            }
            match messages.poll_message(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    self.ahead_bytes += message_cost(&message);
                    self.ahead.push_back(message);
                }
                Poll::Ready(Some(Err(status))) => self.end = Some(Err(status)),
                Poll::Ready(None) => self.end = Some(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }

    /// The first message of those that have come already.
    fn take_ahead(&mut self) -> Option<Option<Inbound>> {
        let message = self.ahead.pop_front()?;
        self.ahead_bytes -= message_cost(&message);
        Some(Some(message))
    }
}

fn message_cost(message: &Inbound) -> u64 {
    cost(message.message_len().unwrap_or(0))
}

fn over() -> Status {
    Status::failed_precondition("the server has ended the call")
}

impl<Req: Message + 'static, Res: Message + Default> Iterator for Bidi<'_, Req, Res> {
    type Item = Result<Res, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv().transpose()
    }
}

/// Tells the server at once that nobody takes the rest.
impl<Req: Message + 'static, Res> Drop for Bidi<'_, Req, Res> {
    fn drop(&mut self) {
        self.replies.messages = None;
        if let Some(call) = self.call.take() {
            let engine = call.engine;
            drop(call);
            engine.carry_out();
        }
    }
}

impl<Req: Message + 'static, Res> fmt::Debug for Bidi<'_, Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bidi").field(&self.replies).finish()
    }
}
