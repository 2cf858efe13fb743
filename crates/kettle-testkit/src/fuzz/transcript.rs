//! What an end said and reported, in a form that two runs can be compared by.

use kettle_buf::{Chain, Piece};
use kettle_proto::native::{Connection, MAGIC};
use kettle_proto::{Event, Instant, Machine, ProtocolError};

/// Length of a frame's header in bytes: docs/protocol.md, section 2.
const HEADER_BYTES: usize = 12;
const CREDIT: u8 = 0x04;
const GOODBYE: u8 = 0x08;

/// Everything that one end did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Transcript {
    /// The events, as lines.
    pub events: Vec<String>,
    /// The frames of its output but CREDIT: how much of that returns at a time depends on the cuts.
    pub frames: Vec<Vec<u8>>,
    /// The peer went beyond its credit. Then too the cuts may matter, because they decide how much of it
    /// had been returned.
    pub beyond_credit: bool,
}

impl Transcript {
    /// Adds an event.
    pub fn event(&mut self, machine: &Connection, event: &Event) {
        self.beyond_credit |= is_beyond_credit(event);
        self.events.push(line(machine, event));
    }

    /// Panics when another cut of the same input did something else.
    pub fn assert_same(&self, cut: &Self) {
        if self.beyond_credit || cut.beyond_credit {
            return;
        }
        assert_eq!(self.events, cut.events, "a cut changed the events");
        assert_eq!(self.frames, cut.frames, "a cut changed the answers");
    }
}

/// An event as a line: the bytes of messages, and not how they lie in memory.
fn line(machine: &Connection, event: &Event) -> String {
    match event {
        Event::Message { call, message, end } => {
            format!("Message {call:?} {} end={end}", digest(message))
        }
        Event::Call {
            call,
            method,
            metadata,
            deadline,
            message,
        } => {
            let path = machine.method_path(method).expect("it was named");
            let entries: Vec<_> = metadata.iter().collect();
            let message = message.as_ref().map(digest);
            format!("Call {call:?} {method:?} {path} {entries:?} {deadline:?} {message:?}")
        }
        other => format!("{other:?}"),
    }
}

fn digest(message: &Chain) -> String {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    let bytes = message.segments().flat_map(|segment| segment.iter());
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325, fnv);
    format!("{} bytes, hash {hash:x}", message.len())
}

fn is_beyond_credit(event: &Event) -> bool {
    match event {
        Event::Closed {
            error: Some(ProtocolError::Limit { name, .. }),
        } => name.ends_with("_credit_bytes"),
        _ => false,
    }
}

/// All output that can be had now, given in parts of at most `max` bytes.
pub(super) fn output(machine: &mut Connection, now: Instant, max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(payload) = machine.poll_transmit(now, max) {
        assert!(!payload.is_empty() && payload.len() <= max);
        for piece in payload.into_pieces() {
            match piece {
                Piece::Memory(segment) => bytes.extend_from_slice(&segment),
                Piece::File(_) => unreachable!("no file was sent"),
            }
        }
    }
    bytes
}

/// Takes an end's output apart, which is a hello, whole frames, and nothing behind a GOODBYE. CREDIT is
/// left out.
pub(super) fn frames(mut output: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    if output.is_empty() {
        return frames;
    }
    assert!(output.starts_with(&MAGIC), "the first word is a hello");
    let settings = usize::from(u16::from_be_bytes([output[6], output[7]]));
    let (hello, mut rest) = output.split_at(8 + settings);
    frames.push(hello.to_vec());
    while let Some(header) = rest.first_chunk::<HEADER_BYTES>() {
        let [l0, l1, l2, l3, kind, ..] = *header;
        let length = HEADER_BYTES + u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        (output, rest) = rest.split_at_checked(length).expect("a whole frame");
        assert!((1..=GOODBYE).contains(&kind), "kind {kind}");
        assert!(kind != GOODBYE || rest.is_empty(), "words behind GOODBYE");
        if kind != CREDIT {
            frames.push(output.to_vec());
        }
    }
    assert!(rest.is_empty(), "half a header");
    frames
}
