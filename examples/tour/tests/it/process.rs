//! The examples as processes.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(30);

/// Runs a program to its end; gives what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An address that was free just now.
fn free_address() -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().to_string()
}

/// A server process; dropping it ends it.
pub struct Server {
    process: Child,
    url: String,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub fn start(program: &str, args: &[&str]) -> Self {
        let address = free_address();
        let process = Command::new(program)
            .args(args)
            .env("KETTLE_LISTEN", &address)
            .env_remove("KETTLE_MODEL")
            .env_remove("KETTLE_LOOPS")
            .spawn()
            .unwrap();
        let url = format!("kettle://{address}");
        let mut server = Self { process, url };
        server.wait_until_it_greets();
        server
    }

    /// Runs a client of it, which gets the URL as its first argument.
    pub fn call(&self, client: &str, args: &[&str]) -> String {
        run(client, &[&[self.url.as_str()], args].concat())
    }

    fn wait_until_it_greets(&mut self) {
        let begun = Instant::now();
        while let Err(error) = kettle::blocking::Channel::connect(&self.url) {
            let ended = self.process.try_wait().unwrap();
            assert_eq!(ended, None, "the server ended: {error}");
            assert!(begun.elapsed() < START_MAX, "{error}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Somebody in the chat; dropping it ends its process.
pub struct Chatter {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Chatter {
    pub fn enter(server: &Server, name: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_chat-client"))
            .args([name, &server.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let mut chatter = Self {
            stdin: process.stdin.take(),
            stdout: BufReader::new(stdout),
            process,
        };
        chatter.hears(&format!("room: {name} has entered"));
        chatter
    }

    pub fn says(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// What is heard next.
    pub fn hears(&mut self, expected: &str) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    }

    /// Ends what is typed; the client ends with it.
    pub fn leaves(mut self) {
        self.stdin = None;
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
