//! One call of a replay: as a call of the echo service, or with the messages that were recorded.

use super::call::CallFailure;
use super::record::Recorder;
use crate::echo::v1::{EchoReply, EchoRequest};
use crate::echo::{PAYLOAD_BYTES_MAX, filler};
use crate::schema::Kind;
use bytes::Bytes;
use futures_core::Stream;
use kettle::{Channel, Inbound, Outbound, Request, Status, Streaming};
use prost::Message;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Room in a request for the fields beside its payload.
const FIELDS_BYTES: usize = 32;

/// A call that is made again.
#[derive(Clone, Debug)]
pub struct Replayed {
    path: Arc<str>,
    kind: Kind,
    requests: Requests,
    wanted: Wanted,
}

#[derive(Clone, Debug)]
enum Requests {
    /// Of the echo service: so many, of this length, which ask for so many replies together.
    Made {
        count: u64,
        bytes: usize,
        replies: u64,
        reply_bytes: usize,
    },
    /// As they were recorded.
    Recorded(Arc<[Bytes]>),
}

/// How the call has to end.
#[derive(Clone, Debug)]
enum Wanted {
    /// In order, with so many replies of this length.
    Replies { count: u64, bytes: usize },
    /// With the status of this name, whatever the replies.
    Status(Arc<str>),
}

/// How much goes each way, of the messages of a stream what is their mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Messages there.
    pub requests: u64,
    /// Bytes of each.
    pub request_bytes: u64,
    /// Messages back.
    pub replies: u64,
    /// Bytes of each.
    pub reply_bytes: u64,
}

/// How a call went that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To its end.
    Done,
    /// It was given up, because the load was over.
    Stopped,
}

impl Replayed {
    /// A call of the echo service's method of this kind. Lengths are met to the byte where the echo service can:
    /// a message has at most 4 MiB, and a request room for what it asks for.
    pub fn echo(kind: Kind, shape: Shape) -> Self {
        let Shape {
            mut requests,
            replies,
            ..
        } = shape;
        if kind == Kind::Bidi && requests == 0 && 0 < replies {
            // Somebody has to ask for them.
            requests = 1;
        }
        let bytes = usize::try_from(shape.request_bytes).unwrap_or(usize::MAX);
        let reply_bytes = payload_of(usize::try_from(shape.reply_bytes).unwrap_or(usize::MAX), 0);
        let count = match kind {
            // The service replies to them also where the recorded call ended without.
            Kind::Unary | Kind::ClientStream => 1,
            Kind::ServerStream | Kind::Bidi => replies,
        };
        let asked = 0 < requests || kind != Kind::ClientStream;
        let replied = match asked {
            true => field_bytes(reply_bytes),
            // The decimal number of the bytes of nothing.
            false => field_bytes(1),
        };
        Self {
            path: Arc::from(kind.echo_path()),
            kind,
            requests: Requests::Made {
                count: requests,
                bytes,
                replies,
                reply_bytes,
            },
            wanted: Wanted::Replies {
                count,
                bytes: replied,
            },
        }
    }

    /// The same call with the same messages, which has to end with the same status.
    pub fn recorded(path: Arc<str>, kind: Kind, messages: Vec<Bytes>, status: Arc<str>) -> Self {
        Self {
            path,
            kind,
            requests: Requests::Recorded(messages.into()),
            wanted: Wanted::Status(status),
        }
    }

    /// The path of the method.
    pub fn path(&self) -> Arc<str> {
        Arc::clone(&self.path)
    }

    /// Makes the call once, outside of any load.
    pub async fn try_out(&self, channel: &Channel) -> Result<(), CallFailure> {
        let recorder = Arc::new(Recorder::new());
        self.make(channel, &recorder).await.map(drop)
    }

