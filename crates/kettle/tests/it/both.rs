//! What async and blocking clients promise alike: the same cases, through one trait.

use crate::harness::{Host, block_on, host, host_with};
use kettle::{Channel, Code, Metadata, Model, Request, Response, Server, Status};
use kettle_testkit::trial::trial_client::{TrialClient, blocking};
use kettle_testkit::trial::{Behaviour, Outcome, Task, task};
use std::time::Duration;

/// Defines a module for each case, with a test for each I/O model and client.
macro_rules! with_both_clients {
    ($($name:ident)*) => { $(
        mod $name {
            use super::{Kind, $name as case};
            crate::on_every_model! { with_an_async_client with_a_blocking_client }
            fn with_an_async_client(model: kettle::Model) {
                case(model, Kind::Async);
            }
            fn with_a_blocking_client(model: kettle::Model) {
                case(model, Kind::Blocking);
            }
        }
    )* };
}

with_both_clients! {
    all_kinds_carry_messages_and_metadata
    streams_may_be_empty
    a_long_stream_passes_in_order
    errors_and_panics_end_their_call_only
    a_deadline_ends_a_stream
    a_reply_ends_the_requests
    both_sides_send_more_than_sockets_hold
    a_message_of_ten_windows_passes
    a_server_that_goes_away_ends_streams
}

#[derive(Clone, Copy)]
enum Kind {
    Async,
    Blocking,
}

/// What a client does with calls of each kind.
trait Client {
    fn run(&self, request: Request<Task>) -> Result<Response<Outcome>, Status>;
    fn collect(&self, request: Request<Vec<Task>>) -> Result<Response<Outcome>, Status>;
    fn push(&self, request: Request<Task>) -> Result<Streamed, Status>;
    fn chat(&self, request: Request<Vec<Task>>) -> Result<Streamed, Status>;
}

/// A stream of replies, all of it.
#[derive(Debug)]
struct Streamed {
    metadata: Metadata,
    replies: Vec<Outcome>,
    end: Result<Metadata, Status>,
}

fn client(host: &Host, kind: Kind) -> Box<dyn Client> {
    let channel = Channel::builder(host.url()).message_bytes_max(16 << 20);
    match kind {
        Kind::Async => Box::new(TrialClient::new(block_on(channel.connect()).unwrap())),
        Kind::Blocking => Box::new(blocking::TrialClient::new(
            channel.connect_blocking().unwrap(),
        )),
    }
}

impl Client for TrialClient {
    fn run(&self, request: Request<Task>) -> Result<Response<Outcome>, Status> {
        block_on(self.run(request))
    }

    fn collect(&self, request: Request<Vec<Task>>) -> Result<Response<Outcome>, Status> {
        block_on(self.collect(request.map(crate::streams::stream)))
    }

    fn push(&self, request: Request<Task>) -> Result<Streamed, Status> {
        Ok(all(block_on(self.push(request))?))
    }

    fn chat(&self, request: Request<Vec<Task>>) -> Result<Streamed, Status> {
        Ok(all(block_on(
            self.chat(request.map(crate::streams::stream)),
        )?))
    }
}

fn all(response: Response<kettle::Streaming<Outcome>>) -> Streamed {
    let metadata = response.metadata().clone();
    let (mut messages, mut replies) = (response.into_inner(), Vec::new());
    let end = loop {
        match block_on(messages.message()) {
            Ok(Some(reply)) => replies.push(reply),
            Ok(None) => break Ok(block_on(messages.trailers()).unwrap().unwrap()),
            Err(status) => break Err(status),
        }
    };
    assert_eq!(block_on(messages.message()).unwrap(), None, "so it stays");
    Streamed {
        metadata,
        replies,
        end,
    }
}

impl Client for blocking::TrialClient {
    fn run(&self, request: Request<Task>) -> Result<Response<Outcome>, Status> {
        self.run(request)
    }

    fn collect(&self, request: Request<Vec<Task>>) -> Result<Response<Outcome>, Status> {
        self.collect(request)
    }

    fn push(&self, request: Request<Task>) -> Result<Streamed, Status> {
        let response = self.push(request)?;
        let metadata = response.metadata().clone();
        let (mut messages, mut replies) = (response.into_inner(), Vec::new());
        let end = loop {
            match messages.message() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break Ok(messages.trailers()?.unwrap()),
                Err(status) => break Err(status),
            }
        };
        assert_eq!(messages.message()?, None, "so it stays");
        Ok(Streamed {
            metadata,
            replies,
            end,
        })
    }

    fn chat(&self, mut request: Request<Vec<Task>>) -> Result<Streamed, Status> {
        let tasks = std::mem::take(request.get_mut());
        let mut call = self.chat(request.map(|_| ()))?;
        // Whether the server has ended the call meanwhile shows below.
        let _ = call.send_all(tasks);
        call.finish()?;
        let metadata = call.metadata()?.clone();
        let mut replies = Vec::new();
        let end = loop {
            match call.recv() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break Ok(call.trailers()?.unwrap()),
                Err(status) => break Err(status),
            }
        };
        assert_eq!(call.recv()?, None, "so it stays");
        Ok(Streamed {
            metadata,
            replies,
            end,
        })
    }
}

