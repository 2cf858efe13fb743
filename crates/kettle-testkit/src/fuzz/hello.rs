//! The first bytes that an end of the native protocol reads.

use super::transcript::{Transcript, output};
use kettle_buf::Segment;
use kettle_proto::native::{Config, Connection, MAGIC, VERSION};
use kettle_proto::{Event, Instant, Machine, ProtocolError};

/// Least values of the settings 1 to 7: docs/protocol.md, section 1.
const LEAST: [u32; 7] = [0, 65_536, 0, 65_536, 65_536, 0, 0];

/// Longest settings of a hello in bytes: docs/protocol.md, section 1.
const SETTINGS_BYTES_MAX: usize = 1020;

/// What a hello means.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Unfinished,
    Greeting,
    /// Of a version that is not spoken here.
    Foreign,
    TooLong,
    Broken,
}

/// Both ends read a hello as the document says, and the same at any cut.
pub(super) fn run(input: &[u8]) {
    let now = Instant::default();
    let server = || Connection::server(Config::default(), now);
    let client = || Connection::client(Config::default(), now);
    for start in [&server as &dyn Fn() -> Connection, &client] {
        let (whole, meant) = read(start(), input, input.len().max(1));
        let (cut, _) = read(start(), input, 1);
        whole.assert_same(&cut);
        assert_eq!(meant, meaning(input));
    }
}

fn read(mut machine: Connection, input: &[u8], step: usize) -> (Transcript, Meaning) {
    let (now, mut transcript) = (Instant::default(), Transcript::default());
    let mut meaning = Meaning::Unfinished;
    for piece in input.chunks(step) {
        machine.handle_bytes(now, Segment::copy_from_slice(piece));
        while let Some(event) = machine.poll_event() {
            transcript.event(&machine, &event);
            if meaning == Meaning::Unfinished {
                meaning = meaning_of(&event);
            }
        }
    }
    output(&mut machine, now, u64::MAX);
    (transcript, meaning)
}

fn meaning_of(first: &Event) -> Meaning {
    match first {
        Event::Ready => Meaning::Greeting,
        Event::Closed { error: Some(error) } => match error {
            ProtocolError::Violation(_) => Meaning::Broken,
            ProtocolError::Version { .. } => Meaning::Foreign,
            ProtocolError::Limit { .. } => Meaning::TooLong,
            other => panic!("{other:?} of a hello"),
        },
        other => panic!("{other:?} before a hello"),
    }
}

/// The rules of the document, word by word.
fn meaning(bytes: &[u8]) -> Meaning {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Meaning::Broken;
    }
    let Some([.., version, lowest, l0, l1]) = bytes.first_chunk::<8>() else {
        return Meaning::Unfinished;
    };
    if *lowest == 0 || version < lowest {
        return Meaning::Broken;
    }
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    if SETTINGS_BYTES_MAX < length {
        return Meaning::TooLong;
    }
    match bytes.get(8..8 + length) {
        None => Meaning::Unfinished,
        Some(_) if *version != VERSION => Meaning::Foreign,
        Some(settings) if settings_are_right(settings) => Meaning::Greeting,
        Some(_) => Meaning::Broken,
    }
}

fn settings_are_right(bytes: &[u8]) -> bool {
    let settings = bytes.chunks_exact(6);
    let whole = settings.remainder().is_empty();
    let mut seen = [false; LEAST.len()];
    let right = |setting: &[u8]| {
        let id = usize::from(u16::from_be_bytes([setting[0], setting[1]]));
        let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
        match LEAST.get(id.wrapping_sub(1)) {
            Some(least) => !std::mem::replace(&mut seen[id - 1], true) && *least <= value,
            None => true, // of a later version
        }
    };
    whole && settings.clone().all(right)
}
