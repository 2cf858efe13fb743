//! Any cut of the same input gives the same events and the same answers.

use crate::ends::{at, drain, head, output};
use crate::frames::{frame, hello, numbers_and_text, path};
use kettle_buf::Segment;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{CallId, Closing, Machine, Metadata, Status};

/// Places at which a conversation is cut in two; a longer one is not cut at every byte.
const CUTS_MAX: usize = 2000;

/// What a server may read: every frame kind and every flag that a client may send.
pub fn to_server() -> Vec<u8> {
    let metadata = b"\x00\x00\x00\x0F\x01a\x00\x03one\x05b-bin\x00\x00";
    let timeout = 2_000_000_000u64.to_be_bytes();
    let all = [
        &path("/a.B/Third")[..],
        &timeout,
        metadata,
        &10u64.to_be_bytes(),
        b"0123",
    ]
    .concat();
    [
        hello(&[
            (1, 1 << 20),
            (2, 1 << 17),
            (3, 999),
            (77, 1),
            (4, 1 << 20),
            (5, 1 << 20),
        ]),
        frame(
            0x01,
            0xA1,
            1,
            1,
            &[&path("/a.B/First")[..], b"unary"].concat(),
        ),
        frame(0x01, 0xA0, 1, 2, b""),
        frame(0x01, 0x81, 0, 3, &path("/a.B/OneOff")),
        frame(0x01, 0x01, 2, 4, &path("/a.B/Second")),
        frame(0x01, 0x77, 3, 5, &all),
        frame(0x02, 0x20, 0, 4, b"message one of four"),
        frame(0x02, 0x60, 0, 5, b"45678"),
        frame(0x02, 0x70, 0, 4, &[&5u64.to_be_bytes()[..], b""].concat()),
        frame(0x02, 0x20, 0, 5, b"9"),
        frame(0x02, 0xA0, 0, 4, b"hello"),
        frame(0x02, 0x80, 0, 5, b""),
        frame(0x05, 0, 0, 0, b"12345678"),
        frame(0x06, 0, 0, 0, b"87654321"),
        frame(0xFE, 0xFF, 9, 9, b"of a later version"),
        frame(0x04, 0, 0, 0, &[0, 0, 0, 9]),
        frame(0x04, 0, 0, 4, &[0, 0, 0, 9]),
        frame(0x01, 0xA0, 2, 7, b"for the seventh"),
        frame(0x03, 0, 0, 7, &numbers_and_text(&[1], "given up")),
        frame(0x02, 0x20, 0, 7, b"late, ignored"),
        frame(0x07, 0, 0, 0, &[0, 0, 0, 7]),
        frame(0x08, 0, 0, 0, &numbers_and_text(&[0, 0], "done")),
        b"behind the end".to_vec(),
    ]
    .concat()
}

/// What a client with five open calls may read.
pub fn to_client() -> Vec<u8> {
    let metadata = b"\x00\x00\x00\x07\x01a\x00\x03one";
    let status = b"\x00\x00\x00\x05\x00\x04text\x00\x00\x00\x03xyz\x00\x00\x00\x07\x01b\x00\x03two";
    [
        hello(&[(1, 1 << 20), (2, 1 << 17), (6, 10), (7, 10)]),
        frame(0x02, 0xA0, 0, 1, b"reply"),
        frame(0x02, 0x04, 0, 2, metadata),
        frame(
            0x02,
            0x70,
            0,
            2,
            &[&12u64.to_be_bytes()[..], b"Mes"].concat(),
        ),
        frame(
            0x02,
            0xAC,
            0,
            3,
            &[&metadata[..], status, b"with a message"].concat(),
        ),
        frame(0x02, 0x60, 0, 2, b"sage"),
        frame(0x05, 0, 0, 0, b"12345678"),
        frame(0x02, 0xA8, 0, 2, &[&status[..], b" one."].concat()),
        frame(0x06, 0, 0, 0, b"\0\0\0\0\0\0\0\x01"),
        frame(0x80, 0, 0, 0, b""),
        frame(0x04, 0, 0, 4, &[0, 0, 0, 9]),
        frame(0x03, 1, 0, 4, &numbers_and_text(&[14], "not now")),
        frame(0x02, 0xA0, 0, 4, b"late, ignored"),
        frame(0x07, 0, 0, 0, &[0, 0, 0, 5]),
        frame(0x08, 0, 0, 0, &numbers_and_text(&[13, 4], "broken")),
    ]
    .concat()
}

