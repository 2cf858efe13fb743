//! A driver that behaves as differently from readiness as its promises allow.
//!
//! It stands in front of a real driver, on real sockets, and bends what passes through:
//!
//! ```text
//!   received 7 bytes          ──▶  3 bytes, later 1 byte, later 3 bytes
//!   send of 5,000 bytes       ──▶  1,234 sent, the rest returned; often Released comes later
//!   completions of one wait   ──▶  some now, some in later waits, other sockets' first
//! ```
//!
//! A host that passes its tests on this driver does not depend on sends completing in `submit`, on
//! whole receives, or on completions arriving in the order of their operations. The order within one
//! operation is kept. The same seed bends the same way.

use kettle_buf::{Payload, Segment};
use kettle_io::{
    Completion, Driver, DriverConfig, DriverStats, Model, Op, OpKind, Outcome, Patience, Role,
    SocketId, Token, Waker,
};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Most pieces that one received segment is split into.
const PIECES_MAX: u64 = 4;

/// A driver in front of another that splits, shortens and delays; see the module.
pub struct FakeDriver {
    inner: Box<dyn Driver>,
    random: Random,
    tokens: HashMap<SocketId, Token>,
    attached: HashSet<Token>,
    /// What the inner driver's send in flight leaves out of the payload, by token.
    left_out: HashMap<Token, Payload>,
    /// Releases that the inner driver owes, and that are told in its place.
    owed: HashMap<Token, usize>,
    /// Completions for later waits, oldest first.
    held: Vec<Completion>,
    /// Completions of the inner driver; kept for its memory.
    fresh: Vec<Completion>,
}

impl FakeDriver {
    /// Bends what `inner` does.
    pub fn new(inner: Box<dyn Driver>, seed: u64) -> Self {
        Self {
            inner,
            random: Random(seed),
            tokens: HashMap::new(),
            attached: HashSet::new(),
            left_out: HashMap::new(),
            owed: HashMap::new(),
            held: Vec::new(),
            fresh: Vec::new(),
        }
    }

    /// A fake driver in front of epoll.
    ///
    /// # Errors
    /// When the epoll driver cannot be opened.
    pub fn open(config: &DriverConfig, seed: u64) -> io::Result<Box<dyn Driver>> {
        Ok(Box::new(Self::new(
            kettle_io::open(Model::Epoll, config)?,
            seed,
        )))
    }

    /// Takes a completion of the inner driver in, bent.
    fn bend(&mut self, completion: Completion) {
        if matches!(completion.outcome, Outcome::Released)
            && let Some(owed) = self.owed.get_mut(&completion.token)
            && 0 < *owed
        {
            *owed -= 1;
            return;
        }
        if !self.attached.contains(&completion.token) {
            self.held.push(completion);
            return;
        }
        let Completion {
            token,
            kind,
            outcome,
            last,
        } = completion;
        match outcome {
            Outcome::Received(segment) if !segment.is_empty() => self.split(token, segment),
            Outcome::Sent { bytes, mut rest } => {
                rest.append_payload(self.left_out.remove(&token).unwrap_or_default());
                *self.owed.entry(token).or_default() += usize::from(!last);
                let released_later = !last || self.random.below(2) == 0;
                let outcome = Outcome::Sent { bytes, rest };
                self.held.push(Completion {
                    token,
                    kind,
                    outcome,
                    last: !released_later,
                });
            }
            outcome => {
                if kind == OpKind::Send {
                    self.left_out.remove(&token);
                }
                self.held.push(Completion {
                    token,
                    kind,
                    outcome,
                    last,
                });
            }
        }
    }

    fn split(&mut self, token: Token, mut segment: Segment) {
        for _ in 1..=self.random.below(PIECES_MAX) {
            if 1 < segment.len() {
                let piece =
                    segment.split_to(1 + self.random.below(segment.len() as u64 - 1) as usize);
                self.held.push(received(token, piece));
            }
        }
        self.held.push(received(token, segment));
    }