    /// Makes the call. A stream is given up when the load is over.
    pub async fn make(
        &self,
        channel: &Channel,
        recorder: &Arc<Recorder>,
    ) -> Result<Outcome, CallFailure> {
        let ended = match self.kind {
            Kind::Unary | Kind::ClientStream => self.make_for_one(channel, recorder).await,
            Kind::ServerStream | Kind::Bidi => self.make_for_many(channel, recorder).await,
        };
        match (ended, &self.wanted) {
            (Ok(_), _) if self.is_over(recorder) => Ok(Outcome::Stopped),
            (Err(failure), _) if failure.is_wrong_reply() && self.is_over(recorder) => {
                Ok(Outcome::Stopped)
            }
            (Err(failure), Wanted::Status(status)) if failure.kind == **status => Ok(Outcome::Done),
            (Ok(_), Wanted::Status(status)) if &**status != "OK" => Err(CallFailure::wrong_reply(
                format!("status OK instead of the recorded {status}"),
            )),
            (ended, _) => ended.map(|()| Outcome::Done),
        }
    }

    /// Whether messages of a stream are missing because the load is over.
    fn is_over(&self, recorder: &Recorder) -> bool {
        self.kind != Kind::Unary && recorder.stopping()
    }

    async fn make_for_one(
        &self,
        channel: &Channel,
        recorder: &Arc<Recorder>,
    ) -> Result<(), CallFailure> {
        let reply = channel
            .call(Arc::clone(&self.path), self.request(recorder))
            .await?;
        self.check(reply.get_ref())
    }

    async fn make_for_many(
        &self,
        channel: &Channel,
        recorder: &Arc<Recorder>,
    ) -> Result<(), CallFailure> {
        let replies = channel.call_streaming(Arc::clone(&self.path), self.request(recorder));
        let mut replies: Streaming<Inbound> = replies.await?.into_inner().into_stream();
        let mut count = 0;
        while let Some(reply) = replies.message().await? {
            if recorder.stopping() {
                return Ok(());
            }
            self.check(&reply)?;
            count += 1;
        }
        match self.wanted {
            Wanted::Replies { count: wanted, .. } if wanted != count => {
                Err(CallFailure::wrong_reply(format!(
                    "a stream of {count} replies instead of {wanted}"
                )))
            }
            _ => Ok(()),
        }
    }

    fn request(&self, recorder: &Arc<Recorder>) -> Request<Outbound> {
        Request::new(match self.kind {
            Kind::Unary | Kind::ServerStream => Outbound::from_bytes(self.message(0)),
            Kind::ClientStream | Kind::Bidi => Outbound::from_stream(Messages {
                call: self.clone(),
                recorder: Arc::clone(recorder),
                sent: 0,
            }),
        })
    }

    fn check(&self, reply: &Inbound) -> Result<(), CallFailure> {
        let bytes = reply.message_len().unwrap_or(0);
        match self.wanted {
            Wanted::Replies { bytes: wanted, .. } if wanted != bytes => Err(
                CallFailure::wrong_reply(format!("a reply of {bytes} bytes instead of {wanted}")),
            ),
            _ => Ok(()),
        }
    }

    /// How many messages go there.
    fn count(&self) -> u64 {
        match &self.requests {
            Requests::Made { count, .. } => *count,
            Requests::Recorded(messages) => messages.len() as u64,
        }
    }

    /// The message with this number.
    fn message(&self, number: u64) -> Bytes {
        let (count, bytes, replies, reply_bytes) = match &self.requests {
            Requests::Made {
                count,
                bytes,
                replies,
                reply_bytes,
            } => (*count, *bytes, *replies, *reply_bytes),
            Requests::Recorded(messages) => {
                return messages.get(number as usize).cloned().unwrap_or_default();
            }
        };
        let mut request = EchoRequest::default();
        match self.kind {
            Kind::Unary | Kind::ClientStream => {}
            Kind::ServerStream => request.want = replies,
            Kind::Bidi => {
                // So that they are spread over the requests.
                let before = |number| {
                    let replies = u128::from(number) * u128::from(replies) / u128::from(count);
                    u64::try_from(replies).unwrap_or(u64::MAX)
                };
                let own = before(number + 1) - before(number);
                request.replies = (own != 1).then_some(own);
            }
        }
        // A payload that comes back as it is needs no field that says so.
        let echo = payload_of(bytes, request.encoded_len()) == reply_bytes;
        if !echo || self.kind == Kind::ClientStream {
            request.reply_bytes = Some(reply_bytes as u64);
        }
        let payload = payload_of(bytes, request.encoded_len());
        request.payload = filler(payload as u64).unwrap_or_default();
        request.encode_to_vec().into()
    }
}

