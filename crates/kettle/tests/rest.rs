//! Loops rest while nothing happens, whatever state their connections are in. In a process of its own: it measures
//! the process's threads.

use kettle::{Address, Channel, ChannelBuilder, Model, Request, Server, ServerHandle};
use kettle_proto::{Head, Instant, Machine, Metadata, native};
use kettle_testkit::MULTIPLEXED;
use kettle_testkit::trial::trial_client::{TrialClient, blocking};
use kettle_testkit::trial::trial_server::TrialServer;
use kettle_testkit::trial::{Behaviour, Task, TrialService, task};
use prost::Message;
use std::any::Any;
use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

/// Brings a connection into a state in which nothing more happens, and gives what keeps it there.
type Bring = fn(Trial) -> Held;

type Held = Box<dyn Any>;

const STATES: [Bring; 7] = [
    an_idle_client,
    a_call_without_an_end,
    replies_that_nobody_takes,
    replies_that_a_blocking_client_has_left,
    a_peer_that_reads_nothing,
    a_silent_peer,
    a_call_that_waits_for_a_server,
];

/// How long the threads are watched, and how often until they rest.
const WATCHED: Duration = Duration::from_millis(300);
const WATCHED_MAX: usize = 10;

/// What a thread may run for meanwhile. One that turns all the time runs for longer, also where many share a core.
const RUN_MAX: Duration = Duration::from_millis(5);

/// All states of a model are there at the same time, each with a server of its own.
#[test]
fn nothing_happens_in_any_state() {
    let models = Model::ALL.into_iter();
    let rests = |model: &Model| !model.traits().spins;
    let built = |model: &Model| cfg!(feature = "tokio-host") || model.has_driver();
    for model in models.filter(rests).filter(built) {
        for unix in [false, true] {
            let held: Vec<Held> = STATES
                .iter()
                .enumerate()
                .map(|(state, bring)| bring(Trial::start(model, unix.then_some(state))))
                .collect();
            assert_rests(model, unix);
            drop(held);
        }
    }
}

/// Every thread of this process sleeps, once all has settled.
fn assert_rests(model: Model, unix: bool) {
    let mut busy = Vec::new();
    for _ in 0..WATCHED_MAX {
        let before = run_times();
        thread::sleep(WATCHED);
        let ran = run_times().into_iter().filter_map(|(id, (name, time))| {
            let time = time - before.get(&id).map_or(Duration::ZERO, |(_, time)| *time);
            (RUN_MAX < time).then_some((name, time))
        });
        busy = ran.collect();
        if busy.is_empty() {
            return;
        }
    }
    panic!("{model}, over Unix-domain sockets {unix}: in {WATCHED:?} these ran: {busy:?}");
}

/// Each thread's name and how long it has run.
fn run_times() -> HashMap<String, (String, Duration)> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let read = |folder: fs::DirEntry| {
        let name = fs::read_to_string(folder.path().join("comm")).ok()?;
        // Nanoseconds first: Documentation/scheduler/sched-stats.rst of Linux.
        let times = fs::read_to_string(folder.path().join("schedstat")).ok()?;
        let nanos = times.split(' ').next()?.parse().ok()?;
        let id = folder.file_name().into_string().ok()?;
        Some((id, (name.trim().to_owned(), Duration::from_nanos(nanos))))
    };
    let times: HashMap<_, _> = threads.filter_map(|it| read(it.unwrap())).collect();
    assert!(!times.is_empty(), "this kernel has no schedstat");
    times
}

fn an_idle_client(trial: Trial) -> Held {
    let client = trial.client();
    // Both ends have waited for room to send.
    let long = Task {
        payload: vec![7; 4_000_000].into(),
        ..task(Behaviour::Echo)
    };
    block_on(client.run(long)).unwrap();
    let mut call = Box::pin(client.run(task(Behaviour::Never)));
    assert!(poll_once(call.as_mut()));
    trial.until(|service| service.waiting() == 1);
    drop(call);
    trial.until(|service| service.dropped() == 1);
    Box::new((client, trial))
}

fn a_call_without_an_end(trial: Trial) -> Held {
    let client = trial.client();
    let mut call = Box::pin(async move { client.run(task(Behaviour::Never)).await });
    assert!(poll_once(call.as_mut()));
    trial.until(|service| service.waiting() == 1);
    Box::new((call, trial))
}

fn replies_that_nobody_takes(trial: Trial) -> Held {
    let client = trial.client();
    let replies = block_on(client.push(large(20_000))).unwrap();
    Box::new((replies, client, trial))
}

