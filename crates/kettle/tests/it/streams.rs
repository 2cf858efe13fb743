//! Streams: what each kind, failure and interruption looks like, and what a slow end costs the other.

use crate::harness::{Host, block_on, host, host_with, stream_to};
use crate::raw::RawClient;
use crate::{on_every_model, on_every_model_over_unix};
use futures_core::Stream;
use kettle::{
    Channel, Code, Inbound, Model, Next, Outbound, Request, Response, Server, Status, Streaming,
};
use kettle_proto::Event;
use kettle_testkit::frames::{frame, hello, path};
use kettle_testkit::trial::trial_client::TrialClient;
use kettle_testkit::trial::{Behaviour, Outcome, Task, task};
use prost::Message;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

on_every_model! {
    all_kinds_carry_messages_and_metadata
    streams_may_be_empty
    a_slow_reader_costs_bounded_memory
    a_reader_that_gives_no_credit_costs_one_message
    a_handler_that_takes_nothing_stops_its_client
    a_stalled_call_stands_in_nobodys_way
    a_message_of_ten_windows_passes
    a_pause_in_the_middle_of_a_message_ends
    half_messages_hold_up_nobody
    a_server_holds_bounded_parts_of_messages
    a_silent_client_is_pushed_to
    both_sides_send_more_than_sockets_hold
    a_long_stream_passes_in_order
    a_deadline_ends_a_stream
    dropping_the_replies_cancels
    dropping_the_call_cancels_its_requests
    an_error_or_a_panic_ends_its_stream_only
    a_reply_ends_the_requests
    requests_that_fail_end_their_call
    a_server_that_goes_away_ends_streams
    a_client_that_goes_away_ends_streams
    kinds_that_do_not_fit_are_told
    interceptors_see_all_kinds
}

on_every_model_over_unix! {
    a_slow_reader_costs_bounded_memory
    a_reader_that_gives_no_credit_costs_one_message
    a_handler_that_takes_nothing_stops_its_client
    a_stalled_call_stands_in_nobodys_way
    a_message_of_ten_windows_passes
    a_pause_in_the_middle_of_a_message_ends
    half_messages_hold_up_nobody
    a_server_holds_bounded_parts_of_messages
    a_silent_client_is_pushed_to
    both_sides_send_more_than_sockets_hold
    a_long_stream_passes_in_order
    dropping_the_replies_cancels
    dropping_the_call_cancels_its_requests
    a_server_that_goes_away_ends_streams
    a_client_that_goes_away_ends_streams
}

/// The items of an iterator, all of which are there.
pub struct Iter<I>(I);

impl<I: Iterator + Unpin> Stream for Iter<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

pub fn stream<I: IntoIterator<IntoIter: Unpin>>(items: I) -> Iter<I::IntoIter> {
    Iter(items.into_iter())
}

/// The items of an iterator, and then nothing without an end.
struct Open<I>(I);

impl<I: Iterator + Unpin> Stream for Open<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        self.0
            .next()
            .map_or(Poll::Pending, |item| Poll::Ready(Some(item)))
    }
}

fn open<I: IntoIterator<IntoIter: Unpin>>(items: I) -> Open<I::IntoIter> {
    Open(items.into_iter())
}

pub fn echo(payload: impl Into<Vec<u8>>) -> Task {
    Task {
        payload: payload.into().into(),
        ..task(Behaviour::Echo)
    }
}

pub fn numbered(behaviour: Behaviour, number: u64) -> Task {
    Task {
        number,
        ..task(behaviour)
    }
}

/// All messages of a stream, which ends in order.
pub fn all(replies: Response<Streaming<Outcome>>) -> Vec<Outcome> {
    let (mut replies, mut all) = (replies.into_inner(), Vec::new());
    while let Some(reply) = block_on(replies.message()).unwrap() {
        all.push(reply);
    }
    all
}

/// Waits until a count does not change any more, as far as can be seen; gives it.
pub fn settled(host: &Host, what: &str, count: impl Fn(&Host) -> u64) -> u64 {
    let last = std::cell::Cell::new((0, Instant::now()));
    host.until(what, |host| {
        let now = count(host);
        if now != last.get().0 {
            last.set((now, Instant::now()));
        }
        now != 0 && Duration::from_millis(150) < last.get().1.elapsed()
    });
    last.get().0
}

