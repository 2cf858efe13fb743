//! The lines of a recording: JSON, each an object. docs/recording.md says what stands in them.

use super::watched::{Ended, Streams};
use std::io::Write;

/// The version of the format. A reader refuses those that it does not know.
const VERSION: u32 = 1;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What the first line says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) started_unix_ms: u64,
    pub(super) payloads: bool,
    pub(super) bytes_max: u64,
}

/// The first line.
pub(super) fn head(out: &mut Vec<u8>, head: &Head) {
    let Head {
        started_unix_ms,
        payloads,
        bytes_max,
    } = head;
    let program = env!("CARGO_PKG_VERSION");
    let line = format!(
        "{{\"kettle_recording\":{VERSION},\"kettle\":\"{program}\",\"started_unix_ms\":{started_unix_ms},\
         \"payloads\":{payloads},\"bytes_max\":{bytes_max}}}\n"
    );
    out.extend_from_slice(line.as_bytes());
}

/// The line of a call. `connection`: where it is known.
pub(super) fn call(out: &mut Vec<u8>, call: &Ended, connection: Option<u64>) {
    put(out, format_args!("{{\"at_us\":{}", call.at.as_micros()));
    if let Some(connection) = connection {
        put(out, format_args!(",\"connection\":{connection}"));
    }
    out.extend_from_slice(b",\"method\":");
    text(out, call.path);
    put(
        out,
        format_args!(
            ",\"kind\":\"{}\",\"requests\":{},\"request_bytes\":{},\"replies\":{},\"reply_bytes\":{},\
             \"took_us\":{},\"status\":",
            kind(call.streams),
            call.requests.messages,
            call.requests.bytes,
            call.replies.messages,
            call.replies.bytes,
            call.took.as_micros(),
        ),
    );
    text(out, &call.status.to_string());
    let payloads = call.requests.payloads.as_ref();
    if let Some(messages) = payloads.and_then(|payloads| payloads.messages()) {
        out.extend_from_slice(b",\"payloads\":[");
        for (index, message) in messages.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
            base64(out, message);
            out.push(b'"');
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}\n");
}

/// So many calls before this line had no place in the queue.
pub(super) fn missed(out: &mut Vec<u8>, calls: u64) {
    put(out, format_args!("{{\"missed\":{calls}}}\n"));
}

/// No call follows: the file has reached its limit.
pub(super) fn full(out: &mut Vec<u8>, at_us: u128) {
    put(out, format_args!("{{\"full_us\":{at_us}}}\n"));
}

/// The last line of a file that was completed.
pub(super) fn end(out: &mut Vec<u8>, at_us: u128, calls: u64, unrecorded: u64) {
    put(
        out,
        format_args!("{{\"end_us\":{at_us},\"calls\":{calls},\"unrecorded\":{unrecorded}}}\n"),
    );
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes everything");
}

fn kind(streams: Streams) -> &'static str {
    match (streams.requests, streams.replies) {
        (false, false) => "unary",
        (true, false) => "client-stream",
        (false, true) => "server-stream",
        (true, true) => "bidi",
    }
}

/// A string of JSON (RFC 8259, section 7).
fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            0..0x20 => put(out, format_args!("\\u{byte:04x}")),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    for group in bytes.chunks(3) {
        let byte = |index| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let digit = BASE64[(bits >> (18 - 6 * index) & 63) as usize];
            out.push(if index <= group.len() { digit } else { b'=' });
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::Code;
    use crate::recorder::payloads::Payloads;
    use crate::recorder::tally::Flow;
    use crate::remote::Remote;
    use std::time::Duration;

    /// A call of 10 bytes for 20.
    pub(in crate::recorder) fn call(path: &'static str) -> Ended {
        let flow = |bytes| {
            let mut flow = Flow::default();
            flow.count(bytes);
            flow
        };
        Ended {
            at: Duration::from_micros(1500),
            took: Duration::from_micros(7),
            remote: Remote::Nobody,
            path,
            streams: Streams::default(),
            requests: flow(10),
            replies: flow(20),
            status: Code::Ok,
        }
    }

    fn written(call: &Ended, connection: Option<u64>) -> serde_json::Value {
        let mut out = Vec::new();
        super::call(&mut out, call, connection);
        assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_line_is_an_object() {
        let line = written(&call("/a.B/C"), Some(3));
        let wanted = serde_json::json!({
            "at_us": 1500, "connection": 3, "method": "/a.B/C", "kind": "unary", "requests": 1,
            "request_bytes": 10, "replies": 1, "reply_bytes": 20, "took_us": 7, "status": "OK",
        });
        assert_eq!(line, wanted);
        assert!(written(&call("/a.B/C"), None).get("connection").is_none());
    }

    #[test]
    fn kinds_are_told_apart() {
        for (requests, replies, kind) in [
            (true, false, "client-stream"),
            (false, true, "server-stream"),
            (true, true, "bidi"),
        ] {
            let streams = Streams { requests, replies };
            let line = written(
                &Ended {
                    streams,
                    ..call("/")
                },
                None,
            );
            assert_eq!(line["kind"], kind);
        }
    }

    #[test]
    fn any_path_is_a_string() {
        let path = "/\"\\\n\u{1}é/\u{7f}";
        assert_eq!(written(&call(path), None)["method"], path);
    }

    #[test]
    fn payloads_are_base64() {
        // RFC 4648, section 10.
        for (bytes, wanted) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            base64(&mut out, bytes.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), wanted);
        }
        let mut out = Vec::new();
        base64(&mut out, &[0xfb, 0xff, 0xbf]);
        assert_eq!(out, b"+/+/");
    }

    #[test]
    fn payloads_stand_behind_the_rest() {
        let mut payloads = Payloads::new(&Default::default());
        payloads.push(3, || b"foo".to_vec());
        payloads.push(0, Vec::new);
        let mut call = call("/");
        call.requests.payloads = Some(payloads);
        assert_eq!(
            written(&call, None)["payloads"],
            serde_json::json!(["Zm9v", ""])
        );
    }

    #[test]
    fn the_first_line_names_the_version() {
        let mut out = Vec::new();
        let head = Head {
            started_unix_ms: 5,
            payloads: true,
            bytes_max: 9,
        };
        super::head(&mut out, &head);
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let wanted = serde_json::json!({
            "kettle_recording": 1, "kettle": env!("CARGO_PKG_VERSION"), "started_unix_ms": 5,
            "payloads": true, "bytes_max": 9,
        });
        assert_eq!(line, wanted);
    }
}
