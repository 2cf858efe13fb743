//! Handlers on the pool: where they run, what they may do there, and what that costs others.

use crate::harness::{Host, block_on, host_so, join_all, poll_once};
use crate::on_every_model;
use crate::raw::RawClient;
use crate::streams::{all, echo, numbered, settled, stream};
use kettle::{
    BoxAnswer, Channel, Code, Inbound, MethodInfo, Model, Next, Outbound, Request, Response,
    Server, Service, Status, answer,
};
use kettle_testkit::trial::{Behaviour, TrialService, task, trial_server::TrialServer};
use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

on_every_model! {
    handlers_and_their_streams_run_on_pool_threads
    a_handler_may_begin_on_the_pool_only
    a_handler_that_blocks_keeps_nobody_waiting
    a_full_pool_refuses
    streams_pass_through_the_pool
    long_messages_go_both_ways_on_the_pool
    a_slow_reader_of_the_pool_costs_bounded_memory
    a_reader_without_credit_stops_the_pool
    a_handler_that_takes_nothing_stops_its_client
    an_error_or_a_panic_on_the_pool_ends_its_call_only
    calls_on_the_pool_are_cancelled
    a_stop_lets_calls_on_the_pool_finish
    a_stop_at_once_ends_calls_on_the_pool
}

fn on_pool(model: Model) -> Host {
    host_so(Server::builder().model(model), Service::on_pool)
}

fn handlers_and_their_streams_run_on_pool_threads(model: Model) {
    async fn sign(
        request: Request<Inbound>,
        next: Next<Inbound, Outbound>,
    ) -> Result<Response<Outbound>, Status> {
        let name = thread::current().name().unwrap_or_default().to_owned();
        let mut response = next.run(request).await?;
        response.metadata_mut().insert("interceptor", name).unwrap();
        Ok(response)
    }
    let builders = [
        Server::builder().model(model),
        Server::builder().model(model).interceptor(sign),
    ];
    for builder in builders {
        let host = host_so(builder, Service::on_pool);
        let client = host.client();
        for _ in 0..3 {
            let reply = block_on(client.run(task(Behaviour::ThreadNames))).unwrap();
            assert_eq!(reply.get_ref().payload, "kettle-pool kettle-pool");
            let around = reply.metadata().get("interceptor").unwrap_or("kettle-loop");
            assert!(around != "kettle-pool", "interceptors stay on the loop");
        }
        let replies = all(block_on(client.push(numbered(Behaviour::ThreadNames, 1000))).unwrap());
        assert_eq!(replies.len(), 1000);
        assert!(replies.iter().all(|reply| reply.payload == "kettle-pool"));
        let tasks = stream([task(Behaviour::ThreadNames), task(Behaviour::ThreadNames)]);
        for reply in all(block_on(client.chat(tasks)).unwrap()) {
            assert_eq!(reply.payload, "kettle-pool kettle-pool");
        }
    }
    // One method alone.
    let host = host_so(Server::builder().model(model), |server| {
        server.method_on_pool("Push")
    });
    let client = host.client();
    let reply = block_on(client.run(task(Behaviour::ThreadNames))).unwrap();
    assert!(!reply.get_ref().payload.starts_with(b"kettle-pool"));
    let replies = all(block_on(client.push(numbered(Behaviour::ThreadNames, 1))).unwrap());
    assert_eq!(replies[0].payload, "kettle-pool");
}

/// Replies with the name of the thread that ran its handler, and then of the one that makes its stream.
struct Naming;

impl Service for Naming {
    fn name(&self) -> &'static str {
        "naming"
    }

    fn methods(&self) -> &'static [MethodInfo] {
        const { &[MethodInfo::new("Name", false, true)] }
    }

    fn call(&self, _: usize, _: Request<Inbound>) -> BoxAnswer {
        answer(async {
            let name = || thread::current().name().unwrap_or_default().to_owned();
            let begun = name();
            let names = (0..2).map(move |number| {
                let name = if number == 0 { begun.clone() } else { name() };
                Ok(Outbound::from_bytes(name.into()))
            });
            Ok(Response::new(Outbound::from_stream(stream(names))))
        })
    }
}

