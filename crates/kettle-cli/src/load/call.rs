//! One unary call that is made again and again, as cheap as it can be made.

use crate::echo::v1::{EchoReply, EchoRequest};
use crate::echo::{PAYLOAD_BYTES_MAX, UNARY};
use bytes::Bytes;
use kettle::{Channel, Outbound, Request};
use prost::Message;
use std::sync::Arc;

/// A request that is encoded once and sent again and again.
#[derive(Clone, Debug)]
pub struct Call {
    path: Arc<str>,
    request: Bytes,
    /// The length of the reply to it, where that is known.
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
            request,
            reply_bytes: None,
        }
    }

    /// A call of the echo service with so many bytes of payload, which wants so many back; 0: as many.
    pub fn echo(payload_bytes: usize, want: usize) -> Self {
        let payload = Bytes::from(vec![b'k'; payload_bytes]);
        let request = EchoRequest {
            payload,
            want: want as u64,
        }
        .encode_to_vec()
        .into();
        let expected = if want == 0 { payload_bytes } else { want };
        let reply_bytes = EchoReply {
            payload: vec![0; expected].into(),
        }
        .encoded_len();
        Self {
            path: Arc::from(UNARY),
            request,
            reply_bytes: Some(reply_bytes),
        }
    }

    /// Whether the request fits into kettle's default limit: `want` takes some bytes of it.
    pub fn fits(&self) -> bool {
        self.request.len() <= PAYLOAD_BYTES_MAX + 5
    }

    /// Bytes of the two messages as far as they are known, without what the protocol adds.
    pub fn message_bytes(&self) -> u64 {
        (self.request.len() + self.reply_bytes.unwrap_or(0)) as u64
    }

    /// Makes the call, and checks the length of the reply where it is known.
    pub async fn make(&self, channel: &Channel) -> Result<(), CallFailure> {
        let request = Request::new(Outbound::from_bytes(self.request.clone()));
        let reply = channel.call(Arc::clone(&self.path), request).await;
        let reply = reply.map_err(|status| CallFailure {
            kind: status.code().to_string(),
            text: status.message().to_owned(),
        })?;
        self.check(reply.get_ref().message_len().unwrap_or(0))
    }

    fn check(&self, bytes: usize) -> Result<(), CallFailure> {
        match self.reply_bytes {
            Some(wanted) if wanted != bytes => Err(CallFailure {
                kind: "WRONG_REPLY".to_owned(),
                text: format!("a reply of {bytes} bytes instead of {wanted}"),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_is_as_long_as_the_payload_or_as_wanted() {
        // A tag, a length of two bytes from 128 on, and the payload.
        assert_eq!(Call::echo(127, 0).check(129), Ok(()));
        assert_eq!(Call::echo(128, 0).check(131), Ok(()));
        assert_eq!(Call::echo(5, 300).check(303), Ok(()));
        assert_eq!(Call::echo(0, 0).check(0), Ok(()));
    }

    #[test]
    fn another_length_is_a_failure() {
        let failure = Call::echo(128, 0).check(130).unwrap_err();
        assert_eq!(failure.kind, "WRONG_REPLY");
        assert!(
            failure.text.contains("130 bytes instead of 131"),
            "{}",
            failure.text
        );
    }

    #[test]
    fn the_longest_payload_leaves_no_room_for_a_wish() {
        assert!(Call::echo(PAYLOAD_BYTES_MAX, 0).fits());
        assert!(!Call::echo(PAYLOAD_BYTES_MAX, 1).fits());
    }
}
