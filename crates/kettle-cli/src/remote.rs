//! A file on a server, as an argument names it.

use crate::failure::Failure;
use kettle::{Channel, Endpoint, Error};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

/// A connection that says nothing for so long is asked, and given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A file or directory on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The server.
    pub url: String,
    /// The path there, without the / that begins it in a URL.
    pub path: String,
}

impl Remote {
    /// Reads `kettle://HOST:PORT/PATH` or `unix:///SOCKET/PATH`. The socket is the first part that is one.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let end = match text.split_once("://") {
            Some(("unix", path)) => text.len() - path.len() + socket_length(path),
            Some((_, rest)) => text.len() - rest.len() + rest.find('/').unwrap_or(rest.len()),
            None => text.len(),
        };
        let (url, path) = text.split_at(end);
        let endpoint: Result<Endpoint, _> = url.parse();
        endpoint.map_err(|invalid| Failure::Text(invalid.to_string()))?;
        Ok(Self {
            url: url.to_owned(),
            path: path.strip_prefix('/').unwrap_or(path).to_owned(),
        })
    }

    /// The name of the file in its directory; `None` when the path ends in none.
    pub fn file_name(&self) -> Option<&str> {
        let name = self.path.rsplit('/').next()?;
        (!matches!(name, "" | "." | "..")).then_some(name)
    }

    /// A channel to the server, which connects at its first call.
    pub fn channel(&self) -> Result<Channel, Error> {
        let builder = Channel::builder(&self.url).keepalive(KEEPALIVE, KEEPALIVE);
        builder.connect_lazy()
    }
}

/// How long the front of the path is that is a socket here; all of it when none is.
fn socket_length(path: &str) -> usize {
    let is_socket = |end: &usize| {
        let metadata = Path::new(&path[..*end]).metadata();
        metadata.is_ok_and(|metadata| metadata.file_type().is_socket())
    };
    let ends = path.match_indices('/').map(|(at, _)| at);
    ends.skip(1).find(is_socket).unwrap_or(path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> (String, String) {
        let Remote { url, path } = Remote::parse(text).unwrap();
        (url, path)
    }

    #[test]
    fn a_url_has_a_path_behind_it() {
        for (text, path) in [
            ("kettle://h:1", ""),
            ("kettle://h:1/", ""),
            ("kettle://h:1/a", "a"),
            ("kettle://h:1/a/b c", "a/b c"),
            ("kettle://h:1//etc", "/etc"),
        ] {
            assert_eq!(remote(text), ("kettle://h:1".to_owned(), path.to_owned()));
        }
    }

    #[test]
    fn a_socket_has_a_path_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let url = format!("unix://{}", socket.display());
        assert_eq!(remote(&url), (url.clone(), String::new()));
        assert_eq!(remote(&format!("{url}/a/b")), (url, "a/b".to_owned()));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in ["", "a/b", "http://h:1/a", "kettle://h/a"] {
            assert!(Remote::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_may_end_in_a_name() {
        let name = |path: &str| {
            let remote = Remote::parse(&format!("kettle://h:1/{path}")).unwrap();
            remote.file_name().map(str::to_owned)
        };
        assert_eq!(name("a/b").as_deref(), Some("b"));
        for path in ["", "a/", "a/.."] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
