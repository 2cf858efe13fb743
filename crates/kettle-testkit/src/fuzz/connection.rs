//! Both ends of a connection, what is between them, and the layers above, all led by one input.
//!
//! Every byte or few of an input are a step: a command to an end, bytes that move, time that passes, a cut.
//! Both ends are honest, so nothing but a cut may make either complain of the other, and what one sends the
//! other gets, in order and whole.

use super::input::Input;
use super::watch::Watch;
use crate::pair::Side;
use kettle_buf::{Chain, Payload, Piece, Segment};
use kettle_proto::limits::Limits;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{
    CallId, Closing, Code, Event, Head, Instant, Machine, Metadata, OpenError, ProtocolError,
    Status,
};
use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

/// Most message bytes that one input sends, so that each takes milliseconds.
const SENT_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Most steps of one input, for the same reason.
const STEPS_MAX: u64 = 400;

/// Bytes of heads, credit, pongs and resets that wait in an end, for each step so far.
const HEAD_BYTES_MAX: u64 = 4096;

/// What a handler says that fails; no machine says it.
const HANDLER_FAILED: &str = "the handler failed";

const PATHS: [&str; 4] = ["/a.B/First", "/a.B/Second", "/a.B/Third", "no path"];

/// Lengths of messages: around what goes at once, what fits into initial credit, and the limits.
const SIZES: [usize; 12] = [
    0, 1, 100, 5000, 16_384, 16_385, 65_536, 65_537, 100_000, 150_000, 200_000, 200_001,
];

/// The honest limit of messages in bytes; the last of [`SIZES`] is over it.
const MESSAGE_BYTES_MAX: u32 = 200_000;

/// The bytes of messages, which start anywhere in its first 256.
static PATTERN: LazyLock<Segment> = LazyLock::new(|| {
    let bytes = 0..SIZES[SIZES.len() - 1] + 256;
    let bytes: Vec<u8> = bytes.map(|n| (n * 131 % 253) as u8).collect();
    bytes.into()
});

/// Leads both ends by the steps of an input, then lets them come to an end in order.
pub(super) fn run(input: &[u8]) {
    let mut run = Run::new(Input::new(input));
    while !run.input.is_empty() && run.steps < STEPS_MAX {
        run.steps += 1;
        run.step();
        run.check_bounds();
    }
    run.settle();
    run.check_delivery();
    run.finish();
}

/// What is under way to one side.
#[derive(Debug, Default)]
struct Wire {
    pieces: VecDeque<Segment>,
    /// The sender's side is closed: nothing is added.
    ended: bool,
    /// The receiver was told so.
    end_told: bool,
}

/// One call, as both layers above know it. Arrays have the client's part first.
#[derive(Debug)]
struct Call {
    client: CallId,
    server: Option<CallId>,
    /// Messages that were sent to this side and have not come.
    coming: [VecDeque<Segment>; 2],
    /// The client ended its side.
    ended: bool,
    /// The reply has begun.
    replied: bool,
    /// Metadata of the reply: was sent, has come.
    headers: [bool; 2],
    /// No event of this call may come on this side any more.
    over: [bool; 2],
    answer: Option<Code>,
}

struct Run<'a> {
    input: Input<'a>,
    steps: u64,
    now: Instant,
    ends: [Connection; 2],
    wires: [Wire; 2],
    watches: [Watch; 2],
    calls: Vec<Call>,
    /// Places in `calls` by the number of the stream.
    places: HashMap<u32, usize>,
    /// Message bytes that each side was given to send.
    given: [u64; 2],
    /// Something other than the ends in order ended the connection: a cut, a goodbye, time.
    disturbed: bool,
}

impl<'a> Run<'a> {
    fn new(mut input: Input<'a>) -> Self {
        let now = Instant::from_nanos(1);
        let (client, server) = (config(&mut input), config(&mut input));
        Self {
            input,
            steps: 0,
            now,
            ends: [
                Connection::client(client, now),
                Connection::server(server, now),
            ],
            wires: Default::default(),
            watches: [Watch::new(Side::Client), Watch::new(Side::Server)],
            calls: Vec::new(),
            places: HashMap::new(),
            given: [0; 2],
            disturbed: false,
        }
    }

    fn step(&mut self) {
        let step = self.input.byte();
        let side = if step & 0x80 == 0 {
            Side::Client
        } else {
            Side::Server
        };
        match step % 24 {
            0..4 => self.open(),
            4..6 => self.send(side),
            6 => self.end_request(),
            7 => self.reset(side),
            8 => self.send_headers(),
            9..11 => self.answer(),
            11..14 => self.transmit(side),
            14..17 => self.deliver(side),
            17 => self.pass_time(),
            18 => self.ends[side as usize].ping(self.now),
            19 => self.ends[side as usize].drain(self.now),
            20 => self.close(side),
            21 => self.cut(side),
            22 => self.events(side),
            _ => self.settle(),
        }
    }