fn a_handler_may_begin_on_the_pool_only(model: Model) {
    let service = Naming.method_begins_on_pool("Name");
    let server = Server::builder().model(model).add_service(service);
    let server = server.spawn("127.0.0.1:0").unwrap();
    let url = format!("kettle://{}", server.local_addr());
    let channel = block_on(Channel::connect(url)).unwrap();
    let request = Request::new(Outbound::encode(&task(Behaviour::Echo)));
    let replies = block_on(channel.call_streaming("/naming/Name", request)).unwrap();
    let mut replies = replies.into_inner().into_stream();
    let mut next = || {
        block_on(replies.message())
            .unwrap()
            .map(|reply| reply.into_bytes().unwrap())
    };
    assert_eq!(next().unwrap(), "kettle-pool");
    let name = next().unwrap();
    assert!(name != "kettle-pool", "{name:?}");
    assert_eq!(next(), None);
}

fn a_handler_that_blocks_keeps_nobody_waiting(model: Model) {
    let host = host_so(Server::builder().model(model), |server| {
        server.method_on_pool("Run")
    });
    let client = host.client();
    let blocks = || task(Behaviour::Block);
    let mut blocked: Vec<_> = (0..3).map(|_| Box::pin(client.run(blocks()))).collect();
    for call in &mut blocked {
        assert!(poll_once(call.as_mut()).is_pending());
    }
    host.until("the handlers' start", |host| host.service.started() == 3);
    // On the same connection, and so on the same loop.
    for _ in 0..100 {
        let counts = block_on(client.count(task(Behaviour::Echo))).unwrap();
        assert_eq!(counts.get_ref().waiting, 3);
    }
    assert_eq!(
        all(block_on(client.push(numbered(Behaviour::Echo, 100))).unwrap()).len(),
        100
    );
    host.service.open_gate();
    for reply in block_on(join_all(blocked)) {
        assert!(reply.is_ok(), "{reply:?}");
    }
}

/// One call runs, one waits, and there is no place for a third. What is cancelled while it waits leaves
/// its place at once.
fn a_full_pool_refuses(model: Model) {
    let builder = Server::builder().model(model);
    let builder = builder.handler_threads(1).handler_queue_max(1);
    let host = host_so(builder, |server| server.method_on_pool("Run"));
    let client = host.client();
    let mut running = pin!(client.run(task(Behaviour::Block)));
    assert!(poll_once(running.as_mut()).is_pending());
    host.until("the handler's start", |host| host.service.started() == 1);
    for _ in 0..10 {
        let mut waiting = Box::pin(client.run(echo("waits")));
        assert!(poll_once(waiting.as_mut()).is_pending());
        let status = block_on(client.run(echo("too many"))).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        for text in [
            "pool",
            "1 threads",
            "handler_threads",
            "1 calls",
            "handler_queue_max",
        ] {
            assert!(status.message().contains(text), "{status}");
        }
    }
    assert_eq!(host.service.started(), 1, "what was cancelled never began");
    let mut waiting = pin!(client.run(echo("waits")));
    assert!(poll_once(waiting.as_mut()).is_pending());
    assert!(block_on(client.count(task(Behaviour::Echo))).is_ok());
    host.service.open_gate();
    assert!(block_on(running).is_ok());
    assert_eq!(block_on(waiting).unwrap().get_ref().payload, "waits");
    assert!(block_on(client.run(echo("there is room again"))).is_ok());
}

