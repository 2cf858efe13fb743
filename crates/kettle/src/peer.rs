//! One connection: protocol machine, calls, outbox. Names no driver.
//!
//! A host (the loop in `reactor.rs`) gives it what was received and sent, wakes and the time, calls
//! [`Peer::pump`], and does what [`Peer::wants`] and [`Peer::take_send`] say.

mod arriving;
mod calling;
mod handler;
mod held;
mod replying;
mod sending;
mod serving;
mod spare_answer;
mod waiting;

pub(crate) use calling::{Calling, Failure, News};
pub(crate) use handler::panicked;
pub(crate) use held::Holdings;
use sending::Room;
pub(crate) use sending::Sending;
use serving::Polls;
pub(crate) use serving::{Hosted, Serving};
use spare_answer::SpareAnswer;
pub(crate) use waiting::Waiting;

use crate::clock::Clock;
use crate::key::PeerKey;
use crate::mailbox::{Mailbox, SpareAlarm};
use crate::outbox::{HIGH_BYTES, Outbox};
use crate::stats::LoopStats;
use kettle_buf::{Payload, Segment};
use kettle_proto::detect::{self, Detected};
use kettle_proto::limits::Limits;
use kettle_proto::{CallId, Event, Instant, Machine, Status, native};
use std::sync::Arc;
use std::time::Duration;

/// Events and wakes that one connection handles in a turn; then it takes its place at the end.
const EVENTS_MAX: usize = 256;

/// Most events of a client that may wait to be served. One read of 64 KiB brings at most 6,600: a call
/// without a message and its cancel are 30 bytes and three events.
const UNSERVED_EVENTS_MAX: usize = 16_384;

/// Most bytes that a client may send while it keeps its calls from being served by not taking
/// replies. Twice the default of `connection_credit_bytes`, which a client may have under way when it
/// begins to be slow.
const UNSERVED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a connection tries to say its last word, and how long it waits then for the peer to close.
/// Closing a socket with unread bytes resets it, and a reset can destroy what the peer has not read yet.
const LINGER: Duration = Duration::from_secs(1);

/// How long a server that drains waits, once no call is open, for a client to answer: one that is not
/// served at the moment, such as a blocking client between its calls, would keep the server from its end.
/// Calls that come later than this after the DRAIN are made again elsewhere by the client.
const DRAIN_ANSWER_MAX: Duration = Duration::from_secs(2);

/// What a peer may use of its host while it runs.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) clock: Clock,
    pub(crate) key: PeerKey,
    pub(crate) spare: &'a mut Spare,
    pub(crate) stats: &'a LoopStats,
    /// Handlers' polls since the clock was read.
    polls: Polls,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        key: PeerKey,
        now: Instant,
        clock: Clock,
        spare: &'a mut Spare,
        stats: &'a LoopStats,
    ) -> Self {
        let polls = Polls::default();
        Self {
            now,
            clock,
            key,
            spare,
            stats,
            polls,
        }
    }
}

/// What serves call after call, so that most of them allocate nothing.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) alarm: SpareAlarm,
    answer: SpareAnswer,
}

impl Spare {
    pub(crate) fn new(mailbox: &Arc<Mailbox>) -> Self {
        Self {
            alarm: SpareAlarm::new(mailbox),
            answer: SpareAnswer::default(),
        }
    }
}

/// What a peer wants of its host next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Keep receiving.
    pub(crate) receive: bool,
    /// So many of the next bytes belong together; 0 when that is not known.
    pub(crate) expect: usize,
    /// Say that nothing more will be sent.
    pub(crate) shutdown: bool,
    /// The connection is over: close it.
    pub(crate) close: bool,
    /// There is more to do without waiting for anything: pump again in the next turn.
    pub(crate) again: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Peer {
    machine: Speech,
    calls: Calls,
    outbox: Outbox,
    phase: Phase,
    /// The peer's stream has ended.
    ended: bool,
    /// Nothing can be sent any more.
    broken: bool,
    /// This side takes no new calls.
    draining: bool,
    /// How long what is awaited is waited for: in [`Phase::Open`] a client's answer to a server's drain, while
    /// no call is open; afterwards what the phase says.
    until: Option<Instant>,
    /// Bytes received since all events were last handled.
    unserved_bytes: usize,
    again: bool,
}

#[derive(Debug)]
enum Speech {
    /// Server: the first bytes do not say yet which protocol this is.
    Detecting(Box<Detecting>),
    Machine(Box<dyn Machine>),
}

