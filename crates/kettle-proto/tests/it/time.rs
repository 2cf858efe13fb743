//! Time-outs, pings, and the ways in which a connection ends.

use crate::ends::{Ends, PATH, at, config, drain, head, output, reply};
use crate::frames::{frame, hello, numbers_and_text};
use kettle_buf::Segment;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{CallId, Head, Machine, OpenError, Status};
use std::time::Duration;

fn closed(error: &str) -> String {
    format!("Closed {{ error: {error} }}")
}

#[test]
fn a_silent_peer_is_left_after_the_handshake_timeout() {
    let start = [Connection::client, Connection::server];
    for mut machine in start.map(|new| new(Config::default(), at(0))) {
        assert_eq!(machine.poll_timeout(), Some(at(10_000)));
        machine.handle_bytes(at(9_999), Segment::from_static(b"\xCEKT"));
        machine.handle_timeout(at(9_999));
        assert_eq!(drain(&mut machine), [""; 0]);
        machine.handle_timeout(at(10_000));
        assert_eq!(drain(&mut machine), [closed("Some(HandshakeTimeout)")]);
        assert!(output(&mut machine, at(10_000)).starts_with(b"\xCEKTL"));
        assert_eq!(machine.poll_timeout(), None);
    }
}

#[test]
fn a_server_leaves_an_idle_connection_and_no_busy_one() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.open(b"x".to_vec());
    ends.pump();
    let (call, _) = ends.accept();
    ends.later(700_000);
    assert_eq!(ends.server_events(), [""; 0], "a call is open");
    ends.server.finish(call, reply(b"y".to_vec()));
    ends.pump();
    assert_eq!(
        ends.server.poll_timeout(),
        Some(ends.now + Duration::from_secs(600))
    );
    ends.later(599_999);
    ends.pump();
    assert_eq!(ends.server_events(), [""; 0]);
    let late = ends.open(b"crossing".to_vec());
    ends.later(1);
    assert_eq!(ends.server_events(), [closed("Some(IdleTimeout)")]);
    crate::ends::to_client(&mut ends);
    let events = ends.client_events();
    let lost = format!("Finished {} UNAVAILABLE", late.stream);
    assert!(
        events[2].starts_with(&lost) && events[2].ends_with("unprocessed"),
        "{events:?}"
    );
    assert_eq!(
        output(&mut ends.client, ends.now),
        b"",
        "a call that was given up is not sent"
    );
}

/// Longer than the idle time-out: it counts from the end of the call, however that comes.
#[test]
fn the_end_of_a_long_call_is_no_silence() {
    let ways: [fn(&mut Ends, CallId); 3] = [
        |ends, call| ends.server.finish(call, reply(b"y".to_vec())),
        |ends, call| ends.server.reset(call, &Status::internal("no more")),
        |_, _| {}, // its deadline passes
    ];
    for (number, end) in ways.into_iter().enumerate() {
        let mut ends = Ends::ready(Config::default(), Config::default());
        let timed = Head {
            timeout: Some(Duration::from_secs(700)),
            ..head(PATH)
        };
        let message = Some(b"x".to_vec().into());
        ends.client.open(ends.now, timed, message, true).unwrap();
        ends.pump();
        let (call, _) = ends.accept();
        ends.now = ends.now + Duration::from_secs(700);
        end(&mut ends, call);
        // Before anything is sent.
        ends.later(0);
        let events = ends.server_events();
        assert!(
            !events.contains(&closed("Some(IdleTimeout)")),
            "{number}: {events:?}"
        );
        assert_eq!(ends.server.open_calls(), 0, "{number}");
        output(&mut ends.server, ends.now);
        ends.later(599_999);
        assert_eq!(ends.server_events(), [""; 0], "{number}");
        ends.later(1);
        assert_eq!(
            ends.server_events(),
            [closed("Some(IdleTimeout)")],
            "{number}"
        );
    }
}

#[test]
fn a_ping_measures_the_round_trip_and_its_absence_ends_the_connection() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.client.ping(ends.now);
    ends.client.ping(ends.now);
    crate::ends::to_server(&mut ends);
    ends.later(30);
    crate::ends::to_client(&mut ends);
    assert_eq!(
        ends.client_events(),
        ["Pong { round_trip: 30ms }"],
        "one ping is open at a time"
    );
    ends.server.ping(ends.now);
    ends.later(19_999);
    assert_eq!(ends.server_events(), [""; 0]);
    ends.later(1);
    assert_eq!(ends.server_events(), [closed("Some(PingTimeout)")]);
}

