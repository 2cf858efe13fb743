//! A driver under test, with sockets and a record of what is in flight.

use kettle_buf::Payload;
use kettle_io::{
    Completion, Driver, DriverConfig, Op, OpKind, Outcome, Patience, Role, SocketId, Token, socket,
};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Longest time that anything expected may take; a test that waits as long has failed.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// Opens a driver.
pub type Open = fn(&DriverConfig) -> io::Result<Box<dyn Driver>>;

/// A driver that is tested.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub(super) open: Open,
    pub(super) kind: Kind,
    /// Streams are Unix-domain sockets.
    pub(super) unix: bool,
    /// The driver never sends without copying, whatever its settings.
    pub(super) copies: bool,
}

/// What decides which form of a promise holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Waiting,
    Scanning,
    Blocking,
    BlockingClient,
    Fake,
}

impl Subject {
    /// A driver that serves many connections and sleeps until some are ready.
    pub fn waiting(open: Open) -> Self {
        Self {
            open,
            unix: false,
            copies: false,
            kind: Kind::Waiting,
        }
    }

    /// A driver that serves many connections and tries them all the time.
    pub fn scanning(open: Open) -> Self {
        Self {
            open,
            unix: false,
            copies: false,
            kind: Kind::Scanning,
        }
    }

    /// A driver that sleeps in accept(2) and recv(2), serves one stream at a time and holds a small
    /// buffer meanwhile.
    pub fn blocking(open: Open) -> Self {
        Self {
            open,
            unix: false,
            copies: true,
            kind: Kind::Blocking,
        }
    }

    /// A driver that sleeps in recv(2) while it has one stream, and serves several as any other.
    pub fn blocking_client(open: Open) -> Self {
        Self {
            open,
            unix: false,
            copies: true,
            kind: Kind::BlockingClient,
        }
    }

    /// A [`crate::fake::FakeDriver`].
    pub fn fake(open: Open) -> Self {
        Self {
            open,
            unix: false,
            copies: false,
            kind: Kind::Fake,
        }
    }
}

impl Subject {
    /// The same with a driver that never sends without copying.
    #[must_use]
    pub fn copying(self) -> Self {
        Self {
            copies: true,
            ..self
        }
    }

    /// The same with streams that are Unix-domain sockets, and not TCP over loopback.
    #[must_use]
    pub fn over_unix(self) -> Self {
        Self { unix: true, ..self }
    }
}

/// A driver under test.
pub(super) struct Rig {
    pub(super) driver: Box<dyn Driver>,
    /// Whether wakes shall end waits.
    pub(super) wakeable: bool,
    in_flight: HashMap<(Token, OpKind), u32>,
    detached: HashSet<Token>,
    tokens: HashMap<SocketId, Token>,
    next: u64,
    unix: bool,
}

impl Rig {
    pub(super) fn new(subject: &Subject) -> Self {
        Self::with(subject, DriverConfig::default())
    }

    pub(super) fn with(subject: &Subject, config: DriverConfig) -> Self {
        let driver = (subject.open)(&config).expect("the driver opens");
        Self {
            driver,
            wakeable: false,
            in_flight: HashMap::new(),
            detached: HashSet::new(),
            tokens: HashMap::new(),
            next: 1,
            unix: subject.unix,
        }
    }

    pub(super) fn attach(&mut self, fd: impl Into<OwnedFd>, role: Role) -> (SocketId, Token) {
        let token = Token(self.next);
        self.next += 1;
        let id = self
            .driver
            .attach(fd.into(), role, token)
            .expect("the socket is attached");
        self.tokens.insert(id, token);
        (id, token)
    }

    /// A connection: one end attached, the other in the test's hands.
    pub(super) fn stream(&mut self) -> (SocketId, Token, TcpStream) {
        let (near, far) = self.connection();
        let (id, token) = self.attach(near, Role::Stream);
        (id, token, far)
    }

