//! A server's listening sockets.

use super::ServerBuilder;
use crate::Error;
use crate::error::Kind;
use kettle_io::socket::{self, SocketFile};
use kettle_io::{Address, Model};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// A server's listening sockets.
pub(crate) struct Listening {
    /// One place for each loop. A loop without a socket gets its connections from the first.
    pub(crate) listeners: Vec<Option<OwnedFd>>,
    pub(crate) bound: Bound,
}

/// Where a server listens.
pub(crate) struct Bound {
    pub(crate) address: Address,
    /// Of a Unix-domain socket.
    pub(crate) file: Option<SocketFile>,
}

impl Listening {
    pub(super) fn open(builder: &ServerBuilder, address: &Address) -> Result<Self, Error> {
        let opened = match address {
            Address::Tcp(tcp) => open_tcp(builder, *tcp),
            Address::Unix(path) => {
                let opened = socket::listen_unix(path, builder.unix_mode);
                opened.map(|(listener, file)| Self {
                    listeners: first_only(listener, builder.loops),
                    bound: Bound {
                        address: address.clone(),
                        file: Some(file),
                    },
                })
            }
            Address::Unnamed => Err(std::io::ErrorKind::InvalidInput.into()),
        };
        opened.map_err(|error| {
            Error::new(Kind::Listen, format!("cannot listen on {address}")).with_source(error)
        })
    }
}

fn open_tcp(builder: &ServerBuilder, address: SocketAddr) -> std::io::Result<Listening> {
    // Without SO_REUSEPORT first, so that a second server on the port fails whatever its settings.
    let first = socket::listen(address, false)?;
    let local = socket::local_address(&first)?;
    let has_loops = builder.open_driver.is_some() || builder.model != Model::Threads;
    let listeners = if builder.reuse_port && 1 < builder.loops && has_loops {
        drop(first);
        let listen = |_| socket::listen(local, true).map(Some);
        (0..builder.loops).map(listen).collect::<Result<_, _>>()?
    } else {
        first_only(first, builder.loops)
    };
    Ok(Listening {
        listeners,
        bound: Bound {
            address: local.into(),
            file: None,
        },
    })
}

fn first_only(listener: OwnedFd, loops: usize) -> Vec<Option<OwnedFd>> {
    let mut listeners: Vec<_> = (0..loops).map(|_| None).collect();
    listeners[0] = Some(listener);
    listeners
}
