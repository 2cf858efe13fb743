//! Where a channel connects to.

use std::fmt;
use std::str::FromStr;

/// A server's address as a URL: `kettle://HOST:PORT`, the host a name, an IPv4 address, or an IPv6
/// address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why a text is not an [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidEndpoint {
    url: String,
    reason: &'static str,
}

impl Endpoint {
    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(url: &str) -> Result<Self, InvalidEndpoint> {
        let refuse = |reason| InvalidEndpoint {
            url: url.to_owned(),
            reason,
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(refuse("it has no scheme; write kettle://HOST:PORT"));
        };
        if scheme != "kettle" {
            return Err(refuse("its scheme is not kettle; write kettle://HOST:PORT"));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| refuse("it has no port"))?;
        let port = port
            .parse()
            .map_err(|_| refuse("its port is not a number up to 65535"))?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        match bare {
            Some(host) if host.parse::<std::net::Ipv6Addr>().is_ok() => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            Some(_) => Err(refuse("what stands in brackets is not an IPv6 address")),
            None if host.is_empty() => Err(refuse("it has no host")),
            None if host.contains([':', '/', '@', '[', ']', ' ']) => Err(refuse(
                "its host is not a name or an address (IPv6 goes in brackets)",
            )),
            None => Ok(Self {
                host: host.to_owned(),
                port,
            }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "kettle://[{}]:{}", self.host, self.port),
            false => write!(f, "kettle://{}:{}", self.host, self.port),
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
        ] {
            assert_eq!(url.parse::<Endpoint>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn urls_that_are_not() {
        for (url, reason) in [
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
