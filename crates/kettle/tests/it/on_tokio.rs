//! Servers and channels on the user's tokio runtime, over streams of all kinds.

use crate::streams::{echo, numbered, stream};
use kettle::{Channel, Code, Error, Request, Server, ServerBuilder, Status, TokioServer};
use kettle_testkit::trial::trial_client::TrialClient;
use kettle_testkit::trial::trial_server::TrialServer;
use kettle_testkit::trial::{Behaviour, TrialService, task};
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// What a name in memory is called.
const URL: &str = "kettle://memory:1";

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let done = timeout(Duration::from_secs(30), future).await;
        done.expect("it is done in time")
    })
}

/// The same where time passes at once when everybody waits, also that to the end of the test.
fn run_paused<T>(future: impl Future<Output = T>) -> T {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    let begun = std::time::Instant::now();
    let done = runtime.block_on(async { timeout(24 * 3600 * SECOND, future).await });
    assert!(begun.elapsed() < 60 * SECOND, "it took the time");
    done.expect("it is done within a day")
}

fn server_with(builder: ServerBuilder) -> (TokioServer, TrialService) {
    let service = TrialService::default();
    let builder = builder.add_service(TrialServer::new(service.clone()));
    (builder.on_tokio().unwrap(), service)
}

fn server() -> (TokioServer, TrialService) {
    server_with(Server::builder())
}

/// A stream in memory whose other end this server serves.
fn dial(server: &TokioServer) -> DuplexStream {
    let (near, far) = tokio::io::duplex(1000);
    tokio::spawn(server.serve_connection(far, None));
    near
}

async fn client(server: &TokioServer) -> TrialClient {
    let channel = Channel::builder(URL).connect_over(dial(server)).await;
    TrialClient::new(channel.unwrap())
}

fn code<T: std::fmt::Debug>(reply: Result<T, Status>) -> Code {
    reply.unwrap_err().code()
}

/// Lets the other tasks run until it is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{what} did not come");
}

#[test]
fn calls_of_all_kinds_pass_through_memory() {
    run(async {
        let (server, _) = server();
        let client = client(&server).await;
        let big = vec![7; 300_000];
        let task = kettle_testkit::trial::Task {
            payload: big.clone().into(),
            ..task(Behaviour::Echo)
        };
        let reply = client.run(task).await.unwrap().into_inner();
        assert_eq!(reply.payload, big);
        let tasks = || stream((0..100).map(|_| echo("tea")));
        let count = client.collect(tasks()).await.unwrap().into_inner();
        assert_eq!(count.number, 300);
        let replies = client.chat(tasks()).await.unwrap().into_inner();
        let (mut replies, mut count) = (replies, 0);
        while let Some(reply) = replies.message().await.unwrap() {
            assert_eq!(reply.payload, "tea");
            count += 1;
        }
        assert_eq!(count, 100);
        let stats = server.stats();
        assert_eq!(
            (stats.connections, stats.calls, stats.calls_failed),
            (1, 3, 0)
        );
        assert!(300_000 < stats.received_bytes && 300_000 < stats.sent_bytes);
    });
}