/// The length of a payload with which a message has this length, or a little less where none fits; 0 where the
/// other fields take all of it.
fn payload_of(bytes: usize, fields: usize) -> usize {
    let room = bytes.saturating_sub(fields);
    // The tag, and a length of one byte to four.
    let mut heads = 2..=5;
    let head = heads.find(|head| room.saturating_sub(*head) < 1 << (7 * (head - 1)));
    let most = match fields {
        0 => PAYLOAD_BYTES_MAX,
        _ => PAYLOAD_BYTES_MAX - FIELDS_BYTES,
    };
    room.saturating_sub(head.unwrap_or(5)).min(most)
}

/// The length of a message with a payload of this length and nothing else.
fn field_bytes(payload: usize) -> usize {
    let payload = filler(payload as u64).unwrap_or_default();
    EchoReply { payload }.encoded_len()
}

/// The messages of a stream; they end early when the load is over.
struct Messages {
    call: Replayed,
    recorder: Arc<Recorder>,
    sent: u64,
}

impl Stream for Messages {
    type Item = Result<Outbound, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.sent == self.call.count() || self.recorder.stopping() {
            return Poll::Ready(None);
        }
        let message = self.call.message(self.sent);
        self.sent += 1;
        Poll::Ready(Some(Ok(Outbound::from_bytes(message))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(requests: u64, request_bytes: u64, replies: u64, reply_bytes: u64) -> Shape {
        Shape {
            requests,
            request_bytes,
            replies,
            reply_bytes,
        }
    }

    #[test]
    fn payloads_make_messages_of_a_length() {
        for bytes in (0..70_000).chain([4 << 20]) {
            let made = field_bytes(payload_of(bytes, 0));
            // No message has one byte, or one more than the longest with a shorter length of the length.
            let wanted = match bytes {
                1 | 2 => 0,
                130 | 16_387 => bytes - 1,
                _ => bytes,
            };
            assert_eq!(made, wanted);
        }
        assert_eq!(payload_of(usize::MAX, 0), PAYLOAD_BYTES_MAX);
        assert_eq!(payload_of(5, 9), 0);
    }

    #[test]
    fn requests_have_the_recorded_length() {
        for kind in [
            Kind::Unary,
            Kind::ClientStream,
            Kind::ServerStream,
            Kind::Bidi,
        ] {
            for (request_bytes, reply_bytes) in [(131, 131), (131, 0), (20, 100_000), (5000, 17)] {
                let shape = shape(1, request_bytes, 1, reply_bytes);
                let message = Replayed::echo(kind, shape).message(0);
                assert_eq!(message.len() as u64, request_bytes, "{kind:?} {shape:?}");
            }
        }
        let short = Replayed::echo(Kind::Unary, shape(1, 0, 1, 500)).message(0);
        let wanted = EchoRequest {
            reply_bytes: Some(497),
            ..EchoRequest::default()
        };
        assert_eq!(
            EchoRequest::decode(short).unwrap(),
            wanted,
            "what it asks for takes some bytes"
        );
        let long = Replayed::echo(Kind::Unary, shape(1, u64::MAX, 1, u64::MAX));
        assert!(long.message(0).len() <= 4 << 20);
    }

    #[test]
    fn replies_are_spread_over_the_requests() {
        for (requests, replies) in [(1, 1), (5, 5), (5, 12), (7, 0), (3, 2), (1, 9)] {
            let call = Replayed::echo(Kind::Bidi, shape(requests, 50, replies, 10));
            let asked = (0..requests).map(|number| {
                let request = EchoRequest::decode(call.message(number)).unwrap();
                request.replies.unwrap_or(1)
            });
            assert_eq!(asked.sum::<u64>(), replies, "{requests} {replies}");
        }
        let silent = Replayed::echo(Kind::Bidi, shape(0, 0, 4, 10));
        assert_eq!(silent.count(), 1, "somebody has to ask for them");
    }
}