fn all_kinds_carry_messages_and_metadata(model: Model) {
    all_kinds(&host(model));
}

/// Streams of all kinds between a new client and this server.
pub fn all_kinds(host: &Host) {
    let client = host.client();
    fn with_metadata<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("tea", "green").unwrap();
        request
    }

    let tasks = stream([echo("a"), echo("bcd"), echo("")]);
    let reply = block_on(client.collect(with_metadata(tasks))).unwrap();
    assert_eq!(reply.metadata().get("tea"), Some("green"));
    assert_eq!(reply.trailers().get("tea"), Some("green"));
    let reply = reply.into_inner();
    assert_eq!((reply.payload.as_ref(), reply.number), (&b"3"[..], 4));

    let three = Task {
        number: 3,
        ..echo("again")
    };
    let replies = block_on(client.push(with_metadata(three))).unwrap();
    assert_eq!(replies.metadata().get("tea"), Some("green"));
    let mut replies = replies.into_inner();
    for number in 0..3 {
        let reply = block_on(replies.message()).unwrap().unwrap();
        assert_eq!(
            (reply.payload.as_ref(), reply.number),
            (&b"again"[..], number)
        );
    }
    assert_eq!(block_on(replies.message()).unwrap(), None);
    assert_eq!(
        block_on(replies.message()).unwrap(),
        None,
        "and so it stays"
    );
    let trailers = block_on(replies.trailers()).unwrap().unwrap();
    assert_eq!(trailers.get("tea"), Some("green"));

    let tasks = stream((0..100).map(|n| echo(format!("task {n}"))));
    let replies = block_on(client.chat(with_metadata(tasks))).unwrap();
    assert_eq!(replies.metadata().get("tea"), Some("green"));
    let replies = all(replies);
    assert_eq!(replies.len(), 100);
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(reply.payload, format!("task {n}"));
    }
    let stats = host.server.stats();
    assert_eq!((stats.calls, stats.calls_failed), (3, 0));
    host.until("the handlers' end", |host| host.service.waiting() == 0);
    assert_eq!((host.service.dropped(), stats.connections_accepted), (0, 1));
}

fn streams_may_be_empty(model: Model) {
    let host = host(model);
    let client = host.client();
    let reply = block_on(client.collect(stream([]))).unwrap().into_inner();
    assert_eq!((reply.payload.as_ref(), reply.number), (&b"0"[..], 0));
    assert_eq!(
        all(block_on(client.push(task(Behaviour::Echo))).unwrap()),
        []
    );
    assert_eq!(all(block_on(client.chat(stream([]))).unwrap()), []);
    // Empty messages are messages.
    let empty = || (0..1000).map(|_| Task::default());
    let reply = block_on(client.collect(stream(empty()))).unwrap();
    assert_eq!(reply.get_ref().payload, "1000");
    assert_eq!(
        all(block_on(client.chat(stream(empty()))).unwrap()).len(),
        1000
    );
}

/// The reader has given credit without end, and reads nothing: what is made fills the socket's buffers,
/// the outbox and the machine's output, and no more.
fn a_slow_reader_costs_bounded_memory(model: Model) {
    const MESSAGE: u64 = 10_000;
    // Outbox and machine, and what the kernel takes: at most 4 and 6 MiB by default, and as much again.
    const BOUND: u64 = 2 * 256 * 1024 + 20 * 1024 * 1024;
    let host = host(model);
    let mut client = RawClient::with_limits(host.server.address(), |limits| {
        limits.call_credit_bytes = i32::MAX as u32;
        limits.connection_credit_bytes = i32::MAX as u32;
    });
    client.open_at("Push", &numbered(Behaviour::Large, MESSAGE), true);
    client.flush();
    let made = settled(&host, "a full outbox", |host| host.service.made());
    assert!(made * MESSAGE <= BOUND, "{made} messages were made");
    // It goes on when the reader does.
    for _ in 0..2 * made {
        client.message().expect("the stream goes on");
    }
    assert!(made < host.service.made());
}

