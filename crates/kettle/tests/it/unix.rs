//! Unix-domain sockets: all kinds of calls over them, their files, and who is at the other end.

use crate::harness::{Host, MULTIPLEXED, block_on, host_at};
use crate::on_every_model;
use crate::recovery::until_it_has_room;
use crate::streams::all_kinds;
use kettle::{
    Address, Channel, Code, Error, Inbound, Model, Next, Outbound, PeerCredentials, Request,
    Response, Server, ServerBuilder, Status,
};
use kettle_testkit::trial::trial_client::{self, TrialClient};
use kettle_testkit::trial::{Behaviour, Task, task};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

on_every_model! {
    calls_of_all_kinds_pass
    a_blocking_client_calls
    the_peer_is_known_to_handlers
    the_file_is_gone_when_the_server_stops
    a_channel_connects_again
}

/// A path for a socket in a folder of the test's own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kettle-calls-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("x.sock")
    }

    fn url(&self) -> String {
        format!("unix://{}", self.path().display())
    }

    fn host(&self, builder: ServerBuilder) -> Host {
        host_at(builder, self.url())
    }

    /// Why no server starts here.
    fn refused(&self) -> Error {
        Server::builder().spawn(self.url()).map(drop).unwrap_err()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn on(model: Model) -> ServerBuilder {
    Server::builder().model(model)
}

fn echo(payload: impl Into<Vec<u8>>) -> Task {
    Task {
        payload: payload.into().into(),
        ..task(Behaviour::Echo)
    }
}

fn calls_of_all_kinds_pass(model: Model) {
    let scratch = Scratch::new();
    let host = scratch.host(on(model));
    assert_eq!(
        host.server.address(),
        &Address::unix(scratch.path()).unwrap()
    );
    assert_eq!(host.server.local_addr().port(), 0);
    let client = host.client();
    for i in 0..100u8 {
        let payload = vec![i; usize::from(i) * 10];
        let reply = block_on(client.run(echo(payload.clone()))).unwrap();
        assert_eq!(reply.get_ref().payload, payload);
    }
    drop(client);
    let all = scratch.0.join("all.sock");
    all_kinds(&host_at(on(model), format!("unix://{}", all.display())));
}

fn a_blocking_client_calls(model: Model) {
    let scratch = Scratch::new();
    let host = scratch.host(on(model));
    let client = trial_client::blocking::TrialClient::connect(host.url()).unwrap();
    for bytes in [0, 1000, 3_000_000] {
        let reply = client.run(echo(vec![7; bytes])).unwrap();
        assert_eq!(reply.get_ref().payload.len(), bytes);
    }
    let three = Task {
        number: 3,
        ..echo("again")
    };
    let replies = client.push(three).unwrap().into_inner();
    assert_eq!(replies.map(Result::unwrap).count(), 3);
}

fn the_peer_is_known_to_handlers(model: Model) {
    type Seen = Arc<Mutex<Vec<Option<PeerCredentials>>>>;
    let (scratch, seen) = (Scratch::new(), Seen::default());
    let note = Arc::clone(&seen);
    let look = move |request: Request<Inbound>, next: Next<Inbound, Outbound>| {
        let note = Arc::clone(&note);
        async move {
            assert_eq!(request.remote_addr(), None);
            note.lock().unwrap().push(request.peer_credentials());
            next.run(request).await
        }
    };
    let host = scratch.host(on(model).interceptor(look));
    let client = host.client();
    for _ in 0..2 {
        block_on(client.run(echo("who am I?"))).unwrap();
    }
    let own = fs::metadata("/proc/self").unwrap();
    let expected = PeerCredentials {
        pid: Some(std::process::id()),
        uid: own.uid(),
        gid: own.gid(),
    };
    assert_eq!(*seen.lock().unwrap(), [Some(expected); 2]);
}

#[test]
fn over_tcp_nobody_is_known() {
    async fn look(
        request: Request<Inbound>,
        next: Next<Inbound, Outbound>,
    ) -> Result<Response<Outbound>, Status> {
        assert_eq!(request.peer_credentials(), None);
        next.run(request).await
    }
    let host = host_at(Server::builder().interceptor(look), "127.0.0.1:0");
    block_on(host.client().run(echo("who am I?"))).unwrap();
    assert_eq!(Request::new(()).peer_credentials(), None);
}

fn the_file_is_gone_when_the_server_stops(model: Model) {
    let scratch = Scratch::new();
    let host = scratch.host(on(model));
    let client = host.client();
    assert!(scratch.path().exists());
    host.server.stop();
    assert!(!scratch.path().exists(), "at once");
    host.server.wait().unwrap();
    let status = block_on(client.run(echo(""))).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let dropped = scratch.host(on(model));
    drop(dropped);
    assert!(!scratch.path().exists());
}

fn a_channel_connects_again(model: Model) {
    let scratch = Scratch::new();
    let first = scratch.host(on(model));
    let channel = Channel::builder(first.url()).wait_for_ready(true);
    let channel = channel.reconnect_backoff(Duration::from_millis(10), Duration::from_millis(20));
    let client = TrialClient::new(block_on(channel.connect()).unwrap());
    block_on(client.run(echo("one"))).unwrap();
    drop(first);
    let second = scratch.host(on(model));
    // One that is sent before the end of the first connection is seen ends with it.
    second.until("a call", |_| block_on(client.run(echo("two"))).is_ok());
}

/// Sending to one that has gone fails at once, and its last word is there all the same.
#[test]
fn a_full_server_is_tried_until_it_has_room() {
    let scratch = Scratch::new();
    until_it_has_room(&scratch.host(Server::builder().connections_max(1)));
}

#[test]
fn every_loop_has_its_share() {
    for model in MULTIPLEXED {
        for reuse_port in [false, true] {
            let scratch = Scratch::new();
            let host = scratch.host(on(model).loops(3).reuse_port(reuse_port));
            let clients: Vec<_> = (0..9).map(|_| host.client()).collect();
            for client in &clients {
                block_on(client.run(echo("hello"))).unwrap();
            }
            assert_eq!(
                host.server.stats().connections_by_loop,
                [3, 3, 3],
                "{model}"
            );
        }
    }
}

#[test]
fn a_stale_file_is_taken_over() {
    let scratch = Scratch::new();
    drop(UnixListener::bind(scratch.path()).unwrap());
    let host = scratch.host(Server::builder());
    block_on(host.client().run(echo("hello"))).unwrap();
}

#[test]
fn a_live_server_is_left_alone() {
    let scratch = Scratch::new();
    let host = scratch.host(Server::builder());
    let error = scratch.refused();
    assert!(error.is_listen(), "{error:?}");
    let text = format!("{error:?}");
    assert!(
        text.contains(&scratch.url()) && text.contains("address in use"),
        "{text}"
    );
    block_on(host.client().run(echo("hello"))).unwrap();
}

#[test]
fn a_file_that_is_not_a_socket_is_left_alone() {
    let scratch = Scratch::new();
    fs::write(scratch.path(), "letters").unwrap();
    let error = scratch.refused();
    assert!(error.is_listen(), "{error:?}");
    assert!(format!("{error:?}").contains("not a socket"), "{error:?}");
    assert_eq!(fs::read(scratch.path()).unwrap(), b"letters");
}

#[test]
fn a_file_that_came_later_is_left_alone() {
    let scratch = Scratch::new();
    let host = scratch.host(Server::builder());
    let beside = scratch.0.join("beside");
    let _other = UnixListener::bind(&beside).unwrap();
    fs::rename(&beside, scratch.path()).unwrap();
    drop(host);
    UnixStream::connect(scratch.path()).unwrap();
}

#[test]
fn addresses_that_cannot_be_are_named() {
    let long = format!("unix:///{}", "x".repeat(107));
    for (url, reason) in [
        (long.as_str(), "107 at most"),
        ("unix://x.sock", "begins with /"),
        ("unix:/run/x.sock", "unix:///PATH"),
    ] {
        let server = Server::builder().spawn(url).map(drop).unwrap_err();
        let client = block_on(Channel::connect(url)).map(drop).unwrap_err();
        for error in [server, client] {
            assert!(error.is_config(), "{error:?}");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
    let builder = Channel::builder("unix:///run/x.sock");
    let error = builder
        .local_address("127.0.0.1".parse().unwrap())
        .connect_lazy();
    assert!(error.unwrap_err().to_string().contains("local_address"));
}

#[test]
fn the_mode_is_as_set() {
    let scratch = Scratch::new();
    for mode in [0o600, 0o666] {
        let _host = scratch.host(Server::builder().unix_mode(mode));
        let found = fs::symlink_metadata(scratch.path()).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, mode);
    }
    let error = Server::builder().unix_mode(0o1777).spawn(scratch.url());
    let text = error.map(drop).unwrap_err().to_string();
    assert!(text.contains("unix_mode is 0o1777"), "{text}");
}

/// As TCP does: a client waits for room in the backlog as long as it may take to connect.
#[test]
fn a_full_backlog_is_asked_again() {
    let scratch = Scratch::new();
    let listener = UnixListener::bind(scratch.path()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let first = UnixStream::connect(scratch.path()).unwrap();
    for model in MULTIPLEXED {
        let builder = Channel::builder(scratch.url()).model(model);
        let builder = builder.connect_timeout(Duration::from_millis(100));
        let error = block_on(builder.connect()).map(drop).unwrap_err();
        assert!(error.is_timeout(), "{model}: {error:?}");
    }
    let builder = Channel::builder(scratch.url());
    let builder = builder.connect_timeout(Duration::from_millis(100));
    let error = builder.connect_blocking().map(drop).unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    drop(first);
}
