//! Clients that recover: servers that are killed, away, full, silent or behind a broken cable.

mod network;
pub mod process;
pub mod raw_server;

use crate::harness::{Host, block_on, host_at, host_with, join_all, poll_once};
use crate::raw::RawClient;
use crate::{on_every_model, on_every_model_over_unix};
use kettle::{
    Channel, ChannelBuilder, Code, IntoRequest, LocalLoop, Model, Request, Server, Status,
};
use kettle_testkit::trial::trial_client::TrialClient;
use kettle_testkit::trial::{Behaviour, Outcome, Task, task};
use network::Remote;
use process::ServerProcess;
use raw_server::{Fragile, RawServer};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

on_every_model! {
    a_killed_server_comes_back
    calls_that_want_to_wait_for_a_server_that_is_not_there_yet
    a_client_that_is_gone_without_a_word_is_left
    a_client_that_answers_pings_is_kept
}

on_every_model_over_unix! {
    a_client_that_is_gone_without_a_word_is_left
    a_client_that_answers_pings_is_kept
}

const SECOND: Duration = Duration::from_secs(1);

/// So long that no test lives to see its end.
const FOR_EVER: Duration = Duration::from_secs(100_000);

/// What a busy machine may take for anything, above what it should.
const SLACK: Duration = Duration::from_secs(5);

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn client(builder: ChannelBuilder) -> TrialClient {
    TrialClient::new(builder.connect_lazy().unwrap())
}

/// An echo that waits for a server.
fn patient() -> Request<Task> {
    let mut request = task(Behaviour::Echo).into_request();
    request.set_wait_for_ready(true);
    request
}

/// An address at which nobody listens, and no other test or connection will.
pub fn nobody() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 77, low, NEXT.fetch_add(1, Ordering::SeqCst));
    let listener = TcpListener::bind((ip, 0)).unwrap();
    listener.local_addr().unwrap()
}

type Call<'a> = Pin<Box<dyn Future<Output = Result<kettle::Response<Outcome>, Status>> + 'a>>;

/// A call that is on its way, and not answered yet.
fn begin(client: &TrialClient, request: impl IntoRequest<Task>) -> Call<'_> {
    let mut call: Call<'_> = Box::pin(client.run(request.into_request()));
    assert!(poll_once(Pin::new(&mut call)).is_pending());
    call
}