    /// The slot may be that of a call whose end waits to be taken.
    fn open(&mut self) {
        self.events(Side::Client);
        let path = PATHS[self.input.below(PATHS.len())];
        let options = self.input.byte();
        let mut metadata = Metadata::new();
        if options & 1 != 0 {
            let value = vec![b'v'; usize::from(options >> 4) * 20];
            metadata.append("key", value).expect("a right entry");
        }
        let timeout = (options & 2 != 0).then(|| Duration::from_millis((options >> 2).into()));
        let message = (options & 4 != 0).then(|| self.message(Side::Client));
        let end = options & 8 != 0;
        let head = Head {
            path,
            metadata,
            timeout,
        };
        let payload = message.clone().map(Payload::from);
        let (client, server) = (&mut self.ends[0], Side::Server as usize);
        let call = match client.open(self.now, head, payload, end) {
            Ok(call) => call,
            Err(OpenError::Path(path)) => return assert_eq!(path, PATHS[3]),
            Err(OpenError::Refused(status)) => {
                return assert!(!status.is_ok() && !status.message().is_empty());
            }
            Err(_) => return,
        };
        self.watches[0].opened(call);
        self.places.insert(call.stream, self.calls.len());
        let mut coming: [VecDeque<Segment>; 2] = Default::default();
        coming[server].extend(message);
        self.calls.push(Call {
            client: call,
            server: None,
            coming,
            ended: end,
            replied: false,
            headers: [false; 2],
            over: [false; 2],
            answer: None,
        });
    }

    /// The next message that a side sends; none of more than a byte when much was sent before.
    fn message(&mut self, from: Side) -> Segment {
        let (class, start) = (self.input.below(SIZES.len()), self.input.byte());
        let sent: u64 = self.given.iter().sum();
        let size = if sent < SENT_BYTES_MAX {
            SIZES[class]
        } else {
            1
        };
        self.given[from as usize] += size as u64;
        let start = usize::from(start);
        PATTERN.slice(start..start + size)
    }

    /// A call that the input chooses: one that this side may still use.
    fn choose(&mut self, side: Side) -> Option<(usize, CallId)> {
        let nth = self.input.below(8);
        let usable = |call: &Call| match side {
            Side::Client => Some(call.client),
            Side::Server => call.server.filter(|_| call.answer.is_none()),
        };
        let calls = self.calls.iter().enumerate().rev();
        let calls = calls.filter(|(_, call)| !call.over[side as usize]);
        let mut calls = calls.filter_map(|(place, call)| Some((place, usable(call)?)));
        calls.nth(nth)
    }

    fn send(&mut self, side: Side) {
        let Some((place, call)) = self.choose(side) else {
            return;
        };
        let end = side == Side::Client && self.input.below(3) == 0;
        let record = &mut self.calls[place];
        if side == Side::Client && record.ended {
            return;
        }
        record.ended |= end;
        record.replied |= side == Side::Server;
        let message = self.message(side);
        self.calls[place].coming[1 - side as usize].push_back(message.clone());
        self.ends[side as usize].send_message(call, message.into(), end);
    }

    fn end_request(&mut self) {
        if let Some((place, call)) = self.choose(Side::Client) {
            self.calls[place].ended = true;
            self.ends[0].end(call);
        }
    }

    /// What is given up may be over already, as events say that wait to be taken.
    fn reset(&mut self, side: Side) {
        self.events(side);
        if let Some((place, call)) = self.choose(side) {
            self.calls[place].over[side as usize] = true;
            self.watches[side as usize].given_up(call);
            self.ends[side as usize].reset(call, &Status::cancelled("given up"));
        }
    }

    fn send_headers(&mut self) {
        let Some((place, call)) = self.choose(Side::Server) else {
            return;
        };
        if !std::mem::replace(&mut self.calls[place].replied, true) {
            let mut metadata = Metadata::new();
            metadata
                .append("reply-bin", &b"\0\x01"[..])
                .expect("a right entry");
            self.calls[place].headers[0] = true;
            self.ends[1].send_headers(call, metadata);
        }
    }

