//! Tests of what becomes of a recording.

use super::*;
use crate::lab::cell::Round;
use crate::lab::plan::Row;
use crate::lab::traffic::Load;
use bytes::Bytes;
use kettle::Model;

/// A call of a second after the beginning, with 10 bytes for 20.
pub fn call(method: &str) -> RecordedCall {
    RecordedCall {
        at: Duration::from_secs(1),
        connection: Some(1),
        method: method.into(),
        kind: Kind::Unary,
        requests: Flow {
            messages: 1,
            bytes: 10,
        },
        replies: Flow {
            messages: 1,
            bytes: 20,
        },
        took: Duration::from_micros(7),
        status: "OK".into(),
        payloads: None,
    }
}

fn recording(calls: Vec<RecordedCall>) -> Recording {
    Recording {
        payloads: calls.iter().any(|call| call.payloads.is_some()),
        calls,
        warnings: Vec::new(),
    }
}

fn options(speed: f64) -> ReplayOptions {
    ReplayOptions {
        speed,
        turn: None,
        program: None,
    }
}

/// What is said of it, with single spaces.
fn said(replay: &Replay) -> String {
    let mut out = Vec::new();
    replay.write_summary(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_recording_is_told_with_methods_shares_and_sizes() {
    let at = |millis: u64, call: RecordedCall| RecordedCall {
        at: Duration::from_millis(millis),
        ..call
    };
    let mut calls: Vec<_> = (0..3).map(|n| at(5000 + 100 * n, call("/a.B/C"))).collect();
    let stream = RecordedCall {
        kind: Kind::Bidi,
        requests: Flow {
            messages: 12,
            bytes: 1200,
        },
        replies: Flow {
            messages: 3,
            bytes: 6144,
        },
        ..call("/a.B/D")
    };
    calls.push(at(5300, stream));
    let replay = Replay::new(recording(calls), "f".to_owned(), options(1.0));
    assert_eq!(replay.to_string(), "replay of f");
    let text = said(&replay);
    for line in [
        "f: 4 calls in 0.40 s, on 1 connection at a time: 10.0/s.",
        "a.B/C unary 3 75.0 % 10 B 10 B 20 B 20 B 7.00 µs",
        "a.B/D bidi 1 25.0 % 12 × 100 B 100 B 3 × 2.00 KiB 2.00 KiB 7.00 µs",
        "A turn of 0.60 s makes them 1.50 times.",
        "That is few: figures differ by chance. --duration or --speed make more.",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    assert_eq!((replay.script.calls.len(), replay.turn), (4, TURN_LEAST));
    assert_eq!(
        replay.script.calls[0].at,
        Duration::ZERO,
        "silence before is no traffic"
    );
}

#[test]
fn speed_makes_pauses_shorter() {
    let calls: Vec<_> = (0..1001)
        .map(|n| RecordedCall {
            at: Duration::from_millis(20 * n),
            ..call("/a/B")
        })
        .collect();
    let slow = Replay::new(recording(calls.clone()), "f".to_owned(), options(1.0));
    assert_eq!(
        (slow.turn, slow.script.calls.len(), slow.pieces),
        (TURN_MOST, 150, 20)
    );
    let fast = Replay::new(recording(calls), "f".to_owned(), options(10.0));
    assert_eq!((fast.script.calls.len(), fast.pieces), (1001, 1));
    assert_eq!(fast.script.calls[1000].at, Duration::from_secs(2));
    assert!(said(&fast).contains("at 10 times the recorded speed"));
}

#[test]
fn only_calls_that_can_be_made_again_are_made_to_a_server_of_ones_own() {
    let mut without = recording(vec![call("/a/B")]);
    let failure = keep_repeatable(&mut without, "f").unwrap_err().to_string();
    assert!(
        failure.contains("f has no payloads") && failure.contains("--record-payloads"),
        "{failure}"
    );
    let with = RecordedCall {
        payloads: Some(vec![Bytes::from("x")]),
        ..call("/a/B")
    };
    let given_up = RecordedCall {
        status: "CANCELLED".into(),
        ..with.clone()
    };
    let mut some = recording(vec![with.clone(), given_up.clone(), call("/a/B")]);
    keep_repeatable(&mut some, "f").unwrap();
    assert_eq!(some.calls, [with]);
    assert_eq!(
        some.warnings,
        ["2 calls left out, because they were given up, or are without payloads"]
    );
    let failure = keep_repeatable(&mut recording(vec![given_up]), "f").unwrap_err();
    assert!(
        failure
            .to_string()
            .contains("no call that can be made again"),
        "{failure}"
    );
}

#[test]
fn methods_that_a_turn_leaves_out_are_told() {
    let mut calls: Vec<_> = (0..1001)
        .map(|n| RecordedCall {
            at: Duration::from_millis(20 * n),
            ..call("/a/B")
        })
        .collect();
    // The first piece ends at 150 ms, the second begins at 1.001 s.
    calls[20] = RecordedCall {
        at: calls[20].at,
        ..call("/a/Seldom")
    };
    let replay = Replay::new(recording(calls.clone()), "f".to_owned(), options(1.0));
    let wanted = "Note: f: no call of a/Seldom is in those pieces.";
    assert!(said(&replay).contains(wanted), "{}", said(&replay));
    let whole = Replay::new(recording(calls), "f".to_owned(), options(10.0));
    assert!(!said(&whole).contains("Note"), "{}", said(&whole));
}

#[test]
fn messages_that_are_too_long_are_told() {
    let mut long = call("/a/B");
    long.replies.bytes = 5 << 20;
    let replay = Replay::new(recording(vec![long]), "f".to_owned(), options(1.0));
    let wanted =
        "Note: f: messages of 1 call are shortened to the 4 MiB that the echo service takes.";
    assert!(said(&replay).contains(wanted), "{}", said(&replay));
}

#[test]
fn who_did_not_keep_up_is_told() {
    let cell = |model, skipped, generator_cores| {
        let load = Load::replay(3);
        let mut cell = Cell::new(Row {
            model,
            load,
            alone: false,
        });
        let round = Round {
            calls: 75,
            skipped,
            generator_cores: Some(generator_cores),
            ..Round::made_up(5.0)
        };
        cell.rounds = vec![round];
        cell
    };
    let cells = vec![
        cell(Model::Poll, 25, 0.99),
        cell(Model::Epoll, 25, 0.3),
        cell(Model::Scan, 0, 0.99),
    ];
    let mut out = Vec::new();
    write_remarks(
        &LoadResults {
            load: Load::replay(3),
            cells,
        },
        &mut out,
    )
    .unwrap();
    let text = String::from_utf8(out).unwrap();
    let wanted = "poll: 25.0 % of the calls that were due were not made: the load generator could not drive this rate \
                  (*).\nepoll: 25.0 % of the calls that were due were not made: the server did not keep up with this \
                  rate.\n";
    assert_eq!(text, wanted);
}
