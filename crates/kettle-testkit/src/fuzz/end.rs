//! One end that reads what no honest peer would send.
//!
//! The first bytes of an input choose the end's limits and how its bytes are cut; the rest is what it reads
//! behind a hello: raw, or as frames in a short form that keeps a fuzzer from guessing lengths.

use super::input::Input;
use super::transcript::{Transcript, frames, output};
use super::watch::Watch;
use crate::frames::{frame, hello};
use crate::pair::{Rng, Side};
use kettle_buf::Segment;
use kettle_proto::limits::Limits;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{Closing, Code, Event, Head, Instant, Machine, Metadata, Status};
use std::time::Duration;

/// Most bytes that are made of one input, so that each takes milliseconds.
const READ_BYTES_MAX: usize = 512 * 1024;

/// Events that wait after so many bytes were read: a frame of 12 bytes brings at most two, and the end of
/// the connection one for each call.
const EVENTS_PER_FRAME_MAX: usize = 2;

const PATHS: [&str; 3] = ["/a.B/First", "/a.B/Second", "/a.B/Third"];

/// A server reads frames.
pub(super) fn server(input: &[u8]) {
    run(Side::Server, input);
}

/// A client with open calls reads frames.
pub(super) fn client(input: &[u8]) {
    run(Side::Client, input);
}

fn run(side: Side, input: &[u8]) {
    let mut input = Input::new(input);
    let setup = Setup::read(side, &mut input);
    let bytes = setup.bytes(input);
    let whole = setup.feed(&[&bytes]);
    let cut = setup.feed(&pieces(&bytes, setup.seed));
    whole.assert_same(&cut);
}

/// What an input says before its frames.
#[derive(Debug)]
struct Setup {
    side: Side,
    limits: Limits,
    raw: bool,
    /// The peer's settings.
    settings: Vec<(u16, u32)>,
    /// Client: whether its OPENs were given out before the peer's first byte.
    opened_before: bool,
    /// Whether our side drains from the start, and has asked for a pong.
    drains: bool,
    pings: bool,
    /// Of the cuts.
    seed: u64,
}

impl Setup {
    fn read(side: Side, input: &mut Input<'_>) -> Self {
        let mut limits = Limits::default();
        let (sizes, flags) = (input.byte(), input.byte());
        limits.message_bytes_max = [4 << 20, 100, 66_000, 0][usize::from(sizes & 3)];
        limits.metadata_bytes_max = [16_384, 20][usize::from(sizes >> 2 & 1)];
        limits.calls_max = [1024, 3][usize::from(sizes >> 3 & 1)];
        limits.methods_max = [1024, 2][usize::from(sizes >> 4 & 1)];
        limits.connection_credit_bytes = [16 << 20, 65_536][usize::from(sizes >> 5 & 1)];
        limits.call_credit_bytes = [1 << 20, 65_536][usize::from(sizes >> 6 & 1)];
        limits.frame_bytes_max = [1 << 20, 65_536][usize::from(sizes >> 7)];
        let small = flags & 1 != 0;
        Self {
            side,
            limits,
            raw: flags & 2 != 0,
            settings: if small {
                vec![(1, 50), (3, 10), (6, 4), (7, 1)]
            } else {
                vec![(1, 1 << 20), (4, 1 << 20), (6, 10), (7, 10)]
            },
            opened_before: flags & 4 != 0,
            drains: flags & 8 != 0,
            pings: flags & 16 != 0,
            seed: (flags >> 5).into(),
        }
    }

    /// What the end reads.
    fn bytes(&self, mut input: Input<'_>) -> Vec<u8> {
        let mut bytes = hello(&self.settings);
        if self.raw {
            bytes.extend(input.rest());
            return bytes;
        }
        while !input.is_empty() && bytes.len() < READ_BYTES_MAX {
            bytes.extend(short_frame(&mut input));
        }
        bytes
    }

    fn start(&self, watch: &mut Watch) -> Connection {
        let config = Config {
            limits: self.limits.clone().into(),
            ping_seed: 0,
        };
        let mut machine = match self.side {
            Side::Server => Connection::server(config, at(0)),
            Side::Client => Connection::client(config, at(0)),
        };
        if self.side == Side::Client {
            open_calls(&mut machine, watch);
        }
        if self.pings {
            machine.ping(at(0));
        }
        if self.drains {
            machine.drain(at(0));
        }
        machine
    }