/// What is made is what credit covers, and one message that waits.
fn a_reader_that_gives_no_credit_costs_one_message(model: Model) {
    let host = host(model);
    let mut client = RawClient::connect(host.server.address());
    let call = client.open_at("Push", &numbered(Behaviour::Large, 20_000), true);
    client.flush();
    let credit = 1024 * 1024 / 20_000;
    for _ in 0..credit {
        client.message().expect("what credit covers comes");
    }
    let made = settled(&host, "no credit", |host| host.service.made());
    assert!(
        (credit..=credit + 1).contains(&made),
        "{made} messages were made"
    );
    client.consumed(call, 600_000);
    client.flush();
    for _ in 0..600_000 / 20_000 {
        client.message().expect("what credit covers comes");
    }
}

fn a_handler_that_takes_nothing_stops_its_client(model: Model) {
    let host = host(model);
    let client = host.client();
    let made = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&made);
    let tasks = (0..).map(move |n| {
        counter.fetch_add(1, Ordering::SeqCst);
        match n {
            0 => task(Behaviour::Never),
            _ => echo(vec![0; 20_000]),
        }
    });
    let mut call = Box::pin(client.collect(stream(tasks)));
    assert!(crate::harness::poll_once(call.as_mut()).is_pending());
    let made = settled(&host, "no credit", |_| made.load(Ordering::SeqCst));
    let credit = 1024 * 1024 / 20_000;
    assert!(
        (credit..=credit + 3).contains(&made),
        "{made} messages were made"
    );
    assert_eq!(host.service.taken(), 1);
    // Others on the connection are served.
    for _ in 0..100 {
        block_on(client.run(echo("tea"))).unwrap();
    }
    drop(call);
    host.until("the handler's end", |host| host.service.dropped() == 1);
}

fn a_stalled_call_stands_in_nobodys_way(model: Model) {
    let host = host(model);
    let client = host.client();
    // Messages of which the credit of a call does not cover the second.
    let large = || numbered(Behaviour::Large, 1_000_000);
    let mut stalled: Vec<_> = (0..8)
        .map(|_| block_on(client.push(large())).unwrap().into_inner())
        .collect();
    host.until("no credit", |host| host.service.made() == 16);
    for _ in 0..100 {
        block_on(client.run(echo("tea"))).unwrap();
    }
    let tasks = stream((0..1000).map(|_| echo(vec![0; 10_000])));
    assert_eq!(all(block_on(client.chat(tasks)).unwrap()).len(), 1000);
    assert_eq!(host.service.made(), 16, "nobody took their messages");
    for replies in &mut stalled {
        for _ in 0..4 {
            let reply = block_on(replies.message()).unwrap().unwrap();
            assert_eq!(reply.payload.len(), 1_000_000);
        }
    }
}

fn a_message_of_ten_windows_passes(model: Model) {
    const BYTES: usize = 10 * 1024 * 1024 + 1;
    let host = host_with(Server::builder().model(model).message_bytes_max(16 << 20));
    let channel = Channel::builder(host.url()).message_bytes_max(16 << 20);
    let client = TrialClient::new(block_on(channel.connect()).unwrap());
    let payload: Vec<u8> = (0..BYTES).map(|n| (n * 131 % 253) as u8).collect();
    let tasks = stream([echo(payload.clone()), echo("small"), echo(payload.clone())]);
    let replies = all(block_on(client.chat(tasks)).unwrap());
    assert_eq!(replies.len(), 3);
    assert!(replies[0].payload == payload && replies[2].payload == payload);
    assert_eq!(replies[1].payload, "small");
}

