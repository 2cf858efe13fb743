//! Who a server's connection is from.

use kettle_io::{Address, PeerCredentials, socket};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Who a server's connection is from. Asked for once, and no larger than an address, because every request
/// has one.
#[derive(Clone, Copy, Default)]
pub(crate) enum Remote {
    /// Of a request that was made here.
    #[default]
    Nobody,
    Tcp(SocketAddr),
    Unix(Option<PeerCredentials>),
}

impl Remote {
    /// The other end of a connection that was accepted.
    pub(crate) fn of(stream: &OwnedFd, address: &Address) -> Self {
        match address {
            Address::Tcp(address) => Self::Tcp(*address),
            Address::Unix(_) | Address::Unnamed => {
                Self::Unix(socket::peer_credentials(stream).ok())
            }
        }
    }

    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(address),
            Self::Nobody | Self::Unix(_) => None,
        }
    }

    pub(crate) fn credentials(self) -> Option<PeerCredentials> {
        match self {
            Self::Unix(credentials) => credentials,
            Self::Nobody | Self::Tcp(_) => None,
        }
    }
}

/// For the log.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some(peer)) => write!(f, "unix uid {} pid {:?}", peer.uid, peer.pid),
            Self::Unix(None) => f.write_str("unix"),
        }
    }
}
