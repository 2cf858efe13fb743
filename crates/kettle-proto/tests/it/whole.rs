//! Whole requests, replies and messages, which go a short way when they lie in one piece, do the same as
//! in parts, when a rule or a limit stands against them too.

use crate::ends::{Ends, at, config, drain, head, reply};
use crate::frames::{frame, hello, path};
use crate::splits::{run, same_at_every_cut};
use kettle_buf::Segment;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{Instant, Machine};
use std::slice;

const OPEN: u8 = 0x01;
const DATA: u8 = 0x02;
const DRAIN: u8 = 0x07;
const TIMEOUT: u8 = 0x02;
const METADATA: u8 = 0x04;
const LENGTH: u8 = 0x10;
const MESSAGE: u8 = 0x20;
const MORE: u8 = 0x40;
const END: u8 = 0x80;
const WHOLE: u8 = MESSAGE | END;

/// The limits of both sides: small ones, so that they can be broken.
fn small() -> Config {
    config(|limits| {
        limits.calls_max = 4;
        limits.message_bytes_max = 70_000;
        limits.frame_bytes_max = 64 * 1024;
        limits.call_credit_bytes = 64 * 1024;
        limits.connection_credit_bytes = 64 * 1024;
    })
}

fn server() -> Connection {
    Connection::server(small(), at(0))
}

/// A client with calls on the streams 1 to 4.
fn client() -> Connection {
    let mut client = Connection::client(small(), at(0));
    for _ in 1..=4 {
        client.open(at(0), head("/a.B/C"), None, true).unwrap();
    }
    client
}

/// What a server reads: a hello, a request that names its method, a whole one, and then `frames`.
fn requests(frames: &[Vec<u8>]) -> Vec<u8> {
    let first = [&path("/a.B/C")[..], b"first"].concat();
    let known = [
        hello(&[]),
        frame(OPEN, WHOLE | 1, 1, 1, &first),
        frame(OPEN, WHOLE, 1, 2, b"second"),
    ];
    [known.concat(), frames.concat()].concat()
}

fn replies(frames: &[Vec<u8>]) -> Vec<u8> {
    [hello(&[(6, 4)]), frames.concat()].concat()
}

/// Feeds a conversation whole and in parts. The events are the same, and the last of them says this.
fn check(start: impl Fn() -> Connection, input: &[u8], last: &str) {
    let (events, _) = same_at_every_cut(start, input);
    let text = events.last().expect("the hello came");
    assert!(text.contains(last), "{last:?} is not in {text:?}");
}

/// As [`check`], when a message comes that is not whole: how much of its credit is returned at a time
/// depends on how it comes, so that the answers may differ.
fn check_events(start: impl Fn() -> Connection, input: &[u8], last: &str) {
    let (whole, _) = run(start(), input, &[]);
    let text = whole.last().expect("the hello came");
    assert!(text.contains(last), "{last:?} is not in {text:?}");
    for size in [1, 7, 1000, 50_000] {
        let cuts: Vec<usize> = (1..input.len()).step_by(size).collect();
        let (events, _) = run(start(), input, &cuts);
        assert_eq!(events, whole, "cut into pieces of {size}");
    }
}

#[test]
fn whole_requests_are_the_same_in_parts() {
    let whole = |stream, bytes: &[u8]| frame(OPEN, WHOLE, 1, stream, bytes);
    let message = |stream, text| format!("Message {stream} {text:?} end=true");
    let many = vec![whole(3, b"third"), whole(9, b"after a gap")];
    check(server, &requests(&many), &message(9, "after a gap"));
    check(server, &requests(&[whole(3, b"")]), &message(3, ""));
    let fifth = vec![whole(3, b"3"), whole(4, b"4"), whole(5, b"over calls_max")];
    check(server, &requests(&fifth), &message(4, "4"));
    let not_last = vec![frame(OPEN, MESSAGE, 1, 3, b"goes on"), whole(4, b"4")];
    check(server, &requests(&not_last), &message(4, "4"));
    let no_message = vec![frame(OPEN, END, 1, 3, b""), whole(4, b"4")];
    check(server, &requests(&no_message), &message(4, "4"));
    let last_of_two = vec![
        frame(OPEN, MESSAGE, 1, 3, b"one"),
        frame(DATA, WHOLE, 0, 3, b"two"),
    ];
    check(server, &requests(&last_of_two), &message(3, "two"));
    let unknown_later = vec![frame(0x90, WHOLE, 1, 3, b"skipped"), whole(4, b"4")];
    check(server, &requests(&unknown_later), &message(4, "4"));
}

