//! Every copied byte is counted, by method and in total.

use crate::harness::{Host, block_on, host, host_so};
use crate::regions;
use kettle::{MethodStats, Model, Server, Service};
use kettle_testkit::trial::{Behaviour, Task, task};

crate::on_every_model! {
    a_small_reply_is_copied_once
    large_replies_are_not_copied
    regions_are_not_copied
}

const RUN: &str = "/kettle.trial.v1.Trial/Run";

/// Of keys and lengths of a message's fields.
const KEYS_BYTES_MAX: u64 = 32;

/// Waits until the loop has shown what it did.
fn method(host: &Host, calls: u64) -> MethodStats {
    let find = |host: &Host| {
        let methods = host.server.stats().methods;
        methods.into_iter().find(|method| method.path == RUN)
    };
    host.until("a call", |host| {
        find(host).is_some_and(|method| method.calls == calls && 0 < method.sent_bytes)
    });
    find(host).unwrap()
}

fn a_small_reply_is_copied_once(model: Model) {
    let host = host(model);
    let payload = vec![7; 1000].into();
    let request = Task {
        payload,
        ..task(Behaviour::Echo)
    };
    block_on(host.client().run(request)).unwrap();
    let method = method(&host, 1);
    assert!(
        (1000..1000 + KEYS_BYTES_MAX).contains(&method.sent_bytes),
        "{method:?}"
    );
    assert_eq!(
        (method.copied_bytes, method.file_bytes),
        (method.sent_bytes, 0)
    );
    host.until("the copy", |host| {
        method.copied_bytes <= host.server.stats().copied_bytes
    });
}

fn large_replies_are_not_copied(model: Model) {
    let host = host(model);
    let client = host.client();
    for (calls, bytes) in [(1, 64 << 10), (2, 1 << 20)] {
        let large = Task {
            number: bytes,
            ..task(Behaviour::Large)
        };
        let reply = block_on(client.run(large)).unwrap().into_inner();
        assert_eq!(reply.payload.len() as u64, bytes);
        let method = method(&host, calls);
        assert!(bytes <= method.sent_bytes, "{method:?}");
        assert!(
            method.copied_bytes <= calls * 2 * KEYS_BYTES_MAX,
            "{method:?}"
        );
    }
    let total = host.server.stats().copied_bytes;
    assert!(
        total < 1000,
        "{total} bytes are more than greetings and keys"
    );
}

fn regions_are_not_copied(model: Model) {
    let host = regions::host(model);
    let cut = kettle_testkit::cutter::Order {
        pieces: vec![regions::piece(5, 1 << 20, false); 2],
        shrink_to: None,
    };
    block_on(host.client.cut(cut)).unwrap();
    let file_bytes = 3 << 20; // the last piece comes once more
    let stats = loop {
        let stats = host.server.stats();
        if stats.methods.iter().any(|method| 0 < method.sent_bytes) {
            break stats;
        }
        std::thread::yield_now();
    };
    let method = &stats.methods[0];
    assert_eq!(method.path, "/kettle.cutter.v1.Cutter/Cut");
    assert_eq!(method.file_bytes, file_bytes);
    assert!(
        (file_bytes..file_bytes + 100).contains(&method.sent_bytes),
        "{method:?}"
    );
    // A host over other streams than sockets reads files into memory.
    let copied = if model == Model::Tokio { file_bytes } else { 0 };
    assert!(
        (copied..copied + 1000).contains(&stats.copied_bytes),
        "{stats:?}"
    );
}

#[test]
fn hand_overs_and_wakes_are_counted() {
    let builder = Server::builder().model(Model::Epoll);
    let host = host_so(builder, |service| service.on_pool());
    let client = host.client();
    for _ in 0..3 {
        block_on(client.run(task(Behaviour::Echo))).unwrap();
    }
    host.until("three hand-overs", |host| {
        host.server.stats().hand_overs == 3
    });
    let stats = host.server.stats();
    assert!(3 <= stats.wakes, "the pool wakes the loop: {stats:?}");
    assert!(0 < stats.buffer_allocations, "{stats:?}");
}
