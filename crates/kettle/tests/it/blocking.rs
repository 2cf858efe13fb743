//! Clients on the caller's own thread.

use crate::harness::{Host, host, host_with};
use crate::on_every_model;
use crate::recovery::process::ServerProcess;
use crate::recovery::raw_server::RawServer;
use crate::recovery::{millis, nobody};
use kettle::blocking::Channel;
use kettle::{
    Code, Inbound, IntoRequest, Model, Next, Outbound, Request, Response, Server, Service, Status,
};
use kettle_testkit::trial::trial_client::blocking::TrialClient;
use kettle_testkit::trial::trial_server::TrialServer;
use kettle_testkit::trial::{Behaviour, Outcome, Task, TrialService, task};
use std::thread;
use std::time::{Duration, Instant};

on_every_model! {
    a_reply_comes_back
    errors_come_back_with_their_details
    metadata_goes_both_ways
    large_messages_go_both_ways
    a_deadline_ends_the_call_on_both_sides
    a_call_costs_two_system_calls
    interceptors_stand_around_calls
    a_killed_server_comes_back
    a_server_that_stops_is_left
    an_idle_client_does_not_hold_up_a_stop
    handlers_may_call_only_where_a_thread_is_theirs
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

fn within<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn code<T>(result: &Result<T, Status>) -> Code {
    result.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

fn a_reply_comes_back(model: Model) {
    let host = host(model);
    let client = client(&host);
    for n in 0..100 {
        let reply = client.run(echo(vec![n; usize::from(n) * 10])).unwrap();
        assert_eq!(reply.get_ref().payload, vec![n; usize::from(n) * 10]);
    }
    let later = client.run(numbered(Behaviour::Thread, 20));
    assert!(later.is_ok());
    assert_eq!(host.service.started(), 101);
    assert_eq!(host.server.stats().connections_accepted, 1);
    drop(client);
    host.until("the connection's end", |host| {
        host.server.stats().connections == 0
    });
}

fn errors_come_back_with_their_details(model: Model) {
    let host = host(model);
    let client = client(&host);
    let fail = Task {
        payload: "details".into(),
        ..numbered(Behaviour::Fail, u64::from(Code::DataLoss.as_u32()))
    };
    let status = client.run(fail).unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    assert_eq!(status.message(), "told to fail, ünd so it does");
    assert_eq!(status.details(), b"details");
    assert_eq!(status.metadata().get("trailing"), Some("metadata"));
    assert_eq!(code(&client.run(task(Behaviour::Panic))), Code::Internal);
    assert_eq!(code(&client.run(task(Behaviour::Echo))), Code::Ok);
    drop(client);
    let channel = Channel::connect(host.url()).unwrap();
    let request = Request::new(Outbound::from_bytes("".into()));
    let nothing = channel.call("/no.Such/Method", request);
    assert_eq!(code(&nothing), Code::Unimplemented);
}

fn metadata_goes_both_ways(model: Model) {
    let host = host(model);
    let mut request = Request::new(task(Behaviour::Metadata));
    request.metadata_mut().append("text", "one").unwrap();
    request.metadata_mut().append("text", "two").unwrap();
    let bytes = vec![0, 255, 10];
    request.metadata_mut().append("bytes-bin", bytes).unwrap();
    let expected = request.metadata().clone();
    let response = client(&host).run(request).unwrap();
    assert_eq!(response.metadata(), &expected);
    assert_eq!(response.trailers(), &expected);
}

fn large_messages_go_both_ways(model: Model) {
    let host = host_with(Server::builder().model(model).message_bytes_max(1_000_000));
    let client = client(&host);
    for bytes in [65_535, 65_536, 900_000] {
        let payload: Vec<u8> = (0..bytes).map(|i| (i / 7) as u8).collect();
        let reply = client.run(echo(payload.clone())).unwrap().into_inner();
        assert!(reply.payload == payload, "{bytes} bytes came back changed");
    }
    let status = client.run(echo(vec![1; 1_000_001])).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let status = client.run(numbered(Behaviour::Large, 5_000_000));
    assert_eq!(code(&status), Code::ResourceExhausted, "4 MiB may come");
    assert!(client.run(echo("small")).is_ok());
    assert_eq!(host.server.stats().connections_accepted, 1);
}

fn a_deadline_ends_the_call_on_both_sides(model: Model) {
    let host = host(model);
    let builder = Channel::builder(host.url()).timeout(millis(100));
    let channel = builder.connect_blocking().unwrap();
    let client = TrialClient::new(&channel);
    let begun = Instant::now();
    let own = client.run(within(task(Behaviour::Never), millis(30)));
    assert_eq!(code(&own), Code::DeadlineExceeded);
    let default = client.run(task(Behaviour::Never));
    assert_eq!(code(&default), Code::DeadlineExceeded);
    assert!(millis(130) <= begun.elapsed(), "{:?}", begun.elapsed());
    host.until("the handlers' end", |host| host.service.waiting() == 0);
    assert_eq!(host.service.dropped(), host.service.started());
    let left = client.run(within(task(Behaviour::Deadline), Duration::from_secs(60)));
    let left = left.unwrap().into_inner().number;
    assert!((50_000..=60_000).contains(&left), "{left}");
    assert_eq!(host.server.stats().connections_accepted, 1);
}

/// Also with a deadline, which is the time-out of the receive, and an interceptor that does not wait.
fn a_call_costs_two_system_calls(model: Model) {
    const CALLS: u64 = 500;
    async fn sign(
        mut request: Request<Outbound>,
        next: Next<Outbound, Inbound>,
    ) -> Result<Response<Inbound>, Status> {
        request.metadata_mut().insert("name", "Ada").unwrap();
        next.run(request).await
    }
    let host = host(model);
    let builder = || Channel::builder(host.url()).timeout(Duration::from_secs(3600));
    for builder in [builder(), builder().interceptor(sign)] {
        let channel = builder.connect_blocking().unwrap();
        let client = TrialClient::new(&channel);
        // A call that comes late looks at the connection first, and a timer may end a receive early: on a
        // busy machine that happens, but not to every call.
        let costs_two = (0..CALLS).any(|_| {
            let before = channel.system_calls();
            client.run(echo("tea")).unwrap();
            let cost = channel.system_calls() - before;
            assert_eq!(cost.send, 1);
            (cost.receive, cost.total()) == (1, 2)
        });
        assert!(costs_two, "{:?}", channel.system_calls());
    }
}

fn interceptors_stand_around_calls(model: Model) {
    async fn sign(
        mut request: Request<Outbound>,
        next: Next<Outbound, Inbound>,
    ) -> Result<Response<Inbound>, Status> {
        assert_eq!(request.method(), "/kettle.trial.v1.Trial/Run");
        request.metadata_mut().insert("name", "Ada").unwrap();
        let mut response = next.run(request).await?;
        response.metadata_mut().append("seen", "yes").unwrap();
        Ok(response)
    }
    let host = host(model);
    let builder = Channel::builder(host.url()).interceptor(sign);
    let client = TrialClient::new(builder.connect_blocking().unwrap());
    let response = client.run(task(Behaviour::Metadata)).unwrap();
    assert_eq!(response.metadata().get("name"), Some("Ada"));
    assert_eq!(response.metadata().get("seen"), Some("yes"));
}

/// The thread sleeps where other threads can wake it while an interceptor waits for one of them.
#[test]
fn interceptors_may_wait_for_other_threads() {
    async fn doze(
        request: Request<Outbound>,
        next: Next<Outbound, Inbound>,
    ) -> Result<Response<Inbound>, Status> {
        crate::harness::after(millis(20)).await;
        let response = next.run(request).await;
        crate::harness::after(millis(20)).await;
        response
    }
    let host = host(Model::Epoll);
    let builder = Channel::builder(host.url()).interceptor(doze);
    let client = TrialClient::new(builder.connect_blocking().unwrap());
    for _ in 0..5 {
        let begun = Instant::now();
        assert!(client.run(echo("tea")).is_ok());
        assert!(millis(40) <= begun.elapsed());
    }
}

fn a_killed_server_comes_back(model: Model) {
    let mut server = ServerProcess::start(model, nobody());
    let address = server.address;
    let builder = Channel::builder(server.url()).reconnect_backoff(millis(1), millis(20));
    let client = TrialClient::new(builder.connect_blocking().unwrap());
    for _ in 0..3 {
        (0..100).for_each(|_| drop(client.run(echo("tea")).unwrap()));
        // In the middle of a call.
        let id = server.id;
        let killer = thread::spawn(move || {
            thread::park_timeout(millis(50));
            server.kill();
        });
        let open = client.run(task(Behaviour::Never));
        assert_eq!(code(&open), Code::Unavailable, "{open:?} of {id}");
        killer.join().unwrap();
        assert_eq!(code(&client.run(echo("tea"))), Code::Unavailable);
        let mut patient = echo("tea").into_request();
        patient.set_wait_for_ready(true);
        server = thread::scope(|scope| {
            let starting = scope.spawn(|| ServerProcess::start(model, address));
            assert_eq!(code(&client.run(patient)), Code::Ok);
            starting.join().unwrap()
        });
    }
    // Between two calls.
    server.kill();
    let _server = ServerProcess::start(model, address);
    assert_eq!(code(&client.run(echo("tea"))), Code::Ok, "it was seen");
}

/// The server says that it drains while nobody listens; the next call goes to the server that follows.
fn a_server_that_stops_is_left(model: Model) {
    let address = nobody();
    let mut host = crate::harness::host_at(Server::builder().model(model), address);
    let client = client(&host);
    for _ in 0..5 {
        assert_eq!(code(&client.run(echo("tea"))), Code::Ok);
        drop(host);
        host = crate::harness::host_at(Server::builder().model(model), address);
        let result = client.run(echo("tea"));
        assert_eq!(code(&result), Code::Ok, "{result:?}");
    }
}

/// Nobody reads the server's DRAIN, and nothing ends the server's grace.
fn an_idle_client_does_not_hold_up_a_stop(model: Model) {
    let address = nobody();
    let hour = Duration::from_secs(3600);
    let builder = || Server::builder().model(model).stop_grace(hour);
    let host = crate::harness::host_at(builder(), address);
    let client = client(&host);
    assert_eq!(code(&client.run(echo("tea"))), Code::Ok);
    let (done, ended) = std::sync::mpsc::channel();
    let stopping = thread::spawn(move || {
        host.server.stop();
        host.server.wait().unwrap();
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(30)).unwrap();
    stopping.join().unwrap();
    let _host = crate::harness::host_at(builder(), address);
    assert_eq!(code(&client.run(echo("tea"))), Code::Ok);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let url = format!("kettle://{}", nobody());
    let error = TrialClient::connect(&url).unwrap_err();
    assert!(error.is_connect() && !error.is_timeout(), "{error}");
    assert!(error.to_string().contains(&url), "{error}");
    let error = TrialClient::connect("grpc://127.0.0.1:1").unwrap_err();
    assert!(error.is_config(), "{error}");
    let lazy = Channel::builder(&url).connect_lazy_blocking().unwrap();
    let client = TrialClient::new(lazy);
    assert_eq!(code(&client.run(echo("tea"))), Code::Unavailable);
    let mut late = within(echo("tea"), millis(50));
    late.set_wait_for_ready(true);
    assert_eq!(code(&client.run(late)), Code::DeadlineExceeded);
}

#[test]
fn names_are_looked_up_and_full_servers_told() {
    let host = host_with(Server::builder().connections_max(1));
    let url = format!("kettle://localhost:{}", host.server.local_addr().port());
    let client = TrialClient::connect(&url).unwrap();
    assert!(client.run(echo("tea")).is_ok());
    let error = TrialClient::connect(&url).unwrap_err();
    assert!(error.is_refused() && error.is_connect(), "{error}");
}

#[test]
fn a_silent_server_is_left_in_time() {
    let server = RawServer::bind();
    let builder = Channel::builder(server.url()).connect_timeout(millis(50));
    let error = builder.connect_blocking().unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let builder = Channel::builder(server.url()).keepalive(millis(50), millis(50));
    let client = TrialClient::new(builder.connect_lazy_blocking().unwrap());
    drop(server.accept());
    let peer = thread::spawn(move || {
        let mut peer = server.accept();
        peer.greet();
        peer.call();
        peer.ignore();
    });
    let status = client.run(echo("tea")).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("ping"), "{status}");
    drop(client);
    peer.join().unwrap();
}

#[test]
fn settings_of_several_connections_are_refused() {
    let builder = || Channel::builder("kettle://127.0.0.1:1");
    for builder in [builder().model(Model::Epoll), builder().connections(2)] {
        let error = builder.connect_lazy_blocking().unwrap_err();
        assert!(error.is_config(), "{error}");
    }
}

#[test]
fn a_channel_may_move_to_another_thread() {
    let host = host(Model::Threads);
    let client = client(&host);
    assert!(client.run(echo("tea")).is_ok());
    let client = thread::spawn(move || {
        assert!(client.run(echo("tea")).is_ok());
        client
    });
    assert!(client.join().unwrap().run(echo("tea")).is_ok());
    assert_eq!(host.server.stats().connections_accepted, 1);
}

/// On a loop the call would stop all its connections.
fn handlers_may_call_only_where_a_thread_is_theirs(model: Model) {
    let (inner, outer) = (host(Model::Epoll), host(model));
    let call_back = || Task {
        payload: inner.url().into(),
        ..task(Behaviour::CallBackBlocking)
    };
    let reply = client(&outer).run(call_back());
    if matches!(model, Model::Blocking | Model::Threads) {
        assert_eq!(reply.unwrap().into_inner().payload, "from inside");
    } else {
        let status = reply.unwrap_err();
        for remedy in ["async client", "on_pool"] {
            assert!(status.message().contains(remedy), "{status}");
        }
        assert_eq!(inner.service.started(), 0);
    }
    let service = TrialServer::new(TrialService::default()).on_pool();
    let pooled = Server::builder().model(model).add_service(service);
    let pooled = pooled.spawn("127.0.0.1:0").unwrap();
    let client = TrialClient::connect(format!("kettle://{}", pooled.local_addr())).unwrap();
    let reply = client.run(call_back()).unwrap();
    assert_eq!(reply.into_inner().payload, "from inside");
}

/// Also when the channel was made elsewhere.
#[test]
fn a_call_on_a_loop_is_refused() {
    let host = host(Model::Epoll);
    let client = client(&host);
    let mut local = kettle::LocalLoop::new(Model::Epoll).unwrap();
    let (client, result) = local
        .block_on(async move {
            let result = client.run(echo("tea")).map(Response::into_inner);
            (client, result)
        })
        .unwrap();
    let result: Result<Outcome, Status> = result;
    assert_eq!(code(&result), Code::FailedPrecondition);
    assert!(client.run(echo("tea")).is_ok());
}
