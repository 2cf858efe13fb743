//! The client side of a loop: which connection of a link a call goes to, and which calls wait.

use super::connection::Connection;
use super::link::{Heard, Link, State};
use super::{Reactor, Slot};
use crate::backoff::Random;
use crate::call::CallRequest;
use crate::key::PeerKey;
use crate::link::{LinkConfig, Unreachable};
use crate::numbered::NumberMap;
use crate::peer::{Calling, Peer, Turn};
use crate::pending::Promise;
use crate::timers::Timers;
use kettle_io::SocketId;
use kettle_proto::CallId;
use slab::Slab;
use std::sync::Arc;

/// All links of a loop.
#[derive(Debug, Default)]
pub(super) struct Clients {
    links: NumberMap<u64, Link>,
    /// When which link wants to be called next, by its number.
    pub(super) timers: Timers,
    random: Random,
}

impl Reactor {
    /// Gets a link's connections ready, for their own sake.
    pub(super) fn client_connect(&mut self, config: Arc<LinkConfig>, promise: Promise<(), ()>) {
        let id = config.id;
        let link = self.clients.link(config);
        link.await_connect(promise);
        link.answer_connects();
        self.raise(id);
    }

    /// Makes a call on one of the link's connections, or lets it wait for one.
    pub(super) fn client_call(&mut self, config: Arc<LinkConfig>, request: Box<CallRequest>) {
        let id = config.id;
        let link = self.clients.link(config);
        if let Some(key) = link.only() {
            return self.start_call(key, request);
        }
        let slots = &self.slots;
        let chosen = link.choose(&request, |key| open_calls(slots, key));
        self.raise(id);
        if let Some(key) = chosen {
            return self.start_call(key, request);
        }
        let Some(link) = self.clients.links.get_mut(&id) else {
            return;
        };
        if !request.wait_for_ready && !link.is_hopeful() {
            return request.fail(link.unavailable(self.now));
        }
        link.waiting.push(request);
        self.schedule_link(id);
    }

    /// The caller of a call has gone; on a server, whoever took its messages.
    pub(super) fn abandoned(&mut self, key: PeerKey, call: CallId) {
        let Some(Slot::Connection(connection)) = self.slots.get_mut(key.slot as usize) else {
            return;
        };
        if connection.key != key {
            return;
        }
        match connection.peer.client() {
            Some((machine, calling)) => calling.cancel(machine, call),
            None => connection.peer.taken(call),
        }
        self.ready(key.slot);
    }

    /// Much was taken of a call's messages.
    pub(super) fn taken(&mut self, key: PeerKey, call: CallId) {
        if let Some(Slot::Connection(connection)) = self.slots.get_mut(key.slot as usize)
            && connection.key == key
        {
            connection.peer.taken(call);
            self.ready(key.slot);
        }
    }

    /// Nobody uses a link any more: its connections end when their calls are over.
    pub(super) fn client_forget(&mut self, id: u64) {
        let Some(link) = self.clients.links.remove(&id) else {
            return;
        };
        for subchannel in &link.subchannels {
            if let State::Up { key, .. } = subchannel.state
                && let Some(Slot::Connection(connection)) = self.slots.get_mut(key.slot as usize)
            {
                connection.peer.drain(self.now);
                self.ready(key.slot);
            }
        }
    }

