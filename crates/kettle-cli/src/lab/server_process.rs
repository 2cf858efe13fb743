//! A `kettle serve` of the lab, as a process of its own.

use super::own_process::OwnProcess;
use super::socket_folder::SocketFolder;
use super::subject::{LabServer, Transport};
use crate::affinity::{self, Cores};
use crate::failure::Failure;
use crate::server_counts::ServerCounts;
use kettle::Model;
use std::time::Duration;

/// How long a server may take to say a line: that it listens, or its counts.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);

/// A running server. Dropping it ends the process.
#[derive(Debug)]
pub struct ServerProcess {
    process: OwnProcess,
    url: String,
    /// Goes after the process.
    _folder: Option<SocketFolder>,
}

impl ServerProcess {
    /// Starts a server on a free port of loopback, or at a path that nobody else has, and waits until it
    /// listens.
    ///
    /// It inherits the core of the server, and the calling thread goes on to the load generator's.
    pub fn start(
        model: Model,
        transport: Transport,
        cores: Option<Cores>,
    ) -> Result<Self, Failure> {
        let folder = match transport {
            Transport::Tcp => None,
            Transport::Unix => Some(SocketFolder::make()?),
        };
        let listen = folder
            .as_ref()
            .map_or("127.0.0.1:0".to_owned(), SocketFolder::url);
        let model = ["--model", model.name()];
        let serve = ["serve", "--loops", "1", "--stats", "--listen", &listen];
        let arguments: Vec<_> = serve.into_iter().chain(model).collect();
        let process = OwnProcess::start(&arguments, |it| affinity::spawn_server(it, cores))?;
        let mut server = Self {
            process,
            url: listen,
            _folder: folder,
        };
        let line = server.read_line()?;
        let address = address(&line).ok_or_else(|| {
            Failure::Text(format!(
                "the server did not start: it said {:?}",
                line.trim_end()
            ))
        })?;
        if transport == Transport::Tcp {
            server.url = format!("kettle://{address}");
        }
        Ok(server)
    }

    fn read_line(&mut self) -> Result<String, Failure> {
        // A signal ends the wait early; the lab then ends anyway.
        if !self.process.has_said(LINE_TIMEOUT)? {
            return Err(Failure::Text(format!(
                "the server said nothing for {LINE_TIMEOUT:?}"
            )));
        }
        let line = self.process.read_line()?;
        line.ok_or_else(|| Failure::Text("the server ended; what it said is above".to_owned()))
    }
}

impl LabServer for ServerProcess {
    fn url(&self) -> &str {
        &self.url
    }

    fn id(&self) -> u32 {
        self.process.id()
    }

    fn counts(&mut self) -> Result<Option<ServerCounts>, Failure> {
        self.process.ask()?;
        Ok(serde_json::from_str(&self.read_line()?)?)
    }
}

/// The address in `listening on ADDRESS model=… loops=…`.
fn address(line: &str) -> Option<&str> {
    line.strip_prefix("listening on ")?.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_stands_in_the_first_line() {
        let line = "listening on 127.0.0.1:4711 model=epoll loops=1\n";
        assert_eq!(address(line), Some("127.0.0.1:4711"));
        assert_eq!(address("error: port taken"), None);
    }
}