/// The error that a stream ended with.
fn end(streamed: Result<Streamed, Status>) -> Status {
    streamed.and_then(|it| it.end).expect_err("it has no end")
}

fn echo(payload: impl Into<Vec<u8>>) -> Task {
    Task {
        payload: payload.into().into(),
        ..task(Behaviour::Echo)
    }
}

fn numbered(behaviour: Behaviour, number: u64) -> Task {
    Task {
        number,
        ..task(behaviour)
    }
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("tea", "green").unwrap();
    request
}

fn within<T>(message: T, millis: u64) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(millis));
    request
}

fn all_kinds_carry_messages_and_metadata(model: Model, kind: Kind) {
    let host = host(model);
    let client = client(&host, kind);
    let green = Some("green");
    let reply = client.run(request(task(Behaviour::Metadata))).unwrap();
    assert_eq!(reply.metadata().get("tea"), green);
    assert_eq!(reply.trailers().get("tea"), green);

    let tasks = vec![echo("a"), echo("bcd"), echo("")];
    let reply = client.collect(request(tasks)).unwrap();
    assert_eq!(reply.metadata().get("tea"), green);
    assert_eq!(reply.trailers().get("tea"), green);
    let reply = reply.into_inner();
    assert_eq!((reply.payload.as_ref(), reply.number), (&b"3"[..], 4));

    let three = Task {
        number: 3,
        ..echo("again")
    };
    let pushed = client.push(request(three)).unwrap();
    assert_eq!(pushed.metadata.get("tea"), green);
    assert_eq!(pushed.end.unwrap().get("tea"), green);
    let numbers: Vec<_> = pushed.replies.iter().map(|reply| reply.number).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert!(pushed.replies.iter().all(|reply| reply.payload == "again"));

    let tasks = (0..100).map(|n| echo(format!("task {n}"))).collect();
    let chat = client.chat(request(tasks)).unwrap();
    assert_eq!(chat.metadata.get("tea"), green);
    assert_eq!(chat.replies.len(), 100);
    for (n, reply) in chat.replies.iter().enumerate() {
        assert_eq!(reply.payload, format!("task {n}"));
    }
    let stats = host.server.stats();
    assert_eq!((stats.calls, stats.calls_failed), (4, 0));
    assert_eq!(stats.connections_accepted, 1);
    host.until("the handlers' end", |host| host.service.waiting() == 0);
    assert_eq!(host.service.dropped(), 0);
}

fn streams_may_be_empty(model: Model, kind: Kind) {
    let host = host(model);
    let client = client(&host, kind);
    let reply = client.collect(Request::new(Vec::new())).unwrap();
    assert_eq!(reply.get_ref().payload, "0");
    let pushed = client.push(Request::new(task(Behaviour::Echo))).unwrap();
    assert_eq!(pushed.replies, []);
    let chat = client.chat(Request::new(Vec::new())).unwrap();
    assert_eq!(chat.replies, []);
    // Empty messages are messages.
    let empty = || Request::new(vec![Task::default(); 1000]);
    let reply = client.collect(empty()).unwrap();
    assert_eq!(reply.get_ref().payload, "1000");
    assert_eq!(client.chat(empty()).unwrap().replies.len(), 1000);
}

fn a_long_stream_passes_in_order(model: Model, kind: Kind) {
    let host = host(model);
    let client = client(&host, kind);
    let many = Task {
        number: 20_000,
        ..echo("one of many")
    };
    let replies = client.push(Request::new(many)).unwrap().replies;
    assert_eq!(replies.len(), 20_000);
    assert!(replies.iter().zip(0..).all(|(reply, n)| reply.number == n));
    let tasks = (0..20_000).map(|n| numbered(Behaviour::Echo, n)).collect();
    let replies = client.chat(Request::new(tasks)).unwrap().replies;
    assert_eq!(replies.len(), 20_000);
    assert!(replies.iter().zip(0..).all(|(reply, n)| reply.number == n));
}

