//! What is sent again and again, as cheap as it can be sent.

use crate::echo::PAYLOAD_BYTES_MAX;
use crate::echo::v1::{EchoReply, EchoRequest};
use crate::schema::Kind;
use bytes::Bytes;
use kettle::{Channel, Inbound, Outbound, Request, Response, Status};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// The method that does what Unary does, on the pool.
const POOLED: &str = "/echo.v1.Echo/Pooled";

/// What a reply that is not as it should be is called in place of a status.
const WRONG_REPLY: &str = "WRONG_REPLY";

/// A request that is encoded once and sent again and again.
#[derive(Clone, Debug)]
pub struct Call {
    path: Arc<str>,
    kind: Kind,
    request: Bytes,
    payload_bytes: usize,
    /// The length of each reply to it, where that is known.
    reply_bytes: Option<usize>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// The status code's name, or what else went wrong.
    pub kind: String,
    /// In words.
    pub text: String,
}

impl Call {
    /// A call of any unary method. Its replies are not looked at.
    pub fn new(path: Arc<str>, request: Bytes) -> Self {
        Self {
            path,
            kind: Kind::Unary,
            payload_bytes: request.len(),
            request,
            reply_bytes: None,
        }
    }

    /// A call of the echo service's method of this kind with so many bytes of payload. Unary and both
    /// ways it wants so many back for each; 0: as many. A stream of replies does not end by itself.
    pub fn echo(kind: Kind, payload_bytes: usize, want: usize) -> Self {
        let reply_bytes = match (kind, want) {
            (Kind::ClientStream, _) => None,
            (Kind::ServerStream, _) | (_, 0) => Some(payload_bytes),
            (Kind::Unary | Kind::Bidi, want) => Some(want),
        };
        let want = match kind {
            Kind::ServerStream => u64::MAX,
            _ => want as u64,
        };
        let payload = Bytes::from(vec![b'k'; payload_bytes]);
        let encoded = |bytes: usize| {
            let payload = vec![0; bytes].into();
            EchoReply { payload }.encoded_len()
        };
        Self {
            path: Arc::from(kind.echo_path()),
            kind,
            request: EchoRequest {
                payload,
                want,
                ..EchoRequest::default()
            }
            .encode_to_vec()
            .into(),
            payload_bytes,
            reply_bytes: reply_bytes.map(encoded),
        }
    }

    /// The same call, which the server is to wait with so long before it replies.
    pub fn waiting(&self, wait: Duration) -> Self {
        self.with(&EchoRequest {
            wait_us: micros(wait),
            ..EchoRequest::default()
        })
    }

    /// The same call, which keeps the server's processor so long before it replies.
    pub fn computing(&self, work: Duration) -> Self {
        self.with(&EchoRequest {
            work_us: micros(work),
            ..EchoRequest::default()
        })
    }

    /// The same unary call, on the server's pool of threads.
    pub fn on_pool(&self) -> Self {
        Self {
            path: Arc::from(POOLED),
            ..self.clone()
        }
    }

    /// With further fields. Fields of a message may stand in any order, and so these behind the others.
    fn with(&self, fields: &EchoRequest) -> Self {
        let request = [&self.request[..], &fields.encode_to_vec()].concat();
        Self {
            request: request.into(),
            ..self.clone()
        }
    }

    /// The path of the method.
    pub fn path(&self) -> Arc<str> {
        Arc::clone(&self.path)
    }

    /// The request, encoded.
    pub fn request(&self) -> Bytes {
        self.request.clone()
    }

    /// Whether the request fits into kettle's default limit: `want` takes some bytes of it.
    pub fn fits(&self) -> bool {
        self.request.len() <= PAYLOAD_BYTES_MAX + 5
    }

    /// Bytes of a message and its reply as far as they are known, without what the protocol adds; of
    /// one message, where messages go one way.
    pub fn message_bytes(&self) -> u64 {
        let request = match self.kind {
            Kind::ServerStream => 0,
            _ => self.request.len(),
        };
        (request + self.reply_bytes.unwrap_or(0)) as u64
    }

    /// Makes the unary call, and checks the length of the reply where it is known.
    pub async fn make(&self, channel: &Channel) -> Result<(), CallFailure> {
        self.outcome(channel.call(self.path(), self.wrapped()).await)
    }

    /// The same with a blocking client.
    pub fn make_blocking(&self, channel: &kettle::blocking::Channel) -> Result<(), CallFailure> {
        self.outcome(channel.call(self.path(), self.wrapped()))
    }