/// What is needed until the protocol is known, and not after.
#[derive(Debug)]
struct Detecting {
    first: Vec<u8>,
    until: Instant,
}

#[derive(Debug)]
enum Calls {
    Serving(Serving),
    /// In a box: a server has more connections than a client, and none of these.
    Calling(Box<Calling>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// No more events: what waits is sent, then the stream is ended.
    Closing,
    /// The same, for a time: the peer may not read.
    Flushing,
    /// Everything was sent; waits for the peer's end of stream for a time.
    Lingering,
    Closed,
}

impl Speech {
    fn awaits_pong(&self) -> bool {
        match self {
            Self::Machine(machine) => machine.awaits_pong(),
            Self::Detecting(_) => false,
        }
    }
}

impl Peer {
    /// The server's end of a connection whose protocol is not known yet.
    pub(crate) fn serving(now: Instant, serving: Serving) -> Self {
        let detecting = Detecting {
            first: Vec::new(),
            until: now + serving.limits().handshake_timeout,
        };
        Self::new(
            Speech::Detecting(Box::new(detecting)),
            Calls::Serving(serving),
        )
    }

    /// The client's end of a connection.
    pub(crate) fn calling(now: Instant, limits: Limits, calling: Calling) -> Self {
        let machine = Box::new(native::Connection::client(config(limits.into()), now));
        Self::new(Speech::Machine(machine), Calls::Calling(Box::new(calling)))
    }

    fn new(machine: Speech, calls: Calls) -> Self {
        let outbox = Outbox::default();
        let phase = Phase::Open;
        Self {
            machine,
            calls,
            outbox,
            phase,
            ended: false,
            broken: false,
            draining: false,
            until: None,
            unserved_bytes: 0,
            again: false,
        }
    }

    /// Bytes came in; none are the end of the stream.
    pub(crate) fn received(&mut self, now: Instant, bytes: Segment) {
        if bytes.is_empty() {
            return self.received_end(now);
        }
        if self.phase != Phase::Open {
            return;
        }
        match &mut self.machine {
            Speech::Machine(machine) => {
                self.unserved_bytes += bytes.len();
                machine.handle_bytes(now, bytes);
                self.limit_unserved();
            }
            Speech::Detecting(_) => self.detect(now, bytes),
        }
    }

    /// Cuts a client off that goes on calling while it takes no replies, or cancels faster than it
    /// is served: what it has sent would pile up here.
    fn limit_unserved(&mut self) {
        let (Speech::Machine(machine), Calls::Serving(_)) = (&mut self.machine, &self.calls) else {
            return;
        };
        let (events, bytes) = (machine.waiting_events(), self.unserved_bytes);
        if UNSERVED_EVENTS_MAX < events || UNSERVED_BYTES_MAX < bytes {
            machine.close(&Status::resource_exhausted(format!(
                "{events} events and {bytes} bytes wait here to be served; at most \
                 {UNSERVED_EVENTS_MAX} and {UNSERVED_BYTES_MAX} may (unserved_max)"
            )));
        }
    }

    /// The send in flight is over.
    ///
    /// Returns whether the peer has to be pumped for it.
    pub(crate) fn sent(&mut self, rest: Payload) -> bool {
        let was_full = self.outbox.was_full();
        self.outbox.sent(rest);
        let behind = match &self.machine {
            Speech::Machine(machine) => busy(&**machine),
            Speech::Detecting(_) => 0,
        };
        let more = was_full || self.room().is_wanted() || 0 < behind;
        more || !self.outbox.is_empty() || self.phase != Phase::Open
    }

    /// The connection is broken: nothing can be sent any more.
    pub(crate) fn broken(&mut self, now: Instant) {
        self.broken = true;
        self.received_end(now);
        if let Speech::Machine(machine) = &mut self.machine {
            machine.close(&Status::unavailable("the connection broke"));
        }
    }

    /// Takes no new calls, and closes when those that are open are over.
    pub(crate) fn drain(&mut self, now: Instant) {
        self.draining = true;
        match &mut self.machine {
            Speech::Machine(machine) => machine.drain(now),
            Speech::Detecting(detecting) => {
                detecting.until = detecting.until.min(now + Self::SILENT_GRACE);
            }
        }
    }

    /// A connection on which nothing has come when the server stops gets this long: its first bytes
    /// may be on their way.
    const SILENT_GRACE: Duration = Duration::from_millis(200);

