//! Where a socket is: an internet address, or a path.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Longest path of a Unix-domain socket in bytes. The kernel has room for 108 (`sun_path` in unix(7)), the
/// last of which ends it.
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// Where a socket is, or its peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP: an IP address and a port.
    Tcp(SocketAddr),
    /// A Unix-domain socket at a path; see [`Address::unix`].
    Unix(Arc<Path>),
    /// The client's end of a Unix-domain socket, which has no name that others could use.
    Unnamed,
}

impl Address {
    /// A Unix-domain socket at this path.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when the path is not absolute, is longer than
    /// [`UNIX_PATH_BYTES_MAX`], or has a byte of zero; the text says which.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let bytes = path.as_os_str().as_bytes();
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if !path.is_absolute() {
            return wrong("the path of a Unix-domain socket begins with /".to_owned());
        }
        if UNIX_PATH_BYTES_MAX < bytes.len() {
            let len = bytes.len();
            return wrong(format!(
                "its path has {len} bytes, and a Unix-domain socket's has {UNIX_PATH_BYTES_MAX} at most"
            ));
        }
        if bytes.contains(&0) {
            return wrong("a path has no byte of zero".to_owned());
        }
        Ok(Self::Unix(path.into()))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// `127.0.0.1:50051`, `unix:///run/greeter.sock`, or `unix` for an unnamed one.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Unnamed => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked() {
        let longest = format!("/{}", "x".repeat(UNIX_PATH_BYTES_MAX - 1));
        assert!(Address::unix(&longest).is_ok());
        for (path, reason) in [
            (format!("{longest}x"), "has 108 bytes"),
            ("run/x.sock".to_owned(), "begins with /"),
            (String::new(), "begins with /"),
            ("/run/\0".to_owned(), "byte of zero"),
        ] {
            let error = Address::unix(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn addresses_are_shown() {
        let tcp = Address::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        assert_eq!(tcp.to_string(), "127.0.0.1:80");
        assert_eq!(
            Address::unix("/run/x.sock").unwrap().to_string(),
            "unix:///run/x.sock"
        );
    }
}