    /// Makes the call again and again, as long as `observe` says so.
    pub async fn repeat(
        self,
        channel: &Channel,
        mut observe: impl FnMut(Result<(), CallFailure>) -> bool + Send + 'static,
    ) {
        let (path, request) = (self.path(), self.wrapped());
        let observe = move |reply| observe(self.outcome(reply));
        // It ends when `observe` says so, or with its loop, which is this thread's.
        let _ = channel.repeat(path, request, observe).await;
    }

    fn wrapped(&self) -> Request<Outbound> {
        Request::new(Outbound::from_bytes(self.request()))
    }

    fn outcome(&self, reply: Result<Response<Inbound>, Status>) -> Result<(), CallFailure> {
        self.check(reply?.get_ref())
    }

    /// Whether a reply has the length that it should have.
    pub fn check(&self, reply: &Inbound) -> Result<(), CallFailure> {
        self.check_length(reply.message_len().unwrap_or(0))
    }

    /// Whether the reply to a stream of so many requests says that their payloads have come.
    pub fn check_total(&self, reply: Inbound, requests: u64) -> Result<(), CallFailure> {
        self.check_bytes(&reply.decode::<EchoReply>()?.payload, requests)
    }

    fn check_bytes(&self, total: &[u8], requests: u64) -> Result<(), CallFailure> {
        let wanted = (requests * self.payload_bytes as u64).to_string();
        match total == wanted.as_bytes() {
            true => Ok(()),
            false => {
                let total = String::from_utf8_lossy(total);
                Err(CallFailure::wrong_reply(format!(
                    "the server has taken {total} bytes of {wanted}"
                )))
            }
        }
    }

    fn check_length(&self, bytes: usize) -> Result<(), CallFailure> {
        match self.reply_bytes {
            Some(wanted) if wanted != bytes => Err(CallFailure::wrong_reply(format!(
                "a reply of {bytes} bytes instead of {wanted}"
            ))),
            _ => Ok(()),
        }
    }
}

impl CallFailure {
    /// The server replied, but not as it should.
    pub fn wrong_reply(text: String) -> Self {
        let kind = WRONG_REPLY.to_owned();
        Self { kind, text }
    }

    /// Whether the server replied, but not as it should.
    pub fn is_wrong_reply(&self) -> bool {
        self.kind == WRONG_REPLY
    }
}

impl From<Status> for CallFailure {
    fn from(status: Status) -> Self {
        Self {
            kind: status.code().to_string(),
            text: status.message().to_owned(),
        }
    }
}

/// As the echo service counts it.
fn micros(duration: Duration) -> u32 {
    duration.as_micros().try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_is_as_long_as_the_payload_or_as_wanted() {
        // A tag, a length of two bytes from 128 on, and the payload.
        assert_eq!(Call::echo(Kind::Unary, 127, 0).check_length(129), Ok(()));
        assert_eq!(Call::echo(Kind::Unary, 128, 0).check_length(131), Ok(()));
        assert_eq!(Call::echo(Kind::Unary, 5, 300).check_length(303), Ok(()));
        assert_eq!(Call::echo(Kind::Unary, 0, 0).check_length(0), Ok(()));
    }

    #[test]
    fn another_length_is_a_failure() {
        let failure = Call::echo(Kind::Unary, 128, 0)
            .check_length(130)
            .unwrap_err();
        assert_eq!(failure.kind, "WRONG_REPLY");
        assert!(
            failure.text.contains("130 bytes instead of 131"),
            "{}",
            failure.text
        );
    }

    #[test]
    fn a_stream_of_requests_has_come_or_has_not() {
        let call = Call::echo(Kind::ClientStream, 128, 0);
        for (total, wanted) in [("640", true), ("639", false), ("0640", false), ("", false)] {
            let wrong = call.check_bytes(total.as_bytes(), 5);
            assert_eq!(wrong.is_ok(), wanted, "{wrong:?}");
        }
    }

    #[test]
    fn bytes_are_those_of_what_is_counted() {
        let bytes = |kind| Call::echo(kind, 100, 0).message_bytes();
        assert_eq!((bytes(Kind::Unary), bytes(Kind::Bidi)), (204, 204));
        assert_eq!(
            (bytes(Kind::ClientStream), bytes(Kind::ServerStream)),
            (102, 102)
        );
    }

    #[test]
    fn the_longest_payload_leaves_no_room_for_a_wish() {
        assert!(Call::echo(Kind::Unary, PAYLOAD_BYTES_MAX, 0).fits());
        assert!(!Call::echo(Kind::Unary, PAYLOAD_BYTES_MAX, 1).fits());
    }
}
