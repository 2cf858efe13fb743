//! Making a client's connection: looking the name up, trying its addresses one by one.

use super::{Reactor, Slot, token};
use crate::command::Command;
use crate::key::PeerKey;
use crate::link::{LinkConfig, Unreachable};
use kettle_io::{Address, Op, Outcome, Role, SocketId, socket};
use kettle_proto::Instant;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// How long after a full backlog a Unix-domain socket is asked again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(10);

/// A connection that is being made.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) key: PeerKey,
    pub(super) link: u64,
    /// Which of the link's subchannels it is for.
    pub(super) subchannel: usize,
    /// When the server must have greeted.
    pub(super) until: Instant,
    timeout: Duration,
    nodelay: bool,
    local_address: Option<IpAddr>,
    /// Addresses that were not tried yet.
    addresses: VecDeque<Address>,
    /// The one that is tried now.
    trying: Option<(SocketId, Address)>,
    error: Option<String>,
}

impl Reactor {
    /// Starts to connect a subchannel.
    pub(super) fn connect(&mut self, config: &Arc<LinkConfig>, subchannel: usize) {
        let until = self.now + config.connect_timeout;
        let connecting = |key| Connecting {
            key,
            link: config.id,
            subchannel,
            until,
            timeout: config.connect_timeout,
            nodelay: config.nodelay,
            local_address: config.local_address,
            addresses: VecDeque::new(),
            trying: None,
            error: None,
        };
        let key = self.insert(|key| Slot::Connecting(Box::new(connecting(key))));
        self.timers.set(until, key.to_u64());
        self.look_up(key, config);
    }

    /// A host name was looked up.
    pub(super) fn resolved(&mut self, key: PeerKey, addresses: io::Result<Vec<Address>>) {
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
        match (outcome, connecting.trying.take()) {
            (Outcome::Connected, Some((socket, _))) => {
                self.connected(slot, socket);
            }
            (Outcome::Failed(error), Some((socket, address))) => {
                self.driver.detach(socket);
                self.address_failed(slot, address, &error);
            }
            (_, trying) => connecting.trying = trying,
        }
    }

    /// The backlog of a Unix-domain socket may have room again, or the time for a connection is over.
    pub(super) fn connect_timeout(&mut self, slot: u32) {
        let Some(Slot::Connecting(connecting)) = self.slots.get(slot as usize) else {
            return;
        };
        if self.now < connecting.until {
            return self.try_next_address(slot);
        }
        let timeout = connecting.timeout;
        let why = format!("no connection within {timeout:?} (connect_timeout)");
        self.connect_failed(slot, Unreachable::TimedOut, &why);
    }

    /// The loop ends: nobody waits any longer for connections that are being made.
    pub(super) fn abandon_connecting(&mut self) {
        let connecting = |slot: &Slot| matches!(slot, Slot::Connecting(_));
        let slots = self.slots.iter().filter(|(_, slot)| connecting(slot));
        let slots: Vec<u32> = slots.map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            self.connect_failed(slot, Unreachable::Failed, "its loop has ended");
        }
    }

    /// Finds the addresses of an endpoint: at once, or on a thread when the name has to be looked up.
    fn look_up(&mut self, key: PeerKey, config: &LinkConfig) {
        if let Some(address) = config.endpoint.address() {
            return self.resolved(key, Ok(vec![address]));
        }
        let (host, port) = (config.endpoint.host().to_owned(), config.endpoint.port());
        let mailbox = Arc::clone(&self.mailbox);
        let look_up = move || {
            let addresses = (host.as_str(), port)
                .to_socket_addrs()
                .map(|found| found.map(Address::from).collect());
            // A loop that has ended needs no answer.
            let _ = mailbox.send(Command::Resolved { key, addresses });
        };
        let spawned = std::thread::Builder::new()
            .name("kettle-lookup".into())
            .spawn(look_up);
        match spawned {
            Ok(_) => self.lookups += 1,
            Err(error) => self.resolved(key, Err(error)),
        }
    }

    /// One address is not to be reached. A Unix-domain socket without room in its backlog has a server all
    /// the same, so that it is asked again until the time for a connection is over, as the kernel does
    /// with TCP.
    fn address_failed(&mut self, slot: u32, address: Address, error: &io::Error) {
        let Some(Slot::Connecting(connecting)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        if let (Address::Unix(_), io::ErrorKind::WouldBlock) = (&address, error.kind()) {
            connecting.addresses.push_front(address);
            let again = self.now + BACKLOG_PAUSE;
            return self.timers.set(again, connecting.key.to_u64());
        }
        connecting.error = Some(error.to_string());
        self.try_next_address(slot);
    }

    fn try_next_address(&mut self, slot: u32) {
        let Some(Slot::Connecting(connecting)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let key = connecting.key;
        while let Some(address) = connecting.addresses.pop_front() {
            let attached = socket::stream(&address, connecting.local_address).and_then(|stream| {
                if let Address::Tcp(_) = address {
                    socket::set_nodelay(&stream, connecting.nodelay)?;
                }
                self.driver.attach(stream, Role::Stream, token(key))
            });
            match attached {
                Ok(socket) => {
                    connecting.trying = Some((socket, address.clone()));
                    return self.driver.submit(Op::Connect { socket, address });
                }
                Err(error) => connecting.error = Some(error.to_string()),
            }
        }
        let why = connecting.error.take();
        let why = why.unwrap_or_else(|| "the name has no address".to_owned());
        self.connect_failed(slot, Unreachable::Failed, &why);
    }

    fn connect_failed(&mut self, slot: u32, reason: Unreachable, why: &str) {
        let Some(Slot::Connecting(connecting)) = self.slots.try_remove(slot as usize) else {
            return;
        };
        if let Some((socket, _)) = connecting.trying {
            self.driver.detach(socket);
        }
        self.unconnected(connecting.link, connecting.subchannel, reason, why);
    }
}