/// 256 streams whose first message has come in half, beside a call that is whole.
fn half_messages_hold_up_nobody(model: Model) {
    let host = host(model);
    let mut socket = stream_to(host.server.address()).unwrap();
    let message = echo(vec![7; 20_000]).encode_to_vec();
    let (first, second) = message.split_at(10_000);
    let length = (message.len() as u64).to_be_bytes();
    let collect = path("/kettle.trial.v1.Trial/Collect");
    let mut bytes = hello(&[]);
    for stream in 1..=256 {
        bytes.extend(frame(
            1,
            0x71,
            0,
            stream,
            &[&collect[..], &length, first].concat(),
        ));
    }
    let run = path("/kettle.trial.v1.Trial/Run");
    bytes.extend(frame(1, 0xA1, 0, 257, &run));
    socket.write_all(&bytes).unwrap();
    host.until("all handlers' start", |host| host.service.started() == 257);
    host.until("the whole call's end", |host| host.service.waiting() == 256);
    assert_eq!(host.service.taken(), 0);
    let mut bytes = Vec::new();
    for stream in 1..=256 {
        bytes.extend(frame(2, 0xA0, 0, stream, second));
    }
    socket.write_all(&bytes).unwrap();
    host.until("all handlers' end", |host| host.service.waiting() == 0);
    assert_eq!((host.service.taken(), host.service.dropped()), (256, 0));
}

/// The server stops reading in the middle of a long frame, and has a part of it that its loop has not
/// seen; when it reads on, only the rest follows.
fn a_pause_in_the_middle_of_a_message_ends(model: Model) {
    let host = host(model);
    let mut client = RawClient::with_limits(host.server.address(), |limits| {
        limits.call_credit_bytes = i32::MAX as u32;
        limits.connection_credit_bytes = i32::MAX as u32;
    });
    client.flush();
    assert!(matches!(client.event(), Some(Event::Ready)));
    // More than sockets hold, and after some turns.
    let mut flood = numbered(Behaviour::SelfWake, 2000);
    flood.payload = vec![b'x'; 10_000].into();
    client.open_at("Push", &flood, true);
    client.open(&echo(vec![b'y'; 300_000]));
    let bytes = client.output();
    let (begin, rest) = bytes.split_at(bytes.len() - 100_000);
    client.stream.write_all(begin).unwrap();
    settled(&host, "a full outbox", |host| host.service.made());
    client.stream.write_all(rest).unwrap();
    for _ in 0..2 {
        assert_eq!(client.finished(), Some(true), "both calls end");
    }
}

/// Many connections begin messages that would fill what the server may hold several times.
fn a_server_holds_bounded_parts_of_messages(model: Model) {
    const MAX: u64 = 256 * 1024;
    const MESSAGE: usize = 900_000;
    let count: usize = if model == Model::Blocking { 1 } else { 12 };
    let host = host_with(Server::builder().model(model).held_bytes_max(MAX));
    let gate = Arc::new(Barrier::new(count + 1));
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let mut client = RawClient::connect(host.server.address());
            client.flush();
            assert!(matches!(client.event(), Some(Event::Ready)));
            client.open(&echo(vec![b'x'; MESSAGE]));
            let gate = Arc::clone(&gate);
            // Where the server does not read, sockets do not hold as much as this.
            thread::spawn(move || {
                let bytes = client.output_in_parts(30_000);
                let (begin, rest) = bytes.split_at(bytes.len() - 50_000);
                let mut stream = client.stream.try_clone().unwrap();
                let begin = begin.to_vec();
                let writer = thread::spawn(move || stream.write_all(&begin).map(|()| stream));
                gate.wait();
                writer.join().unwrap().unwrap().write_all(rest).unwrap();
                client.finished()
            })
        })
        .collect();
    let held = settled(&host, "begun messages", |host| {
        host.server.stats().held_bytes
    });
    // A receive for each, and one message that may become whole.
    let bound = MAX + count as u64 * 64 * 1024 + MESSAGE as u64;
    assert!(held <= bound, "{held} bytes are held");
    if 1 < count {
        assert!(MAX <= held, "{held} bytes are held");
        assert!(block_on(host.client().run(echo("short"))).is_ok());
    }
    gate.wait();
    for client in clients {
        assert_eq!(client.join().unwrap(), Some(true));
    }
    host.until("nothing held", |host| host.server.stats().held_bytes == 0);
}

fn a_silent_client_is_pushed_to(model: Model) {
    let host = host(model);
    let tick = Task {
        payload: "tick".into(),
        ..numbered(Behaviour::Thread, 10)
    };
    let mut replies = block_on(host.client().push(tick)).unwrap().into_inner();
    for _ in 0..10 {
        assert_eq!(
            block_on(replies.message()).unwrap().unwrap().payload,
            "tick"
        );
    }
}

