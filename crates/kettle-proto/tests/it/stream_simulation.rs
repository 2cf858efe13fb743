//! Seeded runs of streams between two machines, whose readers take messages when they like.
//!
//! `KETTLE_SEED=n` runs one seed alone.

use crate::ends::{at, config, head};
use kettle_proto::limits::Limits;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{CallId, Closing, Event, Machine, Status};
use kettle_testkit::pair::{Pair, Rng, Side};
use std::collections::{BTreeMap, HashMap, VecDeque};

const MESSAGE_BYTES_MAX: u64 = 300_000;
const CALLS: u32 = 12;

/// What the layers above do at a time of their choice.
#[derive(Clone, Copy, Debug)]
enum Action {
    Open,
    /// Sends as many messages as there is room for.
    Send(Side, CallId),
    /// Takes a message of so many bytes.
    Take(Side, CallId, u64),
    Cancel(CallId),
}

/// One call as both sides know it; arrays have what goes to the client first.
#[derive(Debug, Default)]
struct Call {
    /// Messages that are still to be sent to this side.
    left: [u32; 2],
    /// First byte and length of messages that were sent to it and have not come.
    coming: [VecDeque<(u8, usize)>; 2],
    /// Bytes that have come to it and were not taken.
    untaken: [u64; 2],
    over: [bool; 2],
    ok: bool,
}