/// More than credit and sockets hold, both ways.
fn streams_pass_through_the_pool(model: Model) {
    let host = on_pool(model);
    let client = host.client();
    let tasks = stream((0..60).map(|_| echo(vec![0; 100_000])));
    let reply = block_on(client.collect(tasks)).unwrap().into_inner();
    assert_eq!(
        (reply.payload.as_ref(), reply.number),
        (&b"60"[..], 6_000_000)
    );
    let empty = stream((0..3000).map(|_| Default::default()));
    assert_eq!(
        block_on(client.collect(empty)).unwrap().get_ref().payload,
        "3000"
    );
    let calls = (0..4).map(|_| {
        let mut many = echo("one of many");
        many.number = 10_000;
        client.push(many)
    });
    for replies in block_on(join_all(calls)) {
        let replies = all(replies.unwrap());
        assert_eq!(replies.len(), 10_000);
        assert!(replies.iter().zip(0..).all(|(reply, n)| reply.number == n));
    }
    host.until("the handlers' end", |host| host.service.waiting() == 0);
    assert_eq!(
        (host.service.dropped(), host.server.stats().calls_failed),
        (0, 0)
    );
}

/// Long messages both ways at once.
fn long_messages_go_both_ways_on_the_pool(model: Model) {
    let host = on_pool(model);
    let client = host.client();
    let tasks = stream((0..20u8).map(|n| echo(vec![n; 1_000_000])));
    let mut request = Request::new(tasks);
    request.metadata_mut().insert("tea", "green").unwrap();
    let replies = block_on(client.chat(request)).unwrap();
    assert_eq!(replies.metadata().get("tea"), Some("green"));
    let mut replies = replies.into_inner();
    for n in 0..20 {
        let reply = block_on(replies.message()).unwrap().unwrap();
        assert_eq!((reply.payload.len(), reply.payload[0]), (1_000_000, n));
    }
    let trailers = block_on(replies.trailers()).unwrap().unwrap();
    assert_eq!(trailers.get("tea"), Some("green"));
}

/// The reader has given credit without end, and reads nothing.
fn a_slow_reader_of_the_pool_costs_bounded_memory(model: Model) {
    const MESSAGE: u64 = 10_000;
    // Outbox, machine and pool, and what the kernel takes: at most 4 and 6 MiB by default, and as much
    // again.
    const BOUND: u64 = (2 * 256 + 64) * 1024 + 20 * 1024 * 1024;
    let host = on_pool(model);
    let mut client = RawClient::with_limits(host.server.address(), |limits| {
        limits.call_credit_bytes = i32::MAX as u32;
        limits.connection_credit_bytes = i32::MAX as u32;
    });
    client.open_at("Push", &numbered(Behaviour::Large, MESSAGE), true);
    client.flush();
    let made = settled(&host, "a full outbox", |host| host.service.made());
    assert!(made * MESSAGE <= BOUND, "{made} messages were made");
    for _ in 0..2 * made {
        client.message().expect("the stream goes on");
    }
    assert!(made < host.service.made());
    drop(client);
    host.until("the handler's end", |host| host.service.dropped() == 1);
}

/// What is made is what credit covers, one message that waits for credit, and 64 KiB on the pool.
fn a_reader_without_credit_stops_the_pool(model: Model) {
    const CREDIT: u64 = 1024 * 1024 / 20_000;
    let host = on_pool(model);
    let mut client = RawClient::connect(host.server.address());
    let call = client.open_at("Push", &numbered(Behaviour::Large, 20_000), true);
    client.flush();
    for _ in 0..CREDIT {
        client.message().expect("what credit covers comes");
    }
    let made = settled(&host, "no credit", |host| host.service.made());
    let ahead = 64 * 1024 / 20_000 + 1;
    assert!(made <= CREDIT + 1 + ahead, "{made} messages were made");
    client.consumed(call, 600_000);
    client.flush();
    for _ in 0..600_000 / 20_000 {
        client.message().expect("what new credit covers comes");
    }
}