    /// Two ends of a connection.
    pub(super) fn connection(&self) -> (TcpStream, TcpStream) {
        match self.unix {
            true => unix_connection(),
            false => connection(),
        }
    }

    /// A connection with a standing Receive.
    pub(super) fn receiving(&mut self) -> (SocketId, Token, TcpStream) {
        let (id, token, far) = self.stream();
        self.submit(Op::Receive { socket: id });
        (id, token, far)
    }

    /// A listener with a standing Accept.
    pub(super) fn accepting(&mut self) -> (SocketId, Token, SocketAddr) {
        let listener = socket::listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = socket::local_address(&listener).unwrap();
        let (id, token) = self.attach(listener, Role::Listener);
        self.submit(Op::Accept { socket: id });
        (id, token, address)
    }

    pub(super) fn submit(&mut self, op: Op) {
        let (id, kind) = match &op {
            Op::Accept { socket } => (*socket, OpKind::Accept),
            Op::Connect { socket, .. } => (*socket, OpKind::Connect),
            Op::Receive { socket } => (*socket, OpKind::Receive),
            Op::Send { socket, .. } => (*socket, OpKind::Send),
        };
        *self.in_flight.entry((self.tokens[&id], kind)).or_default() += 1;
        self.driver.submit(op);
    }

    pub(super) fn send(&mut self, socket: SocketId, payload: impl Into<Payload>) {
        self.submit(Op::Send {
            socket,
            payload: payload.into(),
        });
    }

    pub(super) fn detach(&mut self, socket: SocketId) {
        let token = self.tokens.remove(&socket).expect("the socket is attached");
        self.detached.insert(token);
        self.driver.detach(socket);
    }

    /// Whether an operation has not had its last completion.
    pub(super) fn is_in_flight(&self, token: Token, kind: OpKind) -> bool {
        self.in_flight
            .get(&(token, kind))
            .is_some_and(|count| 0 < *count)
    }

