//! Where a server is to listen, as it is given.

use crate::error::Kind;
use crate::{Endpoint, Error};
use kettle_io::Address;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

/// Where a server is to listen. [`crate::ServerBuilder::serve`] and its kin take whatever becomes one: a
/// [`SocketAddr`], a pair of host and port, or a text, which is
///
/// - `ADDRESS:PORT` or `NAME:PORT` for TCP, such as `127.0.0.1:50051`; port 0 takes a free one,
/// - `unix:///PATH` for a Unix-domain socket, such as `unix:///run/greeter.sock`; the path has 107 bytes at
///   most.
#[derive(Clone, Debug)]
pub struct ListenAddress(Given);

#[derive(Clone, Debug)]
enum Given {
    Text(String),
    Host(String, u16),
    Tcp(SocketAddr),
}

impl ListenAddress {
    /// Looks the name up, if it is one. `shown` is what an error calls it.
    pub(super) fn resolve(&self, shown: &str) -> Result<Address, Error> {
        match &self.0 {
            Given::Tcp(address) => Ok((*address).into()),
            Given::Host(host, port) => look_up((host.as_str(), *port), shown),
            Given::Text(text) if text.starts_with("unix:") => unix(text)
                .map_err(|reason| Error::new(Kind::Config, format!("{shown} is wrong: {reason}"))),
            Given::Text(text) => look_up(text.as_str(), shown),
        }
    }
}

/// The address that `unix:///PATH` is, or why it is none.
pub(super) fn unix(url: &str) -> Result<Address, String> {
    let endpoint: Endpoint = url.parse().map_err(|error| format!("{error}"))?;
    let address = endpoint.address();
    address.ok_or_else(|| format!("{url:?} is not unix:///PATH"))
}

fn look_up(address: impl ToSocketAddrs, shown: &str) -> Result<Address, Error> {
    let failed = |text: String| Error::new(Kind::Config, text);
    let mut addresses = address
        .to_socket_addrs()
        .map_err(|error| failed(format!("cannot look up {shown}")).with_source(error))?;
    let first = addresses.next();
    let first = first.ok_or_else(|| failed(format!("{shown} has no address")))?;
    Ok(first.into())
}

impl From<&str> for ListenAddress {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<&String> for ListenAddress {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

impl From<String> for ListenAddress {
    fn from(text: String) -> Self {
        Self(Given::Text(text))
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self(Given::Tcp(address))
    }
}

impl From<&SocketAddr> for ListenAddress {
    fn from(address: &SocketAddr) -> Self {
        (*address).into()
    }
}

impl From<SocketAddrV4> for ListenAddress {
    fn from(address: SocketAddrV4) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<SocketAddrV6> for ListenAddress {
    fn from(address: SocketAddrV6) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<(IpAddr, u16)> for ListenAddress {
    fn from(pair: (IpAddr, u16)) -> Self {
        SocketAddr::from(pair).into()
    }
}

impl From<(Ipv4Addr, u16)> for ListenAddress {
    fn from(pair: (Ipv4Addr, u16)) -> Self {
        SocketAddr::from(pair).into()
    }
}

impl From<(Ipv6Addr, u16)> for ListenAddress {
    fn from(pair: (Ipv6Addr, u16)) -> Self {
        SocketAddr::from(pair).into()
    }
}

impl From<(&str, u16)> for ListenAddress {
    fn from((host, port): (&str, u16)) -> Self {
        Self(Given::Host(host.to_owned(), port))
    }
}

impl From<(String, u16)> for ListenAddress {
    fn from((host, port): (String, u16)) -> Self {
        Self(Given::Host(host, port))
    }
}
