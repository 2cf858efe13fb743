//! A `kettle serve` of the lab, as a process of its own.

use super::subject::LabServer;
use crate::affinity::{self, Cores};
use crate::failure::Failure;
use crate::server_counts::ServerCounts;
use kettle::Model;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// How long a server may take to say a line: that it listens, or its counts.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);

/// This very program, also when its file was replaced by a newer build meanwhile.
///
/// # Source
/// proc_pid_exe(5).
const OWN_PROGRAM: &str = "/proc/self/exe";

/// A running server. Dropping it ends the process. Should this process end in another way, the server
/// sees the end of its stdin and ends itself.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    url: String,
}

impl ServerProcess {
    /// Starts a server on a free port of loopback and waits until it listens.
    ///
    /// It inherits the core of the calling thread, which goes on to the load generator's.
    pub fn start(model: Model, cores: Option<Cores>) -> Result<Self, Failure> {
        let mut command = Command::new(OWN_PROGRAM);
        command
            .arg0("kettle")
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--loops",
                "1",
                "--stats",
            ])
            .args(["--model", model.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the lab, which then ends its servers.
            .process_group(0);
        let mut child = spawn_on(&mut command, cores)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.expect("both were asked to be pipes");
        let mut server = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            url: String::new(),
        };
        let line = server.read_line()?;
        let address = address(&line).ok_or_else(|| {
            Failure::Text(format!(
                "the server did not start: it said {:?}",
                line.trim_end()
            ))
        })?;
        server.url = format!("kettle://{address}");
        Ok(server)
    }

    /// One line, which comes whole: the server writes it in one piece.
    fn read_line(&mut self) -> Result<String, Failure> {
        let timeout = Timespec {
            tv_sec: LINE_TIMEOUT.as_secs() as i64,
            tv_nsec: 0,
        };
        let mut ready = [PollFd::new(self.stdout.get_ref(), PollFlags::IN)];
        // A signal ends the wait early; the lab then ends anyway.
        if poll(&mut ready, Some(&timeout)).map_err(io::Error::from)? == 0 {
            return Err(Failure::Text(format!(
                "the server said nothing for {LINE_TIMEOUT:?}"
            )));
        }
        let mut line = String::new();
        match self.stdout.read_line(&mut line)? {
            0 => Err(Failure::Text(
                "the server ended; what it said is above".to_owned(),
            )),
            _ => Ok(line),
        }
    }
}

impl LabServer for ServerProcess {
    fn url(&self) -> &str {
        &self.url
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn counts(&mut self) -> Result<Option<ServerCounts>, Failure> {
        self.stdin.write_all(b"\n")?;
        Ok(serde_json::from_str(&self.read_line()?)?)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a process on the server's core. The calling thread goes on to the load generator's.
pub fn spawn_on(command: &mut Command, cores: Option<Cores>) -> Result<Child, Failure> {
    if let Some(cores) = cores {
        affinity::pin(cores.server)?;
    }
    let spawned = command.spawn();
    if let Some(cores) = cores {
        affinity::pin(cores.generator)?;
    }
    spawned.map_err(|error| Failure::because("cannot start a server", &error))
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
