//! What unary calls cost in a machine, for an instruction counter.
//!
//! ```text
//! cargo build --release -p kettle-proto --example call_cost
//! valgrind --tool=callgrind --toggle-collect='call_cost::turn' \
//!     target/release/examples/call_cost server 3200 16
//! ```
//!
//! `server` reads 3,200 calls of 128 bytes each, 16 in one segment, and echoes them; `client` makes such
//! batches and reads the answers. Only that is counted: not the start, nor the making of the input,
//! but the encoding of the replies is. Divide by the number of calls.

use bytes::BytesMut;
use kettle_buf::{Payload, Pool, PoolConfig, Segment};
use kettle_proto::native::{Config, Connection};
use kettle_proto::{Closing, Event, Head, Instant, Machine, Metadata, Status};
use std::hint::black_box;

/// A `bytes` field of 128 bytes, encoded.
const MESSAGE: [u8; 131] = [7; 131];

const PATH: &str = "/echo.v1.Echo/Unary";

/// Most bytes that are asked of a machine at a time.
const TRANSMIT_BYTES_MAX: u64 = 256 * 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok());
    let side = arguments.first().map(String::as_str);
    match (side, number(1), number(2)) {
        (Some("server"), Some(calls), Some(batch)) => serve(calls, batch),
        (Some("client"), Some(calls), Some(batch)) => call(calls, batch),
        _ => eprintln!("usage: call_cost server|client CALLS CALLS-IN-FLIGHT"),
    }
}

fn serve(calls: usize, batch: usize) {
    let (mut client, mut server) = ready();
    let mut pool = Pool::new(PoolConfig::default());
    for _ in 0..calls / batch {
        let requests = client_batch(&mut *client, batch);
        let bytes = received(&mut pool, &requests);
        let replies = turn(|| server_turn(&mut *server, bytes));
        client_reads(&mut *client, received(&mut pool, &replies));
    }
}

fn call(calls: usize, batch: usize) {
    let (mut client, mut server) = ready();
    let mut pool = Pool::new(PoolConfig::default());
    for _ in 0..calls / batch {
        let requests = turn(|| client_batch(&mut *client, batch));
        let replies = server_turn(&mut *server, received(&mut pool, &requests));
        let bytes = received(&mut pool, &replies);
        turn(|| client_reads(&mut *client, bytes));
    }
}

/// What is counted. A function of its own, so that the counter can be told its name.
#[inline(never)]
fn turn<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// As a loop drives a connection: bytes in, events to handlers, replies out.
fn server_turn(server: &mut dyn Machine, bytes: Segment) -> Payload {
    let now = Instant::from_nanos(2);
    server.handle_bytes(now, bytes);
    while let Some(event) = server.poll_event() {
        if let Event::Call {
            call,
            message: Some(message),
            ..
        } = event
        {
            let mut reply = BytesMut::with_capacity(message.len());
            reply.extend_from_slice(message.front());
            let closing = Closing {
                headers: Metadata::new(),
                message: Some(reply.into()),
                status: Status::default(),
            };
            server.finish(call, closing);
        }
    }
    let out = server.poll_transmit(now, TRANSMIT_BYTES_MAX);
    out.expect("calls were answered")
}

fn client_batch(client: &mut dyn Machine, batch: usize) -> Payload {
    let now = Instant::from_nanos(1);
    for _ in 0..batch {
        let message = Segment::from_static(&MESSAGE);
        let head = Head {
            path: PATH,
            metadata: Metadata::new(),
            timeout: None,
        };
        client
            .open(now, head, Some(message.into()), true)
            .expect("there is room for a batch");
    }
    let out = client.poll_transmit(now, TRANSMIT_BYTES_MAX);
    out.expect("calls were opened")
}

fn client_reads(client: &mut dyn Machine, bytes: Segment) {
    client.handle_bytes(Instant::from_nanos(3), bytes);
    while let Some(event) = client.poll_event() {
        black_box(event);
    }
    assert_eq!(client.open_calls(), 0, "every call was answered");
}

/// Bytes as they lie after they were received.
fn received(pool: &mut Pool, payload: &Payload) -> Segment {
    let bytes = payload.as_slice().expect("small frames are packed");
    pool.room().extend_from_slice(bytes);
    pool.take()
}

/// Two ends that know each other's settings, and the method.
fn ready() -> (Box<dyn Machine>, Box<dyn Machine>) {
    let now = Instant::from_nanos(0);
    let mut client: Box<dyn Machine> = Box::new(Connection::client(Config::default(), now));
    let mut server: Box<dyn Machine> = Box::new(Connection::server(Config::default(), now));
    let mut pool = Pool::new(PoolConfig::default());
    for _ in 0..2 {
        let requests = client_batch(&mut *client, 1);
        let replies = server_turn(&mut *server, received(&mut pool, &requests));
        client_reads(&mut *client, received(&mut pool, &replies));
    }
    (client, server)
}
