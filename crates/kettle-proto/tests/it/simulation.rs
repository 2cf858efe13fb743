//! Seeded runs of two machines over a wire with delays, short reads and writes, and cuts.
//!
//! `KETTLE_SEED=n` runs one seed alone.

use crate::ends::{at, config};
use kettle_buf::{FileRegion, Payload};
use kettle_proto::limits::Limits;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{CallId, Closing, Event, Head, Instant, Machine, Metadata, OpenError, Status};
use kettle_testkit::pair::{Pair, Rng, Side};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

/// Byte `n` of every message is the pattern's byte `n` from the message's offset on.
fn pattern(n: u64) -> u8 {
    (n * 131 % 253) as u8
}

const PATTERN_BYTES: u64 = 1 << 20;
const MESSAGE_BYTES_MAX: u32 = 400_000;
const CALLS_MAX: u32 = 256;

/// What the layer above does at a time of its choice.
enum Action {
    Open,
    Cancel(CallId),
    Answer(CallId, Vec<u8>),
    Ping,
    Drain,
    Cut,
}

/// What is known of a call from the client's side.
struct Asked {
    request: Vec<u8>,
    over: bool,
}

struct Run {
    pair: Pair<Connection>,
    rng: Rng,
    file: Arc<File>,
    agenda: BTreeMap<(Instant, u64), Action>,
    planned: u64,
    asked: HashMap<CallId, Asked>,
    /// Calls that the server is to answer.
    serving: HashSet<CallId>,
    /// Streams that the server has seen.
    seen: HashSet<u32>,
    closed: [u32; 2],
    ok: u32,
}

fn limits(rng: &mut Rng) -> Config {
    config(|limits: &mut Limits| {
        limits.message_bytes_max = MESSAGE_BYTES_MAX;
        limits.calls_max = CALLS_MAX;
        limits.frame_bytes_max = 65_536 << rng.below(5);
        limits.call_credit_bytes = 65_536 << rng.below(5);
        limits.connection_credit_bytes = 65_536 << rng.below(9);
        limits.methods_max = rng.below(4) as u16;
    })
}

impl Run {
    fn new(seed: u64, file: Arc<File>) -> Self {
        let (mut rng, now) = (Rng::new(seed), at(1));
        let client = Connection::client(limits(&mut rng), now);
        let server = Connection::server(limits(&mut rng), now);
        let mut run = Self {
            pair: Pair::new(seed ^ 0x5EED, client, server, now),
            rng,
            file,
            agenda: BTreeMap::new(),
            planned: 0,
            asked: HashMap::new(),
            serving: HashSet::new(),
            seen: HashSet::new(),
            closed: [0; 2],
            ok: 0,
        };
        let calls = if run.rng.percent(20) { 400 } else { 40 };
        let span = if run.rng.percent(20) { 1 } else { 200 };
        for _ in 0..calls {
            run.plan(span, Action::Open);
        }
        run.plan(200, Action::Ping);
        let last = if run.rng.percent(25) {
            Action::Cut
        } else {
            Action::Drain
        };
        run.plan(400, last);
        run
    }

    fn plan(&mut self, millis: u64, action: Action) {
        let delay = Duration::from_micros(self.rng.below(millis * 1000));
        self.planned += 1;
        self.agenda
            .insert((self.pair.now + delay, self.planned), action);
    }

    fn run(mut self) -> u32 {
        let end = at(3_600_000);
        loop {
            let until = self.agenda.keys().next().map_or(end, |(at, _)| *at);
            match (self.pair.next(until), self.agenda.is_empty()) {
                (Some((side, event)), _) => self.event(side, event),
                (None, true) => break,
                (None, false) => {
                    let (_, action) = self.agenda.pop_first().expect("it is not empty");
                    self.act(action);
                }
            }
            // What the wire cannot take waits in the machine, and no more than was put in.
            let waiting = self.pair.client.pending_bytes() + self.pair.server.pending_bytes();
            let calls = self.asked.len() as u64 + 1;
            assert!(
                waiting <= 2 * calls * (u64::from(MESSAGE_BYTES_MAX) + 1000),
                "{waiting}"
            );
        }
        assert_eq!(self.closed, [1, 1], "each end closes once");
        assert!(
            self.asked.values().all(|asked| asked.over),
            "no call is lost"
        );
        assert!(self.serving.is_empty(), "no handler is left");
        assert_eq!(
            (self.pair.client.open_calls(), self.pair.server.open_calls()),
            (0, 0)
        );
        self.ok
    }

    fn act(&mut self, action: Action) {
        let now = self.pair.now;
        match action {
            Action::Open => self.open(),
            Action::Cancel(call) => {
                if let Some(asked) = self.asked.get_mut(&call).filter(|asked| !asked.over) {
                    asked.over = true;
                    self.pair.client.reset(call, &Status::cancelled("given up"));
                }
            }
            Action::Answer(call, bytes) => {
                if self.serving.remove(&call) {
                    self.answer(call, bytes);
                }
            }
            Action::Ping => {
                self.pair.client.ping(now);
                self.pair.server.ping(now);
            }
            Action::Drain if self.rng.percent(50) => self.pair.client.drain(now),
            Action::Drain => self.pair.server.drain(now),
            Action::Cut => self.pair.cut(),
        }
    }

