//! A server under full load for long, while connections come and go in every way: nothing of it may grow.

use crate::process::{Running, until};
use kettle::{Channel, LocalLoop, Model, Status};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use v1::EchoRequest;
use v1::echo_client::EchoClient;

mod v1 {
    kettle::include_proto!("echo.v1");
}

/// Threads whose connections come and go, each with a loop of its own.
const CHURNERS: u64 = 2;

/// Connections that such a loop has at a time.
const CONNECTIONS: u64 = 16;

/// The time between two looks at the server.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// Samples that one figure is the median of: single ones depend on the moment.
const SAMPLES: usize = 6;

/// When what there is has been warmed up, unless the whole time is shorter than twice this.
const WARM_UP: Duration = Duration::from_secs(120);

/// By how much a figure at the end may exceed the same after the warm-up. The pool follows the messages of
/// the moment, descriptors and threads the connections.
const SLACK: [(&str, u64); 4] = [
    ("memory (KiB)", 8 * 1024),
    ("pool (KiB)", 4 * 1024),
    ("descriptors", 64),
    ("threads", 64),
];

/// What a server has at one moment, in the order of [`SLACK`].
type Sample = [u64; SLACK.len()];

fn sample(server: &mut Running) -> Sample {
    // First of all: whoever counts has all its threads.
    let pool = server.counts()["pool_bytes"].as_u64().unwrap() / 1024;
    let memory = server.memory() / 1024;
    let id = server.id();
    let count = |folder: &str| {
        let entries = fs::read_dir(format!("/proc/{id}/{folder}"));
        entries.unwrap().count() as u64
    };
    [memory, pool, count("fd"), count("task")]
}

/// What has grown between the first samples and the last beyond its slack, in words.
fn grown(samples: &[Sample]) -> Vec<String> {
    let count = SAMPLES.min(samples.len() / 2);
    let (first, last) = (&samples[..count], &samples[samples.len() - count..]);
    let figures = SLACK.iter().enumerate();
    let grown = figures.filter_map(|(index, (name, slack))| {
        let (before, after) = (median(first, index), median(last, index));
        (before + slack < after)
            .then(|| format!("{name} grew from {before} to {after}, by more than {slack}"))
    });
    grown.collect()
}