    /// Reads the pieces, answers what is open, and comes to an end.
    fn feed(&self, pieces: &[&[u8]]) -> Transcript {
        let (mut watch, mut transcript) = (Watch::new(self.side), Transcript::default());
        let (mut machine, mut said) = (self.start(&mut watch), Vec::new());
        if self.opened_before {
            said = output(&mut machine, at(0), 1000);
        }
        let mut read = 0;
        for piece in pieces {
            machine.handle_bytes(at(1), Segment::copy_from_slice(piece));
            read += piece.len();
            let events = machine.waiting_events();
            let events_max = 20 + machine.open_calls() + EVENTS_PER_FRAME_MAX * read / 12;
            assert!(events <= events_max, "{events} of {read} bytes");
            assert!(machine.expect() <= self.limits.frame_bytes_max as usize);
            self.look(&mut machine, &mut watch, &mut transcript);
        }
        self.answer(&mut machine, &mut watch);
        // In one piece: otherwise CREDIT, of which the cuts decide, would move the borders of DATA.
        said.extend(output(&mut machine, at(1), u64::MAX));
        self.look(&mut machine, &mut watch, &mut transcript);
        transcript.frames = frames(&said);
        self.end(&mut machine, &mut watch, &mut transcript);
        transcript
    }

    /// Takes all events.
    fn look(&self, machine: &mut Connection, watch: &mut Watch, transcript: &mut Transcript) {
        while let Some(event) = machine.poll_event() {
            watch.event(&event);
            transcript.event(machine, &event);
            let length = match &event {
                Event::Message { message, .. } => message.len(),
                Event::Call {
                    message: Some(message),
                    ..
                } => message.len(),
                _ => 0,
            };
            assert!(length <= self.limits.message_bytes_max as usize);
        }
        assert_eq!(machine.waiting_events(), 0);
        let (open, known) = (machine.open_calls(), watch.open().len());
        assert!(known <= open, "{known} calls known, {open} open");
        if self.side == Side::Server {
            assert!(open <= self.limits.calls_max as usize, "{open} calls");
        }
    }

    /// Server: answers every second call that is open with a message, the others with an error.
    fn answer(&self, machine: &mut Connection, watch: &mut Watch) {
        if self.side == Side::Client {
            return;
        }
        for call in watch.open() {
            let even = call.stream.is_multiple_of(2);
            let message = even.then(|| vec![7; 40_000 * (call.stream as usize % 3)].into());
            let code = if even { Code::Ok } else { Code::Aborted };
            let closing = Closing {
                message,
                status: Status::new(code, "as the target wants it"),
                ..Closing::default()
            };
            machine.finish(call, closing);
            watch.answered(call);
        }
    }

    /// The peer ends its side, and time goes by: whatever came, nothing is left.
    fn end(&self, machine: &mut Connection, watch: &mut Watch, transcript: &mut Transcript) {
        machine.handle_end(at(2));
        self.look(machine, watch, transcript);
        output(machine, at(2), 70_000);
        self.look(machine, watch, transcript);
        machine.handle_timeout(at(3_600_000));
        output(machine, at(3_600_000), 70_000);
        self.look(machine, watch, transcript);
        assert!(watch.is_closed(), "the connection lingers");
        assert_eq!((machine.open_calls(), machine.pending_bytes()), (0, 0));
        assert_eq!((machine.poll_timeout(), machine.expect()), (None, 0));
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// Client: opens calls of every kind.
fn open_calls(machine: &mut Connection, watch: &mut Watch) {
    for n in 0..6usize {
        let mut metadata = Metadata::new();
        if n == 5 {
            metadata.append("key", "value").expect("a right entry");
        }
        let head = Head {
            path: PATHS[n % PATHS.len()],
            metadata,
            timeout: (n == 4).then_some(Duration::from_secs(60)),
        };
        // The third is longer than what may be sent before the server's hello is read.
        let message = (n != 1).then(|| vec![n as u8; [1, 0, 100_000, 3, 4, 5][n]].into());
        let call = machine.open(at(0), head, message, n % 2 == 0);
        watch.opened(call.expect("the first calls open"));
    }
}

/// A frame in the short form: kind, flags, method, stream, length of its payload, the payload, and how many
/// KiB follow it that are all alike.
fn short_frame(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    let kind = if kind < 0x80 { kind % 16 } else { kind };
    let (flags, method, stream) = (input.byte(), input.byte() % 8, input.byte() % 16);
    let length = input.byte().into();
    let mut payload = input.take(length).to_vec();
    let more = usize::from(input.byte().saturating_sub(127)) * 1024;
    payload.resize(payload.len() + more, b'.');
    frame(kind, flags, method.into(), stream.into(), &payload)
}

/// The same bytes in pieces of any length; of one byte each when they are few.
fn pieces(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    if seed == 0 {
        let size = 1 + bytes.len() / 4096;
        return bytes.chunks(size).collect();
    }
    let (mut rng, mut rest, mut pieces) = (Rng::new(seed), bytes, Vec::new());
    while !rest.is_empty() {
        let most = if rng.percent(70) { 24 } else { 70_000 };
        let n = 1 + rng.below(most) as usize;
        let (piece, others) = rest.split_at(n.min(rest.len()));
        pieces.push(piece);
        rest = others;
    }
    pieces
}