    /// Tells a link what happened on one of its connections.
    pub(super) fn client_news(&mut self, slot: u32, id: u64) {
        let Some(Slot::Connection(connection)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let key = connection.key;
        let Some((_, calling)) = connection.peer.client() else {
            return;
        };
        let news = calling.take_news();
        if news.is_empty() {
            return;
        }
        let Some(link) = self.clients.links.get_mut(&id) else {
            // The channel is gone, and with it everybody who waits.
            return;
        };
        let config = Arc::clone(&link.config);
        let Heard { mut begin, down } = link.heard(key, &news, self.now, &mut self.clients.random);
        if down {
            self.link_down(id);
        }
        while let Some(request) = begin.pop() {
            self.start_call(key, request);
        }
        let mut again = news.again;
        while let Some(request) = again.pop() {
            self.client_call(Arc::clone(&config), request);
        }
    }

    /// A time that a link wanted to be called at has come.
    pub(super) fn link_timeouts(&mut self) {
        while let Some((time, id)) = self.clients.timers.pop(self.now) {
            let Some(link) = self.clients.links.get_mut(&id) else {
                continue;
            };
            link.timeout(time, self.now);
            if !link.waiting.is_empty() {
                self.raise(id);
            }
            self.schedule_link(id);
        }
    }

    /// A subchannel's connection is made. Calls go to it at once, but for those that wait for the server:
    /// they want to see it greet.
    pub(super) fn connected(&mut self, slot: u32, socket: SocketId) {
        let Some(Slot::Connecting(connecting)) = self.slots.get(slot as usize) else {
            return;
        };
        let (key, id, subchannel) = (connecting.key, connecting.link, connecting.subchannel);
        let until = connecting.until;
        let Some(link) = self.clients.links.get_mut(&id) else {
            self.slots.remove(slot as usize);
            return self.driver.detach(socket);
        };
        let mut limits = link.config.limits.clone();
        limits.handshake_timeout = until - self.now;
        let peer = Peer::calling(self.now, limits, Calling::default());
        let connection = Connection::new(key, socket, peer, Some(id));
        self.slots[slot as usize] = Slot::Connection(Box::new(connection));
        let greeted = false;
        link.subchannels[subchannel].state = State::Up { key, greeted };
        let mut hasty = link.waiting.take_hasty();
        while let Some(request) = hasty.pop() {
            self.start_call(key, request);
        }
        self.ready(slot);
    }

    /// A subchannel's connection could not be made.
    pub(super) fn unconnected(
        &mut self,
        id: u64,
        subchannel: usize,
        reason: Unreachable,
        why: &str,
    ) {
        let Some(link) = self.clients.links.get_mut(&id) else {
            return;
        };
        link.unconnected(subchannel, reason, why, self.now, &mut self.clients.random);
        self.link_down(id);
    }

    /// A connection is missing.
    fn link_down(&mut self, id: u64) {
        if let Some(link) = self.clients.links.get_mut(&id)
            && link.down(self.now)
        {
            self.raise(id);
        }
        self.schedule_link(id);
    }

    /// Starts to connect what is not connected, unless that failed a moment ago.
    fn raise(&mut self, id: u64) {
        while let Some(link) = self.clients.links.get_mut(&id)
            && let Some(subchannel) = link.begin_connect(self.now)
        {
            let config = Arc::clone(&link.config);
            self.connect(&config, subchannel);
        }
    }

    fn schedule_link(&mut self, id: u64) {
        if let Some(link) = self.clients.links.get_mut(&id)
            && let Some(next) = link.schedule()
        {
            self.clients.timers.set(next, id);
        }
    }

    fn start_call(&mut self, key: PeerKey, request: Box<CallRequest>) {
        let Some(Slot::Connection(connection)) = self.slots.get_mut(key.slot as usize) else {
            return;
        };
        let mut turn = Turn::new(key, self.now, self.clock, &mut self.spare, &self.stats);
        if let Some((machine, calling)) = connection.peer.client() {
            calling.start(&mut turn, machine, request);
            self.ready(key.slot);
        }
    }
}

/// How many calls a connection has.
fn open_calls(slots: &Slab<Slot>, key: PeerKey) -> usize {
    match slots.get(key.slot as usize) {
        Some(Slot::Connection(connection)) => connection.peer.open_calls(),
        _ => 0,
    }
}

impl Clients {
    fn link(&mut self, config: Arc<LinkConfig>) -> &mut Link {
        let id = config.id;
        self.links.entry(id).or_insert_with(|| Link::new(config))
    }
}