/// The server has more to send than the kernel holds, and the client's thread does something else.
fn replies_that_a_blocking_client_has_left(trial: Trial) -> Held {
    let client = blocking::TrialClient::connect(trial.url()).unwrap();
    let mut replies = client.push(large(20_000)).unwrap().into_inner();
    assert!(replies.message().unwrap().is_some());
    trial.settle();
    drop(replies);
    Box::new((client, trial))
}

/// Its replies fill every buffer on the way.
fn a_peer_that_reads_nothing(trial: Trial) -> Held {
    let now = Instant::from_nanos(0);
    let mut machine = native::Connection::client(native::Config::default(), now);
    for _ in 0..40 {
        let head = Head {
            path: "/kettle.trial.v1.Trial/Run",
            metadata: Metadata::new(),
            timeout: None,
        };
        let message = large(1_000_000).encode_to_vec().into();
        machine.open(now, head, Some(message), true).unwrap();
    }
    let mut stream = trial.stream();
    while let Some(payload) = machine.poll_transmit(now, u64::MAX) {
        let bytes = payload.into_chain().unwrap().to_vec();
        stream.write_all(&bytes).unwrap();
    }
    trial.until(|service| service.started() != 0);
    Box::new((stream, trial))
}

fn a_silent_peer(trial: Trial) -> Held {
    Box::new((trial.stream(), trial))
}

/// The last attempt to connect was a moment ago, and the next is far away.
fn a_call_that_waits_for_a_server(mut trial: Trial) -> Held {
    let pause = Duration::from_secs(100);
    let channel = trial.channel().reconnect_backoff(pause, pause);
    let client = TrialClient::new(channel.connect_lazy().unwrap());
    block_on(client.run(task(Behaviour::Echo))).unwrap();
    trial.server = None;
    let mut request = Request::new(task(Behaviour::Echo));
    request.set_wait_for_ready(true);
    let mut call = Box::pin(async move { client.run(request).await });
    assert!(poll_once(call.as_mut()));
    Box::new((call, trial))
}

/// A reply of so many bytes, or replies without end.
fn large(bytes: u64) -> Task {
    Task {
        number: bytes,
        ..task(Behaviour::Large)
    }
}

/// A server, and how to reach it.
struct Trial {
    server: Option<ServerHandle>,
    service: TrialService,
    address: Address,
    model: Model,
}

impl Trial {
    /// On TCP, or on a Unix-domain socket of this number.
    fn start(model: Model, unix: Option<usize>) -> Self {
        let address = match unix {
            None => "127.0.0.1:0".to_owned(),
            Some(number) => {
                let name = format!("kettle-rest-{}-{number}.sock", std::process::id());
                format!("unix://{}", std::env::temp_dir().join(name).display())
            }
        };
        let service = TrialService::default();
        let server = Server::builder()
            .model(model)
            .add_service(TrialServer::new(service.clone()));
        let server = server.spawn(address).unwrap();
        Self {
            address: server.address().clone(),
            server: Some(server),
            service,
            model,
        }
    }

    fn url(&self) -> String {
        match &self.address {
            Address::Tcp(address) => format!("kettle://{address}"),
            unix => unix.to_string(),
        }
    }

    /// Of a client on the same model, if that one has loops for many connections.
    fn channel(&self) -> ChannelBuilder {
        let channel = Channel::builder(self.url());
        match MULTIPLEXED.contains(&self.model) {
            true => channel.model(self.model),
            false => channel,
        }
    }

    fn client(&self) -> TrialClient {
        TrialClient::new(self.channel().connect_lazy().unwrap())
    }

    /// A plain stream to the server. What the standard library calls a TcpStream is any descriptor.
    fn stream(&self) -> TcpStream {
        match &self.address {
            Address::Unix(path) => OwnedFd::from(UnixStream::connect(path).unwrap()).into(),
            Address::Tcp(address) => TcpStream::connect(address).unwrap(),
            Address::Unnamed => unreachable!("a server has an address"),
        }
    }

    /// Waits until no more replies are made: all that there is room for wait to be read.
    fn settle(&self) {
        let mut made = 0;
        while made != self.service.made() {
            made = self.service.made();
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn until(&self, is_so: impl Fn(&TrialService) -> bool) {
        let begun = std::time::Instant::now();
        while !is_so(&self.service) {
            assert!(begun.elapsed() < Duration::from_secs(30), "it did not come");
            thread::yield_now();
        }
    }
}

fn poll_once(future: Pin<&mut impl Future>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    future.poll(&mut cx).is_pending()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(future)
}