fn code<T>(result: &Result<T, Status>) -> Code {
    result.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

/// Threads that call all the time on one channel. Calls succeed or end with UNAVAILABLE.
struct Load {
    done: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(client: &Arc<TrialClient>) -> Self {
        let done = Arc::<AtomicBool>::default();
        let (answered, failed) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let call = || {
            let (client, done) = (Arc::clone(client), Arc::clone(&done));
            let (answered, failed) = (Arc::clone(&answered), Arc::clone(&failed));
            move || {
                while !done.load(Ordering::SeqCst) {
                    match code(&block_on(client.run(task(Behaviour::Echo)))) {
                        Code::Ok => answered.fetch_add(1, Ordering::SeqCst),
                        Code::Unavailable => failed.fetch_add(1, Ordering::SeqCst),
                        other => panic!("{other}"),
                    };
                }
            }
        };
        let threads = (0..4).map(|_| thread::spawn(call())).collect();
        Self {
            done,
            answered,
            failed,
            threads,
        }
    }

    /// Waits until so many more calls have been counted.
    fn until(&self, counter: &AtomicU64, more: u64) {
        let (begin, before) = (Instant::now(), counter.load(Ordering::SeqCst));
        while counter.load(Ordering::SeqCst) < before + more {
            assert!(begin.elapsed() < 30 * SECOND, "no such calls any more");
            thread::yield_now();
        }
    }

    fn stop(mut self) {
        self.done.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A test that has failed leaves no callers behind.
impl Drop for Load {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
    }
}

fn a_killed_server_comes_back(model: Model) {
    let mut server = ServerProcess::start(model, nobody());
    let address = server.address;
    let channel = Channel::builder(server.url()).reconnect_backoff(millis(1), millis(20));
    let client = Arc::new(client(channel));
    let load = Load::start(&client);
    for _ in 0..3 {
        load.until(&load.answered, 100);
        let open = begin(&client, task(Behaviour::Never));
        server.kill();
        assert_eq!(code(&block_on(open)), Code::Unavailable);
        load.until(&load.failed, 100);
        let waiting = begin(&client, patient());
        server = ServerProcess::start(model, address);
        assert_eq!(code(&block_on(waiting)), Code::Ok);
    }
    load.until(&load.answered, 100);
    load.stop();
    assert!(block_on(client.run(task(Behaviour::Echo))).is_ok());
}

fn calls_that_want_to_wait_for_a_server_that_is_not_there_yet(model: Model) {
    let address = nobody();
    let channel = Channel::builder(format!("kettle://{address}"));
    let client = client(channel.reconnect_backoff(millis(1), millis(20)));
    let mut short = patient();
    short.set_timeout(millis(100));
    let waiting = (0..3).map(|_| begin(&client, patient()));
    let waiting: Vec<_> = waiting.collect();
    let late = Instant::now();
    let results = block_on(join_all([
        client.run(short),
        client.run(task(Behaviour::Echo).into_request()),
    ]));
    assert!(millis(100) <= late.elapsed(), "it waits until its deadline");
    assert_eq!(code(&results[0]), Code::DeadlineExceeded);
    assert_eq!(code(&results[1]), Code::Unavailable);
    let host = host_at(Server::builder().model(model), address);
    let results = block_on(join_all(waiting));
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(host.service.started(), 3);
}

#[test]
fn the_channel_can_wait_for_all_its_calls_and_a_call_can_refuse_to() {
    let address = nobody();
    let channel = Channel::builder(format!("kettle://{address}")).wait_for_ready(true);
    let client = client(channel.reconnect_backoff(millis(1), millis(20)));
    let waiting = begin(&client, task(Behaviour::Echo));
    let mut hasty = patient();
    hasty.set_wait_for_ready(false);
    assert_eq!(code(&block_on(client.run(hasty))), Code::Unavailable);
    let _host = host_at(Server::builder(), address);
    assert_eq!(code(&block_on(waiting)), Code::Ok);
}

#[test]
fn in_a_pause_calls_fail_at_once_and_nothing_is_tried() {
    let server = RawServer::bind();
    let client = client(Channel::builder(server.url()).reconnect_backoff(FOR_EVER, FOR_EVER));
    let first = begin(&client, task(Behaviour::Echo));
    drop(server.accept());
    assert_eq!(code(&block_on(first)), Code::Unavailable);
    for _ in 0..100 {
        let status = block_on(client.run(task(Behaviour::Echo))).unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        for text in [
            &*server.url(),
            "closed the connection",
            "the next attempt is in",
        ] {
            assert!(status.message().contains(text), "{text}: {status}");
        }
    }
    assert!(server.try_accept().is_none());
}

#[test]
fn pauses_between_attempts_grow() {
    let server = RawServer::bind();
    let base = millis(20);
    let client = client(Channel::builder(server.url()).reconnect_backoff(base, SECOND));
    let begun = Instant::now();
    let call = begin(&client, patient());
    (0..7).for_each(|_| drop(server.accept()));
    // 20 ms + 32 + 51 + 82 + 131 + 210, each up to a fifth shorter.
    let pauses = base.mul_f64((0..6).map(|n| 1.6_f64.powi(n)).sum::<f64>());
    assert!(
        pauses.mul_f64(0.8) <= begun.elapsed(),
        "{:?}",
        begun.elapsed()
    );
    drop(call);
}

/// The loop of this test has nothing else to wake it.
#[test]
fn a_loop_wakes_by_itself_for_the_next_attempt_and_for_a_deadline() {
    let server = RawServer::bind();
    let (url, (done, result)) = (server.url(), std::sync::mpsc::channel());
    thread::spawn(move || {
        let mut local = LocalLoop::new(Model::Epoll).unwrap();
        let run = local.block_on(async move {
            let channel = Channel::builder(&url).reconnect_backoff(millis(10), millis(20));
            let retried = code(&client(channel).run(patient()).await);
            let channel = Channel::builder(&url).reconnect_backoff(FOR_EVER, FOR_EVER);
            let mut late = patient();
            late.set_timeout(SECOND);
            (retried, code(&client(channel).run(late).await))
        });
        done.send(run.unwrap()).unwrap();
    });
    (0..4).for_each(|_| drop(server.accept()));
    let mut peer = server.accept();
    peer.greet();
    let id = peer.call();
    peer.answer(id);
    drop(server.accept());
    let codes = result.recv_timeout(30 * SECOND);
    assert_eq!(codes, Ok((Code::Ok, Code::DeadlineExceeded)));
}

#[test]
fn a_connection_that_is_lost_is_made_again_without_a_pause() {
    let server = RawServer::bind();
    let client = client(Channel::builder(server.url()).reconnect_backoff(FOR_EVER, FOR_EVER));
    for _ in 0..5 {
        let call = begin(&client, patient());
        let mut peer = server.accept();
        peer.greet();
        let id = peer.call();
        peer.answer(id);
        assert_eq!(code(&block_on(call)), Code::Ok);
        let lost = begin(&client, patient());
        peer.call();
        drop(peer);
        assert_eq!(code(&block_on(lost)), Code::Unavailable, "it was sent");
    }
}

/// The kernel connects to servers that are about to end, and what was sent to them may have been run.
#[test]
fn calls_that_wait_are_sent_only_where_the_server_has_greeted() {
    let server = RawServer::bind();
    let channel = Channel::builder(server.url());
    let client = client(channel.reconnect_backoff(millis(1), millis(1)));
    let hasty = begin(&client, task(Behaviour::Echo));
    let mut silent = server.accept();
    silent.call();
    let waiting = begin(&client, patient());
    let behind = begin(&client, task(Behaviour::Echo));
    silent.call();
    drop(silent);
    for result in block_on(join_all([hasty, behind])) {
        assert_eq!(code(&result), Code::Unavailable, "it was sent");
    }
    let mut peer = server.accept();
    peer.greet();
    let id = peer.call();
    peer.answer(id);
    assert_eq!(code(&block_on(waiting)), Code::Ok);
}

/// The server takes connections only to refuse them; a call that waits is tried on each.
#[test]
fn a_full_server_is_tried_until_it_has_room() {
    until_it_has_room(&host_with(Server::builder().connections_max(1)));
}

/// The same with this server, which takes one connection.
pub fn until_it_has_room(host: &Host) {
    let first = host.client();
    let error = block_on(Channel::connect(host.url())).unwrap_err();
    assert!(error.is_refused() && error.is_connect(), "{error}");
    let channel = Channel::builder(host.url()).reconnect_backoff(millis(1), millis(10));
    let client = client(channel);
    let waiting = begin(&client, patient());
    host.until("refusals", |host| {
        8 <= host.server.stats().connections_refused
    });
    // One that finds a connection before it is refused ends with that; in a pause the reason is told.
    let reason_is_told = (0..1000).any(|_| {
        let status = block_on(client.run(task(Behaviour::Echo))).unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        status.message().contains("connections_max")
    });
    assert!(reason_is_told);
    drop(first);
    assert_eq!(code(&block_on(waiting)), Code::Ok);
}

#[test]
fn calls_go_to_the_connection_with_the_fewest() {
    let host = host_with(Server::builder().calls_max(1));
    let channel = block_on(Channel::builder(host.url()).connections(4).connect());
    assert_eq!(host.server.stats().connections, 4);
    let client = TrialClient::new(channel.unwrap());
    let mut open: Vec<_> = (0..3)
        .map(|_| begin(&client, task(Behaviour::Never)))
        .collect();
    host.until("calls on three connections", |host| {
        host.service.waiting() == 3
    });
    // On one of those three they would wait for their place.
    assert!((0..20).all(|_| block_on(client.run(task(Behaviour::Echo))).is_ok()));
    open.push(begin(&client, task(Behaviour::Never)));
    host.until("a call on each connection", |host| {
        host.service.waiting() == 4
    });
    assert_eq!(host.server.stats().connections_accepted, 4);
}

#[test]
fn each_connection_comes_back_by_itself() {
    let server = Fragile::start();
    let channel = block_on(Channel::builder(&server.url).connections(3).connect()).unwrap();
    let client = TrialClient::new(channel);
    assert_eq!(server.accepted(), 3);
    for round in 0..3 {
        server.break_off(round);
        let (begin, mut failed) = (Instant::now(), 0);
        while server.accepted() == 3 + round {
            assert!(begin.elapsed() < 30 * SECOND, "it does not come back");
            failed += u32::from(block_on(client.run(task(Behaviour::Echo))).is_err());
        }
        assert!(failed <= 1, "one call at most finds out: {failed}");
    }
    assert!((0..100).all(|_| block_on(client.run(task(Behaviour::Echo))).is_ok()));
    assert_eq!(server.accepted(), 6);
}

/// Its machine reads and says nothing: the peer of a connection that is half open.
#[test]
fn calls_on_a_half_open_connection_fail_in_time() {
    let (interval, timeout) = (millis(200), millis(300));
    let server = RawServer::bind();
    let channel = Channel::builder(server.url()).reconnect_backoff(FOR_EVER, FOR_EVER);
    let without = client(channel.clone());
    let client = client(channel.keepalive(interval, timeout));
    let forsaken = begin(&without, task(Behaviour::Echo));
    let mut forsaken_peer = server.accept();
    forsaken_peer.greet();
    let call = begin(&client, task(Behaviour::Echo));
    let mut peer = server.accept();
    peer.greet();
    peer.call();
    let silence = Instant::now();
    let reading = thread::spawn(move || peer.ignore());
    let status = block_on(call).unwrap_err();
    let lasted = silence.elapsed();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("ping"), "{status}");
    // The greeting came a moment before the silence began.
    assert!(
        timeout <= lasted && lasted < interval + timeout + SLACK,
        "{lasted:?}"
    );
    let mut forsaken = forsaken;
    assert!(poll_once(Pin::new(&mut forsaken)).is_pending());
    let call = forsaken_peer.call();
    forsaken_peer.answer(call);
    assert_eq!(code(&block_on(forsaken)), Code::Ok);
    reading.join().unwrap();
}

#[test]
fn a_server_that_answers_pings_is_kept() {
    let server = RawServer::bind();
    let channel = Channel::builder(server.url()).keepalive(millis(10), 30 * SECOND);
    let client = client(channel);
    let call = begin(&client, task(Behaviour::Echo));
    let mut peer = server.accept();
    peer.greet();
    let id = peer.call();
    (0..5).for_each(|_| peer.answer_ping());
    peer.answer(id);
    assert_eq!(code(&block_on(call)), Code::Ok);
}

fn a_client_that_is_gone_without_a_word_is_left(model: Model) {
    let keepalive = Server::builder().keepalive(millis(100), millis(100));
    let host = host_with(keepalive.model(model));
    let mut gone = RawClient::connect(host.server.address());
    gone.open(&task(Behaviour::Never));
    gone.flush();
    host.until("the handler's start", |host| host.service.started() == 1);
    let begin = Instant::now();
    host.until("the handler's end", |host| host.service.dropped() == 1);
    assert!(
        begin.elapsed() < millis(200) + SLACK,
        "{:?}",
        begin.elapsed()
    );
    host.until("the connection's end", |host| {
        host.server.stats().connections == 0
    });
    drop(gone);
}

fn a_client_that_answers_pings_is_kept(model: Model) {
    let keepalive = Server::builder().keepalive(millis(10), 30 * SECOND);
    let host = host_with(keepalive.model(model));
    let mut client = RawClient::connect(host.server.address());
    client.open(&task(Behaviour::Never));
    client.flush();
    (0..5).for_each(|_| client.answer_ping());
    client.open(&task(Behaviour::Echo));
    client.flush();
    assert_eq!(client.finished(), Some(true));
    assert_eq!(host.service.dropped(), 0);
}

/// A client that reads nothing and says something is alive: the server hears it while its own replies
/// are not taken.
#[test]
fn a_slow_reader_that_gives_signs_of_life_is_kept() {
    let timeout = SECOND;
    let host = host_with(Server::builder().keepalive(millis(10), timeout));
    let mut client = RawClient::connect(host.server.address());
    client.open(&task(Behaviour::Never));
    for _ in 0..40 {
        client.open(&Task {
            number: 1_000_000,
            ..task(Behaviour::Large)
        });
    }
    client.flush();
    host.until("replies", |host| 100_000 < host.server.stats().sent_bytes);
    let begin = Instant::now();
    while begin.elapsed() < 3 * timeout {
        client.ping();
        thread::sleep(timeout / 20);
    }
    assert_eq!(host.service.dropped(), 0);
    // It says nothing more.
    host.until("the handler's end", |host| host.service.dropped() == 1);
}

/// Half open as it happens: the cable is out, and no end of the connection is told.
#[test]
fn a_cable_that_is_pulled_out_fails_calls_in_time_and_heals() {
    let (interval, timeout) = (millis(200), millis(300));
    let remote = Remote::start(millis(300));
    let channel = Channel::builder(remote.url())
        .connect_timeout(SECOND)
        .reconnect_backoff(millis(10), millis(100));
    let without = client(channel.clone());
    let client = client(channel.keepalive(interval, timeout));
    // Its route may take a moment to come up.
    assert_eq!(code(&block_on(client.run(patient()))), Code::Ok);
    let forsaken = begin(&without, task(Behaviour::Never));
    let open = begin(&client, task(Behaviour::Never));
    assert_eq!(code(&block_on(without.run(patient()))), Code::Ok);
    remote.unplug();
    let out = Instant::now();
    let sent = begin(&client, task(Behaviour::Echo));
    for result in block_on(join_all([open, sent])) {
        assert_eq!(code(&result), Code::Unavailable);
        assert!(out.elapsed() < interval + timeout + SLACK);
    }
    let mut forsaken = forsaken;
    assert!(poll_once(Pin::new(&mut forsaken)).is_pending());
    let waiting = begin(&client, patient());
    let hasty = block_on(client.run(task(Behaviour::Echo)));
    assert_eq!(code(&hasty), Code::Unavailable);
    remote.plug();
    assert_eq!(code(&block_on(waiting)), Code::Ok);
    // The server has given up both clients meanwhile; the forsaken one learns of it now.
    assert_eq!(code(&block_on(forsaken)), Code::Unavailable);
    let counts = block_on(client.count(task(Behaviour::Echo))).unwrap();
    let counts = counts.get_ref();
    assert_eq!((counts.waiting, counts.dropped), (0, 2));
}

#[test]
fn settings_out_of_their_range_are_named() {
    let url = "kettle://127.0.0.1:1";
    let wrong = |builder: ChannelBuilder, word: &str| {
        let error = builder.connect_lazy().unwrap_err();
        assert!(error.is_config(), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    for connections in [0, 257] {
        wrong(Channel::builder(url).connections(connections), "1 to 256");
    }
    for (base, max) in [(Duration::ZERO, SECOND), (2 * SECOND, SECOND)] {
        let builder = Channel::builder(url).reconnect_backoff(base, max);
        wrong(builder, "reconnect_backoff");
    }
    for (interval, timeout) in [(millis(9), SECOND), (SECOND, millis(9))] {
        let builder = Channel::builder(url).keepalive(interval, timeout);
        wrong(builder, "keepalive");
        let server = Server::builder().keepalive(interval, timeout);
        let error = server.spawn("127.0.0.1:0").unwrap_err();
        assert!(error.is_config(), "{error}");
        assert!(error.to_string().contains("keepalive"), "{error}");
    }
}
