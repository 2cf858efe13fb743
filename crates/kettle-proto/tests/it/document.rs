//! The examples of docs/protocol.md: both sides produce exactly these bytes.

use crate::ends::{Ends, PATH, head, output, reply};
use crate::frames::{hex, unhex};
use kettle_buf::Segment;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{Closing, Head, Machine, Metadata, Status};
use std::cell::RefCell;
use std::time::Duration;

const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");

/// The examples by name, and the names that were compared.
struct Examples {
    blocks: Vec<(&'static str, Vec<u8>)>,
    seen: RefCell<Vec<&'static str>>,
}

impl Examples {
    fn read() -> Self {
        let blocks = DOCUMENT.split("```hex ").skip(1).map(|block| {
            let (name, rest) = block.split_once('\n').expect("a name");
            (name, unhex(rest.split("```").next().expect("an end")))
        });
        Self {
            blocks: blocks.collect(),
            seen: RefCell::default(),
        }
    }

    fn get(&self, name: &str) -> &[u8] {
        let block = self.blocks.iter().find(|(have, _)| *have == name);
        let (name, bytes) = block.unwrap_or_else(|| panic!("no example {name:?}"));
        self.seen.borrow_mut().push(name);
        bytes
    }

    fn check(&self, name: &str, bytes: &[u8]) {
        assert_eq!(hex(bytes), hex(self.get(name)), "{name}");
    }
}

/// Carries what the client says over, and compares it.
fn client_says(ends: &mut Ends, examples: &Examples, name: &str) {
    let bytes = output(&mut ends.client, ends.now);
    examples.check(name, &bytes);
    ends.server.handle_bytes(ends.now, Segment::from(bytes));
}

/// Carries what the server says over, and compares it.
fn server_says(ends: &mut Ends, examples: &Examples, name: &str) {
    let bytes = output(&mut ends.server, ends.now);
    examples.check(name, &bytes);
    ends.client.handle_bytes(ends.now, Segment::from(bytes));
}

fn metadata(entries: &[(&'static str, &'static [u8])]) -> Metadata {
    let mut metadata = Metadata::new();
    for (key, value) in entries {
        metadata.append(*key, *value).unwrap();
    }
    metadata
}

#[test]
fn both_sides_produce_the_examples() {
    let examples = Examples::read();
    let mut ends = Ends::new(Config::default(), Config::default());
    calls(&mut ends, &examples);
    long_message(&mut ends, &examples);
    ping_and_drain(&mut ends, &examples);
    idle_end(&examples);
    versions(&examples);
    let names: Vec<_> = examples.blocks.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        *examples.seen.borrow(),
        names,
        "each example is compared, in order"
    );
}

fn calls(ends: &mut Ends, examples: &Examples) {
    ends.open(b"hi!".to_vec());
    client_says(ends, examples, "client: a first call");
    ends.server.poll_event();
    let (call, _) = ends.accept();
    ends.server.finish(call, reply(b"hi!".to_vec()));
    server_says(ends, examples, "server: a first reply");
    ends.client.open(ends.now, head(PATH), None, true).unwrap();
    ends.open(Vec::new());
    client_says(ends, examples, "client: the method table");
    ends.server_events();
    let head = Head {
        path: PATH,
        metadata: metadata(&[("user", b"ann"), ("trace-bin", b"\x00\x01\x02\xFD\xFE\xFF")]),
        timeout: Some(Duration::from_millis(1500)),
    };
    ends.client.open(ends.now, head, None, true).unwrap();
    client_says(ends, examples, "client: metadata and a deadline");
    let (call, _) = ends.accept();
    let status = Status::not_found("no such")
        .with_details(b"\x08\x05".to_vec())
        .with_metadata(metadata(&[("b", b"two")]));
    let headers = metadata(&[("a", b"one")]);
    ends.server.finish(
        call,
        Closing {
            headers,
            message: None,
            status,
        },
    );
    server_says(ends, examples, "server: an error with everything");
}

fn long_message(ends: &mut Ends, examples: &Examples) {
    const HALF: u64 = 524_288;
    let call = ends.open(vec![0; 1_048_577]);
    // First what is in the output, then a turn of exactly half the credit.
    let mut bytes = Vec::new();
    for max in [20, HALF, 12] {
        let payload = ends.client.poll_transmit(ends.now, max).expect("output");
        assert_eq!(payload.len(), max);
        bytes.extend(payload.into_chain().expect("memory").to_vec());
    }
    examples.check("client: the start of a long message", &bytes[..32]);
    ends.server.handle_bytes(ends.now, Segment::from(bytes));
    server_says(ends, examples, "server: credit");
    ends.client.reset(call, &Status::cancelled("given up"));
    client_says(ends, examples, "client: a cancel");
}

fn ping_and_drain(ends: &mut Ends, examples: &Examples) {
    ends.client.ping(ends.now);
    client_says(ends, examples, "client: a ping");
    server_says(ends, examples, "server: a pong");
    // Two calls of the method table still wait for their answer.
    for call in ["2", "3"] {
        let stream = call.parse().unwrap();
        let id = kettle_proto::CallId {
            slot: stream - 2,
            stream,
        };
        ends.client.reset(id, &Status::cancelled(""));
    }
    let bytes = output(&mut ends.client, ends.now);
    ends.server.handle_bytes(ends.now, Segment::from(bytes));
    ends.open(Vec::new());
    let crossing = output(&mut ends.client, ends.now);
    ends.server.drain(ends.now);
    ends.server.handle_bytes(ends.now, Segment::from(crossing));
    server_says(ends, examples, "server: a drain and a refusal");
    client_says(ends, examples, "client: the answer to a drain");
    assert_eq!(
        ends.server_events().last().unwrap(),
        "Closed { error: None }"
    );
    assert_eq!(
        ends.client_events().last().unwrap(),
        "Closed { error: None }"
    );
}

fn idle_end(examples: &Examples) {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.now = ends.now + Duration::from_secs(600);
    ends.server.handle_timeout(ends.now);
    server_says(&mut ends, examples, "server: an idle end");
    assert_eq!(ends.client_events(), ["Closed { error: None }"]);
}

fn versions(examples: &Examples) {
    let mut ends = Ends::new(Config::default(), Config::default());
    let hello = examples.get("client: a version of its own").to_vec();
    ends.server.handle_bytes(ends.now, Segment::from(hello));
    let answer = output(&mut ends.server, ends.now);
    examples.check("server: the versions that it speaks", &answer);
    let closed = "Closed { error: Some(Version { theirs: (9, 9), ours: (1, 1) }) }";
    assert_eq!(ends.server_events(), [closed]);
}

#[test]
fn a_client_that_is_refused_by_version_knows_that_nothing_was_done() {
    let mut client = Connection::client(Config::default(), crate::ends::at(0));
    client
        .open(crate::ends::at(0), head(PATH), None, true)
        .unwrap();
    output(&mut client, crate::ends::at(0));
    let answer = b"\xCEKTL\x03\x02\x00\x00\0\0\0\x0A\x08\0\0\0\0\0\0\0\0\0\0\x0C\0\0\0\0\0\0";
    client.handle_bytes(crate::ends::at(0), Segment::from_static(answer));
    let events = crate::ends::drain(&mut client);
    assert!(
        events[0].starts_with("Finished 1 UNAVAILABLE"),
        "{events:?}"
    );
    assert!(events[0].ends_with("unprocessed"), "{events:?}");
    assert_eq!(
        events[1],
        "Closed { error: Some(Version { theirs: (2, 3), ours: (1, 1) }) }"
    );
}
