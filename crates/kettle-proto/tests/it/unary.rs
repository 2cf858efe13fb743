//! Unary calls: one request, one reply.

use crate::ends::{self, Ends, config, head, reply, status};
use kettle_buf::{Chain, Segment};
use kettle_proto::native::Config;
use kettle_proto::{Closing, Event, Head, Machine, Metadata, Method, Status};
use std::time::Duration;

#[test]
fn a_call_is_one_frame_each_way() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    for _ in 0..3 {
        let call = ends.open(b"hi!".to_vec());
        let path_bytes = if call.stream == 1 {
            2 + ends::PATH.len()
        } else {
            0
        };
        assert_eq!(ends::to_server(&mut ends), 12 + path_bytes + 3);
        let (server_call, message) = ends.accept();
        assert_eq!(message.as_deref(), Some(&b"hi!"[..]));
        ends.server.finish(server_call, reply(b"ho".to_vec()));
        assert_eq!(ends::to_client(&mut ends), 12 + 2);
        let stream = call.stream;
        let expected = [
            format!("Message {stream} \"ho\" end=false"),
            format!("Finished {stream} OK"),
        ];
        assert_eq!(ends.client_events(), expected);
        assert_eq!((ends.client.open_calls(), ends.server.open_calls()), (0, 0));
    }
}

#[test]
fn the_method_is_named_once() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    for n in 1..=3 {
        ends.open(b"".to_vec());
        ends.pump();
        let Some(Event::Call { method, .. }) = ends.server.poll_event() else {
            panic!()
        };
        assert_eq!(method, Method::Known(1), "call {n}");
        assert_eq!(ends.server.method_path(&method), Some(ends::PATH));
        ends.server_events();
    }
}

#[test]
fn a_message_is_a_slice_of_what_was_received() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.open(vec![7; 1000]);
    let received = Segment::from(ends::output(&mut ends.client, ends.now));
    let range = received.as_ptr_range();
    ends.server.handle_bytes(ends.now, received);
    let Some(Event::Call { message, .. }) = ends.server.poll_event() else {
        panic!()
    };
    let message = message.expect("it came with the call");
    assert!(range.contains(&message.front().as_ptr()));
}

#[test]
fn metadata_and_status_arrive_whole() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let mut metadata = Metadata::new();
    metadata.append("user", "ann").unwrap();
    metadata.append("trace-bin", vec![0, 255]).unwrap();
    let head = Head {
        path: "/a.B/C",
        metadata: metadata.clone(),
        timeout: Some(Duration::from_secs(1)),
    };
    ends.client.open(ends.now, head, None, true).unwrap();
    ends.pump();
    let Some(Event::Call {
        call,
        metadata: got,
        deadline,
        ..
    }) = ends.server.poll_event()
    else {
        panic!()
    };
    assert_eq!(
        (got, deadline),
        (metadata.clone(), Some(ends.now + Duration::from_secs(1)))
    );
    assert_eq!(ends.server_events(), ["End 1"]);
    let sent = Status::not_found("no such thing")
        .with_details(vec![1, 2, 3])
        .with_metadata(metadata.clone());
    let closing = Closing {
        headers: metadata.clone(),
        message: None,
        status: sent.clone(),
    };
    ends.server.finish(call, closing);
    ends.pump();
    let Some(Event::Headers { metadata: got, .. }) = ends.client.poll_event() else {
        panic!()
    };
    assert_eq!(got, metadata);
    let Some(Event::Finished {
        status,
        unprocessed,
        ..
    }) = ends.client.poll_event()
    else {
        panic!()
    };
    assert_eq!((status, unprocessed), (sent, false));
}

#[test]
fn a_long_message_is_cut_and_put_together() {
    for size in [
        16 * 1024,
        16 * 1024 + 1,
        64 * 1024,
        1024 * 1024,
        3_000_000,
        4 * 1024 * 1024,
    ] {
        let bytes: Vec<u8> = (0..size).map(|n: usize| (n * 31 % 251) as u8).collect();
        let mut ends = Ends::ready(Config::default(), Config::default());
        ends.open(bytes.clone());
        ends.pump();
        let (call, message) = ends.accept();
        assert!(
            message.as_ref() == Some(&bytes),
            "a request of {size} bytes"
        );
        ends.server.finish(call, reply(bytes.clone()));
        ends.pump();
        let Some(Event::Message { message, .. }) = ends.client.poll_event() else {
            panic!()
        };
        assert!(message == bytes[..], "a reply of {size} bytes");
        assert_eq!(ends.client_events(), ["Finished 1 OK"]);
        assert_eq!(
            (ends.client.pending_bytes(), ends.server.pending_bytes()),
            (0, 0)
        );
    }
}

#[test]
fn a_client_does_not_wait_for_the_hello() {
    let mut ends = Ends::new(Config::default(), Config::default());
    for _ in 0..2 {
        ends.open(b"early".to_vec());
    }
    ends::to_server(&mut ends);
    assert!(matches!(ends.server.poll_event(), Some(Event::Ready)));
    for _ in 0..2 {
        let Some(Event::Call { call, method, .. }) = ends.server.poll_event() else {
            panic!()
        };
        assert_eq!(method, Method::Path(ends::PATH.into()));
        ends.server.finish(call, status(Status::ok("")));
    }
    ends.pump();
    assert_eq!(
        ends.client_events(),
        ["Ready", "Finished 1 OK", "Finished 2 OK"]
    );
}