#[test]
fn whatever_comes_behind_a_ping_is_a_sign_of_life() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.open(b"x".to_vec());
    ends.pump();
    let (call, _) = ends.accept();
    ends.server.finish(call, reply(vec![b'y'; 100]));
    let answer = output(&mut ends.server, ends.now);
    ends.client.ping(ends.now);
    for byte in &answer[..10] {
        ends.later(19_999);
        ends.client
            .handle_bytes(ends.now, Segment::from(vec![*byte]));
    }
    ends.later(19_999);
    assert_eq!(ends.client_events(), [""; 0]);
    ends.later(1);
    let lost = "the connection is over: the peer did not answer a ping in time";
    assert_eq!(
        ends.client_events(),
        [
            format!("Finished 1 UNAVAILABLE: {lost}"),
            closed("Some(PingTimeout)")
        ]
    );
}

fn keepalive() -> Config {
    config(|limits| {
        limits.keepalive_interval = Some(Duration::from_millis(100));
        limits.ping_timeout = Duration::from_millis(50);
        limits.idle_timeout = None;
    })
}

#[test]
fn a_silent_peer_is_asked_for_a_sign_of_life_and_left_without_one() {
    let mut ends = Ends::ready(keepalive(), Config::default());
    ends.open(b"x".to_vec());
    ends.pump();
    ends.server_events();
    for _ in 0..3 {
        assert_eq!(
            ends.client.poll_timeout(),
            Some(ends.now + Duration::from_millis(100))
        );
        ends.later(99);
        assert_eq!(output(&mut ends.client, ends.now), b"");
        ends.later(1);
        crate::ends::to_server(&mut ends);
        ends.later(49);
        crate::ends::to_client(&mut ends);
        assert_eq!(ends.client_events(), ["Pong { round_trip: 49ms }"]);
    }
    ends.later(100);
    assert!(!output(&mut ends.client, ends.now).is_empty(), "a ping");
    ends.later(49);
    assert_eq!(ends.client_events(), [""; 0]);
    ends.later(1);
    let events = ends.client_events();
    assert!(
        events[0].starts_with("Finished 1 UNAVAILABLE"),
        "{events:?}"
    );
    assert_eq!(events[1..], [closed("Some(PingTimeout)")]);
}

#[test]
fn a_peer_that_says_something_is_not_asked() {
    let mut ends = Ends::ready(Config::default(), keepalive());
    ends.open(b"x".to_vec());
    ends.pump();
    ends.server_events();
    for _ in 0..5 {
        ends.later(99);
        ends.client.ping(ends.now);
        crate::ends::to_server(&mut ends);
        // What the server says is no sign of the client's life.
        crate::ends::to_client(&mut ends);
        assert_eq!(ends.client_events(), ["Pong { round_trip: 0ns }"]);
    }
    ends.later(99);
    assert_eq!(output(&mut ends.server, ends.now), b"");
    ends.later(1);
    assert!(!output(&mut ends.server, ends.now).is_empty(), "a ping");
}

#[test]
fn without_calls_nobody_is_asked_and_with_the_first_call_at_once() {
    let mut ends = Ends::ready(keepalive(), keepalive());
    assert_eq!(ends.client.poll_timeout(), None);
    ends.later(1000);
    assert_eq!(output(&mut ends.client, ends.now), b"");
    assert_eq!(output(&mut ends.server, ends.now), b"");
    ends.open(b"x".to_vec());
    assert!(ends.client.poll_timeout() <= Some(ends.now));
    ends.later(0);
    ends.later(50);
    let events = ends.client_events();
    assert_eq!(events.last(), Some(&closed("Some(PingTimeout)")));
}

/// A server that stops ends its own reading side on a blocking model, and lets its calls finish.
#[test]
fn a_peer_whose_stream_has_ended_is_not_asked() {
    let mut ends = Ends::ready(Config::default(), keepalive());
    ends.open(b"x".to_vec());
    ends.pump();
    let (call, _) = ends.accept();
    ends.later(100);
    assert!(!output(&mut ends.server, ends.now).is_empty(), "a ping");
    ends.server.handle_end(ends.now);
    ends.later(10_000);
    assert_eq!(ends.server_events(), [""; 0]);
    ends.server.finish(call, reply(b"y".to_vec()));
    assert!(!output(&mut ends.server, ends.now).is_empty());
}

