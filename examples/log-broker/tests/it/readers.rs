//! Many consumers of one segment.

use crate::harness::{open, wait};
use bytes::Bytes;
use kettle::{Channel, Model, Server, ServerHandle};
use log_broker::proto::broker_server::BrokerServer;
use log_broker::{BrokerService, Consumer, Options};
use std::thread;
use tempfile::tempdir;

const RECORDS: u64 = 300;
const RECORD_BYTES: usize = 8 * 1024;
const CONSUMERS: u64 = 100;

/// What a consumer may cost the broker in bytes that are copied: its greeting, its request, and a head for each
/// of the 10 ranges of 256 KiB.
const COPIED_BYTES_MAX: u64 = 1024;

#[test]
fn a_hundred_consumers_of_one_segment_cost_no_copies() {
    let directory = tempdir().unwrap();
    let (log, _) = open(directory.path(), Options::default());
    let payload = Bytes::from(vec![7; RECORD_BYTES]);
    for _ in 0..RECORDS / 100 {
        wait(log.append(vec![payload.clone(); 100])).unwrap();
    }
    for model in [Model::Threads, Model::Select, Model::Epoll, Model::Uring] {
        let service = BrokerServer::new(BrokerService::new(log.clone()));
        let server = Server::builder().model(model).add_service(service);
        let server = server.spawn("127.0.0.1:0").unwrap();
        thread::scope(|scope| {
            for _ in 0..CONSUMERS {
                scope.spawn(|| consume(&server));
            }
        });
        // What it has counted is complete when it has stopped.
        server.stop();
        server.wait().unwrap();
        let stats = server.stats();
        let (sent, copied) = (stats.sent_bytes, stats.copied_bytes);
        println!("{model}: {sent} bytes sent, {copied} copied");
        assert!(CONSUMERS * RECORDS * RECORD_BYTES as u64 <= sent, "{sent}");
        assert!(copied <= CONSUMERS * COPIED_BYTES_MAX, "{model}: {copied}");
    }
}

/// Reads all records, on a connection of its own.
fn consume(server: &ServerHandle) {
    let url = format!("kettle://{}", server.local_addr());
    let channel = wait(Channel::connect(url)).unwrap();
    let mut consumer = Consumer::new(channel, 0);
    for offset in 0..RECORDS {
        let record = wait(consumer.next()).unwrap();
        assert_eq!(
            (record.offset, record.payload.len()),
            (offset, RECORD_BYTES)
        );
        assert!(record.payload.iter().all(|&byte| byte == 7));
    }
}