fn both_sides_send_more_than_sockets_hold(model: Model) {
    let host = host(model);
    let tasks = stream((0..40u8).map(|n| echo(vec![n; 1_000_000])));
    let replies = block_on(host.client().chat(tasks)).unwrap();
    let mut replies = replies.into_inner();
    for n in 0..40 {
        let reply = block_on(replies.message()).unwrap().unwrap();
        assert_eq!((reply.payload.len(), reply.payload[0]), (1_000_000, n));
    }
    assert_eq!(block_on(replies.message()).unwrap(), None);
}

/// Several streams of small messages share turns, and none is starved or mixed up.
fn a_long_stream_passes_in_order(model: Model) {
    let host = host(model);
    let client = host.client();
    let calls = (0..4).map(|_| {
        let many = Task {
            number: 20_000,
            ..echo("one of many")
        };
        client.push(many)
    });
    let calls = block_on(crate::harness::join_all(calls));
    for replies in calls {
        let replies = all(replies.unwrap());
        assert_eq!(replies.len(), 20_000);
        assert!(replies.iter().zip(0..).all(|(reply, n)| reply.number == n));
    }
}

/// On a slow machine a deadline may pass before the handler has begun.
fn a_deadline_ends_a_stream(model: Model) {
    /// Takes replies until an error ends them.
    fn error(replies: Result<Response<Streaming<Outcome>>, Status>) -> Status {
        let mut replies = match replies {
            Ok(replies) => replies.into_inner(),
            Err(status) => return status,
        };
        loop {
            match block_on(replies.message()) {
                Ok(reply) => assert!(reply.is_some(), "it has no end"),
                Err(status) => {
                    assert_eq!(block_on(replies.message()).unwrap(), None);
                    return status;
                }
            }
        }
    }
    fn limited<T>(message: T, millis: u64) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(Duration::from_millis(millis));
        request
    }
    let host = host(model);
    let client = host.client();
    let pushed = client.push(limited(numbered(Behaviour::Thread, 5), 500));
    assert_eq!(error(block_on(pushed)).code(), Code::DeadlineExceeded);
    // Also when the stream has not begun to move, and for a stream of requests.
    let pushed = client.push(limited(task(Behaviour::Never), 50));
    assert_eq!(error(block_on(pushed)).code(), Code::DeadlineExceeded);
    let status = block_on(client.collect(limited(open([echo("tea")]), 50))).unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    host.until("the handlers' end", |host| {
        let ended = host.service.dropped() == host.service.started();
        host.service.waiting() == 0 && ended
    });
}

fn dropping_the_replies_cancels(model: Model) {
    let host = host(model);
    let client = host.client();
    for (round, behaviour) in [Behaviour::Large, Behaviour::Thread, Behaviour::Never]
        .into_iter()
        .enumerate()
    {
        let mut replies = block_on(client.push(numbered(behaviour, 1)))
            .unwrap()
            .into_inner();
        if behaviour != Behaviour::Never {
            assert!(block_on(replies.message()).unwrap().is_some());
        }
        drop(replies);
        host.until("the handler's end", |host| {
            host.service.dropped() == round as u64 + 1
        });
    }
    assert!(block_on(client.run(echo("tea"))).is_ok());
}

