//! Every limit: at it, and one over it.

use crate::ends::{self, Ends, PATH, at, config, drain, head, output, reply, status};
use crate::frames::{frame, hello, path};
use crate::splits::client_with_calls;
use kettle_buf::Segment;
use kettle_proto::limits::{Limits, PINGS_WAITING_MAX};
use kettle_proto::native::{Config, Connection, PATH_BYTES_MAX, TEXT_BYTES_MAX};
use kettle_proto::{Closing, Event, Head, Machine, Metadata, OpenError, Status};

/// A server's last event, and all it says, when a client sends a hello and these frames.
fn serve(change: impl FnOnce(&mut Limits), frames: &[u8]) -> (Vec<String>, Vec<u8>) {
    let mut server = Connection::server(config(change), at(0));
    server.handle_bytes(at(0), Segment::from([&hello(&[])[..], frames].concat()));
    (drain(&mut server), output(&mut server, at(0)))
}

fn is_limit(events: &[String], name: &str, got: u64, max: u64) {
    let error = format!("Limit {{ name: {name:?}, got: {got}, max: {max} }}");
    assert_eq!(
        events.last(),
        Some(&format!("Closed {{ error: Some({error}) }}"))
    );
}

fn open(flags: u8, method: u16, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(0x01, flags, method, stream, payload)
}

fn metadata_of(bytes: usize) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.append("a", "x".repeat(bytes - 4)).unwrap();
    metadata
}

#[test]
fn frame_bytes_max() {
    let small = |limits: &mut Limits| limits.frame_bytes_max = 65_536;
    let payload = [&path("/a/b")[..], &[1; 65_530]].concat();
    let (events, _) = serve(small, &open(0xA1, 0, 1, &payload));
    assert_eq!(events.len(), 2, "{events:?}");
    let (events, _) = serve(small, &open(0xA1, 0, 1, &[&payload[..], &[1]].concat()));
    is_limit(&events, "frame_bytes_max", 65_537, 65_536);
    let (events, _) = serve(
        |limits| limits.frame_bytes_max = 1,
        &open(0xA1, 0, 1, &payload),
    );
    assert_eq!(
        events.len(),
        2,
        "it is raised to what a client may send before it knows"
    );
}

#[test]
fn metadata_bytes_max_refuses_the_call_alone() {
    let small = |limits: &mut Limits| limits.metadata_bytes_max = 7;
    let section = |value: &str| {
        let mut entries = vec![1, b'a', 0, value.len() as u8];
        entries.extend(value.as_bytes());
        [
            &path("/a/b")[..],
            &(entries.len() as u32).to_be_bytes(),
            &entries,
        ]
        .concat()
    };
    let (events, _) = serve(small, &open(0x85, 1, 1, &section("one")));
    assert_eq!(
        events[1],
        "Call 1 /a/b memo=Some(1) [(\"a\", [111, 110, 101])] None"
    );
    let over = [&section("four")[..], &9u64.to_be_bytes(), b"skip"].concat();
    let frames = [
        open(0x75, 1, 1, &over),
        frame(2, 0xA0, 0, 1, b"these"),
        open(0xA0, 1, 2, b"ok"),
    ]
    .concat();
    let (events, said) = serve(small, &frames);
    assert_eq!(
        events[1..],
        ["Call 2 /a/b memo=Some(1) [] None Message 2 \"ok\" end=true"]
    );
    let text = "metadata of 8 bytes is over the limit metadata_bytes_max of 7";
    let at = said
        .windows(text.len())
        .position(|window| window == text.as_bytes());
    assert!(at.is_some(), "call 1 is answered");
}

