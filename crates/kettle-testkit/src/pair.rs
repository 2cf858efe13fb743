//! Two machines joined by a simulated wire, on a virtual clock.
//!
//! Everything random comes from one seed: the same seed gives the same run. Nothing here sleeps or
//! opens a socket; file regions are read when they go over the wire, as a driver would.

use kettle_buf::{Piece, Segment};
use kettle_proto::{Event, Instant, Machine};
use std::collections::VecDeque;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Most bytes that are under way in one direction: the socket's buffers.
const UNDER_WAY_BYTES_MAX: u64 = 256 * 1024;

/// Longest time that a piece takes, in microseconds.
const DELAY_MICROS_MAX: u64 = 3_000;

/// Random numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose numbers follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).checked_rem(end).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that opens calls.
    Client,
    /// The end that answers them.
    Server,
}

/// What is under way in one direction.
#[derive(Debug, Default)]
struct Wire {
    /// With the time of arrival, which never decreases; an empty piece is the end.
    pieces: VecDeque<(Instant, Segment)>,
    bytes: u64,
    ended: bool,
}

/// Two machines, what is between them, and the time.
#[derive(Debug)]
pub struct Pair<M> {
    /// The client's machine.
    pub client: M,
    /// The server's machine.
    pub server: M,
    /// The virtual time.
    pub now: Instant,
    rng: Rng,
    to_server: Wire,
    to_client: Wire,
    closed: [bool; 2],
}

impl<M: Machine> Pair<M> {
    /// Joins two machines that were made at `now`.
    pub fn new(seed: u64, client: M, server: M, now: Instant) -> Self {
        Self {
            client,
            server,
            now,
            rng: Rng::new(seed),
            to_server: Wire::default(),
            to_client: Wire::default(),
            closed: [false; 2],
        }
    }

    /// The next event of either machine. When there is none before `until`, it is that time and
    /// `None` is returned.
    pub fn next(&mut self, until: Instant) -> Option<(Side, Event)> {
        loop {
            if let Some(event) = self.poll_event() {
                return Some(event);
            }
            self.transmit(Side::Client);
            self.transmit(Side::Server);
            if let Some(event) = self.poll_event() {
                return Some(event);
            }
            let Some(at) = self.next_time().filter(|at| *at <= until) else {
                self.now = self.now.max(until);
                return None;
            };
            self.now = self.now.max(at);
            self.deliver(Side::Client);
            self.deliver(Side::Server);
            for side in [Side::Client, Side::Server] {
                let now = self.now;
                if self
                    .machine(side)
                    .poll_timeout()
                    .is_some_and(|at| at <= now)
                {
                    self.machine(side).handle_timeout(now);
                }
            }
        }
    }

    /// Cuts the connection: what is under way is lost, and both sides see the end now.
    pub fn cut(&mut self) {
        for wire in [&mut self.to_client, &mut self.to_server] {
            *wire = Wire {
                ended: true,
                ..Wire::default()
            };
        }
        self.client.handle_end(self.now);
        self.server.handle_end(self.now);
    }

    fn poll_event(&mut self) -> Option<(Side, Event)> {
        for side in [Side::Client, Side::Server] {
            if let Some(event) = self.machine(side).poll_event() {
                self.closed[side as usize] |= matches!(event, Event::Closed { .. });
                return Some((side, event));
            }
        }
        None
    }

    fn machine(&mut self, side: Side) -> &mut M {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Puts output on the wire in pieces of any length, as far as there is room.
    fn transmit(&mut self, from: Side) {
        let (machine, wire) = match from {
            Side::Client => (&mut self.client, &mut self.to_server),
            Side::Server => (&mut self.server, &mut self.to_client),
        };
        let mut arrival = wire.pieces.back().map_or(self.now, |(at, _)| *at);
        while wire.bytes < UNDER_WAY_BYTES_MAX {
            let small = self.rng.percent(30);
            let max = 1 + self.rng.below(if small { 40 } else { 100_000 });
            let Some(payload) = machine.poll_transmit(self.now, max) else {
                break;
            };
            if wire.ended {
                continue; // there is nobody to read it
            }
            let delay = Duration::from_micros(self.rng.below(DELAY_MICROS_MAX));
            arrival = arrival.max(self.now + delay);
            for piece in payload.into_pieces() {
                let segment = read(piece);
                wire.bytes += segment.len() as u64;
                wire.pieces.push_back((arrival, segment));
            }
        }
        let over = self.closed[from as usize] && wire.bytes < UNDER_WAY_BYTES_MAX;
        if over && !std::mem::replace(&mut wire.ended, true) {
            wire.pieces.push_back((arrival, Segment::new()));
        }
    }

    /// Hands over what has arrived, in reads of any length.
    fn deliver(&mut self, to: Side) {
        let (machine, wire) = match to {
            Side::Client => (&mut self.client, &mut self.to_client),
            Side::Server => (&mut self.server, &mut self.to_server),
        };
        let Some((at, mut piece)) = wire.pieces.pop_front() else {
            return;
        };
        if self.now < at {
            wire.pieces.push_front((at, piece));
        } else if piece.is_empty() {
            machine.handle_end(self.now);
        } else {
            let n = match self.rng.percent(50) {
                true => piece.len(),
                false => 1 + self.rng.below(piece.len() as u64) as usize,
            };
            wire.bytes -= n as u64;
            machine.handle_bytes(self.now, piece.split_to(n));
            if !piece.is_empty() {
                wire.pieces.push_front((at, piece));
            }
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let wires = [&self.to_client, &self.to_server].map(|wire| wire.pieces.front());
        let arrivals = wires.into_iter().flatten().map(|(at, _)| *at);
        let timers = [self.client.poll_timeout(), self.server.poll_timeout()];
        arrivals.chain(timers.into_iter().flatten()).min()
    }
}

/// The bytes of a piece; a file's range is read.
fn read(piece: Piece) -> Segment {
    match piece {
        Piece::Memory(segment) => segment,
        Piece::File(region) => {
            let mut bytes = vec![0; region.len() as usize];
            let read = region.file().read_exact_at(&mut bytes, region.offset());
            read.expect("the file is as long as its region says");
            bytes.into()
        }
    }
}
