//! The client side of a loop: links to servers, how they are connected, and which calls wait.

use super::connection::{Connection, turn};
use super::{Reactor, Slot, token};
use crate::Status;
use crate::call::CallRequest;
use crate::command::Command;
use crate::key::PeerKey;
use crate::link::LinkConfig;
use crate::numbered::NumberMap;
use crate::peer::{Calling, Failure, Peer, Waiting};
use crate::pending::Promise;
use kettle_io::{Op, Outcome, Role, SocketId, socket};
use kettle_proto::{CallId, Instant, ProtocolError};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

/// All links of a loop.
#[derive(Debug, Default)]
pub(super) struct Clients {
    links: NumberMap<u64, Link>,
}

/// A channel's way to its server.
#[derive(Debug)]
struct Link {
    config: Arc<LinkConfig>,
    state: LinkState,
    /// Calls that wait for the connection.
    waiting: Waiting,
    /// Callers that wait for the connection only.
    connects: Vec<Promise<(), ()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    /// The next call connects.
    Idle,
    /// Looking the name up, or connecting.
    Connecting,
    /// Connected; calls may be made, whether the server has greeted or not.
    Up { key: PeerKey, greeted: bool },
}

/// A connection that is being made.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) key: PeerKey,
    link: u64,
    until: Instant,
    nodelay: bool,
    /// Addresses that were not tried yet.
    addresses: VecDeque<SocketAddr>,
    socket: Option<SocketId>,
    error: Option<String>,
}

impl Reactor {
    /// Gets a connection ready, for its own sake.
    pub(super) fn client_connect(&mut self, config: Arc<LinkConfig>, promise: Promise<(), ()>) {
        let id = config.id;
        let link = self.clients.link(config);
        if let LinkState::Up { greeted: true, .. } = link.state {
            return promise.answer(Ok(()));
        }
        link.connects.push(promise);
        self.link_up(id);
    }

    /// Makes a call on the link's connection, or lets it wait for one.
    pub(super) fn client_call(&mut self, config: Arc<LinkConfig>, request: Box<CallRequest>) {
        let id = config.id;
        let link = self.clients.link(config);
        if let LinkState::Up { key, .. } = link.state {
            return self.start_call(key, request);
        }
        link.waiting.push(request);
        self.link_up(id);
    }

    /// The caller of a call has gone.
    pub(super) fn client_cancel(&mut self, key: PeerKey, call: CallId) {
        let Some(Slot::Connection(connection)) = self.slots.get_mut(key.slot as usize) else {
            return;
        };
        if connection.key == key
            && let Some((machine, calling)) = connection.peer.client()
        {
            calling.cancel(machine, call);
            self.ready(key.slot);
        }
    }

    /// Nobody uses a link any more: its connection ends when its calls are over.
    pub(super) fn client_forget(&mut self, id: u64) {
        let Some(link) = self.clients.links.remove(&id) else {
            return;
        };
        if let LinkState::Up { key, .. } = link.state
            && let Some(Slot::Connection(connection)) = self.slots.get_mut(key.slot as usize)
        {
            connection.peer.drain(self.now);
            self.ready(key.slot);
        }
    }