/// Bytes that look like a whole request are none in the middle of a frame.
#[test]
fn a_message_that_looks_like_a_request_is_a_message() {
    let inner = frame(OPEN, WHOLE, 1, 7, b"inner");
    let outer = frame(OPEN, WHOLE, 1, 3, &[b"outer", &inner[..]].concat());
    let (events, _) = same_at_every_cut(server, &requests(&[outer]));
    assert_eq!(events.len(), 4, "{events:#?}");
    let entry = [&b"\x05b-bin\0\x11"[..], &inner].concat();
    let metadata = [&(entry.len() as u32).to_be_bytes()[..], &entry].concat();
    let outer = frame(OPEN, METADATA | END, 1, 3, &metadata);
    let (events, _) = same_at_every_cut(server, &requests(&[outer]));
    assert_eq!(events.len(), 5, "{events:#?}");
}

/// A call whose only message comes in its own frame is reported with it, or not at all.
#[test]
fn a_call_that_does_not_come_whole_is_not_reported() {
    let second = [1_000u64.to_be_bytes().as_slice(), b"too late"].concat();
    let timed = frame(OPEN, WHOLE | TIMEOUT, 1, 3, &second);
    let input = requests(&[timed]);
    let (whole, _) = run(server(), &input, &[]);
    assert!(whole[3].contains("Message 3 \"too late\""), "{whole:?}");
    let late = Instant::from_nanos(1_000);
    for cut in [1, 8] {
        let mut server = server();
        let start = Segment::copy_from_slice(&input[..input.len() - cut]);
        server.handle_bytes(at(0), start);
        assert_eq!(drain(&mut server), whole[..3]);
        assert_eq!(server.open_calls(), 3);
        server.handle_timeout(late);
        server.handle_bytes(late, Segment::copy_from_slice(&input[input.len() - cut..]));
        assert_eq!(drain(&mut server), [""; 0], "it is over");
        assert_eq!(server.open_calls(), 2);
    }
    let mut server = server();
    server.handle_bytes(at(0), Segment::copy_from_slice(&input[..input.len() - 1]));
    drain(&mut server);
    server.handle_end(at(0));
    assert_eq!(
        drain(&mut server),
        [""; 0],
        "two calls wait for their answers"
    );
}

#[test]
fn requests_against_a_rule_are_the_same_in_parts() {
    let whole = |stream, bytes: &[u8]| frame(OPEN, WHOLE, 1, stream, bytes);
    let cases = [
        (whole(2, b"again"), "do not increase"),
        (whole(0, b"none"), "wrong stream"),
        (frame(OPEN, WHOLE, 2, 3, b"x"), "not defined"),
        (frame(OPEN, WHOLE, 0, 3, b"x"), "neither method nor PATH"),
        (frame(DATA, WHOLE, 1, 2, b"x"), "a method in a frame"),
        (frame(DATA, WHOLE, 0, 2, b"x"), "DATA behind END"),
        (frame(OPEN, END, 1, 3, b"x"), "without MESSAGE"),
        (whole(3, &[7; 65_537]), "frame_bytes_max"),
    ];
    for (broken, rule) in cases {
        check(server, &requests(&[broken, whole(8, b"late")]), rule);
    }
    let drain = frame(DRAIN, 0, 0, 0, &[0, 0, 0, 2]);
    let behind = [drain, whole(3, b"behind")];
    check(server, &requests(&behind), "behind the client's own DRAIN");
}

