//! Which protocol a connection speaks, from its first bytes, and what to say to a foreign one.

use crate::native::MAGIC;
use kettle_buf::Segment;

/// Which protocol the first bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detected {
    /// Too few bytes to tell.
    NeedMore,
    /// kettle's native protocol.
    Native,
    /// HTTP/2 with prior knowledge, as gRPC without TLS uses it.
    Http2,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// A TLS handshake.
    Tls,
    /// Other text, such as a person types.
    Text,
    /// Other bytes.
    Unknown,
}

/// [`detect`] never needs more bytes than this; it looks at no more.
pub const LOOK_AHEAD_BYTES_MAX: usize = 8;

/// Beginnings that tell. No one is the beginning of another.
const BEGINNINGS: [(&[u8], Detected); 12] = [
    (&MAGIC, Detected::Native),
    // RFC 9113, section 11.6: the method PRI exists in the connection preface only.
    (b"PRI ", Detected::Http2),
    // RFC 8446, section 5.1: a record of type handshake, of a version 3.x.
    (b"\x16\x03", Detected::Tls),
    // RFC 9110, section 9.1, and RFC 5789.
    (b"GET ", Detected::Http1),
    (b"HEAD ", Detected::Http1),
    (b"POST ", Detected::Http1),
    (b"PUT ", Detected::Http1),
    (b"DELETE ", Detected::Http1),
    (b"CONNECT ", Detected::Http1),
    (b"OPTIONS ", Detected::Http1),
    (b"TRACE ", Detected::Http1),
    (b"PATCH ", Detected::Http1),
];

/// Tells the protocol from the first bytes of a connection, as early as it can be told. More bytes
/// never change an answer other than [`Detected::NeedMore`].
pub fn detect(first_bytes: &[u8]) -> Detected {
    let mut open = first_bytes.is_empty();
    for (beginning, detected) in BEGINNINGS {
        if first_bytes.starts_with(beginning) {
            return detected;
        }
        open |= beginning.starts_with(first_bytes);
    }
    match first_bytes.first() {
        _ if open => Detected::NeedMore,
        Some(b' '..=b'~' | b'\t' | b'\r' | b'\n') => Detected::Text,
        _ => Detected::Unknown,
    }
}

/// What a peer can read that speaks a protocol which is not served here; the connection should be
/// closed behind it. `None` when there is nothing that the peer would understand.
pub fn refusal(detected: Detected) -> Option<Segment> {
    let bytes: &'static [u8] = match detected {
        Detected::Http1 => HTTP1_REFUSAL.as_bytes(),
        Detected::Http2 => HTTP2_REFUSAL,
        Detected::Tls => TLS_REFUSAL,
        Detected::Text => TEXT_REFUSAL.as_bytes(),
        Detected::NeedMore | Detected::Native | Detected::Unknown => return None,
    };
    Some(Segment::from_static(bytes))
}

/// A macro and not a constant, so that `concat!` takes it.
macro_rules! explanation {
    () => {
        "This port speaks kettle's native protocol; call it with a kettle:// address.\n"
    };
}

/// RFC 9112: a complete response.
const HTTP1_REFUSAL: &str = concat!(
    "HTTP/1.1 400 Bad Request\r\n",
    "content-type: text/plain; charset=utf-8\r\n",
    "content-length: 77\r\n",
    "connection: close\r\n",
    "\r\n",
    explanation!()
);

/// RFC 9113, sections 6.5 and 6.8: empty SETTINGS, which must come first, then GOAWAY with no stream
/// processed, PROTOCOL_ERROR, and the explanation as debug data.
const HTTP2_REFUSAL: &[u8] = concat!(
    "\0\0\0\x04\0\0\0\0\0",
    "\0\0\x55\x07\0\0\0\0\0",
    "\0\0\0\0",
    "\0\0\0\x01",
    explanation!()
)
.as_bytes();

/// RFC 8446, section 6: a record of type alert, fatal, handshake_failure. Clients of TLS 1.2 (RFC
/// 5246, section 7.2) read the same bytes.
const TLS_REFUSAL: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

const TEXT_REFUSAL: &str = explanation!();

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts of real connections, and what they are.
    const CONNECTIONS: [(&[u8], Detected); 13] = [
        (b"\xCEKTL\x01\x01\x00\x00", Detected::Native),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Detected::Http2),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Detected::Http1),
        (b"OPTIONS * HTTP/1.1\r\n", Detected::Http1),
        (b"CONNECT a:1 HTTP/1.1\r\n", Detected::Http1),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", Detected::Tls),
        (b"hello?\r\n", Detected::Text),
        (b"\r\n", Detected::Text),
        (b"GETTING STARTED\r\n", Detected::Text),
        (b"POSTGRES", Detected::Text),
        (b"\xCEKTX", Detected::Unknown),
        (b"\x16\x02\x00", Detected::Unknown),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Detected::Unknown),
    ];

    #[test]
    fn every_cut_gives_the_same_answer_or_none_yet() {
        for (bytes, expected) in CONNECTIONS {
            let mut told = Detected::NeedMore;
            for n in 0..=bytes.len() {
                let now = detect(&bytes[..n]);
                assert!(
                    told == Detected::NeedMore || told == now,
                    "{bytes:?} at {n}: {now:?}"
                );
                assert!(
                    now != Detected::NeedMore || n < LOOK_AHEAD_BYTES_MAX,
                    "{bytes:?} at {n}"
                );
                told = now;
            }
            assert_eq!(told, expected, "{bytes:?}");
        }
    }

    #[test]
    fn it_is_told_as_early_as_it_can_be() {
        for (beginning, detected) in BEGINNINGS {
            let short = &beginning[..beginning.len() - 1];
            assert_eq!(detect(short), Detected::NeedMore, "{short:?}");
            assert_eq!(detect(beginning), detected, "{beginning:?}");
        }
    }

    #[test]
    fn an_http1_peer_reads_a_complete_response() {
        let refusal = refusal(Detected::Http1).unwrap();
        let text = core::str::from_utf8(&refusal).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("connection: close"));
        let length = alloc::format!("content-length: {}\r\n", body.len());
        assert!(head.contains(&length), "{head}: {length}");
    }

    #[test]
    fn an_http2_peer_reads_settings_and_goaway() {
        let refusal = refusal(Detected::Http2).unwrap();
        assert_eq!(refusal[..9], [0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let length = u32::from_be_bytes([0, refusal[9], refusal[10], refusal[11]]) as usize;
        assert_eq!((length, refusal[12]), (refusal.len() - 18, 7));
        assert_eq!(refusal[13..26], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(&refusal[26..], TEXT_REFUSAL.as_bytes());
    }

    #[test]
    fn the_others_read_what_they_can() {
        assert_eq!(
            &*refusal(Detected::Tls).unwrap(),
            [0x15, 3, 3, 0, 2, 2, 0x28]
        );
        assert!(refusal(Detected::Text).unwrap().ends_with(b"\n"));
        for nothing in [Detected::NeedMore, Detected::Native, Detected::Unknown] {
            assert_eq!(refusal(nothing), None);
        }
    }
}
