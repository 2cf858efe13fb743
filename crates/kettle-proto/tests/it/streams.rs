//! Streams: when messages may be sent, when their credit comes back, what waits where.

use crate::ends::{self, Ends, PATH, config, head};
use kettle_buf::Payload;
use kettle_proto::limits::Limits;
use kettle_proto::native::Config;
use kettle_proto::{CallId, Closing, Event, Machine, Metadata, Status};

/// The least credit of a call that there can be.
const CREDIT: u64 = 65_536;

fn small() -> Config {
    config(|limits: &mut Limits| limits.call_credit_bytes = CREDIT as u32)
}

fn message(bytes: u64) -> Payload {
    vec![7; bytes as usize].into()
}

/// A call that goes on on both sides, whose two ends give the least credit.
fn streaming() -> (Ends, CallId, CallId) {
    let mut ends = Ends::ready(small(), small());
    let (client, server) = open(&mut ends);
    (ends, client, server)
}

fn open(ends: &mut Ends) -> (CallId, CallId) {
    let client = ends.client.open(ends.now, head(PATH), None, false).unwrap();
    ends.pump();
    (client, ends.accept().0)
}

/// Takes the messages that came to the client, without giving credit for them.
fn received(ends: &mut Ends) -> Vec<u64> {
    let mut lengths = Vec::new();
    while let Some(event) = ends.client.poll_event() {
        if let Event::Message { message, .. } = event {
            lengths.push(message.len() as u64);
        }
    }
    lengths
}

#[test]
fn credit_comes_back_when_a_message_is_consumed_and_not_before() {
    let (mut ends, client, server) = streaming();
    for _ in 0..5 {
        ends.server.send_message(server, message(16_384), false);
    }
    ends.pump();
    assert_eq!(received(&mut ends), [16_384; 4], "as many as credit covers");
    ends.pump();
    assert_eq!(
        ends.server.pending_bytes(),
        16_384,
        "their events were taken, nothing else"
    );
    ends.client.consumed(client, CREDIT / 2 - 1);
    ends.pump();
    assert_eq!(
        received(&mut ends),
        [0; 0],
        "credit comes in steps of half of it"
    );
    ends.client.consumed(client, 1);
    ends.pump();
    assert_eq!(received(&mut ends), [16_384]);
    assert_eq!(ends.server.pending_bytes(), 0);
}

#[test]
fn one_message_beyond_the_credit_may_wait_and_then_room_is_told() {
    let (mut ends, client, server) = streaming();
    let mut sent = 0;
    while ends.server.has_room(server) {
        ends.server.send_message(server, message(20_000), false);
        sent += 1;
    }
    assert_eq!(sent, 4, "80,000 bytes at a credit of 65,536");
    ends.pump();
    assert!(
        !ends.server.has_room(server),
        "the last of them waits for credit"
    );
    assert_eq!(ends.server_events(), [""; 0]);
    assert_eq!(received(&mut ends), [20_000; 3]);
    ends.client.consumed(client, 60_000);
    ends.pump();
    assert_eq!(
        ends.server_events(),
        [format!("Room {{ call: {server:?} }}")],
        "once"
    );
    assert!(ends.server.has_room(server));
    assert_eq!(received(&mut ends), [20_000]);
}

#[test]
fn room_is_told_when_what_waited_was_sent() {
    let (mut ends, _, server) = streaming();
    // Long messages take turns even where there is credit.
    ends.server.send_message(server, message(CREDIT), false);
    assert!(!ends.server.has_room(server), "its credit covers no more");
    assert_eq!(ends.server_events(), [""; 0]);
    ends.pump();
    assert_eq!(
        ends.server_events(),
        [format!("Room {{ call: {server:?} }}")]
    );
}

#[test]
fn room_is_told_to_nobody_who_did_not_ask_or_whose_call_is_over() {
    let (mut ends, client, server) = streaming();
    ends.server.send_message(server, message(CREDIT), false);
    ends.pump();
    ends.client.consumed(client, CREDIT);
    ends.pump();
    assert_eq!(ends.server_events(), [""; 0]);
    ends.server.send_message(server, message(CREDIT), false);
    assert!(!ends.server.has_room(server));
    ends.server.finish(server, Closing::default());
    ends.pump();
    assert_eq!(ends.server_events(), [""; 0]);
    assert!(!ends.server.has_room(server), "it is over");
}

#[test]
fn a_stream_without_credit_is_stalled_and_in_nobodys_way() {
    let (mut ends, client, server) = streaming();
    let (_, other) = open(&mut ends);
    ends.server.send_message(server, message(3 * CREDIT), false);
    assert_eq!(ends.server.stalled_bytes(), 0, "it may have a turn yet");
    ends.pump();
    // Credit for a message that is incomplete came back on the way; what is whole is not consumed.
    assert_eq!(received(&mut ends), [3 * CREDIT]);
    ends.server.send_message(server, message(3 * CREDIT), false);
    ends.server.send_message(server, message(10), false);
    ends.pump();
    let waiting = ends.server.pending_bytes();
    assert!(0 < waiting, "{waiting}");
    assert_eq!(ends.server.stalled_bytes(), waiting);
    assert!(ends.server.has_room(other));
    ends.server.send_message(other, message(20_000), false);
    ends.pump();
    assert_eq!(
        ends.server.pending_bytes(),
        waiting,
        "the other is not held up"
    );
    // The end of a stream counts as an answer, which is in the way of other answers.
    ends.server.finish(server, Closing::default());
    ends.pump();
    assert_eq!(ends.server.stalled_bytes(), 0);
    assert_eq!(ends.server.pending_bytes(), waiting);
    ends.client.reset(client, &Status::cancelled("given up"));
    ends.pump();
    assert_eq!(
        (ends.server.pending_bytes(), ends.server.stalled_bytes()),
        (0, 0)
    );
}

#[test]
fn a_stalled_stream_that_is_reset_is_not_counted_any_more() {
    let (mut ends, _, server) = streaming();
    for _ in 0..3 {
        ends.server.send_message(server, message(CREDIT), false);
    }
    ends.pump();
    assert_eq!(ends.server.stalled_bytes(), 2 * CREDIT);
    ends.server.reset(server, &Status::aborted("no"));
    ends.pump();
    assert_eq!(
        (ends.server.pending_bytes(), ends.server.stalled_bytes()),
        (0, 0)
    );
}

#[test]
fn empty_metadata_says_that_a_reply_has_begun() {
    let (mut ends, client, server) = streaming();
    ends.server.send_headers(server, Metadata::new());
    ends.pump();
    let expected = [format!("Headers {} []", client.stream)];
    assert_eq!(ends::drain(&mut ends.client), expected);
    ends.server.send_message(server, message(1), false);
    ends.server.finish(server, Closing::default());
    ends.pump();
    let events = ends.client_events();
    assert!(
        events[0].starts_with("Message ") && events[1].ends_with(" OK"),
        "{events:?}"
    );
}

#[test]
fn a_reply_has_its_metadata_whatever_came_before_it() {
    let (mut ends, client, server) = streaming();
    ends.client.send_message(client, message(1), false);
    ends.pump();
    let mut metadata = Metadata::new();
    metadata.append("tea", "green").unwrap();
    ends.server.send_headers(server, metadata);
    ends.pump();
    let expected = format!("Headers {} [(\"tea\", {:?})]", client.stream, b"green");
    assert_eq!(ends::drain(&mut ends.client), [expected]);
}