#[test]
fn requests_against_a_limit_are_the_same_in_parts() {
    let whole = |stream, bytes: &[u8]| frame(OPEN, WHOLE, 1, stream, bytes);
    let low = || {
        let limits = config(|limits| limits.message_bytes_max = 10);
        Connection::server(limits, at(0))
    };
    let refused = vec![whole(3, b"eleven byte"), whole(4, b"4")];
    check(low, &requests(&refused), "Message 4");
    let call_credit = || {
        let limits = config(|limits| limits.call_credit_bytes = 64 * 1024);
        Connection::server(limits, at(0))
    };
    let over = vec![whole(3, &[7; 65_537])];
    check(call_credit, &requests(&over), "call_credit_bytes");
    let short_frames = || {
        let limits = config(|limits| limits.frame_bytes_max = 64 * 1024);
        Connection::server(limits, at(0))
    };
    check(short_frames, &requests(&over), "frame_bytes_max");
    // 60,000 bytes are held by a message that has not come whole.
    let part = [&70_000u64.to_be_bytes()[..], &[7; 60_000]].concat();
    let held = frame(OPEN, MESSAGE | LENGTH | MORE, 1, 3, &part);
    let fits = vec![held.clone(), whole(4, &[7; 5_000])];
    check_events(server, &requests(&fits), "Message 4");
    let over = vec![held, whole(4, &[7; 6_000])];
    check_events(server, &requests(&over), "connection_credit_bytes");
    // Connection credit of messages that came whole is returned on the way.
    let returned = (1..=4)
        .map(|n| whole(2 + n, &[7; 40_000]))
        .collect::<Vec<_>>();
    let wide = || {
        let limits = config(|limits| limits.connection_credit_bytes = 64 * 1024);
        Connection::server(limits, at(0))
    };
    check(wide, &requests(&returned), "Message 6");
    let draining = || {
        let mut server = server();
        server.drain(at(0));
        server
    };
    check(draining, &requests(&[whole(3, b"x")]), "Ready");
}

#[test]
fn whole_replies_are_the_same_in_parts() {
    let whole = |stream, bytes: &[u8]| frame(DATA, WHOLE, 0, stream, bytes);
    let all = [4, 1, 3, 2].map(|stream| whole(stream, b"reply"));
    check(client, &replies(&all), "Finished 2 OK");
    let drained = frame(DRAIN, 0, 0, 0, &[0, 0, 0, 4]);
    let and_drained = [&[drained][..], &all].concat();
    check(client, &replies(&and_drained), "Closed { error: None }");
    check(client, &replies(&[whole(1, b"")]), "Finished 1 OK");
    let twice = vec![whole(1, b"reply"), whole(1, b"over"), whole(2, b"2")];
    check(client, &replies(&twice), "Finished 2 OK");
    let later = vec![frame(DATA, MESSAGE, 0, 1, b"one"), whole(1, b"two")];
    check(client, &replies(&later), "Finished 1 OK");
    let parts = vec![
        frame(
            DATA,
            MESSAGE | LENGTH | MORE,
            0,
            1,
            &[0, 0, 0, 0, 0, 0, 0, 6, b'p', b'a'],
        ),
        whole(2, b"between"),
        whole(1, b"rts."),
    ];
    check_events(client, &replies(&parts), "Finished 1 OK");
    let cases = [
        (whole(5, b"x"), "was not opened"),
        (frame(DATA, WHOLE, 1, 1, b"x"), "a method in a frame"),
        (frame(OPEN, WHOLE, 1, 5, b"x"), "OPEN from a server"),
        (whole(1, &[7; 65_537]), "frame_bytes_max"),
    ];
    for (broken, rule) in cases {
        check(client, &replies(&[broken, whole(2, b"late")]), rule);
    }
    let part = [&70_000u64.to_be_bytes()[..], &[7; 60_000]].concat();
    let held = frame(DATA, MESSAGE | LENGTH | MORE, 0, 3, &part);
    let over = vec![held, whole(4, &[7; 6_000])];
    check_events(client, &replies(&over), "connection_credit_bytes");
    let low = || {
        let limits = config(|limits| limits.message_bytes_max = 10);
        let mut client = Connection::client(limits, at(0));
        client.open(at(0), head("/a.B/C"), None, true).unwrap();
        client
    };
    check(
        low,
        &replies(&[whole(1, b"eleven byte")]),
        "message_bytes_max",
    );
    let call_credit = || {
        let limits = config(|limits| limits.call_credit_bytes = 64 * 1024);
        let mut client = Connection::client(limits, at(0));
        client.open(at(0), head("/a.B/C"), None, true).unwrap();
        client
    };
    let over = replies(&[whole(1, &[7; 65_537])]);
    check(call_credit, &over, "call_credit_bytes");
}

