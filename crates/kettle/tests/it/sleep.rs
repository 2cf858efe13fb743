//! Waiting for a time to pass: in handlers, in a loop's tasks, and elsewhere.

use crate::finish::{call_and_go, finished, finishing};
use crate::harness::{Host, MULTIPLEXED, block_on, host, host_so, host_with, join_all, poll_once};
use crate::on_every_model;
use crate::streams::{all, echo, numbered, stream};
use kettle::{
    Hosting, Inbound, LocalLoop, Model, Next, Outbound, Request, Response, Server, Service, Sleep,
    Status, sleep,
};
use kettle_testkit::trial::trial_client::TrialClient;
use kettle_testkit::trial::{Behaviour, Task};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

on_every_model! {
    a_handler_sleeps_and_others_go_on
    handlers_that_sleep_go_on_in_the_order_of_their_times
    streams_sleep_between_their_messages
    handlers_on_the_pool_sleep
    a_handler_that_sleeps_ends_with_its_call
    a_handler_that_sleeps_finishes_without_its_client
    a_stop_waits_for_those_that_sleep
    interceptors_sleep_on_both_sides
    a_server_that_ends_leaves_nobody_asleep
}

const SHORT: Duration = Duration::from_millis(20);

/// Longer than any test.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

fn sleeps(duration: Duration) -> Task {
    numbered(Behaviour::Sleep, duration.as_micros() as u64)
}

/// Starts a call, and waits until so many handlers have started.
fn begin(host: &Host, started: u64, call: Pin<&mut impl Future>) {
    assert!(poll_once(call).is_pending());
    host.until("the handler's start", |host| {
        host.service.started() == started
    });
}

fn a_handler_sleeps_and_others_go_on(model: Model) {
    let host = host(model);
    let client = host.client();
    let mut asleep = Box::pin(client.run(sleeps(LONG)));
    begin(&host, 1, asleep.as_mut());
    // On the same connection, and so on the same loop.
    for _ in 0..100 {
        assert!(block_on(client.run(echo("tea"))).is_ok());
    }
    for wait in [SHORT, Duration::from_micros(1500), Duration::ZERO] {
        let begun = Instant::now();
        let calls = (0..3).map(|_| client.run(sleeps(wait)));
        for reply in block_on(join_all(calls)) {
            assert!(reply.is_ok(), "{reply:?}");
        }
        assert!(wait <= begun.elapsed(), "after {:?}", begun.elapsed());
    }
    assert_eq!(host.service.waiting(), 1);
    // The clock has no such time, and no time-out of a system call either.
    let mut for_ever = Box::pin(client.run(numbered(Behaviour::Sleep, u64::MAX)));
    let started = host.service.started();
    begin(&host, started + 1, for_ever.as_mut());
    drop(asleep);
    assert!(block_on(client.run(sleeps(SHORT))).is_ok());
    assert_eq!(host.service.waiting(), 1);
}

/// Sleeps in the order of their times, each with the earliest and the latest moment at which it may be due.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<(Instant, Instant)>>>);

impl Order {
    fn sleep(&self, wait: Duration) -> impl Future<Output = ()> + use<> {
        let (order, earliest) = (Arc::clone(&self.0), Instant::now() + wait);
        let sleep = sleep(wait);
        let latest = Instant::now() + wait;
        async move {
            sleep.await;
            order.lock().unwrap().push((earliest, latest));
        }
    }

    fn check(&self, count: usize) {
        let order = self.0.lock().unwrap();
        assert_eq!(order.len(), count);
        for pair in order.windows(2) {
            let [(earliest, _), (_, latest)] = [pair[0], pair[1]];
            assert!(earliest <= latest, "{order:?}");
        }
    }
}

const SHUFFLED: [u32; 6] = [9, 0, 5, 2, 7, 1];

fn handlers_that_sleep_go_on_in_the_order_of_their_times(model: Model) {
    let (order, calls) = (Order::default(), AtomicUsize::new(0));
    let all = order.clone();
    let slow = move |request: Request<Inbound>, next: Next<Inbound, Outbound>| {
        let wait = SHUFFLED[calls.fetch_add(1, Ordering::SeqCst)] * SHORT;
        let sleep = order.sleep(wait);
        async move {
            sleep.await;
            next.run(request).await
        }
    };
    let host = host_with(Server::builder().model(model).interceptor(slow));
    let client = host.client();
    let calls = SHUFFLED.map(|_| client.run(echo("tea")));
    assert!(block_on(join_all(calls)).iter().all(Result::is_ok));
    all.check(SHUFFLED.len());
}