/// Credit holds for a stream of requests that is read on another thread.
fn a_handler_that_takes_nothing_stops_its_client(model: Model) {
    let host = on_pool(model);
    let client = host.client();
    let (sent, count) = (Arc::new(AtomicU64::new(0)), 400);
    let counter = Arc::clone(&sent);
    let tasks = (0..count).map(move |n| {
        counter.fetch_add(1, Ordering::SeqCst);
        match n {
            0 => task(Behaviour::Block),
            _ => echo(vec![0; 20_000]),
        }
    });
    let mut call = pin!(client.collect(stream(tasks)));
    assert!(poll_once(call.as_mut()).is_pending());
    host.until("the handler's start", |host| host.service.taken() == 1);
    let sent = || sent.load(Ordering::SeqCst);
    let before = settled(&host, "no credit", |_| sent());
    assert!(before <= 1024 * 1024 / 20_000 + 3, "{before} were sent");
    host.service.open_gate();
    let reply = block_on(call).unwrap();
    assert_eq!(reply.get_ref().payload, count.to_string());
}

fn an_error_or_a_panic_on_the_pool_ends_its_call_only(model: Model) {
    let host = on_pool(model);
    let client = host.client();
    let mut neighbour = block_on(client.push(numbered(Behaviour::Thread, 1)))
        .unwrap()
        .into_inner();
    for behaviour in [Behaviour::Panic, Behaviour::PanicLater] {
        let status = block_on(client.run(task(behaviour))).unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("panicked"), "{status}");
    }
    let not_found = u64::from(Code::NotFound.as_u32());
    let status = block_on(client.run(numbered(Behaviour::Fail, not_found))).unwrap_err();
    assert_eq!(
        (status.code(), status.details()),
        (Code::NotFound, &b""[..])
    );
    assert_eq!(status.metadata().get("trailing"), Some("metadata"));
    let tasks = [
        (numbered(Behaviour::Fail, not_found), Code::NotFound),
        (task(Behaviour::PanicLater), Code::Internal),
    ];
    for (task, code) in tasks {
        let mut replies = block_on(client.push(task)).unwrap().into_inner();
        for _ in 0..3 {
            assert!(block_on(replies.message()).unwrap().is_some());
        }
        assert_eq!(block_on(replies.message()).unwrap_err().code(), code);
    }
    assert!(block_on(neighbour.message()).unwrap().is_some());
    assert_eq!(host.server.stats().calls_failed, 5);
    assert!(block_on(client.run(echo("tea"))).is_ok());
}

fn calls_on_the_pool_are_cancelled(model: Model) {
    let host = on_pool(model);
    let client = host.client();
    {
        let mut call = pin!(client.run(task(Behaviour::Never)));
        assert!(poll_once(call.as_mut()).is_pending());
        host.until("the handler's start", |host| host.service.waiting() == 1);
    }
    host.until("the end of a dropped call", |host| {
        host.service.dropped() == 1
    });
    let mut request = Request::new(task(Behaviour::Restless));
    request.set_timeout(Duration::from_millis(50));
    let status = block_on(client.run(request)).unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    // A deadline may pass before a thread begins.
    host.until("its end", |host| host.service.waiting() == 0);
    let mut dropped = host.service.dropped();
    for behaviour in [Behaviour::Large, Behaviour::Thread, Behaviour::Never] {
        let replies = block_on(client.push(numbered(behaviour, 1))).unwrap();
        drop(replies);
        dropped += 1;
        host.until("the end of dropped replies", |host| {
            host.service.dropped() == dropped
        });
    }
    drop(client);
    let started = host.service.started();
    let mut raw = RawClient::connect(host.server.address());
    raw.open(&task(Behaviour::Never));
    raw.open_at("Collect", &echo("tea"), false);
    raw.open_at("Push", &numbered(Behaviour::Large, 1000), true);
    raw.flush();
    host.until("the handlers' start", |host| {
        host.service.started() == started + 3
    });
    drop(raw);
    // A handler that reads may see the end of its stream, and come to its own.
    host.until("the end of calls whose client went away", |host| {
        host.service.waiting() == 0 && dropped + 2 <= host.service.dropped()
    });
    host.until("the connections' end", |host| {
        host.server.stats().connections == 0
    });
}