    /// Ends the connection, telling the peer why.
    pub(crate) fn close(&mut self, status: &Status) {
        match &mut self.machine {
            Speech::Machine(machine) => machine.close(status),
            Speech::Detecting(_) => self.phase = Phase::Closing,
        }
    }

    /// Time has passed.
    pub(crate) fn timeout(&mut self, now: Instant) {
        let waited = self.until.is_some_and(|until| until <= now);
        match (self.phase, &mut self.machine) {
            (Phase::Flushing | Phase::Lingering, _) if waited => self.phase = Phase::Closed,
            (Phase::Open, Speech::Machine(machine)) => {
                machine.handle_timeout(now);
                if waited {
                    machine.close(&Status::unavailable("the server has stopped"));
                }
                match &mut self.calls {
                    Calls::Serving(serving) => {
                        if let Some(text) = serving.held.overstayed(now) {
                            machine.close(&Status::resource_exhausted(text));
                        }
                    }
                    Calls::Calling(calling) => calling.timeout(now),
                }
            }
            (Phase::Open, Speech::Detecting(detecting)) if detecting.until <= now => {
                self.phase = Phase::Closing;
            }
            _ => {}
        }
    }

    /// When [`Peer::timeout`] wants to be called next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match (self.phase, &self.machine) {
            (Phase::Flushing | Phase::Lingering, _) => self.until,
            (Phase::Closing | Phase::Closed, _) => None,
            (Phase::Open, Speech::Machine(machine)) => match &self.calls {
                Calls::Serving(serving) => {
                    let held = serving.held.next_timeout();
                    Instant::earliest([machine.poll_timeout(), self.until, held])
                }
                Calls::Calling(calling) => {
                    Instant::earliest([machine.poll_timeout(), calling.next_timeout()])
                }
            },
            (Phase::Open, Speech::Detecting(detecting)) => Some(detecting.until),
        }
    }

    /// Polls the handler of a call again, or the stream of its requests.
    pub(crate) fn wake(&mut self, turn: &mut Turn<'_>, call: CallId) {
        let Speech::Machine(machine) = &mut self.machine else {
            return;
        };
        let outbox_full = self.outbox.is_full();
        match &mut self.calls {
            Calls::Serving(serving) => {
                serving.room.outbox_full = outbox_full;
                serving.wake(turn, &mut **machine, call);
                serving.watch(turn);
            }
            Calls::Calling(calling) => {
                calling.room.outbox_full = outbox_full;
                calling.wake(turn, &mut **machine, call);
            }
        }
    }

    /// Much was taken of the messages that came on a call.
    pub(crate) fn taken(&mut self, call: CallId) {
        if let Speech::Machine(machine) = &mut self.machine {
            match &mut self.calls {
                Calls::Serving(serving) => serving.taken(&mut **machine, call),
                Calls::Calling(calling) => calling.taken(&mut **machine, call),
            }
        }
    }

    /// Client: the calls of this connection and its machine; `None` on a server.
    pub(crate) fn client(&mut self) -> Option<(&mut dyn Machine, &mut Calling)> {
        match (&mut self.machine, &mut self.calls) {
            (Speech::Machine(machine), Calls::Calling(calling)) => Some((&mut **machine, calling)),
            _ => None,
        }
    }

    /// Calls that are open.
    pub(crate) fn open_calls(&self) -> usize {
        match &self.machine {
            Speech::Machine(machine) => machine.open_calls(),
            Speech::Detecting(_) => 0,
        }
    }

    /// Whether something is to be sent that no call has to give credit for.
    pub(crate) fn has_unsent(&self) -> bool {
        match &self.machine {
            Speech::Machine(machine) => !self.outbox.is_empty() || 0 < busy(&**machine),
            Speech::Detecting(_) => false,
        }
    }

    /// Handlers that wait for something.
    pub(crate) fn pending(&self) -> u32 {
        match &self.calls {
            Calls::Serving(serving) => serving.pending(),
            Calls::Calling(_) => 0,
        }
    }

    /// Handles what the machine has to say, and collects what is to be sent.
    pub(crate) fn pump(&mut self, turn: &mut Turn<'_>) {
        self.again = false;
        let mut more = self.pump_machine(turn);
        if more == More::Nothing && self.is_abandoned() {
            self.close(&Status::cancelled("the client has gone"));
            more = self.pump_machine(turn);
        }
        self.again = more == More::Events;
        if more == More::Nothing {
            self.unserved_bytes = 0;
        }
        if more == More::Closed {
            self.phase = Phase::Closing;
        }
        self.collect(turn.now);
        // What was in the way may have turned out to wait for its own credit, with nothing sent.
        if self.phase == Phase::Open {
            self.again |= more == More::Unsent && self.has_room() || self.may_resume();
            // What was taken may have made room for a stream, whose event came behind the others.
            self.again |= more == More::Nothing && self.has_events();
        }
        self.advance_phase(turn.now);
        self.limit_drain(turn.now);
        self.limit_held(turn.now);
    }

    /// What to send now; call it when no send is in flight.
    pub(crate) fn take_send(&mut self) -> Option<Payload> {
        self.outbox.take()
    }

    /// What the host should do next.
    pub(crate) fn wants(&mut self) -> Wants {
        let expect = match &self.machine {
            Speech::Machine(machine) => machine.expect(),
            Speech::Detecting(_) => 0,
        };
        // What waits in the machine may wait for credit, which has to be read. And a client goes on
        // reading: two ends that both stop would wait for each other for ever.
        let full = match &self.calls {
            Calls::Serving(serving) => {
                let untaken = serving.untaken.is_too_much();
                self.outbox.is_full() || untaken || !serving.held.may_read()
            }
            Calls::Calling(_) => false,
        };
        // A peer that answers a ping must be heard; what else it sends is limited.
        let full = full && !self.machine.awaits_pong();
        Wants {
            receive: !self.ended && (self.phase != Phase::Open || !full && !self.again),
            expect: if self.phase == Phase::Open { expect } else { 0 },
            shutdown: self.phase == Phase::Lingering,
            close: self.phase == Phase::Closed,
            again: self.again,
        }
    }

    fn room(&self) -> &Room {
        match &self.calls {
            Calls::Serving(serving) => &serving.room,
            Calls::Calling(calling) => &calling.room,
        }
    }

    fn has_events(&self) -> bool {
        match &self.machine {
            Speech::Machine(machine) => 0 < machine.waiting_events(),
            Speech::Detecting(_) => false,
        }
    }

    /// Server: whether events may be handled.
    fn has_room(&mut self) -> bool {
        let outbox_full = self.outbox.is_full();
        match (&self.machine, &self.calls) {
            (Speech::Machine(machine), Calls::Serving(serving)) => {
                !outbox_full && !serving.untaken.is_too_much() && busy(&**machine) < HIGH_BYTES
            }
            _ => false,
        }
    }

    /// Whether a stream that had to wait for room may go on.
    fn may_resume(&mut self) -> bool {
        let outbox_full = self.outbox.is_full();
        match &self.machine {
            Speech::Machine(machine) if self.room().is_wanted() => {
                !outbox_full && self.room().is_there(&**machine)
            }
            _ => false,
        }
    }

    fn pump_machine(&mut self, turn: &mut Turn<'_>) -> More {
        let (Phase::Open, Speech::Machine(machine)) = (self.phase, &mut self.machine) else {
            return More::Nothing;
        };
        match &mut self.calls {
            Calls::Serving(serving) => pump_server(turn, &mut **machine, serving, &mut self.outbox),
            Calls::Calling(calling) => {
                calling.room.outbox_full = self.outbox.is_full();
                pump_client(turn, &mut **machine, calling)
            }
        }
    }

    /// Whether handlers wait for a client that has gone. A client says so with the end of its stream;
    /// what could be answered at once was. A server that stops ends the stream itself on a blocking
    /// model, and lets its handlers finish.
    fn is_abandoned(&self) -> bool {
        self.ended && !self.draining && 0 < self.pending()
    }

    fn received_end(&mut self, now: Instant) {
        self.ended = true;
        match &mut self.machine {
            Speech::Machine(machine) => machine.handle_end(now),
            Speech::Detecting(_) if self.phase == Phase::Open => self.phase = Phase::Closing,
            Speech::Detecting(_) => {}
        }
    }

    /// Collects first bytes until they say which protocol this is.
    fn detect(&mut self, now: Instant, bytes: Segment) {
        let (Speech::Detecting(detecting), Calls::Serving(serving)) =
            (&mut self.machine, &self.calls)
        else {
            return;
        };
        let first = &mut detecting.first;
        let bytes = match first.is_empty() {
            true => bytes,
            false => {
                first.extend_from_slice(&bytes);
                Segment::from(std::mem::take(first))
            }
        };
        match detect::detect(&bytes) {
            Detected::NeedMore => *first = bytes.to_vec(),
            Detected::Native => {
                let config = config(Arc::clone(serving.limits()));
                let mut machine = Box::new(native::Connection::server(config, now));
                machine.handle_bytes(now, bytes);
                if self.draining {
                    machine.drain(now);
                }
                self.machine = Speech::Machine(machine);
            }
            foreign => {
                if let Some(refusal) = detect::refusal(foreign) {
                    self.outbox.push(refusal.into());
                }
                self.phase = Phase::Closing;
            }
        }
    }

    /// Takes from the machine as much as the outbox has room for.
    fn collect(&mut self, now: Instant) {
        let Speech::Machine(machine) = &mut self.machine else {
            return;
        };
        while 0 < self.outbox.room() {
            match machine.poll_transmit(now, self.outbox.room()) {
                Some(payload) => self.outbox.push(payload),
                None => return,
            }
        }
    }

    /// Gives a client that has no call some time to answer the drain, and no more.
    fn limit_drain(&mut self, now: Instant) {
        let is_server = matches!(self.calls, Calls::Serving(_));
        let waits = self.draining && is_server && self.open_calls() == 0;
        if self.phase == Phase::Open {
            let until = self.until.unwrap_or(now + DRAIN_ANSWER_MAX);
            self.until = waits.then_some(until);
        }
    }

    /// Counts what this connection holds in what the whole server may hold.
    fn limit_held(&mut self, now: Instant) {
        if let (Speech::Machine(machine), Calls::Serving(serving)) =
            (&self.machine, &mut self.calls)
        {
            let incomplete = machine.incomplete_bytes();
            let bytes = incomplete + serving.untaken.bytes() + self.unserved_bytes as u64;
            serving.held.update(now, bytes, 0 < incomplete);
        }
    }

    fn advance_phase(&mut self, now: Instant) {
        if self.broken {
            self.outbox.clear();
        }
        if self.phase == Phase::Closing {
            (self.phase, self.until) = (Phase::Flushing, Some(now + LINGER));
        }
        if self.phase == Phase::Flushing && self.outbox.is_empty() {
            (self.phase, self.until) = (Phase::Lingering, Some(now + LINGER));
        }
        if self.phase == Phase::Lingering && self.ended {
            self.phase = Phase::Closed;
        }
    }
}