#[test]
fn a_cancelled_call_says_no_more() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let call = ends.open(b"x".to_vec());
    ends.pump();
    let (server_call, _) = ends.accept();
    ends.client.reset(call, &Status::cancelled("given up"));
    ends.server.finish(server_call, reply(b"late".to_vec()));
    ends.pump();
    assert_eq!(ends.client_events(), [""; 0]);
    assert_eq!(
        ends.server_events(),
        [""; 0],
        "it was answered before the cancel came"
    );
    let call = ends.open(b"x".to_vec());
    ends.pump();
    let (server_call, _) = ends.accept();
    ends.client.reset(call, &Status::cancelled("given up"));
    ends.pump();
    assert_eq!(ends.server_events(), ["Reset 2 CANCELLED: given up"]);
    ends.server.finish(server_call, reply(b"late".to_vec()));
    assert_eq!(
        ends::to_client(&mut ends),
        0,
        "a call that is over is not answered"
    );
}

#[test]
fn a_deadline_ends_the_call_on_both_sides() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let with_timeout = Head {
        timeout: Some(Duration::from_millis(50)),
        ..head(ends::PATH)
    };
    ends.client
        .open(ends.now, with_timeout, None, true)
        .unwrap();
    ends.pump();
    ends.server_events();
    assert_eq!(
        ends.client.poll_timeout(),
        Some(ends.now + Duration::from_millis(50))
    );
    ends.later(49);
    assert_eq!(ends.client_events(), [""; 0]);
    ends.later(1);
    let text = "DEADLINE_EXCEEDED: the deadline of the call has passed";
    assert_eq!(ends.client_events(), [format!("Finished 1 {text}")]);
    assert_eq!(ends.server_events(), [format!("Reset 1 {text}")]);
    ends.pump();
    assert_eq!(
        (ends.client_events().len(), ends.server_events().len()),
        (0, 0)
    );
    assert_eq!((ends.client.open_calls(), ends.server.open_calls()), (0, 0));
}

#[test]
fn a_drain_lets_open_calls_finish() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.open(b"x".to_vec());
    ends.pump();
    let (call, _) = ends.accept();
    let late = ends.open(b"late".to_vec());
    ends.server.drain(ends.now);
    ends.pump();
    let refused =
        "Finished 2 UNAVAILABLE: the server takes no new calls on this connection unprocessed";
    let mut events = ends.client_events();
    events.sort();
    assert_eq!(events, ["Draining", refused], "stream {}", late.stream);
    assert!(
        ends.client
            .open(ends.now, head(ends::PATH), None, true)
            .is_err()
    );
    ends.server.finish(call, reply(b"y".to_vec()));
    ends.pump();
    let closed = "Closed { error: None }";
    assert_eq!(
        ends.client_events(),
        ["Message 1 \"y\" end=false", "Finished 1 OK", closed]
    );
    assert_eq!(ends.server_events(), [closed]);
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_connection_lives() {
    let small = || config(|limits| limits.message_bytes_max = 1_000_000);
    let mut ends = Ends::new(Config::default(), small());
    ends.open(vec![1; 1_000_000]);
    ends.open(vec![1; 1_000_001]);
    ends.pump();
    let text = "a message of 1000001 bytes is over the limit message_bytes_max of 1000000";
    let events = ends.client_events();
    assert_eq!(
        events,
        [
            "Ready".into(),
            format!("Finished 2 RESOURCE_EXHAUSTED: {text}")
        ]
    );
    ends.server.poll_event();
    let (call, message) = ends.accept();
    assert_eq!(message.map(|message| message.len()), Some(1_000_000));
    ends.server.finish(call, status(Status::ok("")));
    ends.pump();
    assert_eq!(ends.client_events(), ["Finished 1 OK"]);
    let error = ends.client.open(
        ends.now,
        head(ends::PATH),
        Some(vec![1; 1_000_001].into()),
        true,
    );
    let text = "a message of 1000001 bytes is over the peer's limit message_bytes_max of 1000000";
    assert_eq!(
        error.unwrap_err().to_string(),
        format!("RESOURCE_EXHAUSTED: {text}")
    );
}

#[test]
fn an_empty_message_is_a_message() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.open(Chain::new());
    ends.pump();
    let (call, message) = ends.accept();
    assert_eq!(message, Some(Vec::new()));
    ends.server.finish(call, reply(Vec::new()));
    ends.pump();
    assert_eq!(
        ends.client_events(),
        ["Message 1 \"\" end=false", "Finished 1 OK"]
    );
}

#[test]
fn a_cancel_drops_what_waits_to_be_sent() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let call = ends.open(vec![0; 3_000_000]);
    assert!(3_000_000 <= ends.client.pending_bytes());
    ends.client.reset(call, &Status::cancelled("given up"));
    let said = ends::output(&mut ends.client, ends.now);
    assert!(said.len() < 200, "the head and the reset, no message bytes");
    assert_eq!(ends.client.pending_bytes(), 0);
}

#[test]
fn messages_of_a_call_keep_their_order() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let call = ends
        .client
        .open(ends.now, head(ends::PATH), None, false)
        .unwrap();
    let sizes = [100_000, 10, 2_000_000, 0, 5];
    for size in sizes {
        ends.client.send_message(call, vec![1; size].into(), false);
    }
    ends.client.end(call);
    ends.pump();
    let events = ends.server_events();
    let long = |n: usize| format!("Message 1 {:?} end=false", format!("{n} bytes, sum {n}"));
    let short = |n: usize| format!("Message 1 {:?} end=false", "\u{1}".repeat(n));
    let expected = [
        long(100_000),
        short(10),
        long(2_000_000),
        short(0),
        short(5),
        "End 1".to_owned(),
    ];
    assert_eq!(events[1..], expected);
}
