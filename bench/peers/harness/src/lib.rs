//! Shared by all peers: argument parsing, tokio start-up, the closed-loop async client, reporting.

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// `--name value` pairs; everything has a default so the binaries stay one-liners to start.
pub struct Args(HashMap<String, String>);

impl Args {
    pub fn parse() -> Self {
        let mut map = HashMap::new();
        let mut it = std::env::args().skip(1);
        while let Some(key) = it.next() {
            let key = key
                .strip_prefix("--")
                .expect("arguments are --name value")
                .to_string();
            map.insert(key, it.next().expect("value after --name"));
        }
        Args(map)
    }
    pub fn num(&self, key: &str, default: usize) -> usize {
        self.0
            .get(key)
            .map_or(default, |v| v.parse().expect("number"))
    }
    pub fn port(&self) -> u16 {
        self.num("port", 9000) as u16
    }
    pub fn threads(&self) -> usize {
        self.num("threads", 1)
    }
}

/// Runs `fut` *on a worker* of a multi-thread runtime, so that one thread does all the work.
pub fn run_server<F: Future<Output = ()> + Send + 'static>(threads: usize, fut: F) {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap();
    rt.block_on(async { tokio::spawn(fut).await.unwrap() });
}

/// Server CPU so far: (user, system) seconds from /proc/PID/stat; 10 ms ticks.
pub fn cpu_of(pid: usize) -> (f64, f64) {
    if pid == 0 {
        return (0.0, 0.0);
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("server is gone");
    let f: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    (
        f[11].parse::<f64>().unwrap() / 100.0,
        f[12].parse::<f64>().unwrap() / 100.0,
    )
}

/// One finished measurement; printed as a line of JSON that bench.py reads.
pub struct Report {
    pub hist: Histogram<u64>,
    pub secs: f64,
    pub cpu: (f64, f64),
}

impl Report {
    pub fn print(&self) {
        let n = self.hist.len();
        let us = |q: f64| self.hist.value_at_quantile(q) as f64 / 1000.0;
        println!(
            "{{\"requests\":{n},\"secs\":{:.3},\"rps\":{:.0},\"p50_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"mean_us\":{:.1},\"cpu_user_s\":{:.3},\"cpu_sys_s\":{:.3}}}",
            self.secs,
            n as f64 / self.secs,
            us(0.5),
            us(0.99),
            us(0.999),
            self.hist.mean() / 1000.0,
            self.cpu.0,
            self.cpu.1,
        );
    }
}

pub fn new_hist() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap()
}

/// Closed loop on one thread: every connection keeps `depth` calls in flight for warm-up + secs.
/// `connect(i)` opens a connection; `call(conn)` does one request and returns the payload length.
pub fn run_client<C, CF, CFut, F, Fut>(connect: CF, call: F)
where
    C: Clone + 'static,
    CF: Fn(usize) -> CFut,
    CFut: Future<Output = C>,
    F: Fn(C) -> Fut + Clone + 'static,
    Fut: Future<Output = usize>,
{
    let args = Args::parse();
    let (conns, depth, want) = (
        args.num("conns", 1),
        args.num("depth", 1),
        args.num("resp", args.num("payload", 128)),
    );
    let (warmup, secs, pid) = (
        args.num("warmup-ms", 1000),
        args.num("secs-ms", 5000),
        args.num("server-pid", 0),
    );
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let hist = Rc::new(RefCell::new(new_hist()));
    let phase = Rc::new(Cell::new(0u8)); // 0 warm-up, 1 measuring, 2 stop
    let report = local.block_on(&rt, async {
        let mut tasks = Vec::new();
        for i in 0..conns {
            let conn = connect(i).await;
            for _ in 0..depth {
                let (conn, call, hist, phase) =
                    (conn.clone(), call.clone(), hist.clone(), phase.clone());
                tasks.push(tokio::task::spawn_local(async move {
                    while phase.get() < 2 {
                        let t = Instant::now();
                        let len = call(conn.clone()).await;
                        assert_eq!(len, want, "wrong payload length");
                        if phase.get() == 1 {
                            hist.borrow_mut()
                                .record(t.elapsed().as_nanos() as u64)
                                .unwrap();
                        }
                    }
                }));
            }
        }
        tokio::time::sleep(Duration::from_millis(warmup as u64)).await;
        let (t0, c0) = (Instant::now(), cpu_of(pid));
        phase.set(1);
        tokio::time::sleep(Duration::from_millis(secs as u64)).await;
        phase.set(2);
        let (secs, c1) = (t0.elapsed().as_secs_f64(), cpu_of(pid));
        join_all(tasks).await;
        Report {
            hist: hist.borrow().clone(),
            secs,
            cpu: (c1.0 - c0.0, c1.1 - c0.1),
        }
    });
    report.print();
}
