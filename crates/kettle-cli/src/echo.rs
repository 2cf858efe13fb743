//! The service that the tools host and call: `echo.v1.Echo`.

use bytes::Bytes;
use futures_core::Stream;
use kettle::{Request, Response, Status, Streaming};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::{Duration, Instant};

/// What `kettle-build` generated from `proto/echo/v1/echo.proto`.
pub mod v1 {
    kettle::include_proto!("echo.v1");
}

use v1::{EchoReply, EchoRequest};

/// Bytes of a reply's field beside its payload: one for the tag, four for a length up to 2^28.
const FIELD_BYTES: usize = 5;

/// Longest payload of a reply, so that the whole message fits kettle's default limit of 4 MiB.
pub const PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024 - FIELD_BYTES;

/// Longest wait before a reply: who wants to hold a call for longer mistook the unit.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Longest work before a reply: every other connection of a loop waits meanwhile.
const WORK_MAX: Duration = Duration::from_secs(1);

/// What replies of a wanted length are cut from. Zeros take no room in the binary, and no memory
/// until they are read.
static FILLER: [u8; PAYLOAD_BYTES_MAX] = [0; PAYLOAD_BYTES_MAX];

/// Gives back what it gets.
#[derive(Debug)]
pub struct Echo;

impl v1::echo_server::Echo for Echo {
    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let request = request.into_inner();
        if request.wait_us != 0 {
            kettle::sleep(wait(request.wait_us)?).await;
        }
        work(request.work_us)?;
        Ok(Response::new(reply(request)?))
    }

    async fn pooled(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let request = request.into_inner();
        if request.wait_us != 0 {
            thread::sleep(wait(request.wait_us)?);
        }
        work(request.work_us)?;
        Ok(Response::new(reply(request)?))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<EchoReply>, Status> {
        let (mut requests, mut total, mut wanted) = (request.into_inner(), 0, None);
        while let Some(request) = requests.message().await? {
            total += request.payload.len() as u64;
            wanted = request.reply_bytes.or(wanted);
        }
        let payload = match wanted {
            Some(bytes) => filler(bytes)?,
            None => total.to_string().into(),
        };
        Ok(Response::new(EchoReply { payload }))
    }

    type ServerStreamStream = Repeat;

    async fn server_stream(
        &self,
        request: Request<EchoRequest>,
    ) -> Result<Response<Repeat>, Status> {
        let EchoRequest {
            payload,
            want,
            reply_bytes,
            ..
        } = request.into_inner();
        let payload = match reply_bytes {
            Some(bytes) => filler(bytes)?,
            None => payload,
        };
        Ok(Response::new(Repeat {
            payload,
            left: want,
        }))
    }

    type BidiStream = Each;

    async fn bidi(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Each>, Status> {
        let requests = request.into_inner();
        Ok(Response::new(Each {
            requests,
            replies: Repeat::default(),
        }))
    }
}

/// The same reply again and again.
#[derive(Debug, Default)]
pub struct Repeat {
    payload: Bytes,
    left: u64,
}

impl Stream for Repeat {
    type Item = Result<EchoReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        let payload = self.payload.clone();
        Poll::Ready(Some(Ok(EchoReply { payload })))
    }
}

/// The replies to each of a stream of requests.
#[derive(Debug)]
pub struct Each {
    requests: Streaming<EchoRequest>,
    /// Those to the last one that have not gone yet.
    replies: Repeat,
}

impl Stream for Each {
    type Item = Result<EchoReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let reply @ Poll::Ready(Some(_)) = Pin::new(&mut self.replies).poll_next(cx) {
                return reply;
            }
            match ready!(Pin::new(&mut self.requests).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(request) => self.replies = replies(request?)?,
            }
        }
    }
}

fn replies(request: EchoRequest) -> Result<Repeat, Status> {
    let left = request.replies.unwrap_or(1);
    let payload = reply(request)?.payload;
    Ok(Repeat { payload, left })
}

fn wait(micros: u32) -> Result<Duration, Status> {
    at_most(WAIT_MAX, micros, "wait")
}

/// How long the server does this, unless that is longer than it does.
fn at_most(max: Duration, micros: u32, what: &str) -> Result<Duration, Status> {
    let duration = Duration::from_micros(micros.into());
    match duration <= max {
        true => Ok(duration),
        false => Err(Status::invalid_argument(format!(
            "{what}_us is {micros}; this server {what}s {max:?} at most"
        ))),
    }
}

/// Keeps this thread's processor.
fn work(micros: u32) -> Result<(), Status> {
    if micros == 0 {
        return Ok(());
    }
    let work = at_most(WORK_MAX, micros, "work")?;
    let begun = Instant::now();
    while begun.elapsed() < work {
        std::hint::spin_loop();
    }
    Ok(())
}