    fn open(&mut self) {
        let (payload, request) = self.payload();
        let paths = ["/sim.A/One", "/sim.A/Two", "/sim.B/Three"];
        let path = paths[self.rng.below(3) as usize];
        let timeout = self
            .rng
            .percent(20)
            .then(|| Duration::from_millis(self.rng.below(60)));
        let head = Head {
            path,
            metadata: Metadata::new(),
            timeout,
        };
        let size = request.len();
        match self
            .pair
            .client
            .open(self.pair.now, head, Some(payload), true)
        {
            Ok(call) => {
                let asked = Asked {
                    request,
                    over: false,
                };
                assert!(self.asked.insert(call, asked).is_none(), "{call:?} twice");
                if self.rng.percent(10) {
                    self.plan(50, Action::Cancel(call));
                }
            }
            Err(OpenError::Refused(status)) => {
                assert!(MESSAGE_BYTES_MAX < size as u32, "{status}");
                let text = format!("message_bytes_max of {MESSAGE_BYTES_MAX}");
                assert!(status.message().ends_with(&text), "{status}");
            }
            Err(OpenError::TooManyCalls { .. } | OpenError::Closed) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// A message of any length, in memory or in a file.
    fn payload(&mut self) -> (Payload, Vec<u8>) {
        let sizes = [1, 200, 17_000, 100_000, u64::from(MESSAGE_BYTES_MAX) + 1];
        let class = match self.rng.below(100) {
            0..20 => 0,
            20..75 => 1,
            75..85 => 2,
            85..95 => 3,
            _ => 4,
        };
        let size = if class == 4 {
            sizes[4]
        } else {
            self.rng.below(sizes[class])
        };
        let offset = self.rng.below(PATTERN_BYTES - size);
        let bytes: Vec<u8> = (offset..offset + size).map(pattern).collect();
        let payload = match self.rng.percent(25) {
            true => FileRegion::new(Arc::clone(&self.file), offset, size).into(),
            false => Payload::from(bytes.clone()),
        };
        (payload, bytes)
    }

    fn event(&mut self, side: Side, event: Event) {
        assert_eq!(self.closed[side as usize], 0, "{event:?} behind the end");
        match (side, event) {
            (_, Event::Closed { .. }) => self.closed[side as usize] += 1,
            (Side::Server, Event::Call { call, message, .. }) => {
                assert!(self.seen.insert(call.stream), "{call:?} twice");
                self.serving.insert(call);
                if let Some(message) = message {
                    self.plan(20, Action::Answer(call, message.to_vec()));
                }
            }
            (Side::Server, Event::Message { call, message, end }) => {
                assert!(end && self.serving.contains(&call));
                self.plan(20, Action::Answer(call, message.to_vec()));
            }
            (Side::Server, Event::Reset { call, .. }) => {
                assert!(
                    self.serving.remove(&call),
                    "{call:?} was reset and not open"
                );
            }
            (Side::Client, Event::Message { call, message, .. }) => {
                let asked = &self.asked[&call];
                assert!(!asked.over && message == asked.request[..], "{call:?}");
            }
            (
                Side::Client,
                Event::Finished {
                    call,
                    status,
                    unprocessed,
                },
            ) => {
                let asked = self.asked.get_mut(&call).expect("it was opened");
                assert!(
                    !std::mem::replace(&mut asked.over, true),
                    "{call:?} ended twice"
                );
                assert!(
                    !unprocessed || !self.seen.contains(&call.stream),
                    "{call:?} was processed"
                );
                self.ok += u32::from(status.is_ok());
            }
            _ => {}
        }
    }

    /// Echoes the request, as memory or out of the file, or with an error.
    fn answer(&mut self, call: CallId, bytes: Vec<u8>) {
        let mut closing = Closing::default();
        if self.rng.percent(10) {
            closing.status =
                Status::aborted("no").with_details(bytes[..bytes.len().min(9)].to_vec());
        } else if self.rng.percent(30) && 2 <= bytes.len() {
            // The pattern repeats, so the request's bytes stand in the file somewhere.
            let length = bytes.len() as u64;
            let start = (0..253)
                .find(|n| pattern(*n) == bytes[0])
                .expect("a byte of the pattern");
            closing.message = Some(FileRegion::new(Arc::clone(&self.file), start, length).into());
        } else {
            closing.message = Some(bytes.into());
        }
        self.pair.server.finish(call, closing);
    }
}

/// A file of the pattern, without a name.
fn pattern_file() -> Arc<File> {
    let path = format!(
        "{}/pattern-{}",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    let bytes: Vec<u8> = (0..PATTERN_BYTES).map(pattern).collect();
    std::fs::write(&path, bytes).expect("the pattern is written");
    let file = File::open(&path).expect("the pattern is opened");
    std::fs::remove_file(&path).expect("the name is removed");
    Arc::new(file)
}

#[test]
fn no_call_is_lost_or_answered_twice() {
    let one = std::env::var("KETTLE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(0..150, |seed: u64| seed..seed + 1);
    let (file, mut ok) = (pattern_file(), 0);
    for seed in seeds {
        println!("seed {seed}");
        ok += Run::new(seed, Arc::clone(&file)).run();
    }
    assert!(0 < ok, "some calls succeed");
}
