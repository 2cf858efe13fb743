//! What an idle connection holds of a server's heap. In a process of its own: it counts the whole process.

use kettle::{Model, Server};
use kettle_testkit::MULTIPLEXED;
use rustix::io::fcntl_dupfd_cloexec;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a connection that has said hello and makes no calls may hold of the heap.
const BYTES_PER_IDLE_MAX: usize = 1024;

/// What glibc's allocator adds to a block at most, in bytes: 8 of its own, and up to 15 to the next
/// multiple of 16.
const BLOCK_BYTES_MAX: usize = 23;

/// Few more than a power of two, so that tables, which double, are nearly twice as long as they must be.
const CONNECTIONS: usize = 1100;

/// As many as select(2) can watch, less those of the process itself.
const CONNECTIONS_ON_SELECT: usize = 1000;

/// The clients' descriptors are numbered from here on, and leave those that select(2) can watch to the server.
const CLIENT_DESCRIPTORS: i32 = 2000;

/// A client's hello without settings.
const HELLO: &[u8] = b"\xce\x4b\x54\x4c\x01\x01\x00\x00";

/// The server's: seven settings of 6 bytes.
const ANSWER_BYTES: usize = HELLO.len() + 7 * 6;

#[test]
fn an_idle_connection_holds_less_than_a_kibibyte() {
    let counted = MULTIPLEXED.map(|model| {
        let count = match model {
            Model::Select => CONNECTIONS_ON_SELECT,
            _ => CONNECTIONS,
        };
        let bytes = bytes_per_idle(model, count);
        println!("{model}: {bytes} bytes of the heap for each of {count} idle connections");
        (model, bytes)
    });
    for (model, bytes) in counted {
        assert!(bytes < BYTES_PER_IDLE_MAX, "{model}: {bytes} bytes");
    }
}

/// Requested bytes that each connection holds, and what the allocator may add to them.
fn bytes_per_idle(model: Model, count: usize) -> usize {
    let server = Server::builder().model(model).loops(1);
    let server = server.spawn("127.0.0.1:0").unwrap();
    let mut clients = Vec::with_capacity(count);
    // What the loop keeps for all of them comes with the first.
    clients.push(greeted(server.local_addr()));
    let region = Region::new(ALLOCATOR);
    while clients.len() < count {
        clients.push(greeted(server.local_addr()));
    }
    let change = region.change();
    assert_eq!(server.stats().connections, count as u64);
    let bytes = change.bytes_allocated - change.bytes_deallocated;
    let blocks = change.allocations - change.deallocations;
    assert!(count <= blocks, "nothing is counted");
    (bytes + blocks * BLOCK_BYTES_MAX) / (count - 1)
}

/// A connection on which both sides have said hello. It allocates nothing here.
fn greeted(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    let mut stream = TcpStream::from(fcntl_dupfd_cloexec(&stream, CLIENT_DESCRIPTORS).unwrap());
    stream.write_all(HELLO).unwrap();
    stream.read_exact(&mut [0; ANSWER_BYTES]).unwrap();
    stream
}
