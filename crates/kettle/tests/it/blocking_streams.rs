//! Streams of clients on the caller's own thread: what `both` does not share with async clients.

use crate::harness::{Host, host};
use crate::recovery::process::ServerProcess;
use crate::recovery::{millis, nobody};
use crate::{on_every_model, on_every_model_over_unix};
use kettle::blocking::Channel;
use kettle::{Code, Inbound, Model, Next, Outbound, Request, Response, Status};
use kettle_testkit::trial::trial_client::blocking::TrialClient;
use kettle_testkit::trial::{Behaviour, Task, task};

on_every_model! {
    messages_go_both_ways_one_by_one
    more_than_both_sides_hold_passes_when_replies_are_taken
    a_sender_that_waits_is_told
    dropping_a_stream_cancels_it
    a_slow_reader_stops_its_server
    streams_and_calls_share_a_connection
    a_server_that_is_killed_ends_streams
}

on_every_model_over_unix! {
    messages_go_both_ways_one_by_one
    more_than_both_sides_hold_passes_when_replies_are_taken
    a_sender_that_waits_is_told
    dropping_a_stream_cancels_it
    a_slow_reader_stops_its_server
    streams_and_calls_share_a_connection
}

fn client(host: &Host) -> TrialClient {
    TrialClient::connect(host.url()).expect("the server answers")
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

/// Each message has left when `send` returns, and comes back before the next is sent.
fn messages_go_both_ways_one_by_one(model: Model) {
    let host = host(model);
    let client = client(&host);
    let mut call = client.chat(()).unwrap();
    for n in 0..200 {
        call.send(echo(format!("message {n}"))).unwrap();
        let reply = call.recv().unwrap().unwrap();
        assert_eq!(reply.payload, format!("message {n}"));
    }
    call.finish().unwrap();
    assert_eq!(call.recv().unwrap(), None);
    let status = call.send(echo("late")).unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    drop(call);

    let mut sender = client.collect_sender(()).unwrap();
    for n in 1..=100 {
        sender.send(echo("tea")).unwrap();
        host.until("the message", |host| host.service.taken() == n);
    }
    sender.send_all((0..1000).map(|_| echo("pot"))).unwrap();
    let reply = sender.finish().unwrap().into_inner();
    assert_eq!((reply.payload.as_ref(), reply.number), (&b"1100"[..], 3300));
    assert_eq!(host.server.stats().connections_accepted, 1);
    host.until("the handlers' end", |host| host.service.waiting() == 0);
    assert_eq!(host.service.dropped(), 0);
}

/// Far more than sockets, credit and what is kept, each way: taking what is there makes room.
fn more_than_both_sides_hold_passes_when_replies_are_taken(model: Model) {
    const MESSAGES: usize = 60;
    let host = host(model);
    let client = client(&host);
    let mut call = client.chat(()).unwrap();
    let (mut taken, mut refused) = (0, 0);
    let mut take = |call: &mut kettle::blocking::Bidi<'_, Task, _>| {
        let reply: kettle_testkit::trial::Outcome = call.recv().unwrap().unwrap();
        assert_eq!(reply.payload.len(), 1_000_000);
        assert_eq!(usize::from(reply.payload[0]), taken);
        taken += 1;
    };
    for n in 0..MESSAGES {
        while let Err(status) = call.send(echo(vec![n as u8; 1_000_000])) {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(status.message().contains("receive some"), "{status}");
            refused += 1;
            take(&mut call);
        }
    }
    assert!(0 < refused, "60 MB are more than is kept");
    call.finish().unwrap();
    let rest = call.by_ref().map(Result::unwrap).count();
    assert_eq!(taken + rest, MESSAGES);
}

