//! Broken input: the named error, and never a panic.

use crate::ends::{at, drain, output};
use crate::frames::{hello, unhex};
use crate::splits::{client_with_calls, to_client, to_server};
use kettle_buf::Segment;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{Closing, Event, Machine};
use proptest::prelude::{any, prop, proptest};
use std::collections::HashSet;

const VIOLATIONS: &str = include_str!("../../testdata/violations.hex");

#[test]
fn every_violation_is_named() {
    let mut count = 0;
    for line in VIOLATIONS
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let [reader, rule, frames] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let (reader, plain) = (reader.trim_end_matches('!'), reader.ends_with('!'));
        let mut machine = match reader {
            "server" => Connection::server(Config::default(), at(0)),
            _ => client_with_calls(),
        };
        // A reader with `!` reads no hello before.
        let mut bytes = if plain { Vec::new() } else { hello(&[(7, 10)]) };
        bytes.extend(unhex(frames));
        machine.handle_bytes(at(0), Segment::from(bytes));
        let last = drain(&mut machine).pop();
        let expected = format!("Closed {{ error: Some(Violation({rule:?})) }}");
        assert_eq!(last, Some(expected), "{line}");
        let said = output(&mut machine, at(0));
        let text = format!("the peer broke the protocol: {rule}");
        assert!(
            said.ends_with(text.as_bytes()),
            "{line}: the peer is not told"
        );
        let goodbye = &said[said.len() - text.len() - 22..];
        assert_eq!(
            (goodbye[4], goodbye[15]),
            (0x08, 13),
            "{line}: no GOODBYE with INTERNAL"
        );
        count += 1;
    }
    assert!(40 <= count, "{count} violations");
}

/// Whatever came: calls are reported and ended once each, and the end comes last and once.
fn check(mut machine: Connection, input: &[u8], cuts: usize) {
    let (mut open, mut closed) = (HashSet::new(), 0);
    for piece in input.chunks(cuts.max(1)) {
        machine.handle_bytes(at(1), Segment::copy_from_slice(piece));
        look(&mut machine, &mut open, &mut closed);
    }
    machine.handle_timeout(at(2));
    machine.handle_end(at(2));
    look(&mut machine, &mut open, &mut closed);
    for call in open.clone() {
        machine.finish(call, Closing::default());
        open.remove(&call);
    }
    look(&mut machine, &mut open, &mut closed);
    while let Some(payload) = machine.poll_transmit(at(3), 1000) {
        assert!(payload.len() <= 1000);
    }
    look(&mut machine, &mut open, &mut closed);
    assert_eq!((closed, machine.open_calls()), (1, 0));
    assert_eq!(machine.poll_timeout(), None);
}

fn look(machine: &mut Connection, open: &mut HashSet<kettle_proto::CallId>, closed: &mut usize) {
    while let Some(event) = machine.poll_event() {
        assert_eq!(*closed, 0, "{event:?} behind the end");
        match event {
            Event::Call { call, .. } => assert!(open.insert(call)),
            Event::Reset { call, .. } => assert!(open.remove(&call)),
            Event::Closed { .. } => *closed += 1,
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(input: Vec<u8>, cut in 1usize..50, greeted: bool) {
        let mut bytes = if greeted { hello(&[(7, 10)]) } else { b"\xCEKTL\x01\x01\x00".to_vec() };
        bytes.extend(input);
        check(Connection::server(Config::default(), at(0)), &bytes, cut);
        check(client_with_calls(), &bytes, cut);
    }

    #[test]
    fn changed_streams_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in 1usize..100,
    ) {
        let (mut up, mut down) = (to_server(), to_client());
        for (place, value) in changes {
            let (a, b) = (place.index(up.len()), place.index(down.len()));
            up[a] = value;
            down[b] ^= value;
        }
        check(Connection::server(Config::default(), at(0)), &up, cut);
        check(client_with_calls(), &down, cut);
    }

    #[test]
    fn shuffled_frames_do_no_harm(
        frames in prop::collection::vec((0u8..10, any::<u8>(), 0u16..4, 0u32..8, any::<[u8; 9]>()), 0..40),
        cut in 1usize..100,
    ) {
        let mut bytes = hello(&[(7, 10)]);
        for (kind, flags, method, stream, payload) in frames {
            let length = usize::from(payload[0] % 10).min(payload.len());
            bytes.extend(crate::frames::frame(kind, flags, method, stream, &payload[..length]));
        }
        check(Connection::server(Config::default(), at(0)), &bytes, cut);
        check(client_with_calls(), &bytes, cut);
    }
}
