//! Messages that are encoded straight into the output.

use crate::ends::{Ends, config, head};
use bytes::BytesMut;
use kettle_buf::{Encode, LINK_BYTES_MIN};
use kettle_proto::native::{Config, DIRECT_BYTES_MAX};
use kettle_proto::{Machine, OpenError};

/// As many bytes as `len`, and says so unless it is to `lie`.
struct Message {
    len: usize,
    lie: bool,
}

impl Encode for Message {
    fn encoded_len(&self) -> usize {
        self.len + usize::from(self.lie)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.resize(out.len() + self.len, 7);
    }
}

fn message(len: usize) -> Message {
    Message { len, lie: false }
}

#[test]
fn a_reply_is_the_same_as_one_that_was_encoded_before() {
    for len in [0, 1, 1000, DIRECT_BYTES_MAX as usize - 1] {
        let mut replies = Vec::new();
        for in_place in [true, false] {
            let mut ends = Ends::ready(Config::default(), Config::default());
            ends.open(b"".to_vec());
            ends.pump();
            let (call, _) = ends.accept();
            match in_place {
                true => assert!(
                    ends.server
                        .encode_message(call, &message(len), true)
                        .is_some()
                ),
                false => ends.server.finish(call, crate::ends::reply(vec![7; len])),
            }
            assert_eq!(ends.server.open_calls(), 0);
            replies.push(crate::ends::output(&mut ends.server, ends.now));
        }
        assert_eq!(replies[0], replies[1], "{len} bytes");
    }
}

#[test]
fn messages_of_a_stream_come_in_order_both_ways() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let call = ends.client.open(ends.now, head("/a.B/C"), None, false);
    let call = call.expect("it opens");
    assert!(
        ends.client
            .encode_message(call, &message(2), false)
            .is_some()
    );
    assert!(
        ends.client
            .encode_message(call, &message(1), true)
            .is_some()
    );
    assert!(
        ends.client
            .encode_message(call, &message(9), false)
            .is_some(),
        "ended"
    );
    ends.pump();
    let events = ends.server_events();
    assert_eq!(
        events[1..],
        [
            "Message 1 \"\\u{7}\\u{7}\" end=false",
            "Message 1 \"\\u{7}\" end=true"
        ]
    );
    for end in [false, true] {
        assert!(ends.server.encode_message(call, &message(1), end).is_some());
    }
    ends.pump();
    let message = "Message 1 \"\\u{7}\" end=false";
    assert_eq!(ends.client_events(), [message, message, "Finished 1 OK"]);
}

/// A message that has to wait is not begun, so that it can go the other way.
#[test]
fn what_cannot_go_at_once_is_left_alone() {
    let cases = [
        (Config::default(), DIRECT_BYTES_MAX as usize),
        (config(|limits| limits.message_bytes_max = 10), 11),
    ];
    for (client, len) in cases {
        let mut ends = Ends::ready(client, Config::default());
        ends.open(b"".to_vec());
        ends.pump();
        let (call, _) = ends.accept();
        assert!(
            ends.server
                .encode_message(call, &message(len), true)
                .is_none()
        );
        assert_eq!(
            (ends.server.open_calls(), ends.server.pending_bytes()),
            (1, 0)
        );
    }
    let small = config(|limits| limits.call_credit_bytes = 64 * 1024);
    let mut ends = Ends::ready(small, Config::default());
    ends.open(b"".to_vec());
    ends.pump();
    let (call, _) = ends.accept();
    let sent = (0..)
        .take_while(|_| {
            ends.server
                .encode_message(call, &message(10_000), false)
                .is_some()
        })
        .count();
    assert_eq!(sent, 6, "65,536 bytes of credit");
}

#[test]
fn a_message_that_lies_about_its_length_ends_its_call_alone() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    for _ in 0..2 {
        ends.open(b"".to_vec());
    }
    ends.pump();
    let ((first, _), (second, _)) = (ends.accept(), ends.accept());
    let lie = Message { len: 3, lie: true };
    assert!(ends.server.encode_message(first, &lie, true).is_some());
    assert!(
        ends.server
            .encode_message(second, &message(0), true)
            .is_some()
    );
    ends.pump();
    let events = ends.client_events();
    assert!(
        events[0].contains("another length than it had said"),
        "{events:?}"
    );
    assert_eq!(events[1..], ["Message 2 \"\" end=false", "Finished 2 OK"]);
    assert!(ends.server_events()[0].starts_with("Reset 1"));
}

/// A unary call whose message is copied is on the wire what one with a payload is.
#[test]
fn a_call_with_a_copied_message_is_the_same() {
    let mut tagged = head("/a.B/C");
    tagged.metadata.append("key", "value").unwrap();
    tagged.timeout = Some(std::time::Duration::from_secs(3));
    for len in [0, 1, 1000, LINK_BYTES_MIN - 1] {
        let calls = [true, false].map(|copied| {
            let mut ends = Ends::ready(Config::default(), Config::default());
            // The path goes along the first time only.
            for head in [
                head("/a.B/C"),
                tagged.clone(),
                head("/a.B/D"),
                head("/a.B/C"),
            ] {
                let message = vec![7; len];
                match copied {
                    true => ends.client.open_unary(ends.now, &head, &message).unwrap(),
                    false => {
                        let message = Some(message.into());
                        ends.client.open(ends.now, head, message, true).ok()
                    }
                }
                .expect("it opens");
            }
            crate::ends::output(&mut ends.client, ends.now)
        });
        assert_eq!(calls[0], calls[1], "{len} bytes");
    }
}

#[test]
fn a_call_whose_message_cannot_be_copied_is_not_opened() {
    let mut ends = Ends::ready(Config::default(), Config::default());
    let long = vec![7; LINK_BYTES_MIN];
    let opened = ends.client.open_unary(ends.now, &head("/a.B/C"), &long);
    assert_eq!((opened, ends.client.open_calls()), (Ok(None), 0));
    let narrow = config(|limits| limits.connection_credit_bytes = 65_536);
    let mut ends = Ends::ready(Config::default(), narrow);
    let short = vec![7; LINK_BYTES_MIN - 1];
    let fits = 65_536 / short.len();
    for n in 0..fits + 1 {
        let opened = ends.client.open_unary(ends.now, &head("/a.B/C"), &short);
        assert_eq!(opened.unwrap().is_some(), n < fits, "call {n}");
    }
    let wrong = ends.client.open_unary(ends.now, &head("nowhere"), b"");
    assert!(matches!(wrong, Err(OpenError::Path(_))), "{wrong:?}");
}