    /// Tells a link what happened on its connection.
    pub(super) fn client_news(&mut self, slot: u32, id: u64) {
        let Some(Slot::Connection(connection)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let key = connection.key;
        let Some((_, calling)) = connection.peer.client() else {
            return;
        };
        let news = calling.take_news();
        let over = news.draining || news.failure.is_some();
        let mut again = news.again;
        if over {
            again.append(calling.take_waiting());
        }
        let Some(link) = self.clients.links.get_mut(&id) else {
            // The channel is gone, and with it everybody who waits.
            return;
        };
        let current = matches!(link.state, LinkState::Up { key: up, .. } if up == key);
        if current && over {
            link.state = LinkState::Idle;
        } else if current && news.ready {
            link.state = LinkState::Up { key, greeted: true };
            link.answer_connects(&Ok(()));
        }
        if let (true, Some(failure)) = (current, &news.failure) {
            let status = link
                .config
                .unreachable(failure.is_timeout(), &failure.to_string());
            link.answer_connects(&Err(status));
        }
        let config = Arc::clone(&link.config);
        while let Some(request) = again.pop() {
            self.client_call(Arc::clone(&config), request);
        }
    }

    /// A host name was looked up.
    pub(super) fn resolved(&mut self, key: PeerKey, addresses: io::Result<Vec<SocketAddr>>) {
        let Some(Slot::Connecting(connecting)) = self.slots.get_mut(key.slot as usize) else {
            return;
        };
        if connecting.key != key {
            return;
        }
        match addresses {
            Ok(addresses) => connecting.addresses = addresses.into(),
            Err(error) => connecting.error = Some(format!("the name cannot be looked up: {error}")),
        }
        self.try_next_address(key.slot);
    }

    /// A connect succeeded or failed.
    pub(super) fn connect_done(&mut self, slot: u32, outcome: Outcome) {
        let Some(Slot::Connecting(connecting)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        match (outcome, connecting.socket) {
            (Outcome::Connected, Some(socket)) => {
                let (key, link, until) = (connecting.key, connecting.link, connecting.until);
                self.connected(key, socket, link, until);
            }
            (Outcome::Failed(error), Some(socket)) => {
                connecting.error = Some(error.to_string());
                connecting.socket = None;
                self.driver.detach(socket);
                self.try_next_address(slot);
            }
            _ => {}
        }
    }

    /// A timer of a connection that is being made has come.
    pub(super) fn connect_timeout(&mut self, slot: u32) {
        let Some(Slot::Connecting(connecting)) = self.slots.get(slot as usize) else {
            return;
        };
        let (key, until, id) = (connecting.key, connecting.until, connecting.link);
        if until <= self.now {
            return self.connect_failed(slot, true);
        }
        let Some(link) = self.clients.links.get_mut(&id) else {
            return;
        };
        link.waiting.expire(self.now);
        let next = link
            .waiting
            .next_deadline()
            .map_or(until, |deadline| deadline.min(until));
        self.timers.set(next, key.to_u64());
    }

    fn start_call(&mut self, key: PeerKey, request: Box<CallRequest>) {
        let Some(Slot::Connection(connection)) = self.slots.get_mut(key.slot as usize) else {
            return;
        };
        let (clock, stats) = (self.clock, &self.stats);
        let turn = turn(key, self.now, clock, &mut self.spare, stats);
        if let Some((machine, calling)) = connection.peer.client() {
            calling.start(&turn, machine, request);
            self.ready(key.slot);
        }
    }

    /// Starts to connect a link that has no connection.
    fn link_up(&mut self, id: u64) {
        let Some(link) = self.clients.links.get_mut(&id) else {
            return;
        };
        let config = Arc::clone(&link.config);
        let deadline = link.waiting.next_deadline();
        let begin = link.state == LinkState::Idle;
        if begin {
            link.state = LinkState::Connecting;
            let until = self.now + config.connect_timeout;
            let connecting = |key| Box::new(Connecting::new(key, &config, until));
            let key = self.insert(|key| Slot::Connecting(connecting(key)));
            self.timers.set(until, key.to_u64());
            self.look_up(key, &config);
        }
        if let Some(deadline) = deadline
            && let Some(key) = self.connecting_of(id)
        {
            self.timers.set(deadline, key.to_u64());
        }
    }

    fn connecting_of(&self, id: u64) -> Option<PeerKey> {
        self.slots.iter().find_map(|(_, slot)| match slot {
            Slot::Connecting(connecting) if connecting.link == id => Some(connecting.key),
            _ => None,
        })
    }

    /// Finds the addresses of an endpoint: at once, or on a thread when the name has to be looked up.
    fn look_up(&mut self, key: PeerKey, config: &LinkConfig) {
        let (host, port) = (config.endpoint.host().to_owned(), config.endpoint.port());
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self.resolved(key, Ok(vec![SocketAddr::new(ip, port)]));
        }
        let mailbox = Arc::clone(&self.mailbox);
        let look_up = move || {
            let addresses = (host.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect);
            // A loop that has ended needs no answer.
            let _ = mailbox.send(Command::Resolved { key, addresses });
        };
        if let Err(error) = std::thread::Builder::new()
            .name("kettle-lookup".into())
            .spawn(look_up)
        {
            self.resolved(key, Err(error));
        }
    }

    fn try_next_address(&mut self, slot: u32) {
        let Some(Slot::Connecting(connecting)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let key = connecting.key;
        while let Some(address) = connecting.addresses.pop_front() {
            let attached = socket::stream(&address).and_then(|stream| {
                socket::set_nodelay(&stream, connecting.nodelay)?;
                self.driver.attach(stream, Role::Stream, token(key))
            });
            match attached {
                Ok(socket) => {
                    connecting.socket = Some(socket);
                    return self.driver.submit(Op::Connect { socket, address });
                }
                Err(error) => connecting.error = Some(error.to_string()),
            }
        }
        self.connect_failed(slot, false);
    }

    fn connected(&mut self, key: PeerKey, socket: SocketId, id: u64, until: Instant) {
        let Some(link) = self.clients.links.get_mut(&id) else {
            self.slots.remove(key.slot as usize);
            return self.driver.detach(socket);
        };
        let mut limits = link.config.limits.clone();
        limits.handshake_timeout = until - self.now;
        let peer = Peer::calling(self.now, limits, Calling::default());
        let connection = Connection::new(key, socket, peer, Some(id));
        self.slots[key.slot as usize] = Slot::Connection(Box::new(connection));
        link.state = LinkState::Up {
            key,
            greeted: false,
        };
        let mut waiting = std::mem::take(&mut link.waiting);
        while let Some(request) = waiting.pop() {
            self.start_call(key, request);
        }
        self.ready(key.slot);
    }

    /// The loop ends: nobody waits any longer for connections that are being made.
    pub(super) fn abandon_connecting(&mut self) {
        let connecting = |slot: &Slot| matches!(slot, Slot::Connecting(_));
        let slots = self.slots.iter().filter(|(_, slot)| connecting(slot));
        let slots: Vec<u32> = slots.map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            self.connect_failed(slot, false);
        }
    }

    /// No address could be connected, or not in time.
    fn connect_failed(&mut self, slot: u32, timed_out: bool) {
        let Some(Slot::Connecting(connecting)) = self.slots.try_remove(slot as usize) else {
            return;
        };
        if let Some(socket) = connecting.socket {
            self.driver.detach(socket);
        }
        let Some(link) = self.clients.links.get_mut(&connecting.link) else {
            return;
        };
        let why = match (timed_out, connecting.error) {
            (true, _) => format!(
                "no connection within {:?} (connect_timeout)",
                link.config.connect_timeout
            ),
            (false, Some(error)) => error,
            (false, None) => "the name has no address".to_owned(),
        };
        link.state = LinkState::Idle;
        link.waiting.fail(&link.config.unreachable(false, &why));
        let status = link.config.unreachable(timed_out, &why);
        link.answer_connects(&Err(status));
    }
}

impl Clients {
    fn link(&mut self, config: Arc<LinkConfig>) -> &mut Link {
        self.links.entry(config.id).or_insert_with(|| Link {
            config,
            state: LinkState::Idle,
            waiting: Waiting::default(),
            connects: Vec::new(),
        })
    }
}

impl Connecting {
    fn new(key: PeerKey, config: &LinkConfig, until: Instant) -> Self {
        Self {
            key,
            link: config.id,
            until,
            nodelay: config.nodelay,
            addresses: VecDeque::new(),
            socket: None,
            error: None,
        }
    }
}

impl Link {
    fn answer_connects(&mut self, answer: &Result<(), Status>) {
        for promise in self.connects.drain(..) {
            promise.answer(answer.clone());
        }
    }
}

impl Failure {
    /// Whether the server did not greet in time.
    fn is_timeout(&self) -> bool {
        matches!(self.0, Some(ProtocolError::HandshakeTimeout))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(error) => error.fmt(f),
            None => f.write_str("the server closed the connection"),
        }
    }
}
