//! One end of a connection: its state, its start and its end.

use super::accept::Opening;
use super::frame;
use super::hello::{Hello, Settings, VERSION, VERSION_MIN, announceable};
use super::receive::{Body, Rest};
use super::send::Backlog;
use super::stream::{KEEP_MAX, Stream, Streams};
use super::timers::Deadlines;
use crate::limits::Limits;
use crate::{CallId, Code, Event, Instant, Metadata, ProtocolError, Status};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kettle_buf::{Payload, Segment};

/// Settings of a [`Connection`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Limits of this side, shared by its connections. Below 64 KiB, `frame_bytes_max`, `call_credit_bytes` and
    /// `connection_credit_bytes` are raised to it: a client may have used that much before it knows.
    /// Messages and credit are at most 2 GiB - 1.
    pub limits: Arc<Limits>,
    /// Start of the numbers that pings carry; a random one keeps a peer from answering pings before
    /// it reads them. Default 0.
    pub ping_seed: u64,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The peer's hello has not come.
    Hello,
    Open,
    Closed,
}

/// One end of a connection of the native protocol.
///
/// ```text
///   client                          server
///     │ hello, OPEN …  ────────────▶ │        the client need not wait for the server's hello
///     │ ◀───────────── hello, DATA … │ Ready
///     │ Ready                        │
///     │ DRAIN ◀──────────────▶ DRAIN │        by drain() on either side
///     │ Closed                Closed │        when no call is open
/// ```
///
/// An idle connection holds no buffer. Calls whose deadline passes end by themselves.
#[derive(Debug)]
pub struct Connection {
    pub(super) client: bool,
    pub(super) phase: Phase,
    /// Server: to drain as soon as the client has said hello.
    pub(super) drain_wanted: bool,
    pub(super) drain_sent: bool,
    pub(super) drain_received: bool,
    /// Client: the server has said that it takes no calls above this stream.
    pub(super) vouched_above: Option<u32>,
    /// The peer closed its side.
    pub(super) peer_ended: bool,
    pub(super) hello_sent: bool,
    /// What the peer may do, and the times of this side.
    pub(super) ours: Arc<Limits>,
    /// What the peer allows.
    pub(super) theirs: Settings,
    /// The start of a frame that has not come far enough to be decoded.
    pub(super) rest: Option<Box<Rest>>,
    /// The frame whose message bytes come next.
    pub(super) body: Option<Body>,
    /// Server: the call of that frame, when it is to be reported together with its message.
    pub(super) opening: Option<Box<Opening>>,
    /// The highest stream opened so far.
    pub(super) last_stream: u32,
    pub(super) streams: Streams,
    /// The method table; a method's id is its place, from 1 on.
    pub(super) paths: Vec<Arc<str>>,
    /// Client: the method that was called last, or 0. Most often the next is the same.
    pub(super) last_method: u16,
    /// What was received last and not yet taken apart.
    pub(super) unread: Segment,
    pub(super) events: VecDeque<Event>,
    /// Events that were taken since there last were none.
    pub(super) polled: u32,
    pub(super) out: Payload,
    /// Bytes of output that were given out.
    pub(super) out_taken: u64,
    /// What waits for its turn to be sent; `None` before anything has.
    pub(super) backlog: Option<Box<Backlog>>,
    /// Message bytes that may be sent on all calls together.
    pub(super) send_credit: u64,
    /// Message bytes that the peer may send on all calls together.
    pub(super) receive_credit: u64,
    /// Connection credit that is to be returned; `receive_credit` and this are the whole credit.
    pub(super) owed: i64,
    /// Bytes of messages that have not come whole, whose credit is kept back.
    pub(super) held: i64,
    /// The peer's connection credit ran out: messages that were started go first.
    pub(super) short: bool,
    /// Of calls; `None` before one had any.
    pub(super) deadlines: Option<Box<Deadlines>>,
    pub(super) handshake_at: Option<Instant>,
    /// When bytes last came.
    pub(super) heard_at: Instant,
    /// When bytes last went, or the last call was noticed to be over.
    pub(super) used_at: Instant,
    /// A call has ended since the time was last told.
    pub(super) call_ended: bool,
    /// The open ping: when it was sent.
    pub(super) ping_sent_at: Option<Instant>,
    pub(super) ping_number: u64,
    /// Answers to pings since all output was last given out.
    pub(super) pongs_waiting: u32,
}

impl Connection {
    /// The client's end. Its hello is the first output; calls may be opened at once.
    pub fn client(config: Config, now: Instant) -> Self {
        let mut connection = Self::new(config, now, true);
        connection.send_hello();
        connection
    }

