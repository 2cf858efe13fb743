//! Every copied byte is counted, by method and in total.

use crate::harness::{Host, block_on, host, host_so};
use crate::regions;
use bytes::Bytes;
use kettle::{
    BoxAnswer, Channel, Inbound, MethodInfo, MethodStats, Model, Outbound, Request, Response,
    Server, Service,
};
use kettle_testkit::trial::{Behaviour, Task, task};
use std::sync::Mutex;
use std::time::{Duration, Instant};

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
fn hand_overs_are_counted() {
    let builder = Server::builder().model(Model::Epoll);
    let host = host_so(builder, |service| service.on_pool());
    let client = host.client();
    for _ in 0..3 {
        block_on(client.run(task(Behaviour::Echo))).unwrap();
    }
    assert_eq!(host.server.stats().hand_overs, 3);
}

#[test]
fn wakes_and_buffers_are_counted() {
    let host = host(Model::Epoll);
    let waking = Task {
        number: 5,
        ..task(Behaviour::SelfWake)
    };
    block_on(host.client().run(waking)).unwrap();
    host.until("five wakes", |host| host.server.stats().wakes == 5);
    host.until("a buffer", |host| {
        0 < host.server.stats().buffer_allocations
    });
}

/// Keeps the first bytes of each request: as they came, or copied.
struct Keeper {
    kept: Mutex<Vec<Bytes>>,
    copies: bool,
}

impl Service for Keeper {
    fn name(&self) -> &'static str {
        "test.Keeper"
    }

    fn methods(&self) -> &'static [MethodInfo] {
        const METHODS: &[MethodInfo] = &[MethodInfo::new("Keep", false, false)];
        METHODS
    }

    fn call(&self, _: usize, request: Request<Inbound>) -> BoxAnswer {
        let bytes = request.into_inner().into_bytes().unwrap().slice(..4);
        let bytes = match self.copies {
            true => Bytes::copy_from_slice(&bytes),
            false => bytes,
        };
        self.kept.lock().unwrap().push(bytes);
        kettle::answer(async { Ok(Response::new(Outbound::from_bytes(Bytes::new()))) })
    }
}

#[test]
fn slices_that_are_kept_are_found() {
    let after = Duration::from_millis(50);
    for copies in [false, true] {
        let kept = Mutex::default();
        let server = Server::builder().hold_detector(after);
        let server = server.add_service(Keeper { kept, copies });
        let server = server.spawn("127.0.0.1:0").unwrap();
        let url = format!("kettle://{}", server.local_addr());
        let channel = block_on(Channel::connect(url)).unwrap();
        for message in [&b"small"[..], &[1; 100 << 10]] {
            let message = Outbound::from_bytes(Bytes::copy_from_slice(message));
            block_on(channel.call("/test.Keeper/Keep", Request::new(message))).unwrap();
        }
        // The large message has a buffer of its own.
        let begin = Instant::now();
        while server.stats().long_holds < 1 && begin.elapsed() < 10 * after {
            std::thread::yield_now();
        }
        let wanted = if copies { 0 } else { 1 };
        assert_eq!(server.stats().long_holds, wanted, "with copies: {copies}");
    }
}