/// A server that takes nothing makes `send` wait until its deadline, and tells why.
fn a_sender_that_waits_is_told(model: Model) {
    let host = host(model);
    let client = client(&host);
    let mut request = Request::new(());
    request.set_timeout(millis(500));
    let mut sender = client.collect_sender(request).unwrap();
    let mut tasks =
        std::iter::once(task(Behaviour::Never)).chain((0..).map(|_| echo(vec![0; 20_000])));
    let status = loop {
        if let Err(status) = sender.send(tasks.next().unwrap()) {
            break status;
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(sender.finish().unwrap_err().code(), Code::DeadlineExceeded);
    assert!(client.run(echo("tea")).is_ok());
}

fn dropping_a_stream_cancels_it(model: Model) {
    let host = host(model);
    let client = client(&host);
    let mut dropped = 0;
    let mut gone = |host: &Host| {
        dropped += 1;
        host.until("the handler's end", |host| {
            host.service.dropped() == dropped
        });
    };
    for behaviour in [Behaviour::Large, Behaviour::Thread, Behaviour::Never] {
        let mut replies = client.push(numbered(behaviour, 1)).unwrap().into_inner();
        if behaviour != Behaviour::Never {
            assert!(replies.message().unwrap().is_some());
        }
        drop(replies);
        if behaviour == Behaviour::Large {
            // More than a socket may hold: the server has stopped reading, until somebody takes its replies.
            assert!(client.run(echo("tea")).is_ok());
        }
        gone(&host);
    }
    let mut sender = client.collect_sender(()).unwrap();
    sender.send(echo("tea")).unwrap();
    host.until("the task", |host| host.service.taken() == 1);
    drop(sender);
    gone(&host);
    let mut call = client.chat(()).unwrap();
    call.send(echo("tea")).unwrap();
    assert!(call.recv().unwrap().is_some());
    drop(call);
    gone(&host);
    assert!(client.run(echo("tea")).is_ok());
    assert_eq!(host.server.stats().connections_accepted, 1);
}

/// A client that takes one message and no more has one call's credit of others made.
fn a_slow_reader_stops_its_server(model: Model) {
    let host = host(model);
    let client = client(&host);
    let mut replies = client
        .push(numbered(Behaviour::Large, 20_000))
        .unwrap()
        .into_inner();
    assert!(replies.message().unwrap().is_some());
    // Other calls go on beside it, and keep the connection served.
    for _ in 0..300 {
        client.run(echo("tea")).unwrap();
    }
    let credit = 1024 * 1024 / 20_000;
    let made = host.service.made();
    assert!(made <= 2 * credit + 2, "{made} messages were made");
    for _ in 0..1000 {
        assert!(replies.message().unwrap().is_some(), "it goes on");
    }
}

fn streams_and_calls_share_a_connection(model: Model) {
    let host = host(model);
    let client = client(&host);
    let many = || Task {
        number: 100,
        ..echo("one of many")
    };
    let [first, second] = [(); 2].map(|()| client.push(many()).unwrap().into_inner());
    for (one, other) in first.zip(second) {
        assert_eq!(one.unwrap(), other.unwrap());
        assert!(client.run(echo("tea")).is_ok());
    }
    assert_eq!(host.server.stats().connections_accepted, 1);
}

fn a_server_that_is_killed_ends_streams(model: Model) {
    let server = ServerProcess::start(model, nobody());
    let address = server.address;
    let builder = Channel::builder(server.url()).reconnect_backoff(millis(1), millis(20));
    let client = TrialClient::new(builder.connect_blocking().unwrap());
    let mut replies = client
        .push(numbered(Behaviour::Thread, 1))
        .unwrap()
        .into_inner();
    assert!(replies.message().unwrap().is_some());
    let mut call = client.chat(()).unwrap();
    call.send(echo("tea")).unwrap();
    assert!(call.recv().unwrap().is_some());
    server.kill();
    let status = loop {
        match replies.message() {
            Ok(reply) => assert!(reply.is_some(), "it has no end"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        call.send(echo("tea")).unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(call.recv().unwrap_err().code(), Code::Unavailable);
    assert_eq!(call.recv().unwrap(), None);
    let _server = ServerProcess::start(model, address);
    let mut patient = Request::new(echo("tea"));
    patient.set_wait_for_ready(true);
    assert!(client.run(patient).is_ok());
}

/// The iterator of a call's requests may itself call, and interceptors stand around streams.
#[test]
fn streams_pass_interceptors_and_iterators_may_call() {
    async fn sign(
        mut request: Request<Outbound>,
        next: Next<Outbound, Inbound>,
    ) -> Result<Response<Inbound>, Status> {
        request.metadata_mut().insert("name", "Ada").unwrap();
        next.run(request).await
    }
    let host = host(Model::Epoll);
    let builder = Channel::builder(host.url()).interceptor(sign);
    let client = TrialClient::new(builder.connect_blocking().unwrap());
    let tasks = (0..10).map(|_| {
        let reply = client.run(echo("from inside")).unwrap();
        echo(reply.into_inner().payload)
    });
    let reply = client.collect(tasks).unwrap();
    assert_eq!(reply.metadata().get("name"), Some("Ada"));
    assert_eq!(reply.get_ref().number, 110);
    let mut call = client.chat(()).unwrap();
    call.send(echo("tea")).unwrap();
    assert_eq!(call.metadata().unwrap().get("name"), Some("Ada"));
    assert_eq!(call.recv().unwrap().unwrap().payload, "tea");
}

/// What is sent leaves although nobody calls any more.
#[test]
fn what_was_sent_has_left_the_process() {
    let host = host(Model::Epoll);
    let client = client(&host);
    let mut sender = client.collect_sender(()).unwrap();
    sender
        .send_all((0..40).map(|_| echo(vec![0; 100_000])))
        .unwrap();
    host.until("all messages", |host| host.service.taken() == 40);
    assert_eq!(sender.finish().unwrap().into_inner().number, 4_000_000);
}