    /// The server's end. It says nothing before the client's hello has come.
    pub fn server(config: Config, now: Instant) -> Self {
        Self::new(config, now, false)
    }

    fn new(config: Config, now: Instant, client: bool) -> Self {
        let ours = announceable(config.limits);
        Self {
            client,
            phase: Phase::Hello,
            drain_wanted: false,
            drain_sent: false,
            drain_received: false,
            vouched_above: None,
            peer_ended: false,
            hello_sent: false,
            theirs: Settings::INITIAL,
            rest: None,
            body: None,
            opening: None,
            last_stream: 0,
            streams: Streams::default(),
            paths: Vec::new(),
            last_method: 0,
            unread: Segment::default(),
            events: VecDeque::new(),
            polled: 0,
            out: Payload::new(),
            out_taken: 0,
            backlog: None,
            send_credit: Settings::INITIAL.connection_credit_bytes.into(),
            receive_credit: ours.connection_credit_bytes.into(),
            owed: 0,
            held: 0,
            short: false,
            deadlines: None,
            handshake_at: Some(now + ours.handshake_timeout),
            heard_at: now,
            used_at: now,
            call_ended: false,
            ping_sent_at: None,
            ping_number: config.ping_seed,
            pongs_waiting: 0,
            ours,
        }
    }

    fn send_hello(&mut self) {
        self.hello_sent = true;
        Hello::put(&mut self.out, self.client, &Settings::of(&self.ours));
    }

    /// The peer's hello came.
    pub(super) fn greet(&mut self, hello: Hello) -> Result<(), ProtocolError> {
        self.handshake_at = None;
        if !self.hello_sent {
            self.send_hello();
        }
        if hello.version != VERSION {
            let theirs = (hello.version_min, hello.version);
            return Err(ProtocolError::Version {
                theirs,
                ours: (VERSION_MIN, VERSION),
            });
        }
        self.phase = Phase::Open;
        self.events.push_back(Event::Ready);
        self.apply(hello.settings);
        if self.drain_wanted {
            self.send_drain();
        }
        Ok(())
    }

    /// Ends the connection for a reason of the peer's or of time.
    pub(super) fn fail(&mut self, error: ProtocolError) {
        if self.phase == Phase::Closed {
            return;
        }
        let code = match error {
            ProtocolError::Limit { .. } => Code::ResourceExhausted,
            ProtocolError::Version { .. } => Code::Unimplemented,
            ProtocolError::HandshakeTimeout | ProtocolError::PingTimeout => Code::DeadlineExceeded,
            ProtocolError::IdleTimeout => Code::Ok,
            _ => Code::Internal,
        };
        // A server that does not speak our version has processed nothing.
        let last_stream = matches!(error, ProtocolError::Version { .. }).then_some(0);
        let text = error.to_string();
        self.say_goodbye(code, &text);
        self.shut(Some(error), &text, last_stream);
    }

    /// Puts a goodbye at the end of the output.
    ///
    /// Calls whose OPEN was not given out are reported as never processed, so it must not leave
    /// now: then the output is dropped, and the peer sees the end of the connection instead.
    pub(super) fn say_goodbye(&mut self, code: Code, message: &str) {
        if self.withhold_unsent() {
            return;
        }
        if !self.hello_sent {
            self.send_hello();
        }
        let last_stream = if self.client { 0 } else { self.last_stream };
        frame::put_goodbye(&mut self.out, code, last_stream, message);
    }

    /// Client: drops the output when it holds an OPEN whole. Whether it did.
    pub(super) fn withhold_unsent(&mut self) -> bool {
        let unsent = |stream: &Stream| self.out_taken <= stream.opened_at;
        let any = self.client && !self.streams.calls_if(unsent).is_empty();
        if any {
            self.out = Payload::new();
        }
        any
    }

    /// Reports all calls as over, then the connection.
    pub(super) fn shut(
        &mut self,
        error: Option<ProtocolError>,
        text: &str,
        last_stream: Option<u32>,
    ) {
        self.withhold_unsent();
        self.phase = Phase::Closed;
        for call in self.streams.calls() {
            let status = Status::unavailable(format!("the connection is over: {text}"));
            let beyond = last_stream.is_some_and(|last| last < call.stream);
            self.lose_unsent(call, status, beyond);
        }
        self.rest = None;
        self.body = None;
        self.backlog = None;
        self.deadlines = None;
        self.events.push_back(Event::Closed { error });
    }