#[test]
fn messages_of_streams_are_the_same_in_parts() {
    let opened = frame(OPEN, 0, 1, 3, b"");
    let on = |stream, bytes: &[u8]| frame(DATA, MESSAGE, 0, stream, bytes);
    let last = frame(DATA, WHOLE, 0, 3, b"last");
    let sent = vec![opened.clone(), on(3, b"one"), on(3, b""), on(3, b"three")];
    check(server, &requests(&sent), "Message 3 \"three\" end=false");
    let ended = [&sent[..], slice::from_ref(&last)].concat();
    check(server, &requests(&ended), "Message 3 \"last\" end=true");
    let reset = frame(0x03, 0, 0, 3, &[0, 0, 0, 1, 0, 0]);
    let given_up = vec![opened.clone(), reset, on(3, b"late"), on(3, b"later")];
    check(server, &requests(&given_up), "Reset 3");
    let part = |bytes| frame(DATA, MESSAGE | LENGTH | MORE, 0, 3, bytes);
    let parts = [part(&[0, 0, 0, 0, 0, 0, 0, 6, b'p', b'a']), on(3, b"rts.")];
    let parts = [slice::from_ref(&opened), &parts].concat();
    check_events(server, &requests(&parts), "Message 3 \"parts.\" end=false");
    let cases = [
        (vec![on(5, b"x")], "was not opened"),
        (vec![last, on(3, b"x")], "DATA behind END"),
        (
            vec![frame(DATA, MESSAGE, 1, 3, b"x")],
            "a method in a frame",
        ),
        (vec![on(3, &[7; 65_537])], "frame_bytes_max"),
    ];
    for (broken, rule) in cases {
        let broken = [slice::from_ref(&opened), &broken, &[on(3, b"late")]].concat();
        check_events(server, &requests(&broken), rule);
    }
    // All is read before the first message is taken.
    let untaken = [opened, on(3, &[7; 40_000]), on(3, &[7; 40_000])];
    let mut server = server();
    server.handle_bytes(at(0), requests(&untaken).into());
    server.handle_timeout(at(0));
    let events = drain(&mut server);
    let last = events.last().expect("the connection ends");
    assert!(last.contains("call_credit_bytes"), "{events:?}");
    let came = [2, 1, 2].map(|stream| on(stream, b"reply"));
    check(client, &replies(&came), "Message 2 \"reply\" end=false");
    let headers = frame(DATA, METADATA, 0, 1, &[0; 4]);
    let behind = vec![on(1, b"one"), headers, on(2, b"late")];
    check(client, &replies(&behind), "METADATA behind the start");
    let low = || {
        let limits = config(|limits| limits.message_bytes_max = 10);
        let mut client = Connection::client(limits, at(0));
        client.open(at(0), head("/a.B/C"), None, true).unwrap();
        client
    };
    let over = replies(&[on(1, b"eleven byte")]);
    check(low, &over, "message_bytes_max");
}

#[test]
fn a_plain_reply_over_the_peers_limit_is_refused() {
    let low = config(|limits| limits.message_bytes_max = 10);
    let mut ends = Ends::ready(low, Config::default());
    for (size, end) in [(10, "OK"), (11, "over the peer's limit")] {
        ends.open(b"request".to_vec());
        ends.pump();
        let (call, _) = ends.accept();
        ends.server.finish(call, reply(vec![7; size]));
        ends.pump();
        let events = ends.client_events();
        let last = events.last().expect("the call ends");
        assert!(last.contains(end), "{size} bytes: {events:?}");
    }
}