#[test]
fn metadata_is_held_to_the_peers_limit_before_it_is_sent() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    for (bytes, fits) in [(16_384, true), (16_385, false)] {
        let head = Head {
            path: PATH,
            metadata: metadata_of(bytes),
            timeout: None,
        };
        match ends.client.open(ends.now, head, None, true) {
            Ok(_) => assert!(fits),
            Err(error) => {
                let text = "metadata of 16385 bytes is over the peer's metadata_bytes_max of 16384";
                assert_eq!(error.to_string(), format!("RESOURCE_EXHAUSTED: {text}"));
                assert!(!fits);
            }
        }
    }
    ends.pump();
    let (call, _) = ends.accept();
    ends.server.finish(
        call,
        Closing {
            headers: metadata_of(16_385),
            ..Closing::default()
        },
    );
    ends.pump();
    let text = "metadata of 16385 bytes is over the peer's limit metadata_bytes_max of 16384";
    assert_eq!(
        ends.client_events(),
        [format!("Finished 1 RESOURCE_EXHAUSTED: {text}")]
    );
}

#[test]
fn a_server_that_breaks_the_clients_metadata_limit_is_cut_off() {
    let mut client = client_with_calls();
    let section = [&16_385u32.to_be_bytes()[..], &[0; 100]].concat();
    let mut bytes = hello(&[]);
    bytes.extend(frame(2, 0x04, 0, 1, &[section, vec![0; 16_285]].concat()));
    client.handle_bytes(at(0), Segment::from(bytes));
    is_limit(&drain(&mut client), "metadata_bytes_max", 16_385, 16_384);
}

#[test]
fn a_status_over_the_limit_keeps_its_code() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let texts = [
        ("x".repeat(16_384), 16_384),
        ("é".repeat(8_193), 16_384),
        ("y".repeat(99_999), 16_384),
    ];
    for (text, kept) in texts {
        ends.open(Vec::new());
        ends.pump();
        let (call, _) = ends.accept();
        let details = if text.len() == kept {
            vec![]
        } else {
            vec![7; 10]
        };
        ends.server
            .finish(call, status(Status::data_loss(text).with_details(details)));
        ends.pump();
        let Some(Event::Finished { status, .. }) = ends.client.poll_event() else {
            panic!()
        };
        assert_eq!(
            (status.code(), status.message().len()),
            (kettle_proto::Code::DataLoss, kept)
        );
        assert_eq!(status.details(), b"");
    }
}

#[test]
fn calls_max() {
    let mut ends = Ends::ready(Config::default(), config(|limits| limits.calls_max = 256));
    for _ in 0..256 {
        ends.open(b"x".to_vec());
    }
    let error = ends.client.open(ends.now, head(PATH), None, true);
    assert_eq!(error, Err(OpenError::TooManyCalls { max: 256 }));
    ends.pump();
    for n in 0..256 {
        let (call, _) = ends.accept();
        assert_eq!((call.slot, call.stream), (n, n + 1));
        ends.server.finish(call, reply(b"y".to_vec()));
    }
    ends.pump();
    assert_eq!(ends.client_events().len(), 512);
    let call = ends.open(b"x".to_vec());
    assert!(call.slot < 256, "slots are used again");
}

#[test]
fn a_call_over_calls_max_was_not_processed() {
    let mut ends = Ends::new(Config::default(), config(|limits| limits.calls_max = 2));
    for _ in 0..3 {
        ends.open(b"early".to_vec());
    }
    ends.pump();
    assert_eq!(ends.server.open_calls(), 2);
    let text = "a call is over the limit calls_max of 2";
    let refused = format!("Finished 3 RESOURCE_EXHAUSTED: {text} unprocessed");
    assert_eq!(ends.client_events(), ["Ready".to_owned(), refused]);
}

#[test]
fn methods_max() {
    let two = |limits: &mut Limits| limits.methods_max = 2;
    let at_limit = [
        open(0x81, 1, 1, &path("/a/b")),
        open(0x81, 2, 2, &path("/a/c")),
    ]
    .concat();
    assert_eq!(serve(two, &at_limit).0.len(), 5);
    let over = [at_limit, open(0x81, 3, 3, &path("/a/d"))].concat();
    is_limit(&serve(two, &over).0, "methods_max", 3, 2);
    let mut ends = Ends::ready(Config::default(), config(two));
    for path in ["/a/b", "/a/c", "/a/d", "/a/d"] {
        ends.client.open(ends.now, head(path), None, true).unwrap();
    }
    ends.pump();
    let events = ends
        .server_events()
        .into_iter()
        .filter(|event| event.starts_with("Call"));
    let memos: Vec<_> = events.map(|event| event.contains("memo=None")).collect();
    assert_eq!(
        memos,
        [false, false, true, true],
        "further paths go along with each call"
    );
}