    /// Ends a call without a word to the peer, and reports it. `unprocessed`: a client may rely on
    /// the server having done nothing for it.
    pub(super) fn lose(&mut self, call: CallId, status: Status, unprocessed: bool) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        let answered = stream.local_ended;
        self.take_stream(call);
        if self.client {
            self.events.push_back(Event::Finished {
                call,
                status,
                unprocessed,
            });
        } else if self
            .opening
            .take_if(|opening| opening.call == call)
            .is_none()
            && !answered
        {
            self.events.push_back(Event::Reset { call, status });
        }
    }

    /// As [`Self::lose`], when no more output follows: an OPEN that was not given out never leaves.
    pub(super) fn lose_unsent(&mut self, call: CallId, status: Status, unprocessed: bool) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        let vouched = self.vouched_above.is_some_and(|last| last < call.stream);
        let unsent = self.out_taken <= stream.opened_at;
        self.lose(call, status, unprocessed || vouched || unsent);
    }

    /// Frees a call's slot. False when the call is over already.
    #[inline]
    pub(super) fn take_stream(&mut self, call: CallId) -> bool {
        let Some(stream) = self.streams.get(call) else {
            return false;
        };
        if stream.waiting.is_some() || stream.assembly.is_some() {
            self.release(call);
        }
        self.streams.remove(call);
        self.call_ended = true;
        true
    }

    /// Drops what has not been sent or has not come whole of a call.
    #[cold]
    fn release(&mut self, call: CallId) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        if let (Some(queue), Some(backlog)) = (stream.waiting.take(), &mut self.backlog) {
            backlog.bytes -= queue.bytes;
            backlog.stalled_bytes -= queue.stalled_bytes;
        }
        if let Some(assembly) = stream.assembly.take() {
            self.held -= assembly.bytes.len() as i64;
            self.return_connection_credit();
        }
    }

    /// Closes in order when nothing is left to do. Comes after every end of a call, and of a drain.
    #[inline]
    pub(super) fn close_if_done(&mut self) {
        let drained = self.drain_sent && self.drain_received;
        if self.phase == Phase::Open && self.streams.len() == 0 && (drained || self.peer_ended) {
            self.shut(None, "", None);
        }
    }

    pub(super) fn send_drain(&mut self) {
        if !self.drain_sent {
            self.drain_sent = true;
            frame::put(
                &mut self.out,
                frame::DRAIN,
                0,
                0,
                &[&self.last_stream.to_be_bytes()],
            );
        }
    }

    /// Gives the memory of a burst of events back in the first turn that needs little of it.
    pub(super) fn forget_burst(&mut self) {
        match self.last_stream {
            // It has greeted, and may say nothing more for long.
            0 => self.events = VecDeque::new(),
            // So that the next events lie where the last ones did, in the cache.
            _ => self.events.clear(),
        }
        let room = self.events.capacity();
        if KEEP_MAX < room && (core::mem::take(&mut self.polled) as usize) < room / 4 {
            self.events.shrink_to(KEEP_MAX);
        }
        if self.streams.len() == 0 {
            self.deadlines.take_if(|all| KEEP_MAX < all.len());
        }
        self.polled = 0;
    }

    /// Idle time counts from the end of the last call. Calls end by commands, which tell no time, so their end
    /// is taken to be when the time is told next.
    #[inline]
    pub(super) fn note_ended(&mut self, now: Instant) {
        if core::mem::take(&mut self.call_ended) {
            self.used_at = now;
        }
    }

    pub(super) fn idle_at(&self) -> Option<Instant> {
        let quiet = self.phase == Phase::Open && self.streams.len() == 0;
        self.ours
            .idle_timeout
            .filter(|_| quiet)
            .map(|timeout| self.heard_at.max(self.used_at) + timeout)
    }

    /// When the peer counts as gone. Whatever comes is a sign of life: the answer to a ping may stand
    /// behind a long message.
    pub(super) fn ping_at(&self) -> Option<Instant> {
        self.ping_sent_at
            .filter(|_| !self.peer_ended)
            .map(|sent| sent.max(self.heard_at) + self.ours.ping_timeout)
    }

    /// When the peer is asked for a sign of life. One that has ended its side can give none.
    pub(super) fn keepalive_at(&self) -> Option<Instant> {
        let busy = self.phase == Phase::Open && 0 < self.streams.len();
        self.ours
            .keepalive_interval
            .filter(|_| busy && !self.peer_ended && self.ping_sent_at.is_none())
            .map(|interval| self.heard_at + interval)
    }

    /// A call's time is over: each side ends it by its own clock.
    pub(super) fn expire(&mut self, call: CallId) {
        let Some(stream) = self.streams.get(call) else {
            return;
        };
        let mid_message = stream.is_mid_message();
        let status = Status::deadline_exceeded("the deadline of the call has passed");
        if self.client || mid_message {
            frame::put_reset(&mut self.out, call.stream, &status, false);
        } else {
            self.put_data(call.stream, &Metadata::new(), Some(&status), None, true);
        }
        self.lose(call, status, false);
        self.close_if_done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Closing, Head, Machine};
    use kettle_buf::Segment;

    /// Carries all output over and answers every call, until both ends are silent.
    fn pump(client: &mut Connection, server: &mut Connection) {
        let now = Instant::default();
        loop {
            let (up, down) = (
                client.poll_transmit(now, u64::MAX),
                server.poll_transmit(now, u64::MAX),
            );
            if up.is_none() && down.is_none() {
                return;
            }
            for (payload, to) in [(up, &mut *server), (down, &mut *client)] {
                let chain = payload.unwrap_or_default().into_chain().expect("memory");
                for segment in chain.segments() {
                    to.handle_bytes(now, segment.clone());
                }
            }
            while client.poll_event().is_some() {}
            while let Some(event) = server.poll_event() {
                let (call, message) = match event {
                    Event::Call {
                        call,
                        message: Some(message),
                        ..
                    } => (call, message),
                    Event::Message { call, message, .. } => (call, message),
                    _ => continue,
                };
                {
                    let message = Some(message.into());
                    server.finish(
                        call,
                        Closing {
                            message,
                            ..Closing::default()
                        },
                    );
                }
            }
        }
    }

    fn ends() -> (Connection, Connection) {
        let now = Instant::default();
        let mut ends = (
            Connection::client(Config::default(), now),
            Connection::server(Config::default(), now),
        );
        pump(&mut ends.0, &mut ends.1);
        ends
    }

    fn call(client: &mut Connection, bytes: usize) {
        let head = Head {
            path: "/a.B/C",
            metadata: Metadata::new(),
            timeout: None,
        };
        let message = alloc::vec![1; bytes].into();
        client
            .open(Instant::default(), head, Some(message), true)
            .expect("it opens");
    }

    /// Bytes that a connection holds on the heap apart from its method table, at least.
    fn heap_bytes(connection: &Connection) -> usize {
        let events = connection.events.capacity() * size_of::<Event>();
        let backlog = connection.backlog.as_ref();
        let turns = backlog.map_or(0, |it| it.turns.capacity() * size_of::<CallId>());
        assert!(
            connection.out.is_empty() && connection.body.is_none() && connection.rest.is_none()
        );
        events + turns + connection.streams.heap_bytes()
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(
            size_of::<Connection>() <= 448,
            "{} bytes",
            size_of::<Connection>()
        );
        let (client, server) = ends();
        for fresh in [&client, &server] {
            assert!(heap_bytes(fresh) <= 512, "{} bytes", heap_bytes(fresh));
        }
    }

    #[test]
    fn a_burst_is_forgotten() {
        let (mut client, mut server) = ends();
        for _ in 0..1000 {
            call(&mut client, 100);
        }
        for _ in 0..20 {
            call(&mut client, 100_000);
        }
        pump(&mut client, &mut server);
        // The next turns need little.
        for _ in 0..2 {
            call(&mut client, 1);
            pump(&mut client, &mut server);
        }
        for after in [&client, &server] {
            assert_eq!(
                (after.streams.len(), after.held, after.pending_bytes()),
                (0, 0, 0)
            );
            let bytes = heap_bytes(after);
            assert!(
                bytes <= KEEP_MAX * (size_of::<Event>() + size_of::<Stream>()) + 1024,
                "{bytes}"
            );
        }
    }

    #[test]
    fn half_a_frame_holds_no_received_block() {
        let (mut client, mut server) = ends();
        call(&mut client, 1000);
        let out = client
            .poll_transmit(Instant::default(), u64::MAX)
            .expect("output");
        let bytes = out.into_chain().expect("memory").into_segment();
        for cut in [1, 11, 20, 500] {
            let (_, mut server) = ends();
            let block = Segment::copy_from_slice(&bytes[..cut]);
            let owner = block.clone();
            server.handle_bytes(Instant::default(), block);
            assert!(server.poll_event().is_none());
            assert!(
                owner.into_bytes().try_into_mut().is_ok(),
                "the block is shared, cut at {cut}"
            );
        }
        server.handle_bytes(Instant::default(), bytes);
        assert!(server.poll_event().is_some());
        assert_eq!(server.streams.len(), 1);
    }
}