#[test]
fn a_graceful_stop_lets_calls_finish() {
    run(async {
        let (server, service) = server();
        let client = client(&server).await;
        let waiting = tokio::spawn(async move { client.run(task(Behaviour::Gate)).await });
        until("the handler", || service.waiting() == 1).await;
        server.stop();
        let stopped = tokio::spawn({
            let server = server.clone();
            async move { server.stopped().await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!stopped.is_finished(), "a call is open");
        service.open_gate();
        assert!(waiting.await.unwrap().is_ok());
        stopped.await.unwrap();
        assert_eq!(server.stats().connections, 0);
    });
}

#[test]
fn a_stop_at_once_ends_calls() {
    run(async {
        let (server, service) = server();
        let client = client(&server).await;
        let waiting = tokio::spawn(async move { client.run(task(Behaviour::Never)).await });
        until("the handler", || service.waiting() == 1).await;
        server.stop_now();
        assert_eq!(code(waiting.await.unwrap()), Code::Unavailable);
        server.stopped().await;
        assert_eq!(service.dropped(), 1);
    });
}

#[test]
fn a_listener_is_served_until_the_stop() {
    run(async {
        let (server, _) = server();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("kettle://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn({
            let server = server.clone();
            async move { server.serve(listener).await }
        });
        let channel = Channel::connect(&url).await.unwrap();
        assert!(TrialClient::new(channel).run(echo("tea")).await.is_ok());
        server.stop();
        serving.await.unwrap();
        let gone = Channel::connect(&url).await.unwrap_err();
        assert!(gone.is_connect(), "{gone}");
    });
}

#[test]
fn connections_beyond_the_limit_are_told() {
    run(async {
        let (server, _) = server_with(Server::builder().connections_max(1));
        let first = client(&server).await;
        let second = Channel::builder(URL).connect_over(dial(&server)).await;
        let refused: Error = second.unwrap_err();
        assert!(refused.is_refused(), "{refused}");
        drop(first);
        until("the end of the first", || server.stats().connections == 0).await;
        assert!(client(&server).await.run(echo("tea")).await.is_ok());
        let stats = server.stats();
        assert_eq!(
            (stats.connections_accepted, stats.connections_refused),
            (3, 1)
        );
    });
}

#[test]
fn a_dropped_connection_drops_its_handlers() {
    run(async {
        let (server, service) = server();
        let (near, far) = tokio::io::duplex(1000);
        let serving = tokio::spawn(server.serve_connection(far, None));
        let channel = Channel::builder(URL).connect_over(near).await.unwrap();
        let client = TrialClient::new(channel);
        let waiting = tokio::spawn(async move { client.run(task(Behaviour::Never)).await });
        until("the handler", || service.waiting() == 1).await;
        serving.abort();
        assert_eq!(code(waiting.await.unwrap()), Code::Unavailable);
        assert_eq!((service.dropped(), server.stats().connections), (1, 0));
    });
}

#[test]
fn an_hour_of_paused_time_takes_no_time() {
    run_paused(async {
        let (server, _) = server();
        let client = client(&server).await;
        let begun = Instant::now();
        let sleeps = numbered(Behaviour::Sleep, 3600 * 1_000_000);
        assert!(client.run(sleeps).await.is_ok());
        assert!((3600 * SECOND..3601 * SECOND).contains(&begun.elapsed()));
        let mut never = Request::new(task(Behaviour::Never));
        never.set_timeout(60 * SECOND);
        let begun = Instant::now();
        assert_eq!(code(client.run(never).await), Code::DeadlineExceeded);
        assert!((60 * SECOND..61 * SECOND).contains(&begun.elapsed()));
        // An hour is longer than the idle time-out, but a call is no silence.
        assert!(client.run(echo("tea")).await.is_ok());
    });
}

#[test]
fn a_silent_connection_ends_at_its_timeout() {
    run_paused(async {
        let (server, _) = server();
        let begun = Instant::now();
        let (_near, far) = tokio::io::duplex(1000);
        server.serve_connection(far, None).await;
        let took = begun.elapsed();
        assert!((10 * SECOND..13 * SECOND).contains(&took), "{took:?}");
    });
}

#[test]
fn a_connector_is_asked_again_after_a_loss() {
    run(async {
        let path = std::env::temp_dir().join(format!("kettle-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let there = path.clone();
        let connect = move || UnixStream::connect(there.clone());
        let channel = Channel::builder(URL).connect_lazy_with(connect).unwrap();
        let client = TrialClient::new(channel);
        for _ in 0..3 {
            let (server, _) = server();
            let taking = server.clone();
            let take = async {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(taking.serve_connection(stream, None));
            };
            let (reply, ()) = tokio::join!(client.run(echo("tea")), take);
            assert_eq!(reply.unwrap().into_inner().payload, "tea");
            server.stop_now();
            server.stopped().await;
        }
        std::fs::remove_file(path).unwrap();
        assert_eq!(code(client.run(echo("tea")).await), Code::Unavailable);
    });
}

#[test]
fn pauses_between_attempts_grow_and_calls_may_wait() {
    run_paused(async {
        let (server, _) = server();
        let begun = Instant::now();
        let mut attempts = Vec::new();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let connect = move || {
            tell.send(begun.elapsed()).unwrap();
            let stream = (5 * SECOND <= begun.elapsed()).then(|| dial(&server));
            async move { stream.ok_or(io::Error::other("too early")) }
        };
        let builder = Channel::builder(URL).wait_for_ready(true);
        let channel = builder.connect_lazy_with(connect).unwrap();
        let reply = TrialClient::new(channel).run(echo("tea")).await;
        assert_eq!(reply.unwrap().into_inner().payload, "tea");
        while let Ok(at) = told.try_recv() {
            attempts.push(at);
        }
        // 100 ms and 1.6 times as long each time, by chance 20 % more or less: 5 s are over at the ninth at the latest.
        assert!((7..=10).contains(&attempts.len()), "{attempts:?}");
        assert!(attempts[0] < Duration::from_millis(10) && 5 * SECOND <= *attempts.last().unwrap());
    });
}

#[test]
fn the_end_of_an_only_stream_ends_the_channel() {
    run(async {
        let (server, _) = server();
        let client = client(&server).await;
        server.stop_now();
        server.stopped().await;
        let ended = client.run(echo("tea")).await.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable, "{ended}");
        let again = client.run(echo("tea")).await.unwrap_err();
        assert!(again.message().contains("only stream has ended"), "{again}");
    });
}

#[test]
fn settings_that_a_stream_cannot_have_are_refused() {
    let channel = |builder: kettle::ChannelBuilder| {
        builder
            .connect_lazy_with(|| async { io::Result::<DuplexStream>::Err(io::Error::other("")) })
    };
    let outside = channel(Channel::builder(URL)).unwrap_err();
    assert!(
        outside.is_config() && outside.to_string().contains("runtime"),
        "{outside}"
    );
    run(async {
        let two = channel(Channel::builder(URL).connections(2)).unwrap_err();
        assert!(two.is_config() && two.to_string().contains("is 2"), "{two}");
        let epoll = channel(Channel::builder(URL).model(kettle::Model::Epoll)).unwrap_err();
        assert!(
            epoll.is_config() && epoll.to_string().contains("epoll"),
            "{epoll}"
        );
    });
}