    fn answer(&mut self) {
        self.events(Side::Server);
        let Some((place, call)) = self.choose(Side::Server) else {
            return;
        };
        let options = self.input.byte();
        let message = (options & 1 != 0).then(|| self.message(Side::Server));
        let failed = options & 6 == 0;
        let status = if failed {
            Status::aborted(HANDLER_FAILED).with_details(vec![1; usize::from(options) * 8])
        } else {
            Status::default()
        };
        let mut headers = Metadata::new();
        let record = &mut self.calls[place];
        if !std::mem::replace(&mut record.replied, true) && options & 8 != 0 {
            headers.append("reply", "yes").expect("a right entry");
            record.headers[0] = true;
        }
        record.answer = Some(status.code());
        record.coming[0].extend(message.clone());
        self.watches[1].answered(call);
        let closing = Closing {
            headers,
            message: message.map(Payload::from),
            status,
        };
        self.ends[1].finish(call, closing);
    }

    /// Puts output on the wire, at most so much at a time.
    fn transmit(&mut self, from: Side) {
        let max = [1, 13, 1000, 20_000, 100_000][self.input.below(5)];
        self.transmit_some(from, max);
    }

    fn transmit_some(&mut self, from: Side, max: u64) -> bool {
        let Some(payload) = self.ends[from as usize].poll_transmit(self.now, max) else {
            return false;
        };
        assert!(!payload.is_empty() && payload.len() <= max);
        let wire = &mut self.wires[1 - from as usize];
        for piece in payload.into_pieces().filter(|_| !wire.ended) {
            match piece {
                Piece::Memory(segment) => wire.pieces.push_back(segment),
                Piece::File(_) => unreachable!("no file was sent"),
            }
        }
        true
    }

    /// Hands over some of what is under way.
    fn deliver(&mut self, to: Side) {
        let n = [1, 5, 12, 100, 5000, usize::MAX][self.input.below(6)];
        self.deliver_some(to, n);
    }

    fn deliver_some(&mut self, to: Side, n: usize) -> bool {
        let (wire, end) = (&mut self.wires[to as usize], &mut self.ends[to as usize]);
        let Some(mut piece) = wire.pieces.pop_front() else {
            let tell = wire.ended && !std::mem::replace(&mut wire.end_told, true);
            if tell {
                end.handle_end(self.now);
            }
            return tell;
        };
        let part = piece.split_to(n.min(piece.len()));
        if !piece.is_empty() {
            wire.pieces.push_front(piece);
        }
        end.handle_bytes(self.now, part);
        true
    }

    /// Time goes by; the longest of these is over every time-out.
    fn pass_time(&mut self) {
        let millis = [1, 5, 40, 2000, 11_000, 21_000, 700_000][self.input.below(7)];
        self.now = self.now + Duration::from_millis(millis);
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
    }

    fn close(&mut self, side: Side) {
        self.disturbed = true;
        self.ends[side as usize].close(&Status::unavailable("the program ends"));
    }

    /// The bytes of one side end here; what is under way may be lost too.
    fn cut(&mut self, from: Side) {
        self.disturbed = true;
        let wire = &mut self.wires[1 - from as usize];
        wire.ended = true;
        if self.input.below(2) == 0 {
            wire.pieces.clear();
        }
    }

    /// Takes all events of one side.
    fn events(&mut self, side: Side) {
        while let Some(event) = self.ends[side as usize].poll_event() {
            self.watches[side as usize].event(&event);
            self.event(side, event);
        }
    }

    fn event(&mut self, side: Side, event: Event) {
        match event {
            Event::Call {
                call,
                method,
                message,
                ..
            } => {
                let place = self.places[&call.stream];
                let path = self.ends[1].method_path(&method).expect("it was named");
                assert!(PATHS[..3].contains(&path), "{path}");
                let record = &mut self.calls[place];
                assert_eq!(record.server.replace(call), None);
                if let Some(message) = message {
                    self.came(side, call, &message, true);
                }
            }
            Event::Headers { call, metadata } => {
                self.record(call).headers[1] = !metadata.is_empty();
            }
            Event::Message { call, message, end } => self.came(side, call, &message, end),
            Event::End { call } => self.request_ended(call),
            Event::Reset { call, .. } => self.record(call).over[1] = true,
            Event::Finished {
                call,
                status,
                unprocessed,
            } => self.finished(call, &status, unprocessed),
            Event::Closed { error } => self.closed(side, error),
            _ => {}
        }
    }

    fn record(&mut self, call: CallId) -> &mut Call {
        &mut self.calls[self.places[&call.stream]]
    }

    fn came(&mut self, side: Side, call: CallId, message: &Chain, end: bool) {
        let sent = self.record(call).coming[side as usize].pop_front();
        let sent = sent.expect("a message that was sent");
        assert!(*message == sent[..], "a message came changed");
        self.ends[side as usize].consumed(call, message.len() as u64);
        if end {
            self.request_ended(call);
        }
    }

    fn request_ended(&mut self, call: CallId) {
        let call = self.record(call);
        assert!(call.ended && call.coming[1].is_empty(), "{call:?}");
    }