    /// One wait.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Vec<Completion> {
        let mut done = Vec::new();
        let patience = Patience {
            timeout,
            wakeable: self.wakeable,
        };
        self.driver
            .wait(patience, &mut done)
            .expect("the driver works");
        for completion in &done {
            self.check(completion);
        }
        done
    }

    /// What the driver has at hand outside of a wait.
    pub(super) fn take_done(&mut self) -> Vec<Completion> {
        let mut done = Vec::new();
        self.driver.take_done(&mut done);
        for completion in &done {
            self.check(completion);
        }
        done
    }

    /// The next completions; there must be some in time.
    pub(super) fn next(&mut self) -> Vec<Completion> {
        let started = Instant::now();
        loop {
            let done = self.wait(Some(LIMIT));
            if !done.is_empty() {
                return done;
            }
            assert!(
                started.elapsed() < LIMIT,
                "nothing came in time: {:?}",
                self.in_flight
            );
        }
    }

    /// Waits until `seen` is true for one of the completions; returns all until then.
    pub(super) fn until(&mut self, seen: impl Fn(&Completion) -> bool) -> Vec<Completion> {
        let (mut all, started) = (Vec::new(), Instant::now());
        while !all.iter().any(&seen) {
            assert!(
                started.elapsed() < LIMIT,
                "it did not come in time; there were {all:?}"
            );
            all.extend(self.next());
        }
        all
    }

    /// Waits until `token`'s operation is over; returns all completions until then.
    pub(super) fn until_last(&mut self, token: Token, kind: OpKind) -> Vec<Completion> {
        self.until(|one| one.last && (one.token, one.kind) == (token, kind))
    }

    /// Receives until `count` bytes of `token` have come.
    pub(super) fn receive(&mut self, token: Token, count: usize) -> Vec<u8> {
        let (mut bytes, started) = (Vec::new(), Instant::now());
        while bytes.len() < count {
            assert!(started.elapsed() < LIMIT, "only {} bytes came", bytes.len());
            bytes.extend(received(token, &self.next()));
        }
        bytes
    }

    /// Sends all of a payload, as often as it takes; returns how many sends it took.
    pub(super) fn send_all(&mut self, socket: SocketId, mut payload: Payload) -> usize {
        let (token, mut sends) = (self.tokens[&socket], 0);
        while !payload.is_empty() {
            self.send(socket, payload);
            sends += 1;
            let sent = |one: &Completion| {
                one.token == token
                    && matches!(one.outcome, Outcome::Sent { .. } | Outcome::Failed(_))
            };
            payload = match self
                .until(sent)
                .into_iter()
                .find(sent)
                .map(|one| one.outcome)
            {
                Some(Outcome::Sent { rest, .. }) => rest,
                other => panic!("the send ended with {other:?}"),
            };
        }
        sends
    }

    /// Sends until a send waits for room, which it goes on doing.
    pub(super) fn fill(&mut self, socket: SocketId) {
        self.fill_with(socket, || vec![7; 1 << 20].into());
    }

    /// As [`Rig::fill`], with payloads of the test's own.
    pub(super) fn fill_with(&mut self, socket: SocketId, payload: impl Fn() -> Payload) {
        let token = self.tokens[&socket];
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < 2 * LIMIT, "the socket is never full");
            self.send(socket, payload());
            let started = Instant::now();
            let mut sent = false;
            while !sent {
                if Duration::from_millis(100) < started.elapsed() {
                    return;
                }
                let done = self.wait(Some(Duration::from_millis(10)));
                sent = done
                    .iter()
                    .any(|one| one.token == token && matches!(one.outcome, Outcome::Sent { .. }));
            }
        }
    }

    /// A wait with nothing to report sleeps, whatever state the sockets are in. A scanning driver
    /// naps and tries at most: it must not find anything worth a try.
    pub(super) fn assert_rests(&mut self, subject: &Subject) {
        let before = self.driver.stats().system_calls;
        assert!(self.wait(Some(Duration::from_millis(50))).is_empty());
        let calls = self.driver.stats().system_calls - before;
        let waits = if subject.kind == Kind::Scanning {
            0
        } else {
            calls.wait
        };
        assert!(
            calls.total() - calls.wait + waits <= 3,
            "the driver does not rest: {calls:?}"
        );
    }

    fn check(&mut self, completion: &Completion) {
        let operation = (completion.token, completion.kind);
        let count = self.in_flight.entry(operation).or_default();
        assert!(
            0 < *count,
            "{completion:?} comes after its operation's last"
        );
        *count -= u32::from(completion.last);
        let silenced = self.detached.contains(&completion.token);
        assert!(
            !silenced || completion.last,
            "{completion:?} comes after a detach"
        );
        if let Outcome::Received(segment) = &completion.outcome {
            assert_eq!(segment.is_empty(), completion.last, "{completion:?}");
        }
    }
}

/// The bytes that were received for `token`.
pub(super) fn received(token: Token, completions: &[Completion]) -> Vec<u8> {
    let own = completions.iter().filter(|one| one.token == token);
    own.flat_map(|one| match &one.outcome {
        Outcome::Received(segment) => segment.to_vec(),
        _ => Vec::new(),
    })
    .collect()
}

/// The same with Unix-domain sockets. What the standard library calls a TcpStream is any descriptor.
fn unix_connection() -> (TcpStream, TcpStream) {
    let (near, far) = UnixStream::pair().unwrap();
    let stream = |end| TcpStream::from(OwnedFd::from(end));
    (stream(near), stream(far))
}

/// Two ends of a connection over loopback.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    far.set_nodelay(true).unwrap();
    (listener.accept().unwrap().0, far)
}

/// Bytes in which any loss, repetition or exchange shows.
pub(super) fn pattern(count: usize) -> Vec<u8> {
    (0..count as u32)
        .map(|n| (n.wrapping_mul(0x9E37_79B1) >> 24) as u8)
        .collect()
}
