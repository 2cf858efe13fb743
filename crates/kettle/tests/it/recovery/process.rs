//! A server in a process of its own, which can be killed.

use kettle::{Model, Server};
use kettle_testkit::trial::{TrialService, trial_server::TrialServer};
use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const MODEL: &str = "KETTLE_TEST_MODEL";
const ADDRESS: &str = "KETTLE_TEST_ADDRESS";
const KEEPALIVE: &str = "KETTLE_TEST_KEEPALIVE_MILLIS";

/// Longest time until the kernel has closed what a process listened on.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the process says when it listens, before its address and its id.
const LISTENING: &str = "listening: ";

/// A running process. It ends when this is dropped, and also when this process ends in any way.
pub struct ServerProcess {
    process: Child,
    // Its end tells the process to end.
    stdin: Option<ChildStdin>,
    _stdout: BufReader<ChildStdout>,
    pub address: SocketAddr,
    /// Of the server itself, not of what may have started it.
    pub id: u32,
}

impl ServerProcess {
    /// Starts a server with the trial service, and waits until it listens.
    pub fn start(model: Model, address: SocketAddr) -> Self {
        let program = env::current_exe().unwrap();
        Self::run(&mut Command::new(program), model, address, None)
    }

    /// Starts one in a network of its own, where it listens on all addresses. `command` runs the
    /// program that it gets as its arguments. The server asks silent clients for signs of life, and
    /// waits as long for them.
    pub fn start_apart(mut command: Command, keepalive: Duration) -> Self {
        command.arg(env::current_exe().unwrap());
        let address = "0.0.0.0:0".parse().unwrap();
        Self::run(&mut command, Model::Epoll, address, Some(keepalive))
    }

    fn run(
        command: &mut Command,
        model: Model,
        address: SocketAddr,
        keepalive: Option<Duration>,
    ) -> Self {
        let keepalive = keepalive.map_or(0, |keepalive| keepalive.as_millis());
        let mut process = command
            .args(["recovery::process::server_process", "--exact"])
            .args(["--ignored", "--nocapture"])
            .env(MODEL, model.name())
            .env(ADDRESS, address.to_string())
            .env(KEEPALIVE, keepalive.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let stdin = process.stdin.take();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        let told = loop {
            line.clear();
            assert!(0 < stdout.read_line(&mut line).unwrap(), "it has ended");
            if let Some((_, told)) = line.trim_end().split_once(LISTENING) {
                break told;
            }
        };
        let (address, id) = told.split_once(' ').unwrap();
        Self {
            address: address.parse().unwrap(),
            id: id.parse().unwrap(),
            process,
            stdin,
            _stdout: stdout,
        }
    }

    /// SIGKILL: the server says nothing more; the kernel ends its connections. It closes what io_uring
    /// listens on a moment after the process has gone.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let begin = Instant::now();
        while TcpStream::connect(self.address).is_ok() {
            assert!(begin.elapsed() < PATIENCE, "somebody still listens");
        }
    }

    pub fn url(&self) -> String {
        format!("kettle://{}", self.address)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.process.wait();
    }
}

/// What [`ServerProcess`] runs.
#[test]
#[ignore = "a server for other tests, which start it by themselves"]
fn server_process() {
    let setting = |name| env::var(name).expect("a test of this file starts this");
    let mut server = Server::builder().model(setting(MODEL).parse().unwrap());
    let keepalive = Duration::from_millis(setting(KEEPALIVE).parse().unwrap());
    if !keepalive.is_zero() {
        server = server.keepalive(keepalive, keepalive);
    }
    let server = server.add_service(TrialServer::new(TrialService::default()));
    let address: SocketAddr = setting(ADDRESS).parse().unwrap();
    let server = server.spawn(address).unwrap();
    println!("{LISTENING}{} {}", server.local_addr(), process::id());
    // Until whoever started this has gone, or wants it to.
    let _ = io::stdin().read(&mut [0]);
    process::exit(0);
}