fn errors_and_panics_end_their_call_only(model: Model, kind: Kind) {
    let host = host(model);
    let client = client(&host, kind);
    let not_found = u64::from(Code::NotFound.as_u32());
    let fail = || Task {
        payload: "details".into(),
        ..numbered(Behaviour::Fail, not_found)
    };
    let check = |status: Status| {
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "told to fail, ünd so it does");
        assert_eq!(status.details(), b"details");
        assert_eq!(status.metadata().get("trailing"), Some("metadata"));
    };
    check(client.run(Request::new(fail())).unwrap_err());
    let tasks = || Request::new(vec![echo("tea"), fail(), echo("tea")]);
    check(client.collect(tasks()).unwrap_err());
    let pushed = client.push(Request::new(fail())).unwrap();
    assert_eq!(pushed.replies.len(), 3);
    check(pushed.end.unwrap_err());
    let chat = client.chat(tasks()).unwrap();
    assert_eq!(chat.replies.len(), 1);
    check(chat.end.unwrap_err());
    // An error before the reply has begun is that of the call.
    for behaviour in [Behaviour::Panic, Behaviour::PanicLater] {
        let status = client.run(Request::new(task(behaviour))).unwrap_err();
        assert_eq!(status.code(), Code::Internal);
    }
    let status = client.push(Request::new(task(Behaviour::Panic)));
    assert_eq!(status.unwrap_err().code(), Code::Internal);
    assert!(client.run(Request::new(echo("tea"))).is_ok());
    assert_eq!(host.server.stats().connections_accepted, 1);
}

fn a_deadline_ends_a_stream(model: Model, kind: Kind) {
    let host = host(model);
    let client = client(&host, kind);
    let late = |status: Status| assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    // A busy machine may need several attempts to begin in time.
    let begun = [200, 2000, 20_000].into_iter().any(|millis| {
        let result = client.push(within(numbered(Behaviour::Thread, 5), millis));
        let begun = result.as_ref().is_ok_and(|it| !it.replies.is_empty());
        late(end(result));
        begun
    });
    assert!(begun, "nothing has come");
    // Also when the stream has not begun to move, and for streams of requests.
    late(end(client.push(within(task(Behaviour::Never), 50))));
    let tasks = |millis| within(vec![echo("tea"), task(Behaviour::Never)], millis);
    late(client.collect(tasks(50)).unwrap_err());
    late(end(client.chat(tasks(200))));
    late(client.run(within(task(Behaviour::Never), 50)).unwrap_err());
    host.until("the handlers' end", |host| host.service.waiting() == 0);
    assert_eq!(host.service.dropped(), host.service.started());
}

/// The handler does not take all that is sent.
fn a_reply_ends_the_requests(model: Model, kind: Kind) {
    let host = host(model);
    let client = client(&host, kind);
    let not_found = u64::from(Code::NotFound.as_u32());
    let mut tasks = vec![echo(vec![0; 20_000]); 500];
    tasks[1] = numbered(Behaviour::Fail, not_found);
    let status = client.collect(Request::new(tasks.clone())).unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let chat = client.chat(Request::new(tasks)).unwrap();
    assert_eq!(chat.replies.len(), 1);
    assert_eq!(chat.end.unwrap_err().code(), Code::NotFound);
    assert!(client.run(Request::new(echo("tea"))).is_ok());
}

/// Within what a blocking client keeps while it sends; beyond it see `blocking`.
fn both_sides_send_more_than_sockets_hold(model: Model, kind: Kind) {
    let host = host(model);
    let client = client(&host, kind);
    let tasks = (0..16u8).map(|n| echo(vec![n; 1_000_000])).collect();
    let chat = client.chat(Request::new(tasks)).unwrap();
    assert_eq!(chat.replies.len(), 16);
    for (n, reply) in chat.replies.iter().enumerate() {
        assert_eq!(reply.payload.len(), 1_000_000);
        assert_eq!(usize::from(reply.payload[0]), n);
    }
}

fn a_message_of_ten_windows_passes(model: Model, kind: Kind) {
    const BYTES: usize = 10 * 1024 * 1024 + 1;
    let host = host_with(Server::builder().model(model).message_bytes_max(16 << 20));
    let client = client(&host, kind);
    let payload: Vec<u8> = (0..BYTES).map(|n| (n * 131 % 253) as u8).collect();
    let large = || echo(payload.clone());
    let reply = client.run(Request::new(large())).unwrap().into_inner();
    assert!(reply.payload == payload);
    let tasks = vec![large(), echo("small")];
    let reply = client.collect(Request::new(tasks.clone())).unwrap();
    assert_eq!(reply.get_ref().number, BYTES as u64 + 5);
    let replies = client.chat(Request::new(tasks)).unwrap().replies;
    assert!(replies[0].payload == payload);
    assert_eq!(
        (replies.len(), replies[1].payload.as_ref()),
        (2, &b"small"[..])
    );
}

fn a_server_that_goes_away_ends_streams(model: Model, kind: Kind) {
    let host = host(model);
    let client = client(&host, kind);
    let pushed = std::thread::scope(|scope| {
        scope.spawn(|| {
            host.until("the stream's start", |host| 10 < host.service.made());
            host.server.stop_now();
        });
        client.push(Request::new(numbered(Behaviour::Thread, 1)))
    });
    let status = pushed.unwrap().end.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    host.server.wait().unwrap();
    let status = client.run(Request::new(echo("tea"))).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}
