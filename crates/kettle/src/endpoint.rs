//! Where a channel connects to.

use kettle_io::Address;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// A server's address as a URL: `kettle://HOST:PORT`, the host a name, an IPv4 address, or an IPv6
/// address in brackets; or `unix:///PATH` for a Unix-domain socket, the path of 107 bytes at most and as
/// it is, without any escapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Tcp { host: String, port: u16 },
    Unix(Arc<Path>),
}

/// Why a text is not an [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidEndpoint {
    url: String,
    reason: String,
}

impl Endpoint {
    /// The host, without brackets; empty with a Unix-domain socket.
    pub fn host(&self) -> &str {
        match &self.0 {
            Place::Tcp { host, .. } => host,
            Place::Unix(_) => "",
        }
    }

    /// The port; 0 with a Unix-domain socket.
    pub fn port(&self) -> u16 {
        match &self.0 {
            Place::Tcp { port, .. } => *port,
            Place::Unix(_) => 0,
        }
    }

    /// The path of a Unix-domain socket.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Tcp { .. } => None,
            Place::Unix(path) => Some(path),
        }
    }

    /// Where that is, unless it is a name that has to be looked up.
    pub(crate) fn address(&self) -> Option<Address> {
        match &self.0 {
            Place::Tcp { host, port } => {
                let ip: IpAddr = host.parse().ok()?;
                Some(SocketAddr::new(ip, *port).into())
            }
            Place::Unix(path) => Some(Address::Unix(Arc::clone(path))),
        }
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(url: &str) -> Result<Self, InvalidEndpoint> {
        const FORMS: &str = "write kettle://HOST:PORT or unix:///PATH";
        let place = match url.split_once("://") {
            Some(("kettle", rest)) => tcp(rest).map_err(str::to_owned),
            Some(("unix", path)) => unix(path),
            Some(_) => Err(format!("its scheme is not kettle; {FORMS}")),
            None => Err(format!("it has no scheme; {FORMS}")),
        };
        place.map(Self).map_err(|reason| InvalidEndpoint {
            url: url.to_owned(),
            reason,
        })
    }
}

fn unix(path: &str) -> Result<Place, String> {
    match Address::unix(path) {
        Ok(Address::Unix(path)) => Ok(Place::Unix(path)),
        Ok(other) => Err(format!("{other} has no path")),
        Err(error) => Err(error.to_string()),
    }
}

fn tcp(rest: &str) -> Result<Place, &'static str> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':').ok_or("it has no port")?;
    let port = port
        .parse()
        .map_err(|_| "its port is not a number up to 65535")?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(host) if host.parse::<Ipv6Addr>().is_ok() => host,
        Some(_) => return Err("what stands in brackets is not an IPv6 address"),
        None if host.is_empty() => return Err("it has no host"),
        None if host.contains([':', '/', '@', '[', ']', ' ']) => {
            return Err("its host is not a name or an address (IPv6 goes in brackets)");
        }
        None => host,
    };
    let host = host.to_owned();
    Ok(Place::Tcp { host, port })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Tcp { host, port } if host.contains(':') => {
                write!(f, "kettle://[{host}]:{port}")
            }
            Place::Tcp { host, port } => write!(f, "kettle://{host}:{port}"),
            Place::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a server's URL: {}", self.url, self.reason)
    }
}

impl std::error::Error for InvalidEndpoint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_endpoints() {
        for (url, shown) in [
            ("kettle://127.0.0.1:50051", "kettle://127.0.0.1:50051"),
            ("kettle://localhost:1/", "kettle://localhost:1"),
            ("kettle://[::1]:65535", "kettle://[::1]:65535"),
            ("unix:///run/x.sock", "unix:///run/x.sock"),
        ] {
            assert_eq!(url.parse::<Endpoint>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn urls_that_are_not() {
        let long = format!("unix:///{}", "x".repeat(107));
        for (url, reason) in [
            (long.as_str(), "107 at most"),
            ("unix://x.sock", "begins with /"),
            ("unix:x.sock", "no scheme"),
            ("127.0.0.1:50051", "no scheme"),
            ("http://localhost:1", "scheme is not kettle"),
            ("kettle://localhost", "no port"),
            ("kettle://localhost:65536", "port is not a number"),
            ("kettle://:1", "no host"),
            ("kettle://::1:1", "IPv6 goes in brackets"),
            ("kettle://[::g]:1", "not an IPv6 address"),
        ] {
            let error = url.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