fn streams_sleep_between_their_messages(model: Model) {
    let host = host(model);
    let client = host.client();
    let begun = Instant::now();
    let mut replies = block_on(client.push(sleeps(SHORT))).unwrap().into_inner();
    for _ in 0..3 {
        assert!(block_on(replies.message()).unwrap().is_some());
    }
    assert!(3 * SHORT <= begun.elapsed());
    drop(replies);
    let begun = Instant::now();
    let tasks = stream([sleeps(SHORT), echo("tea"), sleeps(SHORT)]);
    assert_eq!(all(block_on(client.chat(tasks)).unwrap()).len(), 3);
    assert!(2 * SHORT <= begun.elapsed());
    host.until("the handlers' end", |host| host.service.waiting() == 0);
}

/// The only thread of the pool is free while a handler sleeps.
fn handlers_on_the_pool_sleep(model: Model) {
    let builder = Server::builder().model(model).handler_threads(1);
    let host = host_so(builder, Service::on_pool);
    let client = host.client();
    let mut asleep = Box::pin(client.run(sleeps(LONG)));
    begin(&host, 1, asleep.as_mut());
    for _ in 0..3 {
        let begun = Instant::now();
        assert!(block_on(client.run(sleeps(SHORT))).is_ok());
        assert!(SHORT <= begun.elapsed());
    }
    drop(asleep);
    host.until("the handler's end", |host| host.service.dropped() == 1);
}

fn a_handler_that_sleeps_ends_with_its_call(model: Model) {
    for place in [|hosting: Hosting| hosting, Hosting::on_pool] {
        let host = host_so(Server::builder().model(model), |server| {
            place(server.into())
        });
        let client = host.client();
        let mut request = Request::new(sleeps(LONG));
        request.set_timeout(SHORT);
        assert!(block_on(client.run(request)).is_err());
        host.until("the handler's end", |host| host.service.waiting() == 0);
        assert!(block_on(client.run(sleeps(SHORT))).is_ok());
    }
}

fn a_handler_that_sleeps_finishes_without_its_client(model: Model) {
    for place in [|hosting: Hosting| hosting, Hosting::on_pool] {
        let host = finishing(Server::builder().model(model), place);
        call_and_go(&host, &[("Run", sleeps(10 * SHORT))]);
        finished(&host, 0);
    }
}

fn a_stop_waits_for_those_that_sleep(model: Model) {
    let host = host(model);
    let client = host.client();
    let mut call = Box::pin(client.run(sleeps(5 * SHORT)));
    begin(&host, 1, call.as_mut());
    host.server.stop();
    assert!(block_on(call).is_ok());
    host.server.wait().unwrap();
}

async fn slow(
    request: Request<Inbound>,
    next: Next<Inbound, Outbound>,
) -> Result<Response<Outbound>, Status> {
    sleep(SHORT).await;
    next.run(request).await
}

async fn slow_call(
    request: Request<Outbound>,
    next: Next<Outbound, Inbound>,
) -> Result<Response<Inbound>, Status> {
    sleep(SHORT).await;
    let response = next.run(request).await;
    sleep(SHORT).await;
    response
}

fn interceptors_sleep_on_both_sides(model: Model) {
    let host = host_with(Server::builder().model(model).interceptor(slow));
    let builder = || kettle::Channel::builder(host.url()).interceptor(slow_call);
    let channel = builder().connect_blocking().unwrap();
    let client = kettle_testkit::trial::trial_client::blocking::TrialClient::new(channel);
    let begun = Instant::now();
    assert!(client.run(sleeps(SHORT)).is_ok());
    assert!(4 * SHORT <= begun.elapsed());
    let begun = Instant::now();
    assert_eq!(
        client
            .push(numbered(Behaviour::Echo, 3))
            .unwrap()
            .get_mut()
            .count(),
        3
    );
    assert!(3 * SHORT <= begun.elapsed());
    drop(client);
    let client = TrialClient::new(block_on(builder().connect()).unwrap());
    let begun = Instant::now();
    assert!(block_on(client.run(sleeps(SHORT))).is_ok());
    assert!(4 * SHORT <= begun.elapsed());
}