fn dropping_the_call_cancels_its_requests(model: Model) {
    struct Gone(Arc<AtomicU64>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let host = host(model);
    let client = host.client();
    let gone = Arc::new(AtomicU64::new(0));
    let token = Gone(Arc::clone(&gone));
    let tasks = [echo("tea")].into_iter().inspect(move |_| {
        let _ = &token;
    });
    let mut call = Box::pin(client.collect(open(tasks)));
    assert!(crate::harness::poll_once(call.as_mut()).is_pending());
    host.until("the first task", |host| host.service.taken() == 1);
    drop(call);
    host.until("the handler's end", |host| host.service.dropped() == 1);
    host.until("the requests' end", |_| gone.load(Ordering::SeqCst) == 1);
}

fn an_error_or_a_panic_ends_its_stream_only(model: Model) {
    let host = host(model);
    let client = host.client();
    let mut neighbour = block_on(client.push(numbered(Behaviour::Thread, 1)))
        .unwrap()
        .into_inner();
    let not_found = u64::from(Code::NotFound.as_u32());
    let tasks = [
        (numbered(Behaviour::Fail, not_found), Code::NotFound),
        (task(Behaviour::PanicLater), Code::Internal),
    ];
    for (task, code) in tasks {
        let mut replies = block_on(client.push(task)).unwrap().into_inner();
        for _ in 0..3 {
            assert!(block_on(replies.message()).unwrap().is_some());
        }
        let status = block_on(replies.message()).unwrap_err();
        assert_eq!(status.code(), code);
        if code == Code::NotFound {
            assert_eq!(status.metadata().get("trailing"), Some("metadata"));
        }
        assert_eq!(block_on(replies.trailers()).unwrap(), None);
    }
    // An error before the reply has begun is that of the call.
    let status = block_on(client.push(task(Behaviour::Panic))).unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    let tasks = stream([
        echo("tea"),
        numbered(Behaviour::Fail, not_found),
        echo("tea"),
    ]);
    let mut replies = block_on(client.chat(tasks)).unwrap().into_inner();
    assert!(block_on(replies.message()).unwrap().is_some());
    assert_eq!(
        block_on(replies.message()).unwrap_err().code(),
        Code::NotFound
    );
    assert!(block_on(neighbour.message()).unwrap().is_some());
    assert_eq!(host.server.stats().calls_failed, 4);
}

/// A handler that does not want the rest of the requests says so by its reply.
fn a_reply_ends_the_requests(model: Model) {
    let host = host(model);
    let client = host.client();
    let not_found = u64::from(Code::NotFound.as_u32());
    let tasks = (0..).map(move |n| match n {
        10 => numbered(Behaviour::Fail, not_found),
        _ => echo(vec![0; 10_000]),
    });
    let status = block_on(client.collect(stream(tasks))).unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(host.service.taken(), 11);
    assert!(block_on(client.run(echo("tea"))).is_ok());
}

fn requests_that_fail_end_their_call(model: Model) {
    let host = host(model);
    let channel = host.channel();
    let message = |n: u32| match n {
        3 => Err(Status::aborted("no more")),
        _ => Ok(Outbound::encode(&echo("tea"))),
    };
    let requests = Outbound::from_stream(stream((0..).map(message)));
    let path = "/kettle.trial.v1.Trial/Collect";
    let status = block_on(channel.call(path, Request::new(requests))).unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Aborted, "no more")
    );
    host.until("the handler's end", |host| host.service.dropped() == 1);
    let tasks = (0..).map(|n| match n {
        3 => panic!("the requests cannot be made"),
        _ => echo("tea"),
    });
    let client = TrialClient::new(channel);
    let status = block_on(client.collect(stream(tasks))).unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("panicked"), "{status}");
    host.until("the handler's end", |host| host.service.dropped() == 2);
    assert!(
        block_on(client.run(echo("tea"))).is_ok(),
        "the loop lives on"
    );
}