#[test]
fn path_bytes_max() {
    let long = |bytes: usize| format!("/a/{}", "m".repeat(bytes - 3));
    let (events, _) = serve(|_| (), &open(0x81, 1, 1, &path(&long(PATH_BYTES_MAX))));
    assert_eq!(events.len(), 3);
    let (events, _) = serve(|_| (), &open(0x81, 1, 1, &path(&long(PATH_BYTES_MAX + 1))));
    is_limit(&events, "PATH_BYTES_MAX", 1025, 1024);
    let mut ends = Ends::ready(Config::default(), Config::default());
    let fits = long(PATH_BYTES_MAX);
    assert!(ends.client.open(ends.now, head(&fits), None, true).is_ok());
    for path in [
        &*long(PATH_BYTES_MAX + 1),
        "",
        "/",
        "/a",
        "a/b",
        "//b",
        "/a/",
        "/a/b/c",
        "/a/ b",
    ] {
        let error = ends.client.open(ends.now, head(path), None, true);
        assert_eq!(error, Err(OpenError::Path(path.into())));
    }
}

#[test]
fn text_bytes_max() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let call = ends.open(b"x".to_vec());
    ends.pump();
    ends.server_events();
    ends.client
        .reset(call, &Status::cancelled("x".repeat(TEXT_BYTES_MAX + 1)));
    ends.pump();
    let cut = "x".repeat(TEXT_BYTES_MAX);
    assert_eq!(ends.server_events(), [format!("Reset 1 CANCELLED: {cut}")]);
}

#[test]
fn settings_bytes_max() {
    let settings = |count: u16| (100..100 + count).map(|id| (id, 1)).collect::<Vec<_>>();
    for (count, fits) in [(170, true), (171, false)] {
        let mut server = Connection::server(Config::default(), at(0));
        server.handle_bytes(at(0), Segment::from(hello(&settings(count))));
        let events = drain(&mut server);
        match fits {
            true => assert_eq!(events, ["Ready"]),
            false => is_limit(&events, "SETTINGS_BYTES_MAX", 1026, 1020),
        }
    }
}

#[test]
fn call_credit_bytes() {
    let small = |limits: &mut Limits| limits.call_credit_bytes = 65_536;
    let begin = open(
        0x71,
        1,
        1,
        &[&path("/a/b")[..], &100_000u64.to_be_bytes()].concat(),
    );
    let part = |bytes: usize| frame(2, 0x60, 0, 1, &vec![0; bytes]);
    let (events, said) = serve(small, &[begin.clone(), part(65_536)].concat());
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(
        said.ends_with(&frame(4, 0, 0, 1, &65_536u32.to_be_bytes())),
        "credit goes back"
    );
    let (events, _) = serve(small, &[begin.clone(), part(65_537)].concat());
    is_limit(&events, "call_credit_bytes", 65_537, 65_536);
    let (events, _) = serve(small, &[begin, part(20_000), part(45_537)].concat());
    is_limit(&events, "call_credit_bytes", 45_537, 45_536);
}