/// A sleep that can be polled here and there.
type Shared = Arc<Mutex<Sleep>>;

fn shared(duration: Duration) -> Shared {
    Arc::new(Mutex::new(sleep(duration)))
}

fn poll(sleep: &Shared, cx: &mut Context<'_>) -> Poll<()> {
    Pin::new(&mut *sleep.lock().unwrap()).poll(cx)
}

/// Whether it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What an interceptor began on the server's loop, and somebody else waits for.
fn a_server_that_ends_leaves_nobody_asleep(model: Model) {
    let (kept, flag) = (shared(LONG), Arc::new(Flag::default()));
    let (theirs, waker) = (Arc::clone(&kept), Waker::from(Arc::clone(&flag)));
    let begin = move |request: Request<Inbound>, next: Next<Inbound, Outbound>| {
        assert!(poll(&theirs, &mut Context::from_waker(&waker)).is_pending());
        next.run(request)
    };
    let host = host_with(Server::builder().model(model).interceptor(begin));
    assert!(block_on(host.client().run(echo("tea"))).is_ok());
    assert!(!flag.0.load(Ordering::SeqCst));
    drop(host);
    assert!(flag.0.load(Ordering::SeqCst), "to be polled elsewhere");
    assert!(poll(&kept, &mut Context::from_waker(Waker::noop())).is_pending());
}

#[test]
fn tasks_of_a_local_loop_sleep() {
    for model in MULTIPLEXED {
        let mut local = LocalLoop::new(model).unwrap();
        local.spawn(sleep(LONG));
        let begun = Instant::now();
        let order = Order::default();
        let sleeps = SHUFFLED.map(|n| order.sleep(n * SHORT));
        local.block_on(join_all(sleeps)).unwrap();
        assert!(9 * SHORT <= begun.elapsed());
        order.check(SHUFFLED.len());
        assert!(!local.run_until(Instant::now() + SHORT).unwrap());
    }
}

#[test]
fn threads_without_a_loop_sleep() {
    let sleepers: Vec<_> = (0..4)
        .map(|n| {
            thread::spawn(move || {
                let (begun, wait) = (Instant::now(), (n + 1) * SHORT / 2);
                block_on(async {
                    sleep(wait).await;
                    sleep(wait).await;
                });
                assert!(2 * wait <= begun.elapsed());
            })
        })
        .collect();
    sleepers
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

#[test]
fn no_time_at_all_has_passed_at_once() {
    let mut none = sleep(Duration::ZERO);
    assert!(poll_once(Pin::new(&mut none)).is_ready());
    assert!(poll_once(Pin::new(&mut none)).is_ready(), "and stays so");
    let mut for_ever = sleep(Duration::MAX);
    assert!(poll_once(Pin::new(&mut for_ever)).is_pending());
}

/// The shorter one ends, and the longer one's timer is forgotten.
#[test]
fn the_first_of_two_sleeps_ends_a_race() {
    let (mut short, mut long) = (sleep(SHORT), sleep(LONG));
    let begun = Instant::now();
    block_on(poll_fn(|cx| {
        assert!(Pin::new(&mut long).poll(cx).is_pending());
        Pin::new(&mut short).poll(cx)
    }));
    assert!(SHORT <= begun.elapsed());
    assert!(format!("{long:?}").contains("left"), "{long:?}");
}

#[test]
fn a_loop_that_ends_or_stands_still_leaves_nobody_asleep() {
    for ends in [true, false] {
        let (kept, begun) = (shared(5 * SHORT), Instant::now());
        let mut local = LocalLoop::new(Model::Epoll).unwrap();
        let theirs = Arc::clone(&kept);
        let once = poll_fn(move |cx| {
            assert!(poll(&theirs, cx).is_pending());
            Poll::Ready(())
        });
        local.block_on(once).unwrap();
        let local = (!ends).then_some(local);
        block_on(poll_fn(|cx| poll(&kept, cx)));
        assert!(5 * SHORT <= begun.elapsed());
        drop(local);
    }
}
