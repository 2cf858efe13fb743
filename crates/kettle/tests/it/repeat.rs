//! Calls that are made again and again.

use crate::harness::{Host, block_on, host, host_at, poll_once};
use crate::on_every_model;
use kettle::{Channel, Code, Inbound, Model, Outbound, Request, Response, Server, Status};
use kettle_testkit::trial::{Behaviour, Outcome, Task, task};
use prost::Message;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const PATH: &str = "/kettle.trial.v1.Trial/Run";

on_every_model! {
    calls_go_on_until_the_observer_says_no
    failures_are_seen_and_calls_go_on
    a_dropped_repeat_ends_with_its_call
    each_call_has_the_whole_time
}

fn request(task: &Task) -> Request<Outbound> {
    Request::new(Outbound::from_bytes(task.encode_to_vec().into()))
}

type Ended = Result<Response<Inbound>, Status>;

/// Counts outcomes, and says no at the last.
fn count(last: usize) -> (Arc<AtomicUsize>, impl FnMut(Ended) -> bool) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let count = move |_| counted.fetch_add(1, Ordering::SeqCst) + 1 < last;
    (seen, count)
}

fn calls_go_on_until_the_observer_says_no(model: Model) {
    let host = host(model);
    let channel = host.channel();
    for bytes in [5, 100_000] {
        let payload = vec![7; bytes];
        let echo = Task {
            payload: payload.clone().into(),
            ..task(Behaviour::Echo)
        };
        let before = host.service.started();
        let mut seen = 0;
        let observe = move |reply: Ended| {
            let reply: Outcome = reply.unwrap().into_inner().decode().unwrap();
            assert_eq!(reply.payload.len(), bytes);
            seen += 1;
            seen < 50
        };
        block_on(channel.repeat(PATH, request(&echo), observe)).unwrap();
        assert_eq!(host.service.started() - before, 50);
    }
}

fn failures_are_seen_and_calls_go_on(model: Model) {
    let host = host(model);
    let (told, outcomes) = mpsc::channel();
    let observe = move |reply: Ended| {
        told.send(reply.unwrap_err().code()).unwrap();
        true
    };
    let mut fail = task(Behaviour::Fail);
    fail.number = 5;
    let channel = host.channel();
    let mut repeat = pin!(channel.repeat(PATH, request(&fail), observe));
    assert!(poll_once(repeat.as_mut()).is_pending());
    for _ in 0..20 {
        let code = outcomes.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(code, Code::NotFound);
    }
}

fn a_dropped_repeat_ends_with_its_call(model: Model) {
    let host = host(model);
    let channel = host.channel();
    let (seen, observe) = count(usize::MAX);
    {
        let mut repeat = pin!(channel.repeat(PATH, request(&task(Behaviour::Never)), observe));
        assert!(poll_once(repeat.as_mut()).is_pending());
        host.until("the call", |host| host.service.started() == 1);
    }
    host.until("its end", |host| host.service.dropped() == 1);
    // Calls on the same connection still work, and no second one of the repeat was made.
    block_on(channel.repeat(PATH, request(&task(Behaviour::Echo)), count(1).1)).unwrap();
    assert_eq!(
        (host.service.started(), seen.load(Ordering::SeqCst)),
        (2, 0)
    );
}

fn each_call_has_the_whole_time(model: Model) {
    let host = host(model);
    let mut never = request(&task(Behaviour::Never));
    never.set_timeout(Duration::from_millis(20));
    let (told, outcomes) = mpsc::channel();
    let observe = move |reply: Ended| {
        told.send(reply.unwrap_err().code()).unwrap();
        true
    };
    let channel = host.channel();
    let mut repeat = pin!(channel.repeat(PATH, never, observe));
    assert!(poll_once(repeat.as_mut()).is_pending());
    host.until("three calls", |host| 3 <= host.service.started());
    for _ in 0..2 {
        let code = outcomes.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(code, Code::DeadlineExceeded);
    }
}

#[test]
fn a_repeat_outlives_its_server() {
    let first = host(Model::Epoll);
    let address = first.server.local_addr();
    let channel = first.channel();
    let (seen, observe) = count(usize::MAX);
    let mut repeat = pin!(channel.repeat(PATH, request(&task(Behaviour::Echo)), observe));
    assert!(poll_once(repeat.as_mut()).is_pending());
    first.until("calls", |_| 10 < seen.load(Ordering::SeqCst));
    first.server.stop_now();
    first.server.wait().unwrap();
    let second: Host = host_at(Server::builder(), address);
    second.until("calls", |host| 10 < host.service.started());
}

#[test]
fn what_cannot_be_repeated_is_told() {
    let host = host(Model::Epoll);
    let channel: Channel = host.channel();
    let stream = Request::new(Outbound::from_stream(Never));
    let status = block_on(channel.repeat(PATH, stream, count(1).1)).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let panics = |_: Ended| -> bool { panic!("an observer's own") };
    let status = block_on(channel.repeat(PATH, request(&task(Behaviour::Echo)), panics));
    assert_eq!(status.unwrap_err().code(), Code::Internal);
    block_on(host.client().run(task(Behaviour::Echo))).unwrap();
}

struct Never;

impl futures_core::Stream for Never {
    type Item = Result<Outbound, Status>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}