#[test]
fn connection_credit_bytes() {
    let small = |limits: &mut Limits| limits.connection_credit_bytes = 65_536;
    let length = 60_000u64.to_be_bytes();
    let begin = |stream: u32| open(0x71, 0, stream, &[&path("/a/b")[..], &length].concat());
    let part = |stream: u32, bytes: usize| frame(2, 0x60, 0, stream, &vec![0; bytes]);
    let fit = [begin(1), begin(2), part(1, 40_000), part(2, 25_536)].concat();
    let (events, said) = serve(small, &fit);
    assert_eq!(events.len(), 3, "{events:?}");
    let lent = frame(4, 0, 0, 0, &20_000u32.to_be_bytes());
    assert!(
        said.ends_with(&lent),
        "the oldest message is lent what it lacks, once"
    );
    let (events, _) = serve(small, &[fit.clone(), part(2, 20_001)].concat());
    is_limit(&events, "connection_credit_bytes", 20_001, 20_000);
    let (events, said) = serve(small, &[fit, part(2, 20_000)].concat());
    assert_eq!(
        events.len(),
        3,
        "spent on the wrong call: that is its own loss"
    );
    assert!(said.ends_with(&lent), "nothing more is lent");
    let over = [begin(1), begin(2), part(1, 40_000), part(2, 25_537)].concat();
    is_limit(
        &serve(small, &over).0,
        "connection_credit_bytes",
        25_537,
        25_536,
    );
}

#[test]
fn many_long_messages_share_a_small_credit() {
    let small = || config(|limits| limits.connection_credit_bytes = 65_536);
    for (client, server) in [(Config::default(), small()), (small(), Config::default())] {
        let mut ends = Ends::ready(client, server);
        for n in 0..40u8 {
            ends.open(vec![n; 200_000]);
        }
        ends.pump();
        let mut whole = 0;
        while let Some(event) = ends.server.poll_event() {
            if let Event::Message {
                call,
                message,
                end: true,
            } = event
            {
                ends.server.finish(call, reply(message));
                whole += 1;
            }
        }
        assert_eq!(whole, 40, "no request is stuck");
        ends.pump();
        let finished = ends.client_events();
        assert_eq!(
            finished
                .iter()
                .filter(|event| event.ends_with(" OK"))
                .count(),
            40
        );
        assert_eq!(
            (ends.client.pending_bytes(), ends.server.pending_bytes()),
            (0, 0)
        );
    }
}

#[test]
fn a_reply_over_the_clients_limit_ends_the_call_alone() {
    let mut client = Connection::client(config(|limits| limits.message_bytes_max = 10), at(0));
    for _ in 0..3 {
        client.open(at(0), head("/a/b"), None, true).unwrap();
    }
    output(&mut client, at(0));
    let bytes = [
        hello(&[]),
        frame(2, 0xA0, 0, 1, &[1; 10]),
        frame(2, 0xA0, 0, 2, &[1; 11]),
        frame(2, 0x70, 0, 3, &[&11u64.to_be_bytes()[..], &[1; 5]].concat()),
        frame(2, 0xA0, 0, 3, &[1; 6]),
    ];
    client.handle_bytes(at(0), Segment::from(bytes.concat()));
    let events = drain(&mut client);
    let over =
        "RESOURCE_EXHAUSTED: a message of 11 bytes is over the limit message_bytes_max of 10";
    let expected = [
        "Finished 1 OK".into(),
        format!("Finished 2 {over}"),
        format!("Finished 3 {over}"),
    ];
    assert_eq!(events[2..], expected, "{events:?}");
    assert_eq!(
        output(&mut client, at(0)).len(),
        2 * (18 + over.len() - 20),
        "two resets"
    );
}

#[test]
fn a_long_frame_is_expected_and_a_skipped_one_is_not() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    ends.open(vec![0; 500_000]);
    let bytes = output(&mut ends.client, ends.now);
    // The output was taken in turns of 64 KiB: frames that fit into any receive.
    ends.server
        .handle_bytes(ends.now, Segment::copy_from_slice(&bytes[..100]));
    assert!(ends.server.poll_event().is_some());
    assert_eq!(ends.server.expect(), 0);
    for (flags, hint) in [(0x60, 199_990), (0x20, 0)] {
        let (mut server, stream) = (Connection::server(Config::default(), at(0)), 1);
        let begin = [&path("/a/b")[..], &300_000u64.to_be_bytes()].concat();
        let mut bytes = [hello(&[]), open(0x71, 1, stream, &begin)].concat();
        if hint == 0 {
            bytes.extend(frame(3, 0, 0, stream, &[0, 0, 0, 1, 0, 0]));
        }
        bytes.extend(&frame(2, flags, 0, stream, &vec![0; 200_000])[..22]);
        server.handle_bytes(at(0), Segment::from(bytes));
        while server.poll_event().is_some() {}
        assert_eq!(server.expect(), hint);
        // What has come counts, whether its events were polled or not.
        server.handle_bytes(at(0), vec![0; 100].into());
        assert_eq!(server.expect(), if hint == 0 { 0 } else { hint - 100 });
    }
    assert_eq!(ends::drain(&mut ends.client), [""; 0]);
}

