//! A server of one's own, as a process that the lab starts.
//!
//! It is told model, loops and address by the environment. `proc_listener.rs` finds out whether the
//! process is the server itself, `tail.rs` keeps what it printed last.

use super::subject::{LabServer, OwnProgram};
use super::tail::Tail;
use crate::affinity::{self, Cores};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::proc_listener;
use crate::server_counts::ServerCounts;
use kettle::Model;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait between two looks at a process.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long one attempt to connect may take; on loopback it is answered at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a server may take to end by itself before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Ends its own group of processes when its stdin ends, which it does in whatever way the lab ends. It
/// outlives the polite request to end that [`CommandProcess`] sends to the group.
const GUARD: &str = "trap '' TERM; read -r _; kill -s KILL 0";

/// A running server. Dropping it ends the process and those that it started.
#[derive(Debug)]
pub struct CommandProcess {
    child: Child,
    /// Leads the group of processes that the child joins, so that there is no moment without it. It is
    /// waited for last: until then nobody else can have the group's number.
    guard: Child,
    address: SocketAddr,
    url: String,
    tail: Tail,
}

impl CommandProcess {
    /// Starts the command on a free port of loopback and waits until it accepts connections.
    ///
    /// It inherits the core of the server, and the calling thread goes on to the load generator's.
    pub fn start(
        program: &OwnProgram,
        model: Model,
        cores: Option<Cores>,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let address = free_address()?;
        let guard = spawn_guard()?;
        let (output, writer) = io::pipe()?;
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec {}", program.command)])
            .env("KETTLE_MODEL", model.name())
            .env("KETTLE_LOOPS", "1")
            .env("KETTLE_LISTEN", address.to_string())
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            // Ctrl-C is for the lab, which then ends its servers.
            .process_group(Pid::from_child(&guard).as_raw_pid());
        let child = affinity::spawn_server(&mut command, cores)?;
        // It holds the writing end of the pipe, whose end would otherwise not be seen.
        drop(command);
        let server = Self {
            child,
            guard,
            address,
            url: format!("kettle://{address}"),
            tail: Tail::of(output)?,
        };
        let ready = server.wait_until_ready(program, interrupt);
        ready.map_err(|why| server.explain(program, model, &why))?;
        Ok(server)
    }

    fn wait_until_ready(&self, program: &OwnProgram, interrupt: &Interrupt) -> Result<(), String> {
        let until = Instant::now() + program.start_timeout;
        loop {
            if let Some(how) = self.ended().map_err(|error| error.to_string())? {
                self.tail.wait_for_end();
                return Err(how);
            }
            if accepts(self.address) {
                return self.check_it_listens();
            }
            if interrupt.is_set() {
                return Err("interrupted".to_owned());
            }
            if until <= Instant::now() {
                return Err(format!(
                    "nobody listens on {} after {:?}: the server must take its address from \
                     KETTLE_LISTEN, as Server::builder().from_env() does",
                    self.address, program.start_timeout
                ));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// The figures are those of this process; another one that listens would be a guess.
    fn check_it_listens(&self) -> Result<(), String> {
        let port = self.address.port();
        match proc_listener::listens(self.child.id(), port) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!(
                "process {} does not listen on {} itself: the command must be the server's own \
                 program, not one that starts it",
                self.child.id(),
                self.address
            )),
            Err(error) => Err(format!("cannot tell who listens: {error}")),
        }
    }

    /// How the process ended, if it has. It stays to be waited for.
    fn ended(&self) -> io::Result<Option<String>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?;
        Ok(status.map(
            |status| match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("it ended with exit code {code}"),
                (None, Some(signal)) => format!("signal {signal} ended it"),
                (None, None) => "it ended".to_owned(),
            },
        ))
    }

    fn explain(&self, program: &OwnProgram, model: Model, why: &str) -> Failure {
        Failure::Text(format!(
            "the server `{}` did not start on model {model}: {why}{}",
            program.command,
            self.last_words()
        ))
    }
}

impl LabServer for CommandProcess {
    fn url(&self) -> &str {
        &self.url
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn counts(&mut self) -> Result<Option<ServerCounts>, Failure> {
        Ok(None)
    }

    fn last_words(&self) -> String {
        let tail = self.tail.text();
        match tail.is_empty() {
            true => "; it printed nothing".to_owned(),
            false => format!("; the end of what it printed:\n{tail}"),
        }
    }
}

impl Drop for CommandProcess {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.guard);
        // What fails here fails because somebody has ended already.
        let _ = kill_process_group(group, Signal::TERM);
        let until = Instant::now() + STOP_TIMEOUT;
        while matches!(self.ended(), Ok(None)) && Instant::now() < until {
            thread::sleep(LOOK_AGAIN);
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
        let _ = self.guard.wait();
    }
}

fn spawn_guard() -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", GUARD])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// An address that nobody listens on just now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Whether somebody accepts connections there. Where nobody listens, a connection may still come about:
/// with itself, when the kernel gives it the port that it calls.
///
/// # Source
/// RFC 9293, section 3.5, "simultaneous open".
fn accepts(address: SocketAddr) -> bool {
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
    stream.is_ok_and(|stream| stream.local_addr().is_ok_and(|own| own != address))
}
