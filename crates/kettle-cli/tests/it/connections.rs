//! Thousands of connections: a server, and processes that hold connections to it from several addresses.

use crate::process::{Run, Running, run, until_within};
use kettle::Model;
use rustix::process::Signal;
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Processes that hold connections, each from an address of its own: one address has ports for some
/// thousands.
const HOLDERS: usize = 4;

/// Models whose connections only the process limits. Without `scan`, which tries all the idle ones again and again,
/// and `epoll-edge`, which is `epoll` told otherwise.
const UNLIMITED: [Model; 5] = [
    Model::Epoll,
    Model::Poll,
    Model::Signal,
    Model::Uring,
    Model::Tokio,
];

/// What opening all connections may take.
const CONNECT_TIME: Duration = Duration::from_secs(180);

/// What a connection that says nothing may cost the server's heap.
const BYTES_PER_IDLE_MAX: u64 = 4096;

/// One crowd opens its connections at a time: a server gives each of them 10 s to greet.
static ONE_CROWD: Mutex<()> = Mutex::new(());

/// Processes with connections to one server.
struct Crowd {
    _alone: MutexGuard<'static, ()>,
    server: Running,
    url: String,
    /// The server's memory without connections, in bytes.
    before: u64,
    holders: Vec<Running>,
}

impl Crowd {
    /// Starts the server, and so many holders; waits until they hold what they get. Each makes a call per
    /// second on the first of its connections.
    fn of(serve: &str, connections: usize, holders: usize) -> Self {
        let alone = ONE_CROWD.lock().unwrap_or_else(PoisonError::into_inner);
        let (server, url) = Running::serve(&format!("{serve} --stats"));
        assert!(connections.is_multiple_of(holders), "each holds as many");
        let idle = connections / holders - 1;
        let holder = |number: usize| {
            let from = format!("--local-address 127.0.0.{}", number + 2);
            let time = "--connect-timeout 120 --warmup 0 --duration 3600";
            let load = format!("--rate 1 --idle {idle} {from} {time} --json");
            Running::start(&format!("bench {url} {load}"))
        };
        let mut crowd = Self {
            _alone: alone,
            before: server.memory(),
            holders: (0..holders).map(holder).collect(),
            server,
            url,
        };
        // A holder makes its first call when all its connections are served or refused.
        crowd.until("calls", holders as u64);
        crowd
    }

    /// What the server has counted.
    fn count(&mut self, field: &str) -> u64 {
        self.server.counts()[field].as_u64().unwrap()
    }

    /// Waits until a count of the server is as high as this.
    fn until(&mut self, field: &str, count: u64) {
        until_within(CONNECT_TIME, || (count <= self.count(field)).then_some(()));
    }

    /// Ends the holders, and gives what they report.
    fn end(self) -> Vec<Value> {
        let ended = self.holders.into_iter().map(|mut holder| {
            holder.signal(Signal::INT);
            let line = holder.line();
            assert_eq!(holder.finish().0.code(), Some(130), "{line:?}");
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
        });
        ended.collect()
    }
}

/// All connections are served, and so are the busy ones among them.
fn are_served(model: Model, connections: usize, busy: usize, duration: &str) {
    let idle = connections - busy;
    let mut crowd = Crowd::of(&format!("--model {model}"), idle, HOLDERS);
    crowd.until("connections", idle as u64);
    let bytes = crowd.server.memory().saturating_sub(crowd.before) / idle as u64;
    let bench = format!("bench {} -c {busy} --duration {duration} --json", crowd.url);
    let report = run(&bench).json();
    assert_eq!(
        (&report["errors"], &report["unserved"]),
        (&0.into(), &0.into()),
        "{report}"
    );
    assert_eq!(crowd.count("connections_accepted"), connections as u64);
    println!(
        "{model}: {connections} connections, {busy} of them busy: {bytes} bytes of the server's heap for \
         each idle one; {:.0} calls/s, p99 {:.0} µs, {:.1} µs of server CPU per call",
        report["rps"].as_f64().unwrap(),
        report["p99_us"].as_f64().unwrap(),
        report["server_cpu_us"].as_f64().unwrap(),
    );
    for holder in crowd.end() {
        assert_eq!(
            (&holder["errors"], &holder["unserved"]),
            (&0.into(), &0.into()),
            "{holder}"
        );
    }
    assert!(
        bytes < BYTES_PER_IDLE_MAX,
        "{bytes} bytes for each connection"
    );
}

/// Connections up to a limit are served; beyond it they are refused with a status that names the limit.
fn are_refused(serve: &str, connections: usize, limit: &str) {
    let mut crowd = Crowd::of(serve, connections, 1);
    assert!(0 < crowd.count("connections_refused"));
    let call: Run = run(&format!("call {} echo.v1.Echo/Unary", crowd.url));
    let named = [": RESOURCE_EXHAUSTED: ", limit].map(|text| call.stderr.contains(text));
    // To whoever calls, a server that takes no more is one that cannot be reached now.
    assert_eq!((call.code, named), (Some(78), [true; 2]), "{call:?}");
    print!("{serve}, {connections} connections: {}", call.stderr);
    assert_eq!(crowd.count("calls_failed"), 0);
    let unserved = crowd.end().into_iter().map(|holder| {
        assert_eq!(holder["errors"], 0, "{holder}");
        holder["unserved"].as_u64().unwrap()
    });
    assert!(0 < unserved.sum::<u64>());
}

#[test]
fn hundreds_are_served_beside_busy_ones() {
    for model in UNLIMITED {
        are_served(model, 408, 8, "200ms");
    }
}

#[test]
fn select_names_its_limit() {
    are_refused("--model select", 1100, "FD_SETSIZE = 1024");
}

#[test]
fn threads_name_their_cap() {
    are_refused("--model threads --threads-max 50", 100, "50 threads");
}

#[test]
#[ignore = "takes 20,000 descriptors and some minutes: .ci/connections runs it"]
fn thousands_are_served_beside_busy_ones() {
    for model in UNLIMITED {
        are_served(model, 19_000, 100, "5s");
    }
}

#[test]
#[ignore = "takes 5,000 threads: .ci/connections runs it"]
fn threads_name_their_own_cap() {
    are_refused("--model threads", 5000, "4096 threads");
}