#[test]
fn long_and_short_messages_share_a_small_credit_in_any_mix() {
    for (call_credit, sizes) in [
        (65_536, [200_000, 100, 65_536, 16_384, 300_000]),
        (262_144, [300_000, 0, 20_000, 1, 262_144]),
        (131_072, [131_073, 65_537, 65_535, 4_000_000, 16_385]),
    ] {
        let server = config(|limits| {
            limits.connection_credit_bytes = 65_536;
            limits.call_credit_bytes = call_credit;
        });
        let mut ends = Ends::ready(Config::default(), server);
        for n in 0..100u8 {
            ends.open(vec![n; sizes[usize::from(n) % sizes.len()]]);
            if n % 7 == 0 {
                ends::to_server(&mut ends);
            }
        }
        ends.pump();
        let events = ends.server_events();
        let whole = events
            .iter()
            .filter(|event| event.contains("Message "))
            .count();
        assert_eq!((whole, ends.client.pending_bytes()), (100, 0), "{sizes:?}");
    }
}

#[test]
fn a_short_message_does_not_overtake_one_that_was_lent_credit() {
    let server = config(|limits| limits.connection_credit_bytes = 65_536);
    let mut ends = Ends::ready(Config::default(), server);
    for n in 0..3u8 {
        ends.open(vec![n; 200_000]);
    }
    for n in 3..10u8 {
        ends::to_server(&mut ends);
        ends::to_client(&mut ends);
        ends.open(vec![n; 10_000]);
    }
    ends.pump();
    let events = ends.server_events();
    let whole = events
        .iter()
        .filter(|event| event.contains("Message "))
        .count();
    assert_eq!((whole, ends.client.pending_bytes()), (10, 0));
}

#[test]
fn a_stream_of_messages_gets_back_the_credit_that_it_spent() {
    let small = config(|limits| limits.call_credit_bytes = 65_536);
    let mut server = Connection::server(small, at(0));
    let begin = [&path("/a/b")[..], &100_000u64.to_be_bytes()].concat();
    server.handle_bytes(
        at(0),
        Segment::from([hello(&[]), open(0x71, 0, 1, &begin)].concat()),
    );
    output(&mut server, at(0));
    let (mut returned, mut messages) = (0, 0);
    let mut feed = |flags: u8, payload: &[u8]| {
        server.handle_bytes(at(0), Segment::from(frame(2, flags, 0, 1, payload)));
        let events = drain(&mut server);
        messages += events
            .iter()
            .filter(|event| event.contains("Message "))
            .count();
        // Each CREDIT is one frame of 16 bytes.
        for credit in output(&mut server, at(0)).chunks(16) {
            assert_eq!((credit[4], credit[11]), (4, 1));
            returned += u32::from_be_bytes(credit[12..].try_into().unwrap());
        }
    };
    for round in 0..4 {
        if round != 0 {
            feed(0x70, &100_000u64.to_be_bytes());
        }
        feed(0x60, &[0; 40_000]);
        feed(0x60, &[0; 40_000]);
        feed(0x20, &[0; 20_000]);
        feed(0x20, &[0; 20_000]);
    }
    assert_eq!(messages, 8);
    assert!(
        (480_000 - 32_768..=480_000).contains(&returned),
        "{returned} of 480000"
    );
}