fn a_stop_lets_calls_on_the_pool_finish(model: Model) {
    let host = on_pool(model);
    let client = host.client();
    let mut call = pin!(client.run(task(Behaviour::Block)));
    assert!(poll_once(call.as_mut()).is_pending());
    host.until("the handler's start", |host| host.service.started() == 1);
    host.server.stop();
    // Elsewhere the stop is seen first: a new connection finds nobody.
    host.service.open_gate();
    assert!(block_on(call).is_ok());
    host.server.wait().unwrap();
}

/// Also those that wait in the queue, and one that blocks does not keep the server.
fn a_stop_at_once_ends_calls_on_the_pool(model: Model) {
    let builder = Server::builder().model(model).handler_threads(2);
    let host = host_so(builder, Service::on_pool);
    let client = host.client();
    let tasks = [
        Behaviour::Never,
        Behaviour::Block,
        Behaviour::Block,
        Behaviour::Echo,
    ];
    let mut calls: Vec<_> = tasks.map(|it| Box::pin(client.run(task(it)))).into();
    for call in &mut calls {
        assert!(poll_once(call.as_mut()).is_pending());
    }
    host.until("the handlers' start", |host| host.service.started() == 3);
    host.server.stop_now();
    for reply in block_on(join_all(calls)) {
        assert_eq!(reply.unwrap_err().code(), Code::Unavailable);
    }
    host.server.wait().unwrap();
    host.service.open_gate();
    host.until("the end of all", |host| host.service.waiting() == 0);
    assert_eq!(host.service.started(), 3);
}

/// A service whose threads can be seen to end.
struct Marking(Arc<AtomicU64>);

impl Service for Marking {
    fn name(&self) -> &'static str {
        "marking"
    }

    fn methods(&self) -> &'static [MethodInfo] {
        const { &[MethodInfo::new("Mark", false, false)] }
    }

    fn call(&self, _: usize, _: Request<Inbound>) -> BoxAnswer {
        struct Mark(Arc<AtomicU64>);
        impl Drop for Mark {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        thread_local!(static MARK: RefCell<Option<Mark>> = const { RefCell::new(None) });
        MARK.set(Some(Mark(Arc::clone(&self.0))));
        answer(std::future::ready(Err(Status::aborted("marked"))))
    }
}

#[test]
fn the_threads_of_the_pool_end_with_the_server() {
    let ended = Arc::new(AtomicU64::new(0));
    let service = Marking(Arc::clone(&ended)).on_pool();
    let server = Server::builder().add_service(service).handler_threads(1);
    let server = server.spawn("127.0.0.1:0").unwrap();
    let url = format!("kettle://{}", server.local_addr());
    let channel = block_on(Channel::connect(url)).unwrap();
    let request = Request::new(Outbound::encode(&task(Behaviour::Echo)));
    let status = block_on(channel.call("/marking/Mark", request)).unwrap_err();
    assert_eq!(status.message(), "marked");
    assert_eq!(ended.load(Ordering::SeqCst), 0);
    server.stop_now();
    server.wait().unwrap();
    let begin = Instant::now();
    while ended.load(Ordering::SeqCst) == 0 {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "the thread lives on"
        );
        thread::yield_now();
    }
}

#[test]
fn wrong_settings_of_the_pool_are_named() {
    let service = || TrialServer::new(TrialService::default());
    let wrong = [
        (Server::builder().handler_threads(0), "handler_threads"),
        (Server::builder().handler_threads(5000), "4096"),
        (
            Server::builder().add_service(service().method_on_pool("Walk")),
            "\"Walk\"",
        ),
        (
            Server::builder().add_service(service().on_pool().method_on_pool("")),
            "Run, Count",
        ),
    ];
    for (builder, text) in wrong {
        let error = builder.spawn("127.0.0.1:0").unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains(text),
            "{error}"
        );
    }
}