fn median(samples: &[Sample], index: usize) -> u64 {
    let mut values: Vec<_> = samples.iter().map(|sample| sample[index]).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// What the churners have done, by kind of call, and whether they are to end.
#[derive(Debug, Default)]
struct Churn {
    done: [AtomicU64; 5],
    connections: AtomicU64,
    ending: AtomicBool,
}

/// Makes connections, and calls of all kinds on them; now and then breaks them off in the middle of calls.
fn churn(url: &str, seed: u64, churn: &Arc<Churn>) {
    let mut random = Random(seed);
    while !churn.ending.load(Ordering::Relaxed) {
        let mut local = LocalLoop::new(Model::Epoll).unwrap();
        for _ in 0..CONNECTIONS {
            let (url, churn) = (url.to_owned(), Arc::clone(churn));
            let random = Random(random.next());
            local.spawn(async move { come_and_go(&url, random, &churn).await });
        }
        let time = Duration::from_millis(50 + random.below(500));
        local.run_until(Instant::now() + time).unwrap();
        // Dropped with its connections, whatever happens on them just now.
    }
}

async fn come_and_go(url: &str, mut random: Random, churn: &Churn) {
    loop {
        let channel = Channel::connect(url).await.expect("the server takes all");
        churn.connections.fetch_add(1, Ordering::Relaxed);
        let echo = EchoClient::new(channel);
        for _ in 0..random.below(20) {
            let kind = random.below(churn.done.len() as u64);
            let called = call(&echo, kind, &mut random).await;
            called.unwrap_or_else(|status| panic!("kind {kind}: {status}"));
            churn.done[kind as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn call(echo: &EchoClient, kind: u64, random: &mut Random) -> Result<(), Status> {
    let want = random.below(200);
    let request = EchoRequest {
        payload: vec![7; random.size()].into(),
        want: if kind == 2 || kind == 4 { want } else { 0 },
        ..EchoRequest::default()
    };
    let requests = Repeated(request.clone(), want);
    match kind {
        0 => drop(echo.unary(request).await?),
        1 => drop(echo.client_stream(requests).await?),
        2 => {
            let mut replies = echo.server_stream(request).await?.into_inner();
            while replies.message().await?.is_some() {}
        }
        3 => {
            let mut replies = echo.bidi(requests).await?.into_inner();
            while replies.message().await?.is_some() {}
        }
        // One that is left before its end, which cancels it.
        _ => drop(
            echo.server_stream(request)
                .await?
                .into_inner()
                .message()
                .await?,
        ),
    }
    Ok(())
}

/// So many times the same request.
struct Repeated(EchoRequest, u64);

impl futures_core::Stream for Repeated {
    type Item = EchoRequest;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<EchoRequest>> {
        let Self(request, left) = &mut *self;
        let next = (0 < *left).then(|| request.clone());
        *left = left.saturating_sub(1);
        std::task::Poll::Ready(next)
    }
}

/// Numbers that look like chance (xorshift64), the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// The size of a message: mostly small.
    fn size(&mut self) -> usize {
        let most = [128, 128, 128, 4096, 70_000][self.below(5) as usize];
        self.below(most) as usize
    }
}

/// Loads a server on this model for so long, looking at it in between. Gives the samples after the warm-up.
fn soak(model: &str, time: Duration, interval: Duration) -> Vec<Sample> {
    let (mut server, url) = Running::serve(&format!("--model {model} --stats"));
    let before = sample(&mut server);
    let benches = [
        "--in-flight 16 --connections 8",
        "--method bidi --in-flight 16",
    ];
    let bench = |load: &str| Running::start(&format!("bench {url} {load} --duration 86400 --json"));
    let benches = benches.map(bench);
    let churned = Arc::<Churn>::default();
    let (alive, ended) = channel();
    let threads: Vec<_> = (0..CHURNERS)
        .map(|number| {
            let (url, churned, alive) = (url.clone(), Arc::clone(&churned), alive.clone());
            thread::spawn(move || {
                let _alive: std::sync::mpsc::Sender<()> = alive;
                churn(&url, 0x9e37_79b9 + number, &churned);
            })
        })
        .collect();
    drop(alive);
    let samples = watch(&mut server, time, interval, || {
        ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout)
    });
    churned.ending.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("no call of the churners fails");
    }
    println!("before: {before:?}; {churned:?}; {}", server.counts());
    for bench in benches {
        end(bench);
    }
    until(|| (server.counts()["connections"] == 0).then_some(()));
    samples
}

/// Takes samples until the time is over; those after the warm-up count. `wait` says whether the load goes on.
fn watch(
    server: &mut Running,
    time: Duration,
    interval: Duration,
    wait: impl Fn() -> bool,
) -> Vec<Sample> {
    let names = SLACK.map(|(name, _)| name).join(", ");
    println!("seconds: {names}; calls so far");
    let (begun, mut samples) = (Instant::now(), Vec::new());
    let warm_up = WARM_UP.min(time / 5);
    while begun.elapsed() < time {
        assert!(wait(), "a churner has ended");
        let (sample, seconds) = (sample(server), begun.elapsed().as_secs());
        println!("{seconds}: {sample:?}; {}", server.counts()["calls"]);
        if warm_up <= begun.elapsed() {
            samples.push(sample);
        }
    }
    assert!(2 * interval < time && 4 <= samples.len(), "too few samples");
    samples
}

/// Ends a bench, whose calls were all answered.
fn end(mut bench: Running) {
    bench.signal(rustix::process::Signal::INT);
    let report: BTreeMap<String, serde_json::Value> = serde_json::from_str(&bench.line()).unwrap();
    let count = report.get("calls").or(report.get("messages")).unwrap();
    assert!(report["errors"] == 0 && *count != 0, "{report:?}");
    println!("{report:?}");
}

#[test]
fn growth_beyond_the_slack_is_found() {
    let level: Vec<Sample> = (0..100)
        .map(|index| [50_000 + index % 7, 2048, 40, 3])
        .collect();
    assert_eq!(grown(&level), Vec::<String>::new());
    for (index, (name, slack)) in SLACK.iter().enumerate() {
        let leaks = |by: u64| {
            let mut samples = level.clone();
            for (number, sample) in samples.iter_mut().enumerate() {
                sample[index] += by * number as u64 / 99;
            }
            grown(&samples)
        };
        assert_eq!(leaks(*slack), Vec::<String>::new());
        let found = leaks(slack * 2);
        assert!(found.len() == 1 && found[0].starts_with(name), "{found:?}");
    }
    // A moment is no growth.
    let mut moment = level;
    moment[99] = [90_000, 8192, 400, 300];
    assert_eq!(grown(&moment), Vec::<String>::new());
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let (mut server, url) = Running::serve("--stats");
    let before = sample(&mut server);
    let churned = Arc::<Churn>::default();
    let ending = Arc::clone(&churned);
    let churner = thread::spawn(move || churn(&url, 7, &churned));
    until(|| {
        let done = ending
            .done
            .iter()
            .all(|done| 20 <= done.load(Ordering::Relaxed));
        done.then_some(())
    });
    ending.ending.store(true, Ordering::Relaxed);
    churner.join().unwrap();
    until(|| (server.counts()["connections"] == 0).then_some(()));
    let [_, _, descriptors, threads] = before;
    let [_, _, descriptors_after, threads_after] = sample(&mut server);
    assert_eq!((descriptors_after, threads_after), (descriptors, threads));
}

#[test]
#[ignore = "takes minutes: .ci/soak runs it"]
fn nothing_grows_under_load() {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let minutes: f64 = variable("KETTLE_SOAK_MINUTES", "10").parse().unwrap();
    let model = variable("KETTLE_SOAK_MODEL", "epoll");
    let time = Duration::from_secs_f64(minutes * 60.0);
    let samples = soak(&model, time, SAMPLE_INTERVAL.min(time / 20));
    let grown = grown(&samples);
    assert!(grown.is_empty(), "{grown:?}");
}