#[test]
fn the_largest_limits_leave_room_for_credit() {
    let all = |limits: &mut Limits| {
        limits.message_bytes_max = u32::MAX;
        limits.call_credit_bytes = u32::MAX;
        limits.connection_credit_bytes = u32::MAX;
    };
    let mut server = Connection::server(config(all), at(0));
    server.handle_bytes(at(0), Segment::from(hello(&[])));
    let said = output(&mut server, at(0));
    for id in [1, 4, 5] {
        let setting = [0, id, 0x7F, 0xFF, 0xFF, 0xFF];
        assert!(
            said.windows(6).any(|window| window == setting),
            "setting {id}"
        );
    }
}

#[test]
fn a_call_that_ended_gets_no_credit() {
    let small = config(|limits| limits.call_credit_bytes = 65_536);
    let mut server = Connection::server(small, at(0));
    let begin = [hello(&[]), open(0x01, 0, 1, &path("/a/b"))].concat();
    let message = frame(2, 0x20, 0, 1, &[0; 60_000]);
    let end = frame(2, 0x80, 0, 1, b"");
    server.handle_bytes(at(0), Segment::from([begin, message, end].concat()));
    output(&mut server, at(0));
    assert_eq!(drain(&mut server).len(), 4);
    assert_eq!(output(&mut server, at(0)), b"");
}

#[test]
fn a_long_message_is_cut_to_the_peers_frames() {
    let small = config(|limits| limits.frame_bytes_max = 65_536);
    let mut ends = Ends::ready(Config::default(), small);
    ends.open(vec![1; 200_000]);
    while let Some(payload) = ends.client.poll_transmit(ends.now, 1 << 20) {
        let bytes = payload.into_chain().expect("memory").into_segment();
        ends.server.handle_bytes(ends.now, bytes);
    }
    let (_, message) = ends.accept();
    assert_eq!(message.map(|message| message.len()), Some(200_000));
}

/// A peer that spends what was lent to one message on others gets no second loan.
#[test]
fn incomplete_messages_hold_the_credit_and_one_message() {
    const PART: usize = 65_536;
    let (whole, message) = (65_536, 1 << 20);
    let mut server = Connection::server(
        config(|limits| {
            limits.connection_credit_bytes = whole;
            limits.message_bytes_max = message;
        }),
        at(0),
    );
    let length = u64::from(message).to_be_bytes();
    let first = open(0x71, 1, 1, &[&path("/a.B/C")[..], &length].concat());
    server.handle_bytes(at(0), [hello(&[]), first].concat().into());
    let (mut held, mut stream, mut closed) = (0, 1, false);
    while !closed && held <= 8 * message {
        if held % (15 * PART as u32) == 0 {
            stream += 1;
            server.handle_bytes(at(0), open(0x70, 1, stream, &length).into());
        }
        server.handle_bytes(at(0), frame(0x02, 0x60, 0, stream, &[0; PART]).into());
        held += PART as u32;
        let events = drain(&mut server);
        closed = events.iter().any(|event| event.starts_with("Closed"));
    }
    // The last part was refused.
    assert!(
        held - PART as u32 <= whole + message,
        "{held} bytes are held"
    );
}

#[test]
fn pings_waiting_max() {
    let ping = frame(0x05, 0, 0, 0, &[7; 8]);
    let pings = |count: u32| ping.repeat(count as usize);
    let (events, answers) = serve(|_| {}, &pings(PINGS_WAITING_MAX));
    assert_eq!(events, ["Ready"]);
    assert!(ping.len() * PINGS_WAITING_MAX as usize <= answers.len());
    let (events, _) = serve(|_| {}, &pings(PINGS_WAITING_MAX + 1));
    is_limit(&events, "pings_waiting_max", 4097, 4096);
    // Answers that are taken make room for more.
    let mut server = Connection::server(Config::default(), at(0));
    server.handle_bytes(at(0), Segment::from(hello(&[])));
    for _ in 0..3 {
        server.handle_bytes(at(0), Segment::from(pings(PINGS_WAITING_MAX)));
        assert!(!output(&mut server, at(0)).is_empty());
    }
    assert_eq!(drain(&mut server), ["Ready"]);
}
