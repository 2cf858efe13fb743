//! Replies with ranges of files in them.

use crate::harness::block_on;
use kettle::{
    Channel, Code, FileRegion, Model, Outbound, Request, Server, ServerBuilder, ServerHandle,
};
use kettle_testkit::cutter::cutter_client::CutterClient;
use kettle_testkit::cutter::cutter_server::CutterServer;
use kettle_testkit::cutter::{CutterService, Cutting, Order, Piece};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

crate::on_every_model! {
    a_reply_mixes_files_and_memory
    a_stream_of_regions_passes
    a_region_beyond_four_gibibytes_passes
    a_file_that_is_too_short_ends_its_call
    a_file_that_shrinks_on_its_way_breaks_the_connection
}

const CONTENT_BYTES: usize = 3 << 20;

/// Where the second part of the sparse file begins.
const FAR: u64 = 4 << 30;

pub struct Host {
    pub server: ServerHandle,
    content: Vec<u8>,
    pub client: CutterClient,
}

/// A server that cuts a file of its own, which has the same content at 0 and around 4 GiB.
pub fn host(model: Model) -> Host {
    host_with(Server::builder().model(model))
}

pub fn host_with(server: ServerBuilder) -> Host {
    let content: Vec<u8> = (0..CONTENT_BYTES as u32).map(|n| (n % 251) as u8).collect();
    let mut file = tempfile();
    file.write_all(&content).unwrap();
    file.seek(SeekFrom::Start(FAR - 1000)).unwrap();
    file.write_all(&content).unwrap();
    let service = CutterService::new(file, CONTENT_BYTES).unwrap();
    let server = server.add_service(CutterServer::new(service));
    let server = server.spawn("127.0.0.1:0").expect("the server starts");
    let url = format!("kettle://{}", server.local_addr());
    let channel = Channel::builder(url).message_bytes_max(16 << 20);
    let client = CutterClient::new(block_on(channel.connect()).unwrap());
    Host {
        server,
        content,
        client,
    }
}

/// A file without a name.
fn tempfile() -> File {
    let path = std::env::temp_dir().join(format!(
        "kettle-regions-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

pub fn piece(offset: u64, length: u64, memory: bool) -> Piece {
    Piece {
        offset,
        length,
        memory,
    }
}

pub fn order(pieces: Vec<Piece>) -> Order {
    Order {
        pieces,
        shrink_to: None,
    }
}

/// Sizes and offsets around those of pages and of what is linked rather than copied.
fn pieces() -> Vec<Piece> {
    let sizes = [0, 1, 4095, 4096, 16 << 10, (1 << 20) + 1];
    let pieces = sizes.into_iter().flat_map(|size| {
        [(0, false), (4097, false), (31, true)].map(|(offset, memory)| piece(offset, size, memory))
    });
    pieces.collect()
}

impl Host {
    pub fn expect(&self, piece: &Piece, part: &[u8]) {
        let start = piece.offset as usize;
        let wanted = &self.content[start..start + piece.length as usize];
        assert!(wanted == part, "{piece:?} came as {} bytes", part.len());
    }
}

fn a_reply_mixes_files_and_memory(model: Model) {
    let host = host(model);
    let order = order(pieces());
    let reply = block_on(host.client.cut(order.clone()))
        .unwrap()
        .into_inner();
    let length: u64 = order.pieces.iter().map(|piece| piece.length).sum();
    assert_eq!(
        (reply.length, reply.parts.len()),
        (length, order.pieces.len())
    );
    for (piece, part) in order.pieces.iter().zip(&reply.parts) {
        host.expect(piece, part);
    }
    let inner = reply.inner.expect("the last piece comes once more");
    host.expect(order.pieces.last().unwrap(), &inner.parts[0]);
}

fn a_stream_of_regions_passes(model: Model) {
    let host = host(model);
    let order = order(pieces());
    let mut replies = block_on(host.client.slice(order.clone()))
        .unwrap()
        .into_inner();
    for piece in &order.pieces {
        let reply = block_on(replies.message())
            .unwrap()
            .expect("one for each piece");
        assert_eq!(reply.length, piece.length);
        host.expect(piece, &reply.parts[0]);
    }
    assert_eq!(block_on(replies.message()).unwrap(), None);
}

fn a_region_beyond_four_gibibytes_passes(model: Model) {
    let host = host(model);
    let start = FAR - 900;
    let reply = block_on(host.client.cut(order(vec![piece(start, 1 << 20, false)]))).unwrap();
    host.expect(&piece(100, 1 << 20, false), &reply.into_inner().parts[0]);
}

/// Known before a byte left: the call ends, and nothing else.
fn a_file_that_is_too_short_ends_its_call(model: Model) {
    let host = host(model);
    let end = FAR - 1000 + CONTENT_BYTES as u64;
    let beyond = order(vec![piece(end - 10, 11, false)]);
    let status = block_on(host.client.cut(beyond.clone())).unwrap_err();
    let text = format!("the file has {end} bytes, 1 fewer than were to be sent");
    assert_eq!((status.code(), status.message()), (Code::DataLoss, &*text));
    let mut replies = block_on(host.client.slice(beyond)).map(|response| response.into_inner());
    let status = match &mut replies {
        Ok(replies) => block_on(replies.message()).unwrap_err(),
        Err(status) => status.clone(),
    };
    assert_eq!(status.code(), Code::DataLoss);
    let after = block_on(host.client.cut(order(vec![piece(0, 10, false)]))).unwrap();
    host.expect(&piece(0, 10, false), &after.into_inner().parts[0]);
    assert_eq!(
        host.server.stats().connections_accepted,
        1,
        "the connection lives on"
    );
}

/// Its bytes were announced, so that nothing can follow in their place.
fn a_file_that_shrinks_on_its_way_breaks_the_connection(model: Model) {
    let host = host(model);
    // Both are given before the first is sent.
    let pieces = vec![piece(0, 100 << 10, false), piece(0, 10, false)];
    let shrinking = Order {
        pieces,
        shrink_to: Some(50 << 10),
    };
    let replies = block_on(host.client.slice(shrinking)).map(|response| response.into_inner());
    let status = match replies {
        Ok(mut replies) => block_on(replies.message()).unwrap_err(),
        Err(status) => status,
    };
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let after = block_on(host.client.cut(order(vec![piece(0, 10, false)]))).unwrap();
    host.expect(&piece(0, 10, false), &after.into_inner().parts[0]);
    assert_eq!(host.server.stats().connections_accepted, 2);
}

#[test]
fn a_unary_request_with_regions_is_refused() {
    let host = host(Model::Epoll);
    let channel = Channel::builder(format!("kettle://{}", host.server.local_addr()));
    let channel = block_on(channel.connect()).unwrap();
    let file = tempfile();
    file.write_all_at(&[0; 10], 0).unwrap();
    let region = FileRegion::new(Arc::new(file), 0, 10);
    let request = Request::new(Outbound::from_payload(region.into()));
    let call = channel.call("/kettle.cutter.v1.Cutter/Cut", request);
    let status = block_on(call).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("make it a stream"), "{status}");
}

#[test]
fn what_is_composed_is_an_ordinary_message() {
    let file = tempfile();
    file.write_all_at(b"from a file", 0).unwrap();
    let composed = kettle::Composed::new(Cutting {
        length: 7,
        ..Cutting::default()
    });
    let plain = composed.encoded_len();
    let composed = composed.with(Cutting::PARTS, FileRegion::new(Arc::new(file), 5, 6));
    assert_eq!(
        composed.encoded_len(),
        plain + 2 + 6,
        "a key, a length and the bytes"
    );
}
