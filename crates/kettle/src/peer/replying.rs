//! Where the reply of a server's call goes: into the machine.

use super::sending::{Room, Sending};
use crate::stats::{LoopStats, Polled};
use crate::{Metadata, Outbound, Reply, Response, Status};
use kettle_buf::{Encode, FileRegion, Payload, copied_bytes};
use kettle_proto::{CallId, Closing, Machine};
use std::task::{Context, Poll};

/// A call that is to be answered.
pub(super) struct Replying<'a> {
    pub(super) call: CallId,
    machine: &'a mut dyn Machine,
    room: &'a mut Room,
    stats: &'a LoopStats,
    stream: Option<Box<ReplyStream>>,
    sent: Sent,
}

/// What was sent of a call's messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    bytes: u64,
    file_bytes: u64,
}

/// A reply that is a stream of messages.
pub(super) struct ReplyStream {
    sending: Sending,
    trailers: Metadata,
    /// The client does not know yet that the reply has begun.
    silent: bool,
}

impl<'a> Replying<'a> {
    pub(super) fn new(
        call: CallId,
        machine: &'a mut dyn Machine,
        room: &'a mut Room,
        stats: &'a LoopStats,
    ) -> Self {
        Self {
            call,
            machine,
            room,
            stats,
            stream: None,
            sent: Sent::default(),
        }
    }

    /// What came of it, when this thread had copied so much before.
    #[inline]
    pub(super) fn cost(&self, copied: u64) -> Polled {
        Polled {
            sent_bytes: self.sent.bytes,
            file_bytes: self.sent.file_bytes,
            copied_bytes: copied_bytes() - copied,
        }
    }

    /// The stream that the answer turned out to be.
    pub(super) fn take_stream(&mut self) -> Option<Box<ReplyStream>> {
        self.stream.take()
    }

    /// Sends what the stream has, as far as there is room. Ready when the call is over.
    pub(super) fn poll_stream(
        &mut self,
        stream: &mut ReplyStream,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let ended =
            stream
                .sending
                .poll(cx, self.call, &mut *self.machine, self.room, &mut self.sent);
        let begun = stream.sending.has_begun();
        match ended {
            Poll::Pending if stream.silent && !begun => {
                self.machine.send_headers(self.call, Metadata::new());
                stream.silent = false;
                return Poll::Pending;
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(status)) => self.fail(status),
            Poll::Ready(Ok(())) => {
                let trailers = std::mem::take(&mut stream.trailers);
                let status = Status::default().with_metadata(trailers);
                let closing = Closing {
                    status,
                    ..Closing::default()
                };
                self.machine.finish(self.call, closing);
            }
        }
        Poll::Ready(())
    }

    /// The reply goes on as a stream.
    fn begin(&mut self, sending: Sending, headers: Metadata, trailers: Metadata) {
        let silent = headers.is_empty();
        if !silent {
            self.machine.send_headers(self.call, headers);
        }
        self.stream = Some(Box::new(ReplyStream {
            sending,
            trailers,
            silent,
        }));
    }

    fn fail(&mut self, status: Status) {
        LoopStats::add(&self.stats.calls_failed, 1);
        let closing = Closing {
            status,
            ..Closing::default()
        };
        self.machine.finish(self.call, closing);
    }
}

impl Sent {
    #[inline]
    pub(super) fn encoded(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(super) fn given(&mut self, message: &Payload) {
        self.bytes += message.len();
        self.file_bytes += message.regions().map(FileRegion::len).sum::<u64>();
    }
}

impl ReplyStream {
    /// It was taken from among the paused.
    pub(super) fn resumed(&mut self) {
        self.sending.resumed();
    }
}

impl Reply for Replying<'_> {
    fn reply(&mut self, response: Response<&dyn Encode>) {
        let plain = response.metadata().is_empty() && response.trailers().is_empty();
        let message = *response.get_ref();
        let encoded = match plain {
            true => self.machine.encode_message(self.call, message, true),
            false => None,
        };
        match encoded {
            Some(length) => self.sent.encoded(length),
            None => self.finish(Ok(response.map(Outbound::of))),
        }
    }

    fn finish(&mut self, outcome: Result<Response<Outbound>, Status>) {
        let response = match outcome {
            Ok(response) => response,
            Err(status) => return self.fail(status),
        };
        let (message, headers, trailers) = response.into_parts();
        match message.into_payload() {
            Ok(message) => {
                self.sent.given(&message);
                let closing = Closing {
                    headers,
                    message: Some(message),
                    status: Status::default().with_metadata(trailers),
                };
                self.machine.finish(self.call, closing);
            }
            Err(source) => self.begin(Sending::new(source), headers, trailers),
        }
    }
}