    /// Delivers some of what is held, at least one, and at most one of each operation. A release may
    /// be overtaken by the next send.
    fn deliver(&mut self, done: &mut Vec<Completion>) {
        let before = done.len();
        let mut seen: Vec<(Token, OpKind, bool)> = Vec::new();
        for completion in std::mem::take(&mut self.held) {
            let release = matches!(completion.outcome, Outcome::Released);
            let operation = (completion.token, completion.kind, release);
            let first = !seen.contains(&operation);
            seen.push(operation);
            if first && self.random.below(2) == 0 {
                self.let_go(completion, done);
            } else {
                self.held.push(completion);
            }
        }
        if done.len() == before && !self.held.is_empty() {
            let completion = self.held.remove(0);
            self.let_go(completion, done);
        }
    }

    fn let_go(&mut self, completion: Completion, done: &mut Vec<Completion>) {
        if let (Outcome::Sent { .. }, false) = (&completion.outcome, completion.last) {
            self.held.push(released(completion.token));
        }
        done.push(completion);
    }
}

impl Driver for FakeDriver {
    fn attach(&mut self, socket: OwnedFd, role: Role, token: Token) -> io::Result<SocketId> {
        let id = self.inner.attach(socket, role, token)?;
        self.tokens.insert(id, token);
        self.attached.insert(token);
        Ok(id)
    }

    fn submit(&mut self, op: Op) {
        let Op::Send {
            socket,
            mut payload,
        } = op
        else {
            return self.inner.submit(op);
        };
        let bytes = 1 + self.random.below(payload.len());
        let front = payload.cut(bytes);
        self.left_out.insert(self.tokens[&socket], payload);
        self.inner.submit(Op::Send {
            socket,
            payload: front,
        });
    }

    fn cancel(&mut self, socket: SocketId, kind: OpKind) {
        self.inner.cancel(socket, kind);
    }

    fn shutdown(&mut self, socket: SocketId) {
        self.inner.shutdown(socket);
    }

    fn detach(&mut self, socket: SocketId) {
        self.inner.detach(socket);
        let token = self
            .tokens
            .remove(&socket)
            .expect("the socket was attached");
        self.left_out.remove(&token);
        self.attached.remove(&token);
        for completion in std::mem::take(&mut self.held) {
            match completion.outcome {
                _ if completion.token != token || completion.last => self.held.push(completion),
                Outcome::Sent { .. } => self.held.push(released(token)),
                _ => {}
            }
        }
    }

    fn expect(&mut self, socket: SocketId, bytes: usize) {
        // The inner driver has delivered what is still held here.
        let token = self.tokens[&socket];
        let held = self.held.iter().filter(|one| one.token == token);
        let held: usize = held
            .map(|one| match &one.outcome {
                Outcome::Received(segment) => segment.len(),
                _ => 0,
            })
            .sum();
        if held < bytes {
            self.inner.expect(socket, bytes - held);
        }
    }

    fn wait(&mut self, mut patience: Patience, done: &mut Vec<Completion>) -> io::Result<()> {
        if !self.held.is_empty() {
            patience.timeout = Some(Duration::ZERO);
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        let result = self.inner.wait(patience, &mut fresh);
        for completion in fresh.drain(..) {
            self.bend(completion);
        }
        self.fresh = fresh;
        self.deliver(done);
        result
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }

    fn stats(&self) -> DriverStats {
        self.inner.stats()
    }
}

fn received(token: Token, segment: Segment) -> Completion {
    let (kind, outcome) = (OpKind::Receive, Outcome::Received(segment));
    Completion {
        token,
        kind,
        outcome,
        last: false,
    }
}

fn released(token: Token) -> Completion {
    Completion {
        token,
        kind: OpKind::Send,
        outcome: Outcome::Released,
        last: true,
    }
}

/// SplitMix64: small, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// A number from 0 to `bound` - 1; 0 for a bound of 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % bound.max(1)
    }
}

impl std::fmt::Debug for FakeDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeDriver")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}
