//! The broker is killed, and nothing that it acknowledged is lost.

use crate::checker::{Acknowledged, Sent, mix};
use crate::harness::{payload, wait};
use crate::process::Broker;
use kettle::{Channel, Code, Status, blocking};
use log_broker::proto::AppendRequest;
use log_broker::proto::broker_client::blocking::BrokerClient;
use log_broker::{Consumer, check};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tempfile::{TempDir, tempdir};

const KILLS: u64 = 20;
const PRODUCERS: u32 = 4;
const CONSUMERS: usize = 10;

/// What the last record says, which ends the consumers.
const END: &str = "end";

#[test]
fn twenty_kills_lose_nothing_and_ten_consumers_see_it_all() {
    let directory = tempdir().unwrap();
    let args = |fsync| ["--segment-bytes", "1000000", "--fsync", fsync];
    let mut broker = Broker::start(directory.path(), "127.0.0.1:0", &args("always"));
    let (acknowledged, is_over) = (Acknowledged::default(), AtomicBool::new(false));
    let (url, mut torn) = (broker.url(), 0);
    let (sent, logs) = thread::scope(|scope| {
        let consumers = [(); CONSUMERS].map(|()| scope.spawn(|| consume(&url)));
        let producers = [0, 1, 2, 3].map(|producer| {
            let (url, acknowledged, is_over) = (&url, &acknowledged, &is_over);
            scope.spawn(move || produce(producer, url, acknowledged, is_over))
        });
        for kill in 0..KILLS {
            let more = 20 + mix(kill) % 500;
            acknowledged.wait_for(acknowledged.count() + more as usize);
            broker.kill();
            let fsync = ["always", "interval", "never"][kill as usize % 3];
            broker = Broker::start(directory.path(), &broker.address, &args(fsync));
            torn += usize::from(broker.recovery.contains("cut off"));
        }
        is_over.store(true, Ordering::Relaxed);
        let sent = producers.map(|producer| producer.join().unwrap());
        append(&connect(&url), &[payload(END)]).unwrap();
        (sent, consumers.map(|consumer| consumer.join().unwrap()))
    });
    println!(
        "{} acknowledged, {} in the log",
        acknowledged.count(),
        logs[0].len()
    );
    println!("{torn} of {KILLS} kills tore a write; {}", broker.recovery);
    assert_eq!(sent.len(), PRODUCERS as usize);
    acknowledged.check(&logs[0], &sent);
    assert!(
        logs.iter().all(|log| log == &logs[0]),
        "all consumers see the same"
    );
    broker.kill();
    let checked = check(directory.path()).unwrap();
    assert_eq!(
        (checked.offsets, checked.torn),
        (0..logs[0].len() as u64 + 1, None)
    );
    assert!(1 < checked.segments);
}

/// Sends batches until it is over, each once; gives how many records they were.
fn produce(producer: u32, url: &str, acknowledged: &Acknowledged, is_over: &AtomicBool) -> u64 {
    let (broker, mut next) = (connect(url), 0);
    while !is_over.load(Ordering::Relaxed) {
        // Long ones by the first: a kill is likely to come in the middle of them.
        let count = 1 + mix(next) % if producer == 0 { 4 } else { 20 };
        let batch = (next..next + count).map(|number| Sent { producer, number });
        let batch: Vec<_> = batch.collect();
        let payloads: Vec<_> = batch.iter().map(|sent| sent.payload()).collect();
        next += count;
        match append(&broker, &payloads) {
            Ok(offset) => acknowledged.add(offset..offset + count, &batch),
            // It was killed: nobody knows what became of the batch.
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    }
    next
}

/// Reads the log from its beginning to the last record.
fn consume(url: &str) -> Vec<Sent> {
    let channel = Channel::builder(url).connect_lazy().unwrap();
    let (mut consumer, mut log) = (Consumer::new(channel, 0), Vec::new());
    loop {
        let record = wait(consumer.next()).unwrap();
        assert_eq!(record.offset, log.len() as u64);
        if record.payload == END {
            return log;
        }
        log.push(Sent::of(&record));
    }
}

fn connect(url: &str) -> BrokerClient {
    let channel = Channel::builder(url).wait_for_ready(true);
    let channel: blocking::Channel = channel.connect_lazy_blocking().unwrap();
    BrokerClient::new(channel)
}

/// The offset of the first record.
fn append(broker: &BrokerClient, payloads: &[bytes::Bytes]) -> Result<u64, Status> {
    let payloads = payloads.to_vec();
    let reply = broker.append(AppendRequest { payloads })?.into_inner();
    Ok(reply.first_offset)
}

/// The file with the records of a log that has one segment.
fn records_file(directory: &TempDir) -> PathBuf {
    directory.path().join("00000000000000000000.log")
}

#[test]
fn a_torn_end_is_cut_off_and_told() {
    let directory = tempdir().unwrap();
    let mut broker = Broker::start(directory.path(), "127.0.0.1:0", &[]);
    assert_eq!(broker.recovery, "offsets 0 to 0 in 1 segments");
    append(&connect(&broker.url()), &[payload("one"), payload("two")]).unwrap();
    broker.kill();
    let path = records_file(&directory);
    let whole = fs::read(&path).unwrap();
    // As if the kill had come in the middle of the same append.
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(&whole[..whole.len() - 1]).unwrap();
    let broker = Broker::start(directory.path(), "127.0.0.1:0", &[]);
    let torn = whole.len() - 1;
    let expected = format!(
        "offsets 0 to 2 in 1 segments; cut off {torn} bytes of a write that was broken off"
    );
    assert_eq!(broker.recovery, expected);
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(
        append(&connect(&broker.url()), &[payload("three")]).unwrap(),
        2
    );
}

#[test]
fn a_write_that_the_disk_does_not_take_adds_nothing() {
    let directory = tempdir().unwrap();
    let mut broker = Broker::start_with_short_files(directory.path(), 64);
    let client = connect(&broker.url());
    let long = bytes::Bytes::from(vec![1; 20_000]);
    assert_eq!(append(&client, std::slice::from_ref(&long)).unwrap(), 0);
    // It would end at 40 KB: the kernel takes a part of it, to 32 KiB.
    let status = append(&client, &[long]).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("nothing was added"), "{status}");
    assert_eq!(append(&client, &[payload("short")]).unwrap(), 1);
    broker.kill();
    let bytes = fs::metadata(records_file(&directory)).unwrap().len();
    assert_eq!(bytes, 20_000 + 5 + 2 * 24);
    let checked = check(directory.path()).unwrap();
    assert_eq!((checked.offsets, checked.torn), (0..2, None));
}
