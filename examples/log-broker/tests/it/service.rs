//! The broker through calls, on every I/O model.

use crate::harness::{fill, open, options, payload, split, wait};
use kettle::{Channel, Code, Model, Server, ServerHandle};
use log_broker::proto::broker_client::BrokerClient;
use log_broker::proto::broker_server::BrokerServer;
use log_broker::proto::{
    AppendReply, AppendRequest, BoundsReply, BoundsRequest, FetchRequest, Records, TailRequest,
};
use log_broker::record::Record;
use log_broker::{BrokerService, Consumer, Log, Options};
use tempfile::{TempDir, tempdir};

/// A broker on a loop of this process.
struct Host {
    log: Log,
    channel: Channel,
    broker: BrokerClient,
    _server: ServerHandle,
    _directory: TempDir,
}

fn on_every_model(test: impl Fn(Host)) {
    for model in Model::ALL.into_iter().filter(|it| it.has_driver()) {
        println!("{model}");
        test(Host::new(model));
    }
}

impl Host {
    fn new(model: Model) -> Self {
        let directory = tempdir().unwrap();
        let options = Options {
            retention_bytes: 5000,
            ..options()
        };
        let (log, _) = open(directory.path(), options);
        let service = BrokerServer::new(BrokerService::new(log.clone()));
        let server = Server::builder().model(model).add_service(service);
        let server = server.spawn("127.0.0.1:0").unwrap();
        let channel = Channel::connect(format!("kettle://{}", server.local_addr()));
        let channel = wait(channel).unwrap();
        Self {
            log,
            broker: BrokerClient::new(channel.clone()),
            channel,
            _server: server,
            _directory: directory,
        }
    }

    fn append(&self, texts: &[&str]) -> AppendReply {
        let payloads = texts.iter().map(|&text| payload(text)).collect();
        let reply = wait(self.broker.append(AppendRequest { payloads }));
        reply.unwrap().into_inner()
    }

    fn fetch(&self, offset: u64, max_bytes: u32) -> Records {
        let reply = wait(self.broker.fetch(FetchRequest { offset, max_bytes }));
        reply.unwrap().into_inner()
    }
}

fn texts(records: &[Record]) -> Vec<&[u8]> {
    records.iter().map(|it| &it.payload[..]).collect()
}

fn records(reply: Records) -> Vec<Record> {
    split(reply.records, reply.first_offset, reply.next_offset)
}

#[test]
fn what_is_appended_is_fetched() {
    on_every_model(|host| {
        let reply = host.append(&["one", "two", ""]);
        assert_eq!((reply.first_offset, reply.next_offset), (0, 3));
        assert_eq!(host.append(&["four"]).first_offset, 3);
        let reply = host.fetch(0, 0);
        assert_eq!(
            (reply.first_offset, reply.next_offset, reply.end_offset),
            (0, 4, 4)
        );
        assert_eq!(texts(&records(reply)), [&b"one"[..], b"two", b"", b"four"]);
        let nothing = Records {
            first_offset: 4,
            next_offset: 4,
            end_offset: 4,
            ..Records::default()
        };
        assert_eq!(host.fetch(4, 0), nothing);
    });
}

#[test]
fn a_fetch_takes_part_of_what_is_there() {
    on_every_model(|host| {
        fill(&host.log, 100);
        let reply = host.fetch(10, 150);
        assert!(reply.first_offset <= 10 && 10 < reply.next_offset);
        assert!(reply.next_offset < 20 && reply.end_offset == 100);
        let last = format!("record {}", reply.next_offset - 1);
        assert_eq!(records(reply).last().unwrap().payload, last);
    });
}

#[test]
fn errors_say_what_to_do() {
    on_every_model(|host| {
        fill(&host.log, 300);
        let (first, end) = host.log.bounds();
        let bounds = wait(host.broker.bounds(BoundsRequest {})).unwrap();
        assert_eq!(
            bounds.into_inner(),
            BoundsReply {
                first_offset: first,
                end_offset: end
            }
        );
        let gone = format!("offset 0 is gone: the log begins at {first}");
        let (offset, max_bytes) = (0, 0);
        let fetched = wait(host.broker.fetch(FetchRequest { offset, max_bytes })).unwrap_err();
        assert_eq!(
            (fetched.code(), fetched.message()),
            (Code::OutOfRange, &*gone)
        );
        let tailed = wait(host.broker.tail(TailRequest { offset })).unwrap_err();
        assert_eq!(
            (tailed.code(), tailed.message()),
            (Code::OutOfRange, &*gone)
        );
        let empty = wait(host.broker.append(AppendRequest { payloads: vec![] })).unwrap_err();
        assert_eq!(empty.code(), Code::InvalidArgument);
        assert_eq!(empty.message(), "a batch has 1 to 10000 records, not 0");
    });
}

#[test]
fn a_tail_brings_what_is_there_and_then_what_comes() {
    on_every_model(|host| {
        fill(&host.log, 90);
        let mut consumer = Consumer::new(host.channel.clone(), 42);
        for offset in 42..200 {
            if host.log.bounds().1 <= offset {
                host.append(&[&format!("record {offset}")]);
            }
            let record = wait(consumer.next()).unwrap();
            let text = format!("record {offset}");
            assert_eq!((record.offset, record.payload), (offset, payload(text)));
        }
    });
}