struct Run {
    pair: Pair<Connection>,
    rng: Rng,
    agenda: BTreeMap<(u64, u64), Action>,
    planned: u64,
    calls: HashMap<u32, Call>,
    credit: [u64; 2],
    messages: u64,
    rooms: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let (mut rng, now) = (Rng::new(seed), at(1));
        let (client, server) = (limits(&mut rng), limits(&mut rng));
        let credit = [&client, &server].map(|config| config.limits.call_credit_bytes.into());
        let client = Connection::client(client, now);
        let server = Connection::server(server, now);
        let mut run = Self {
            pair: Pair::new(seed ^ 0x57_4EA8, client, server, now),
            rng,
            agenda: BTreeMap::new(),
            planned: 0,
            calls: HashMap::new(),
            credit,
            messages: 0,
            rooms: 0,
        };
        (0..CALLS).for_each(|_| run.plan(100, Action::Open));
        run
    }

    fn plan(&mut self, millis: u64, action: Action) {
        self.planned += 1;
        let at = self.pair.now.as_nanos() + self.rng.below(millis * 1_000_000);
        self.agenda.insert((at, self.planned), action);
    }

    /// Gives how many messages came, and how often room was told.
    fn run(mut self) -> (u64, u64) {
        loop {
            let next = self.agenda.keys().next().map(|(nanos, _)| *nanos);
            let until = next.map_or(at(3_600_000), kettle_proto::Instant::from_nanos);
            match (self.pair.next(until), next) {
                (Some((side, event)), _) => self.event(side, event),
                (None, None) => break,
                (None, Some(_)) => {
                    let (_, action) = self.agenda.pop_first().expect("it is not empty");
                    self.act(action);
                }
            }
            self.check();
        }
        assert_eq!(self.calls.len(), CALLS as usize);
        for (stream, call) in &self.calls {
            assert_eq!(call.over, [true; 2], "{stream} is stuck: {call:?}");
            let all_came = call.left[0] == 0 && call.coming[0].is_empty();
            assert!(!call.ok || all_came, "{stream} lost a reply: {call:?}");
        }
        assert_eq!(self.pair.client.open_calls(), 0);
        assert_eq!(self.pair.server.open_calls(), 0);
        (self.messages, self.rooms)
    }

    /// What waits inside is one message of each call beyond its credit, and what credit covers.
    fn check(&self) {
        for (machine, to) in [(&self.pair.server, 0), (&self.pair.client, 1)] {
            let most = u64::from(CALLS) * (self.credit[to] + MESSAGE_BYTES_MAX + 10_000);
            assert!(machine.pending_bytes() <= most);
            assert!(machine.stalled_bytes() <= machine.pending_bytes());
        }
        for call in self.calls.values() {
            for side in 0..2 {
                // The second message is one that was lent credit, so that it holds up no other call.
                let most = self.credit[side] + 2 * MESSAGE_BYTES_MAX;
                assert!(call.untaken[side] <= most, "{call:?}");
            }
        }
    }

    fn machine(&mut self, side: Side) -> &mut Connection {
        match side {
            Side::Client => &mut self.pair.client,
            Side::Server => &mut self.pair.server,
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open => {
                let now = self.pair.now;
                let call = self.pair.client.open(now, head("/sim.A/Chat"), None, false);
                let call = call.expect("there are few");
                let left = [self.rng.below(40) as u32, self.rng.below(40) as u32];
                let record = Call {
                    left,
                    ..Call::default()
                };
                self.calls.insert(call.stream, record);
                self.plan(5, Action::Send(Side::Client, call));
                if self.rng.percent(10) {
                    self.plan(100, Action::Cancel(call));
                }
            }
            Action::Send(side, call) => self.send(side, call),
            Action::Take(side, call, bytes) => {
                self.machine(side).consumed(call, bytes);
                self.record(call).untaken[side as usize] -= bytes;
            }
            Action::Cancel(call) => {
                self.pair.client.reset(call, &Status::cancelled("given up"));
                self.record(call).over[0] = true;
            }
        }
    }

    fn record(&mut self, call: CallId) -> &mut Call {
        self.calls.get_mut(&call.stream).expect("it was opened")
    }

    fn send(&mut self, side: Side, call: CallId) {
        let to = 1 - side as usize;
        while !self.record(call).over[side as usize] {
            if self.record(call).left[to] == 0 {
                return self.end(side, call);
            }
            if !self.machine(side).has_room(call) {
                return; // Room follows
            }
            if self.rng.percent(20) {
                return self.plan(10, Action::Send(side, call));
            }
            let class = [0, 300, 20_000, MESSAGE_BYTES_MAX][self.rng.below(4) as usize];
            let bytes = self.rng.below(class + 1) as usize;
            let record = self.record(call);
            record.left[to] -= 1;
            let first = record.left[to] as u8;
            record.coming[to].push_back((first, bytes));
            let message = vec![first; bytes];
            self.machine(side).send_message(call, message.into(), false);
        }
    }

    fn end(&mut self, side: Side, call: CallId) {
        match side {
            Side::Client => self.pair.client.end(call),
            Side::Server => {
                self.record(call).over[1] = true;
                self.pair.server.finish(call, Closing::default());
            }
        }
    }

    fn event(&mut self, side: Side, event: Event) {
        match event {
            Event::Call { call, .. } => self.plan(5, Action::Send(Side::Server, call)),
            Event::Message { call, message, .. } => {
                let bytes = message.len();
                let record = self.record(call);
                let sent = record.coming[side as usize].pop_front();
                let (first, length) = sent.expect("it was sent");
                assert_eq!(bytes, length);
                assert!(message.to_vec().iter().all(|byte| *byte == first));
                record.untaken[side as usize] += bytes as u64;
                self.messages += 1;
                let slow = if self.rng.percent(5) { 500 } else { 5 };
                self.plan(slow, Action::Take(side, call, bytes as u64));
            }
            Event::Room { call } => {
                self.rooms += 1;
                self.send(side, call);
            }
            Event::Reset { call, .. } => self.record(call).over[1] = true,
            Event::Finished { call, status, .. } => {
                let record = self.record(call);
                record.over[0] = true;
                record.ok = status.is_ok();
            }
            Event::Closed { error } => panic!("{error:?}"),
            _ => {}
        }
    }
}

fn limits(rng: &mut Rng) -> Config {
    config(|limits: &mut Limits| {
        limits.message_bytes_max = MESSAGE_BYTES_MAX as u32;
        limits.frame_bytes_max = 65_536 << rng.below(3);
        limits.call_credit_bytes = 65_536 << rng.below(4);
        limits.connection_credit_bytes = 65_536 << rng.below(8);
        limits.idle_timeout = None;
    })
}

#[test]
fn no_stream_stops_or_is_mixed_up_or_goes_beyond_its_credit() {
    let one = std::env::var("KETTLE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(0..40, |seed: u64| seed..seed + 1);
    let (mut messages, mut rooms) = (0, 0);
    for seed in seeds {
        println!("seed {seed}");
        let seen = Run::new(seed).run();
        messages += seen.0;
        rooms += seen.1;
    }
    assert!(
        0 < messages && 0 < rooms,
        "{messages} messages, {rooms} rooms"
    );
}