/// Bytes that wait in a machine and are in the way of others.
fn busy(machine: &dyn Machine) -> u64 {
    machine.pending_bytes() - machine.stalled_bytes()
}

/// The settings of a machine with these limits.
pub(crate) fn config(limits: Arc<Limits>) -> native::Config {
    native::Config {
        limits,
        ..native::Config::default()
    }
}

/// What is left after a round of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Nothing,
    /// Events, which wait for replies to be taken first.
    Unsent,
    /// Events, for the next turn.
    Events,
    Closed,
}

/// Lets the machine's events run handlers, until there are none, the budget is spent, or so much
/// waits to be sent that no more replies should be made.
fn pump_server(
    turn: &mut Turn<'_>,
    machine: &mut dyn Machine,
    serving: &mut Serving,
    outbox: &mut Outbox,
) -> More {
    serving.room.outbox_full = outbox.is_full();
    serving.compact();
    serving.resume(turn, machine);
    let more = serve_events(turn, machine, serving);
    serving.watch(turn);
    more
}

fn serve_events(turn: &mut Turn<'_>, machine: &mut dyn Machine, serving: &mut Serving) -> More {
    for _ in 0..EVENTS_MAX {
        // Without an open call no reply is made, and what is left may be the end of the connection.
        // Streams whose readers give no credit stand in nobody's way.
        let full = serving.room.outbox_full || HIGH_BYTES <= busy(machine);
        let full = full || serving.untaken.is_too_much();
        if full && 0 < machine.open_calls() {
            // The next finished send, the credit that is missing, or a message that is taken pumps again.
            return More::Unsent;
        }
        match machine.poll_event() {
            None => return More::Nothing,
            Some(Event::Closed { error }) => {
                if let Some(error) = error {
                    tracing::debug!(%error, "connection ended");
                }
                return More::Closed;
            }
            Some(event) => serving.handle(turn, machine, event),
        }
    }
    More::Events
}

fn pump_client(turn: &mut Turn<'_>, machine: &mut dyn Machine, calling: &mut Calling) -> More {
    calling.begin_round(turn, machine);
    for _ in 0..EVENTS_MAX {
        match machine.poll_event() {
            None => return More::Nothing,
            Some(Event::Closed { error }) => {
                calling.closed(error);
                return More::Closed;
            }
            Some(event) => calling.handle(turn, machine, event),
        }
    }
    More::Events
}