    fn finished(&mut self, call: CallId, status: &Status, unprocessed: bool) {
        let call = self.record(call);
        assert!(!std::mem::replace(&mut call.over[0], true), "{call:?}");
        if status.is_ok() || status.message() == HANDLER_FAILED {
            assert_eq!(call.answer, Some(status.code()));
            assert!(call.coming[0].is_empty(), "the reply is not whole");
            assert_eq!(call.headers[0], call.headers[1], "metadata of the reply");
        }
        if unprocessed {
            assert_eq!(call.server, None, "the server knows this call");
            call.over[1] = true;
        }
    }

    /// Honest ends have nothing to complain of but time and cuts.
    fn closed(&mut self, side: Side, error: Option<ProtocolError>) {
        let wire = &mut self.wires[1 - side as usize];
        let Some(error) = error else { return };
        match error {
            ProtocolError::UnexpectedEnd => assert!(wire.ended || self.disturbed, "{side:?}"),
            ProtocolError::Goodbye { code, message } => {
                let blames = code == Code::Internal || code == Code::ResourceExhausted;
                assert!(!blames, "{side:?} was told: {message}");
            }
            ProtocolError::HandshakeTimeout
            | ProtocolError::PingTimeout
            | ProtocolError::IdleTimeout => {}
            other => panic!("{side:?}: {other}"),
        }
        self.disturbed = true;
    }

    /// Nothing grows beyond what was put in.
    fn check_bounds(&self) {
        for side in [0, 1] {
            let end = &self.ends[side];
            let most = self.given[side] + HEAD_BYTES_MAX * (self.steps + 1);
            assert!(end.pending_bytes() <= most, "{} wait", end.pending_bytes());
            let events_max = 4 * self.steps as usize + 10;
            assert!(end.waiting_events() <= events_max);
            assert!(end.open_calls() <= self.calls.len());
        }
    }

    /// Moves bytes and takes events until nothing moves.
    fn settle(&mut self) {
        let mut moves = true;
        while moves {
            moves = false;
            for side in [Side::Client, Side::Server] {
                self.events(side);
                while self.transmit_some(side, 100_000) {
                    moves = true;
                }
                self.events(side);
                if self.watches[side as usize].is_closed() {
                    self.wires[1 - side as usize].ended = true;
                }
                while self.deliver_some(side, usize::MAX) {
                    moves = true;
                }
            }
        }
    }

    /// Of an undisturbed connection: everything that was sent on open calls has come.
    fn check_delivery(&self) {
        let closed = self.watches.iter().any(Watch::is_closed);
        if self.disturbed || closed {
            return;
        }
        for call in self.calls.iter().filter(|call| call.over == [false; 2]) {
            assert!(call.server.is_some(), "{call:?} has not come");
            let stuck = call.coming.iter().any(|coming| !coming.is_empty());
            assert!(!stuck, "credit is stuck: {call:?}");
        }
    }

    /// Ends all calls, then the connection, in order when nothing disturbed it.
    fn finish(&mut self) {
        for _ in 0..2 {
            for call in self.watches[1].open() {
                self.record(call).answer = Some(Code::Ok);
                self.watches[1].answered(call);
                self.ends[1].finish(call, Closing::default());
            }
            self.ends[0].drain(self.now);
            self.settle();
            let closed = self.watches.iter().all(Watch::is_closed);
            assert!(closed || self.disturbed, "the drain does not end");
            for wire in &mut self.wires {
                wire.ended = true;
            }
            self.disturbed = true;
            self.settle();
        }
        for side in [0, 1] {
            assert!(self.watches[side].is_closed(), "side {side} lingers");
            assert_eq!(self.ends[side].open_calls(), 0);
            assert_eq!(self.ends[side].poll_timeout(), None);
        }
        let over = self.calls.iter().all(|call| call.over[0]);
        assert!(over, "a call was lost: {:?}", self.calls);
    }
}

fn config(input: &mut Input<'_>) -> Config {
    let (sizes, counts) = (input.byte(), input.byte());
    let mut limits = Limits::default();
    limits.message_bytes_max = MESSAGE_BYTES_MAX;
    limits.frame_bytes_max = 65_536 << (sizes & 1);
    limits.call_credit_bytes = 65_536 << (sizes >> 1 & 3);
    limits.connection_credit_bytes = 65_536 << (sizes >> 3 & 3);
    limits.metadata_bytes_max = [16_384, 100][usize::from(sizes >> 5 & 1)];
    limits.calls_max = [1024, 1, 3, 100][usize::from(counts & 3)];
    limits.methods_max = [1024, 0, 1, 2][usize::from(counts >> 2 & 3)];
    Config {
        limits: limits.into(),
        ping_seed: counts.into(),
    }
}