fn a_server_that_goes_away_ends_streams(model: Model) {
    let host = host(model);
    let client = host.client();
    let mut pushed = block_on(client.push(numbered(Behaviour::Thread, 1)))
        .unwrap()
        .into_inner();
    let mut collected = Box::pin(client.collect(open([echo("tea")])));
    assert!(crate::harness::poll_once(collected.as_mut()).is_pending());
    host.until("the first task", |host| host.service.taken() == 1);
    assert!(block_on(pushed.message()).unwrap().is_some());
    drop(host.server);
    let status = loop {
        match block_on(pushed.message()) {
            Ok(reply) => assert!(reply.is_some(), "it has no end"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(block_on(collected).unwrap_err().code(), Code::Unavailable);
}

fn a_client_that_goes_away_ends_streams(model: Model) {
    let host = host(model);
    for round in 1..=3 {
        let mut client = RawClient::connect(host.server.address());
        client.open_at("Push", &numbered(Behaviour::Large, 1000), true);
        client.open_at("Collect", &echo("tea"), false);
        client.open_at("Chat", &task(Behaviour::Never), false);
        client.flush();
        host.until("the handlers' start", |host| {
            host.service.started() == 3 * round
        });
        client.message().expect("a message");
        drop(client);
        host.until("the handlers' end", |host| {
            host.service.dropped() == 3 * round
        });
    }
    host.until("the connections' end", |host| {
        host.server.stats().connections == 0
    });
}

fn kinds_that_do_not_fit_are_told(model: Model) {
    let host = host(model);
    let channel = host.channel();
    let run = "/kettle.trial.v1.Trial/Run";
    let tasks = |count: usize| {
        let tasks = (0..count).map(|_| Ok(Outbound::encode(&echo("tea"))));
        Request::new(Outbound::from_stream(stream(tasks)))
    };
    for (count, text) in [(2, "another"), (0, "none")] {
        let status = block_on(channel.call(run, tasks(count))).unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains(text), "{status}");
    }
    // A stream of one message is what a unary method takes, and its reply a stream of one.
    let replies = block_on(channel.call_streaming(run, tasks(1))).unwrap();
    let replies = Response::new(replies.into_inner().into_streaming::<Outcome>());
    assert_eq!(all(replies)[0].payload, "tea");
    let twice = Task {
        number: 2,
        ..echo("tea")
    };
    let request = Request::new(Outbound::encode(&twice));
    let push = "/kettle.trial.v1.Trial/Push";
    let status = block_on(channel.call(push, request)).unwrap_err();
    assert!(status.message().contains("second reply"), "{status}");
    let request = Request::new(Outbound::encode(&task(Behaviour::Echo)));
    let status = block_on(channel.call(push, request)).unwrap_err();
    assert!(status.message().contains("without a reply"), "{status}");
}

fn interceptors_see_all_kinds(model: Model) {
    async fn sign(
        mut request: Request<Outbound>,
        next: Next<Outbound, Inbound>,
    ) -> Result<Response<Inbound>, Status> {
        let kind = if request.get_ref().message_len().is_some() {
            "one"
        } else {
            "many"
        };
        request.metadata_mut().insert("sends", kind).unwrap();
        let mut response = next.run(request).await?;
        let kind = if response.get_ref().message_len().is_some() {
            "one"
        } else {
            "many"
        };
        response.metadata_mut().insert("got", kind).unwrap();
        Ok(response)
    }
    async fn check(
        request: Request<Inbound>,
        next: Next<Inbound, Outbound>,
    ) -> Result<Response<Outbound>, Status> {
        let sends = request.metadata().get("sends").unwrap().to_owned();
        let gets = if request.get_ref().message_len().is_some() {
            "one"
        } else {
            "many"
        };
        let method = request.method().to_owned();
        let mut response = next.run(request).await?;
        let replies = if response.get_ref().message_len().is_some() {
            "one"
        } else {
            "many"
        };
        let seen = format!("{method}: {sends} as {gets}, {replies}");
        response.metadata_mut().insert("seen", seen).unwrap();
        Ok(response)
    }
    let host = host_with(Server::builder().model(model).interceptor(check));
    let channel = Channel::builder(host.url())
        .interceptor(sign)
        .connect_lazy();
    let client = TrialClient::new(channel.unwrap());
    let saw = |metadata: &kettle::Metadata, seen: &str, got: &str| {
        let seen = format!("/kettle.trial.v1.Trial/{seen}");
        assert_eq!(metadata.get("seen"), Some(&*seen));
        assert_eq!(metadata.get("got"), Some(got));
    };
    let reply = block_on(client.run(echo("tea"))).unwrap();
    saw(reply.metadata(), "Run: one as one, one", "one");
    let reply = block_on(client.collect(stream([echo("tea")]))).unwrap();
    saw(reply.metadata(), "Collect: many as many, one", "one");
    let one = Task {
        number: 1,
        ..echo("tea")
    };
    let replies = block_on(client.push(one)).unwrap();
    saw(replies.metadata(), "Push: one as one, many", "many");
    assert_eq!(all(replies).len(), 1);
    let replies = block_on(client.chat(stream([echo("tea"), echo("pot")]))).unwrap();
    saw(replies.metadata(), "Chat: many as many, many", "many");
    assert_eq!(all(replies).len(), 2);
}