pub fn client_with_calls() -> Connection {
    let mut client = Connection::client(Config::default(), at(0));
    for n in 1..=5u8 {
        client
            .open(at(0), head("/a.B/C"), Some(vec![n; 3].into()), n != 4)
            .unwrap();
    }
    client.ping(at(0));
    output(&mut client, at(0));
    client
}

/// Feeds `input` cut at `cuts`, and gives all events and all answers. The server answers at the end,
/// so that no answer depends on when a piece arrived.
pub fn run(mut machine: Connection, input: &[u8], cuts: &[usize]) -> (Vec<String>, Vec<u8>) {
    let (mut events, mut from) = (Vec::new(), 0);
    for to in cuts.iter().copied().chain([input.len()]) {
        machine.handle_bytes(at(5), Segment::copy_from_slice(&input[from..to]));
        events.extend(drain(&mut machine));
        from = to;
    }
    for stream in 1..=7 {
        let call = CallId {
            slot: stream - 1,
            stream,
        };
        machine.send_headers(call, Metadata::new());
        machine.finish(
            call,
            Closing {
                status: Status::aborted(""),
                ..Closing::default()
            },
        );
    }
    (events, output(&mut machine, at(5)))
}

fn check(start: impl Fn() -> Connection, input: &[u8], count: usize) {
    let (events, _) = same_at_every_cut(start, input);
    assert_eq!(events.len(), count, "{events:#?}");
}

/// Feeds `input` whole, cut in two and in small pieces, and gives the events and answers of all.
pub fn same_at_every_cut(start: impl Fn() -> Connection, input: &[u8]) -> (Vec<String>, Vec<u8>) {
    let whole = run(start(), input, &[]);
    for cut in (1..input.len()).step_by(1 + input.len() / CUTS_MAX) {
        assert_eq!(run(start(), input, &[cut]), whole, "cut at {cut}");
    }
    for step in [1, 2, 3, 7, 11, 13] {
        let cuts: Vec<usize> = (1..input.len()).step_by(step).collect();
        assert_eq!(
            run(start(), input, &cuts),
            whole,
            "cut into pieces of {step}"
        );
    }
    whole
}

#[test]
fn a_server_reads_the_same_at_every_cut() {
    let end = to_server().len() - b"behind the end".len();
    let mut without_goodbye = to_server()[..end].to_vec();
    without_goodbye.truncate(end - 12 - 14);
    check(
        || Connection::server(Config::default(), at(0)),
        &to_server(),
        19,
    );
    check(
        || Connection::server(Config::default(), at(0)),
        &without_goodbye,
        13,
    );
}

#[test]
fn a_client_reads_the_same_at_every_cut() {
    check(client_with_calls, &to_client(), 14);
}

#[test]
fn a_long_message_is_the_same_at_every_piece_size() {
    let bytes: Vec<u8> = (0..200_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let first = [&path("/a.B/C")[..], &200_000u64.to_be_bytes()].concat();
    let input = [
        hello(&[]),
        frame(0x01, 0x71, 0, 1, &first),
        frame(0x02, 0x60, 0, 1, &bytes[..150_000]),
        frame(0x02, 0xA0, 0, 1, &bytes[150_000..]),
    ]
    .concat();
    let whole = run(Connection::server(Config::default(), at(0)), &input, &[]).0;
    assert_eq!(whole.len(), 3);
    for size in [1, 100, 4095, 4096, 4097, 65_536] {
        let cuts: Vec<usize> = (0..input.len()).step_by(size).collect();
        let cut = run(Connection::server(Config::default(), at(0)), &input, &cuts).0;
        assert_eq!(cut, whole, "pieces of {size}");
    }
}