#[test]
fn a_deadline_passes_without_help_of_the_peer() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let timeout = Some(Duration::from_millis(10));
    ends.client
        .open(
            ends.now,
            Head {
                timeout,
                ..head(PATH)
            },
            Some(vec![1].into()),
            true,
        )
        .unwrap();
    crate::ends::to_server(&mut ends);
    ends.server_events();
    ends.now = ends.now + Duration::from_millis(10);
    ends.server.handle_timeout(ends.now);
    let text = "DEADLINE_EXCEEDED: the deadline of the call has passed";
    assert_eq!(ends.server_events(), [format!("Reset 1 {text}")]);
    assert_eq!(ends.server.open_calls(), 0);
    crate::ends::to_client(&mut ends);
    assert_eq!(
        ends.client_events(),
        [format!("Finished 1 {text}")],
        "the server's answer came first"
    );
    ends.later(1);
    assert_eq!(ends.client_events(), [""; 0]);
}

#[test]
fn a_deadline_beyond_time_never_comes() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let timeout = Some(Duration::MAX);
    ends.client
        .open(
            ends.now,
            Head {
                timeout,
                ..head(PATH)
            },
            None,
            true,
        )
        .unwrap();
    ends.pump();
    assert!(ends.server_events()[0].ends_with("Some(Instant(18446744073709551615))"));
    ends.later(1_000_000_000);
    assert_eq!(ends.client.open_calls(), 1);
}

#[test]
fn a_lost_connection_ends_every_call_once() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.open(b"sent".to_vec());
    ends.pump();
    ends.server_events();
    ends.open(b"not sent".to_vec());
    ends.client.handle_end(ends.now);
    ends.client.handle_end(ends.now);
    let lost = "UNAVAILABLE: the peer closed the connection";
    let expected = [
        format!("Finished 1 {lost}"),
        format!("Finished 2 {lost} unprocessed"),
        closed("Some(UnexpectedEnd)"),
    ];
    assert_eq!(ends.client_events(), expected);
    assert_eq!(output(&mut ends.client, ends.now), b"");
    let open = ends.client.open(ends.now, head(PATH), None, true);
    assert_eq!(open, Err(OpenError::Closed));
}

#[test]
fn a_server_answers_whole_calls_after_the_clients_end() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.open(b"request A, then silence".to_vec());
    ends.client.open(ends.now, head(PATH), None, false).unwrap();
    ends.pump();
    let (call, _) = ends.accept();
    ends.server_events();
    ends.server.handle_end(ends.now);
    let lost = "Reset 2 UNAVAILABLE: the peer closed the connection";
    assert_eq!(ends.server_events(), [lost]);
    ends.server.finish(call, reply(b"A".to_vec()));
    assert_eq!(ends.server_events(), [closed("None")]);
    assert!(output(&mut ends.server, ends.now).ends_with(b"A"));
}

#[test]
fn an_end_before_or_between_frames_is_in_order_and_one_within_is_not() {
    for (bytes, error) in [
        (vec![], "None"),
        (b"\xCEKT".to_vec(), "Some(UnexpectedEnd)"),
        (hello(&[]), "None"),
        ([hello(&[]), vec![0]].concat(), "Some(UnexpectedEnd)"),
        (
            [hello(&[]), frame(0x90, 0, 0, 0, b"x")[..12].to_vec()].concat(),
            "Some(UnexpectedEnd)",
        ),
    ] {
        let mut server = Connection::server(Config::default(), at(0));
        server.handle_bytes(at(0), Segment::from(bytes.clone()));
        server.handle_end(at(0));
        assert_eq!(drain(&mut server).pop(), Some(closed(error)), "{bytes:?}");
    }
    let mut client = Connection::client(Config::default(), at(0));
    client.handle_end(at(0));
    assert_eq!(drain(&mut client), [closed("Some(UnexpectedEnd)")]);
}

#[test]
fn a_goodbye_ends_the_peer_with_its_reason() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.open(b"x".to_vec());
    ends.pump();
    ends.server_events();
    ends.server.close(&Status::unavailable("going down"));
    let lost = "UNAVAILABLE: the connection is over";
    assert_eq!(
        ends.server_events(),
        [format!("Reset 1 {lost}: going down"), closed("None")]
    );
    ends.pump();
    let goodbye = "Some(Goodbye { code: UNAVAILABLE, message: \"going down\" })";
    let finished = format!("Finished 1 {lost}: UNAVAILABLE: going down");
    assert_eq!(ends.client_events(), [finished, closed(goodbye)]);
}