fn reply(request: EchoRequest) -> Result<EchoReply, Status> {
    let EchoRequest {
        payload,
        want,
        reply_bytes,
        ..
    } = request;
    let payload = match (reply_bytes, want) {
        (Some(bytes), _) => filler(bytes)?,
        (None, 0) => payload,
        (None, want) => filler(want)?,
    };
    Ok(EchoReply { payload })
}

/// A payload of this many bytes.
pub fn filler(bytes: u64) -> Result<Bytes, Status> {
    let wanted = usize::try_from(bytes)
        .ok()
        .and_then(|bytes| FILLER.get(..bytes));
    wanted.map(Bytes::from_static).ok_or_else(|| {
        let text = format!("want is {bytes} bytes; a reply holds at most {PAYLOAD_BYTES_MAX}");
        Status::resource_exhausted(text)
    })
}

#[cfg(test)]
mod tests {
    use super::v1::echo_server::Echo as _;
    use super::*;
    use kettle::Code;
    use prost::Message;
    use std::pin::pin;
    use std::task::Waker;

    fn call(payload: &'static [u8], want: u64) -> Result<Bytes, Status> {
        let request = EchoRequest {
            payload: Bytes::from_static(payload),
            want,
            ..EchoRequest::default()
        };
        let reply =
            pin!(Echo.unary(Request::new(request))).poll(&mut Context::from_waker(Waker::noop()));
        match reply {
            Poll::Ready(reply) => reply.map(|reply| reply.into_inner().payload),
            Poll::Pending => panic!("an echo never waits"),
        }
    }

    #[test]
    fn it_echoes_the_same_memory() {
        let reply = call(b"kettle", 0).unwrap();
        assert_eq!(reply.as_ref(), b"kettle");
        assert!(call(b"", 0).unwrap().is_empty());
    }

    #[test]
    fn it_repeats_as_often_as_wanted() {
        let request = EchoRequest {
            payload: Bytes::from_static(b"kettle"),
            want: 3,
            ..EchoRequest::default()
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut replies = pin!(Echo.server_stream(Request::new(request)));
        let Poll::Ready(Ok(replies)) = replies.as_mut().poll(&mut context) else {
            panic!("an echo never waits")
        };
        let mut replies = replies.into_inner();
        for _ in 0..3 {
            let Poll::Ready(Some(Ok(reply))) = Pin::new(&mut replies).poll_next(&mut context)
            else {
                panic!("three were wanted")
            };
            assert_eq!(reply.payload, "kettle");
        }
        let end = Pin::new(&mut replies).poll_next(&mut context);
        assert!(matches!(end, Poll::Ready(None)));
    }

    #[test]
    fn it_replies_with_nothing_when_that_is_wanted() {
        let request = |want, bytes| EchoRequest {
            payload: Bytes::from_static(b"kettle"),
            want,
            reply_bytes: Some(bytes),
            ..EchoRequest::default()
        };
        assert!(reply(request(5, 0)).unwrap().payload.is_empty());
        assert_eq!(reply(request(5, 300)).unwrap().payload.len(), 300);
        assert!(reply(request(0, u64::MAX)).is_err());
    }

    #[test]
    fn a_request_of_many_has_as_many_replies_as_wanted() {
        for (wanted, count) in [(None, 1), (Some(0), 0), (Some(3), 3)] {
            let request = EchoRequest {
                payload: Bytes::from_static(b"kettle"),
                replies: wanted,
                ..EchoRequest::default()
            };
            let replies = replies(request).unwrap();
            assert_eq!(
                (replies.left, &replies.payload[..]),
                (count, &b"kettle"[..])
            );
        }
    }

    #[test]
    fn it_gives_as_many_bytes_as_wanted() {
        for want in [1, 128, PAYLOAD_BYTES_MAX] {
            assert_eq!(call(b"ignored", want as u64).unwrap().len(), want);
        }
    }

    #[test]
    fn it_does_not_wait_for_long() {
        assert_eq!(wait(10_000_000).unwrap(), WAIT_MAX);
        let status = wait(10_000_001).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("10s at most"), "{status}");
    }

    #[test]
    fn it_works_as_long_as_wanted_but_not_for_long() {
        let begun = Instant::now();
        work(2000).unwrap();
        assert!(Duration::from_millis(2) <= begun.elapsed());
        let status = work(1_000_001).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("1s at most"), "{status}");
    }

    #[test]
    fn it_refuses_more_than_a_message_holds() {
        for want in [PAYLOAD_BYTES_MAX as u64 + 1, u64::MAX] {
            let status = call(b"", want).unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert!(
                status.message().contains(&PAYLOAD_BYTES_MAX.to_string()),
                "{status}"
            );
        }
    }

    #[test]
    fn the_longest_reply_is_as_long_as_the_limit() {
        let reply = EchoReply {
            payload: Bytes::from_static(&FILLER),
        };
        assert_eq!(reply.encoded_len(), 4 * 1024 * 1024);
    }
}
