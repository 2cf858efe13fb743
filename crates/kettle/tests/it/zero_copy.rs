//! Replies whose memory the kernel does not copy, and so releases later than it takes them.

use crate::harness::block_on;
use crate::regions::{Host, host_with, order, piece};
use kettle::{Model, Server};

crate::on_every_model! {
    memory_that_is_not_copied_passes
}

fn memory_that_is_not_copied_passes(model: Model) {
    let server = Server::builder().model(model);
    let host = host_with(server.zero_copy_bytes_min(Some(16 << 10)));
    stream_memory(&host);
    let sends = host.server.stats().sends;
    let lends = !matches!(model, Model::Blocking | Model::Threads | Model::Tokio);
    assert_eq!(0 < sends.zero_copy_bytes, lends, "{sends:?}");
}

/// Two streams of 20 MiB.
fn stream_memory(host: &Host) {
    let pieces: Vec<_> = (0..20).map(|n| piece(n * 1000, 1 << 20, true)).collect();
    for _ in 0..2 {
        let order = order(pieces.clone());
        let mut replies = block_on(host.client.slice(order)).unwrap().into_inner();
        for piece in &pieces {
            let reply = block_on(replies.message()).unwrap();
            host.expect(piece, &reply.expect("one for each piece").parts[0]);
        }
    }
}
