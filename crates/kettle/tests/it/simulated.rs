//! A server and its clients on a simulated network, whose packets are delayed by chance, and which is cut.
//!
//! Everything that happens depends on the seed: a run that fails can be run again.

use crate::streams::{echo, numbered};
use kettle::{Channel, Code, Request, Server, TokioServer};
use kettle_testkit::trial::trial_client::TrialClient;
use kettle_testkit::trial::trial_server::TrialServer;
use kettle_testkit::trial::{Behaviour, Task, TrialService, task};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

const PORT: u16 = 50_051;
const URL: &str = "kettle://server:50051";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What happened, with the times.
#[derive(Clone, Default)]
struct Transcript(Arc<Mutex<Vec<String>>>);

impl Transcript {
    fn note(&self, text: &str) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.0.lock().unwrap().push(format!("{at:?} {text}"));
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A network whose packets take 1 to 50 ms, with a server on it.
fn network(seed: u64) -> Sim<'static> {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .min_message_latency(ms(1))
        .max_message_latency(ms(50))
        .simulation_duration(Duration::from_secs(300))
        .build();
    sim.host("server", || async {
        let service = TrialServer::new(TrialService::default());
        let server = Server::builder()
            .keepalive(ms(500), ms(500))
            .add_service(service)
            .on_tokio()?;
        serve(server).await
    });
    sim
}

async fn serve(server: TokioServer) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, remote) = listener.accept().await?;
        tokio::spawn(server.serve_connection(stream, Some(remote)));
    }
}

/// A client that waits for the server, and gives silent connections up after a second.
fn client(seed: u64) -> TrialClient {
    let channel = Channel::builder(URL)
        .backoff_seed(seed)
        .keepalive(ms(500), ms(500))
        .wait_for_ready(true)
        .connect_timeout(ms(1000))
        .connect_lazy_with(|| TcpStream::connect(("server", PORT)));
    TrialClient::new(channel.unwrap())
}

/// How a call ended, and when.
async fn call(client: &TrialClient, task: Task, timeout: Duration) -> String {
    let mut request = Request::new(task);
    request.set_timeout(timeout);
    match client.run(request).await {
        Ok(reply) => format!("OK {:?}", reply.into_inner().payload),
        Err(status) => format!("{:?}", status.code()),
    }
}

/// Calls for 30 s, over a partition and a server that crashes and comes back.
fn story(seed: u64) -> Vec<String> {
    let (transcript, mut sim) = (Transcript::default(), network(seed));
    for name in ["ada", "bob"] {
        let transcript = transcript.clone();
        sim.client(name, async move {
            let client = client(seed);
            for n in 0.. {
                if Duration::from_secs(30) < turmoil::sim_elapsed().unwrap_or_default() {
                    break;
                }
                let sleep = numbered(Behaviour::Sleep, 20_000 * (n % 5));
                let ended = call(&client, sleep, ms(3000)).await;
                transcript.note(&format!("{name} {n} {ended}"));
                tokio::time::sleep(ms(100)).await;
            }
            Ok(())
        });
    }
    let mut disturbances = vec![
        (ms(20_000), 3),
        (ms(15_000), 2),
        (ms(10_000), 1),
        (ms(5_000), 0),
    ];
    while !sim.step().unwrap() {
        let due = disturbances.last().filter(|(at, _)| *at <= sim.elapsed());
        match due.map(|(_, what)| what) {
            Some(0) => sim.partition("ada", "server"),
            Some(1) => sim.repair("ada", "server"),
            Some(2) => sim.crash("server"),
            Some(_) => sim.bounce("server"),
            None => continue,
        }
        disturbances.pop();
    }
    assert!(disturbances.is_empty(), "it ended early");
    transcript.lines()
}

fn count(lines: &[String], name: &str, seconds: std::ops::Range<u64>, what: &str) -> usize {
    let within = |line: &&String| {
        let mut words = line.split(' ');
        let at = words.next().unwrap();
        let at: f64 = match at.strip_suffix("ms") {
            Some(ms) => ms.parse::<f64>().unwrap() / 1000.0,
            None => at.strip_suffix('s').unwrap().parse().unwrap(),
        };
        (seconds.start as f64..seconds.end as f64).contains(&at)
            && words.next() == Some(name)
            && words.nth(1) == Some(what)
    };
    lines.iter().filter(within).count()
}

#[test]
fn calls_go_on_after_a_partition_and_a_crash() {
    let lines = story(7);
    let ok = |name, seconds| count(&lines, name, seconds, "OK");
    for name in ["ada", "bob"] {
        assert!(8 < ok(name, 0..5), "{name} before: {lines:#?}");
        assert_eq!(ok(name, 16..20), 0, "{name} while the server is away");
        assert!(10 < ok(name, 22..30), "{name} after: {lines:#?}");
    }
    assert_eq!(
        ok("ada", 7..10),
        0,
        "a partition lets nothing through: {lines:#?}"
    );
    assert!(4 < ok("bob", 7..10) && 4 < ok("ada", 12..15), "{lines:#?}");
    let failed = |what| count(&lines, "ada", 5..10, what);
    assert!(
        0 < failed("UNAVAILABLE") + failed("DEADLINE_EXCEEDED"),
        "{lines:#?}"
    );
}

#[test]
fn the_same_seed_is_the_same_run() {
    let (first, second) = (story(11), story(11));
    assert!(100 < first.len(), "{first:#?}");
    assert_eq!(first, second);
    assert_ne!(first, story(12), "the seed means nothing");
}

/// The client's host dies: its calls are given up by the server's keepalive.
#[test]
fn a_server_leaves_a_crashed_client() {
    let service = TrialService::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(3)
        .simulation_duration(Duration::from_secs(60))
        .build();
    let theirs = service.clone();
    sim.host("server", move || {
        let service = TrialServer::new(theirs.clone());
        async {
            let builder = Server::builder().keepalive(ms(500), ms(500));
            serve(builder.add_service(service).on_tokio()?).await
        }
    });
    sim.host("ada", || async {
        let client = client(3);
        let _ = client.run(task(Behaviour::Never)).await;
        Ok(())
    });
    sim.client("watch", async {
        tokio::time::sleep(ms(10_000)).await;
        Ok(())
    });
    while sim.elapsed() < ms(2000) {
        sim.step().unwrap();
    }
    assert_eq!((service.waiting(), service.dropped()), (1, 0));
    sim.partition("ada", "server");
    sim.crash("ada");
    sim.run().unwrap();
    assert_eq!((service.waiting(), service.dropped()), (0, 1));
}

/// Late packets are no reason to give a call up, nor is a partition that ends in time.
#[test]
fn a_slow_network_only_takes_longer() {
    let mut sim = network(5);
    sim.client("ada", async {
        let client = client(5);
        assert_eq!(call(&client, echo("tea"), ms(1000)).await, "OK b\"tea\"");
        turmoil::hold("ada", "server");
        let begun = Instant::now();
        let (ended, ()) = tokio::join!(call(&client, echo("tea"), ms(5000)), async {
            tokio::time::sleep(ms(700)).await;
            turmoil::release("ada", "server");
        });
        assert_eq!(ended, "OK b\"tea\"");
        assert!(
            (ms(700)..ms(900)).contains(&begun.elapsed()),
            "{:?}",
            begun.elapsed()
        );
        let mut late = Request::new(echo("tea"));
        late.set_timeout(ms(2));
        let code = client.run(late).await.unwrap_err().code();
        assert_eq!(code, Code::DeadlineExceeded);
        Ok(())
    });
    sim.run().unwrap();
}
