//! Peers that send without end cost bounded memory. In a process of its own: it measures the process.

use kettle::{Channel, Server};
use kettle_testkit::trial::trial_server::TrialServer;
use kettle_testkit::trial::{TrialService, task};
use prost::Message;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// The most that a flood may add to the process's memory, in KiB.
const GROWTH_KIB_MAX: u64 = 64 * 1024;

const HELLO: &[u8] = b"\xce\x4b\x54\x4c\x01\x01\x00\x00";

#[test]
fn floods_cost_bounded_memory() {
    calls_that_are_cancelled_at_once();
    pings_to_a_server_that_nobody_reads();
    pings_to_a_client();
}

/// A million calls, each cancelled right behind its opening, on one connection.
fn calls_that_are_cancelled_at_once() {
    let server = Server::builder().add_service(TrialServer::new(TrialService::default()));
    let server = server.spawn("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    let mut answers = stream.try_clone().unwrap();
    let reader = thread::spawn(move || answers.read_to_end(&mut Vec::new()));
    let before = peak_kib();
    stream.write_all(HELLO).unwrap();
    let path = b"/kettle.trial.v1.Trial/Run";
    let mut last = 1;
    let message = task(kettle_testkit::trial::Behaviour::Echo).encode_to_vec();
    assert!(message.is_empty(), "the default task is the empty message");
    let open = frame(
        0x01,
        0x21,
        1,
        last,
        &[&[0, path.len() as u8], &path[..]].concat(),
    );
    stream.write_all(&open).unwrap();
    for _ in 0..1000 {
        let mut batch = Vec::new();
        for _ in 0..1000 {
            last += 1;
            batch.extend(frame(0x01, 0x00, 1, last, &[]));
            batch.extend(frame(0x03, 0x00, 0, last, &[0, 0, 0, 1, 0, 0]));
        }
        if stream.write_all(&batch).is_err() {
            break; // cut off: that bounds it too
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let _ = reader.join().unwrap();
    assert_bounded("cancelled calls", before);
    assert!(1000 < server.stats().calls, "{:?}", server.stats());
}

fn pings_to_a_server_that_nobody_reads() {
    let server = Server::builder().spawn("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    let before = peak_kib();
    stream.write_all(HELLO).unwrap();
    stream
        .set_write_timeout(Some(std::time::Duration::from_millis(500)))
        .unwrap();
    flood_with_pings(&mut stream);
    assert_bounded("pings to a server", before);
}

/// A server that sends pings and reads nothing: the client cannot stop reading, so it hangs up.
fn pings_to_a_client() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("kettle://{}", listener.local_addr().unwrap());
    let before = peak_kib();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(HELLO).unwrap();
        flood_with_pings(&mut stream)
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _channel = runtime.block_on(Channel::connect(url));
    assert!(!server.join().unwrap(), "the client hangs up");
    assert_bounded("pings to a client", before);
}

/// Sends up to 10 GB of pings: a peer that takes no more shows long before. False when it did so.
fn flood_with_pings(stream: &mut TcpStream) -> bool {
    let pings = frame(0x05, 0x00, 0, 0, &[7; 8]).repeat(5000);
    (0..100_000).all(|_| stream.write_all(&pings).is_ok())
}

fn frame(kind: u8, flags: u8, method: u16, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes().to_vec();
    frame.extend([kind, flags]);
    frame.extend(method.to_be_bytes());
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn assert_bounded(what: &str, before: u64) {
    let growth = peak_kib() - before;
    assert!(growth < GROWTH_KIB_MAX, "{what} cost {growth} KiB");
    println!("{what}: {growth} KiB");
}

/// The most memory that the process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
