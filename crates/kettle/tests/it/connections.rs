//! Connections: who is served beside whom, who is refused, and what strange peers can do.

use crate::harness::{
    Host, MULTIPLEXED, block_on, host, host_with, join_all, poll_once, stream_to,
};
use crate::raw::RawClient;
use crate::{on_every_model, on_every_model_over_unix};
use kettle::{Channel, Code, Model, Server};
use kettle_testkit::trial::{Behaviour, Task, task};
use std::io::{Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

on_every_model! {
    a_request_and_then_silence_is_answered
    a_peer_that_goes_away_ends_its_calls
    a_peer_that_reads_nothing_and_goes_away_is_let_go
    strange_peers_harm_nobody
    a_stop_at_once_ends_calls
    a_graceful_stop_lets_calls_finish
    stop_and_restart_lose_no_call
    foreign_protocols_are_refused_readably
}

on_every_model_over_unix! {
    a_request_and_then_silence_is_answered
    a_peer_that_goes_away_ends_its_calls
    a_peer_that_reads_nothing_and_goes_away_is_let_go
    strange_peers_harm_nobody
    a_stop_at_once_ends_calls
    a_graceful_stop_lets_calls_finish
    stop_and_restart_lose_no_call
    foreign_protocols_are_refused_readably
}

fn a_request_and_then_silence_is_answered(model: Model) {
    let host = host(model);
    let mut client = RawClient::connect(host.server.address());
    client.open(&task(Behaviour::Echo));
    client.flush();
    assert_eq!(client.finished(), Some(true));
    client.open(&Task {
        number: 10,
        ..task(Behaviour::Thread)
    });
    client.flush();
    assert_eq!(
        client.finished(),
        Some(true),
        "also when the handler has to wait"
    );
}

fn a_peer_that_goes_away_ends_its_calls(model: Model) {
    let host = host(model);
    for round in 1..=3 {
        let mut client = RawClient::connect(host.server.address());
        client.open(&task(Behaviour::Never));
        client.flush();
        host.until("the handler's start", |host| {
            host.service.started() == round
        });
        drop(client);
        host.until("the handler's end", |host| host.service.dropped() == round);
    }
    host.until("the connections' end", |host| {
        host.server.stats().connections == 0
    });
}

/// Its replies fill every buffer on the way, and a handler waits behind them.
fn a_peer_that_reads_nothing_and_goes_away_is_let_go(model: Model) {
    let host = host(model);
    let mut client = RawClient::connect(host.server.address());
    client.open(&task(Behaviour::Never));
    for _ in 0..40 {
        client.open(&Task {
            number: 1_000_000,
            ..task(Behaviour::Large)
        });
    }
    client.flush();
    host.until("replies", |host| {
        1 < host.service.started() && 100_000 < host.server.stats().sent_bytes
    });
    drop(client);
    host.until("the handler's end", |host| host.service.dropped() == 1);
    host.until("the connection's end", |host| {
        host.server.stats().connections == 0
    });
}

/// Peers that send nothing, half a greeting, half a frame, or garbage: the next client is served.
fn strange_peers_harm_nobody(model: Model) {
    // Enough for those that do greet, on a busy machine.
    let builder = Server::builder()
        .model(model)
        .handshake_timeout(Duration::from_millis(1500));
    let host = host_with(builder);
    let address = host.server.address();
    let mut whole = RawClient::connect(address);
    whole.open(&Task {
        payload: vec![7; 5000].into(),
        ..task(Behaviour::Echo)
    });
    let request = whole.output();
    drop(whole);
    let silent = stream_to(address).unwrap();
    let starts = [
        &request[..3],
        &request[..request.len() / 2],
        b"\x00\x01\x02\x03 garbage",
        b"\xce\x4b\x54\x4c\xff",
    ];
    let strange = starts.iter().map(|start| {
        let mut stream = stream_to(address).unwrap();
        stream.write_all(start).unwrap();
        stream
    });
    let strange: Vec<_> = strange.collect();
    if model == Model::Blocking {
        // One after the other is served here, and half a frame behind a greeting is a connection
        // like any other: it must end before the next is looked at.
        drop((silent, strange));
        assert!(block_on(host.client().run(task(Behaviour::Echo))).is_ok());
        return;
    }
    assert!(block_on(host.client().run(task(Behaviour::Echo))).is_ok());
    // Those that did not greet in time are closed.
    let mut silent = silent;
    silent
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    assert_eq!(
        silent.read(&mut [0; 64]).unwrap(),
        0,
        "the server closes a silent connection"
    );
    drop(strange);
    assert!(block_on(host.client().run(task(Behaviour::Echo))).is_ok());
}

fn a_stop_at_once_ends_calls(model: Model) {
    let host = host(model);
    let client = host.client();
    let mut call = pin!(client.run(task(Behaviour::Never)));
    assert!(poll_once(call.as_mut()).is_pending());
    host.until("the handler's start", |host| host.service.waiting() == 1);
    host.server.stop_now();
    let status = block_on(call).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let Host { server, service } = host;
    server.wait().unwrap();
    assert_eq!((service.waiting(), service.dropped()), (0, 1));
}

fn a_graceful_stop_lets_calls_finish(model: Model) {
    let host = host(model);
    let client = host.client();
    let calls = join_all((0..10).map(|_| {
        client.run(Task {
            number: 100,
            ..task(Behaviour::Thread)
        })
    }));
    let mut calls = pin!(calls);
    assert!(poll_once(calls.as_mut()).is_pending());
    host.until("the handlers' start", |host| host.service.waiting() == 10);
    host.server.stop();
    assert!(block_on(calls).iter().all(Result::is_ok));
    let Host { server, .. } = host;
    server.wait().unwrap();
    let status = block_on(client.run(task(Behaviour::Echo))).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

/// Clients call all the time while the server stops and starts again at its address: each call that a
/// server started is answered, and no other call fails but for want of a server.
fn stop_and_restart_lose_no_call(model: Model) {
    let mut now = host(model);
    let address = now.server.address().to_string();
    let clients = if model == Model::Blocking { 1 } else { 4 };
    let (done, answered, started) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        &mut 0,
    );
    let callers: Vec<_> = (0..clients)
        .map(|_| {
            let channel = Channel::builder(now.url()).connect_lazy().unwrap();
            let client = kettle_testkit::trial::trial_client::TrialClient::new(channel);
            let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
            thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    match block_on(client.run(task(Behaviour::Echo))) {
                        Ok(_) => drop(answered.fetch_add(1, Ordering::SeqCst)),
                        Err(status) => {
                            // No server listens, or the kernel had taken the connection and no
                            // server did.
                            assert_eq!(status.code(), Code::Unavailable, "{status}");
                        }
                    }
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let before = now.service.started();
        now.until("calls", |host| before + 100 < host.service.started());
        let Host { server, service } = now;
        server.stop();
        server.wait().unwrap();
        *started += service.started();
        let builder = Server::builder().model(model);
        now = crate::harness::host_at(builder, &address);
    }
    done.store(true, Ordering::SeqCst);
    callers
        .into_iter()
        .for_each(|caller| caller.join().unwrap());
    *started += now.service.started();
    assert_eq!(
        answered.load(Ordering::SeqCst),
        *started,
        "every started call was answered"
    );
}

fn foreign_protocols_are_refused_readably(model: Model) {
    let host = host(model);
    let ask = |bytes: &[u8]| {
        let mut stream = stream_to(host.server.address()).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    };
    let http1 = ask(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let http1 = String::from_utf8(http1).unwrap();
    assert!(
        http1.starts_with("HTTP/1.1 4") && http1.contains("kettle"),
        "{http1}"
    );
    let http2 = ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00");
    assert_eq!(http2[3], 4, "SETTINGS come first: {http2:?}");
    assert!(
        String::from_utf8_lossy(&http2).contains("kettle"),
        "{http2:?}"
    );
    let tls = ask(b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03");
    assert_eq!((tls[0], tls[5]), (21, 2), "a fatal alert: {tls:?}");
    let text = ask(b"hello?\r\n");
    assert!(
        String::from_utf8_lossy(&text).contains("kettle"),
        "{text:?}"
    );
}

/// BIO 1.0: one connection is served to its end, the others wait in the backlog.
#[test]
fn on_blocking_the_second_client_waits_for_the_first_to_leave() {
    let host = host(Model::Blocking);
    let first = host.client();
    assert!(block_on(first.run(task(Behaviour::Echo))).is_ok());
    let second = Channel::builder(host.url()).connect_timeout(Duration::from_millis(200));
    let error = block_on(second.connect()).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let waiting = Channel::builder(host.url());
    let mut waiting = pin!(waiting.connect());
    assert!(poll_once(waiting.as_mut()).is_pending());
    assert!(
        block_on(first.run(task(Behaviour::Echo))).is_ok(),
        "the first is still served"
    );
    drop(first);
    assert!(block_on(waiting).is_ok());
}

/// BIO 2.0 and NIO 1.0: both are served.
#[test]
fn on_threads_and_scan_both_clients_are_served() {
    for model in [Model::Threads, Model::Scan] {
        let host = host(model);
        let (first, second) = (host.client(), host.client());
        let mut stuck = pin!(first.run(task(Behaviour::Never)));
        assert!(poll_once(stuck.as_mut()).is_pending());
        host.until("the handler's start", |host| host.service.waiting() == 1);
        assert!(block_on(second.run(task(Behaviour::Echo))).is_ok());
    }
}

#[test]
fn connections_over_the_limit_are_told_so() {
    for (model, name) in [
        (Model::Threads, "threads_max"),
        (Model::Epoll, "connections_max"),
        (Model::Scan, "connections_max"),
    ] {
        let builder = Server::builder()
            .model(model)
            .threads_max(2)
            .connections_max(2);
        let host = host_with(builder);
        let _full = (host.channel(), host.channel());
        let error = block_on(Channel::connect(host.url())).unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.to_string().contains('2'), "{error}");
        assert_eq!(host.server.stats().connections_refused, 1);
    }
}

#[test]
fn connections_spread_evenly_over_loops() {
    let host = host_with(Server::builder().loops(2));
    let channels: Vec<_> = (0..64).map(|_| host.channel()).collect();
    let spread = host.server.stats().connections_by_loop;
    assert!(spread.iter().all(|n| (31..=33).contains(n)), "{spread:?}");
    for channel in channels {
        let client = kettle_testkit::trial::trial_client::TrialClient::new(channel);
        assert!(block_on(client.run(task(Behaviour::Echo))).is_ok());
    }
}

/// One connection with thousands of calls in its socket buffers, ten with one at a time: the ten are
/// served in between.
#[test]
fn a_pipelining_connection_leaves_room_for_polite_ones() {
    for model in MULTIPLEXED {
        let host = host(model);
        let address = host.server.address().clone();
        let done = Arc::new(AtomicBool::new(false));
        let flood = {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                let mut client = RawClient::connect(&address);
                let mut in_flight = 0;
                while !done.load(Ordering::SeqCst) {
                    while in_flight < 60 {
                        client.open(&task(Behaviour::Echo));
                        in_flight += 1;
                    }
                    client.flush();
                    assert_eq!(client.finished(), Some(true));
                    in_flight -= 1;
                }
            })
        };
        let clients: Vec<_> = (0..10).map(|_| host.client()).collect();
        for _ in 0..100 {
            let calls = clients
                .iter()
                .map(|client| client.run(task(Behaviour::Echo)));
            assert!(block_on(join_all(calls)).iter().all(Result::is_ok));
        }
        done.store(true, Ordering::SeqCst);
        flood.join().unwrap();
    }
}

#[test]
fn an_idle_connection_is_closed_in_order() {
    let builder = Server::builder().idle_timeout(Some(Duration::from_millis(100)));
    let host = host_with(builder);
    let client = host.client();
    host.until("the idle time-out", |host| {
        host.server.stats().connections == 0
    });
    // The channel connects again by itself.
    assert!(block_on(client.run(task(Behaviour::Echo))).is_ok());
    assert_eq!(host.server.stats().connections_accepted, 2);
}

#[test]
fn a_channel_comes_from_its_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("kettle://{}", listener.local_addr().unwrap());
    let from = |ip: &str| Channel::builder(&url).local_address(ip.parse().unwrap());
    let accepted = thread::spawn(move || listener.accept().unwrap().1);
    // Nobody greets: the connection is closed at once.
    block_on(from("127.0.0.9").connect()).unwrap_err();
    assert_eq!(accepted.join().unwrap().ip().to_string(), "127.0.0.9");
    // An address that is kept for documentation, and one of another family.
    for (ip, reason) in [("192.0.2.1", "os error 99"), ("::1", "os error")] {
        let error = block_on(from(ip).connect()).unwrap_err();
        assert!(
            error.is_connect() && error.to_string().contains(reason),
            "{error}"
        );
    }
}