#[test]
fn a_drain_before_the_hello_refuses_early_calls() {
    let mut ends = Ends::new(Config::default(), Config::default());
    ends.open(b"early".to_vec());
    ends.server.drain(ends.now);
    ends.pump();
    let refused =
        "Finished 1 UNAVAILABLE: the server takes no new calls on this connection unprocessed";
    assert_eq!(
        ends.client_events(),
        ["Ready", "Draining", refused, &closed("None")]
    );
    assert_eq!(ends.server_events(), ["Ready", &closed("None")]);
}

#[test]
fn a_client_drains_too() {
    let mut ends = Ends::ready(
        Config::default(),
        config(|limits| limits.idle_timeout = None),
    );
    ends.open(b"x".to_vec());
    ends.client.drain(ends.now);
    assert_eq!(
        ends.client.open(ends.now, head(PATH), None, true),
        Err(OpenError::Closed)
    );
    ends.pump();
    assert_eq!(
        (ends.client.poll_timeout(), ends.client.open_calls()),
        (ends.client.poll_timeout(), 1)
    );
    let (call, _) = ends.accept();
    ends.server.finish(call, reply(b"y".to_vec()));
    ends.pump();
    assert_eq!(ends.client_events().pop(), Some(closed("None")));
    assert_eq!(ends.server_events(), [closed("None")]);
}

#[test]
fn an_unknown_pong_is_ignored() {
    let mut server = Connection::server(Config::default(), at(0));
    let bytes = [hello(&[]), frame(6, 0, 0, 0, &[0; 8])].concat();
    server.handle_bytes(at(0), Segment::from(bytes));
    assert_eq!(drain(&mut server), ["Ready"]);
    let goodbye = frame(8, 0, 0, 0, &numbers_and_text(&[0, 0], ""));
    server.handle_bytes(at(0), Segment::from(goodbye));
    assert_eq!(drain(&mut server), [closed("None")]);
}

#[test]
fn a_pong_with_another_number_is_no_answer() {
    let mut server = Connection::server(Config::default(), at(0));
    server.handle_bytes(at(0), Segment::from(hello(&[])));
    server.ping(at(0));
    server.handle_bytes(at(5), Segment::from(frame(6, 0, 0, 0, &[9; 8])));
    assert_eq!(drain(&mut server), ["Ready"]);
    assert!(server.awaits_pong());
    // A sign of life it is.
    server.handle_timeout(at(20_004));
    assert_eq!(drain(&mut server), [""; 0]);
    server.handle_timeout(at(20_005));
    assert_eq!(drain(&mut server), [closed("Some(PingTimeout)")]);
}

#[test]
fn a_drain_vouches_for_the_calls_above_its_last_stream() {
    let mut client = Connection::client(Config::default(), at(0));
    for _ in 0..2 {
        client.open(at(0), head(PATH), None, true).unwrap();
    }
    output(&mut client, at(0));
    let drained = [hello(&[]), frame(7, 0, 0, 0, &[0, 0, 0, 1])].concat();
    client.handle_bytes(at(0), Segment::from(drained));
    client.handle_end(at(0));
    let events = drain(&mut client);
    let lost = "UNAVAILABLE: the peer closed the connection";
    let expected = [
        format!("Finished 1 {lost}"),
        format!("Finished 2 {lost} unprocessed"),
    ];
    assert_eq!(events[2..4], expected);
}

#[test]
fn a_reply_without_credit_does_not_outlive_the_clients_end() {
    for end_first in [true, false] {
        let client = config(|limits| limits.call_credit_bytes = 65_536);
        let mut ends = Ends::ready(client, Config::default());
        ends.open(b"x".to_vec());
        ends.pump();
        let (call, _) = ends.accept();
        if end_first {
            ends.server.handle_end(ends.now);
        }
        ends.server.finish(call, reply(vec![0; 300_000]));
        if !end_first {
            assert!(65_536 <= output(&mut ends.server, ends.now).len());
            ends.server.handle_end(ends.now);
        }
        let said = output(&mut ends.server, ends.now);
        assert!(said.ends_with(b"the peer closed the connection before it gave credit"));
        assert_eq!(ends.server_events(), [closed("None")]);
        assert_eq!(
            (ends.server.open_calls(), ends.server.pending_bytes()),
            (0, 0)
        );
    }
}
