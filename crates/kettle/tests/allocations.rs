//! How often a server allocates for a call. In a process of its own: it counts the whole process.

use kettle::Server;
use kettle_proto::{Head, Instant, Machine, Metadata, native};
use kettle_testkit::trial::trial_server::TrialServer;
use kettle_testkit::trial::{Behaviour, Task, TrialService, task};
use prost::Message;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Calls that are in flight together, as at 64 × 16.
const BATCH: usize = 16;

const BATCHES: usize = 200;

/// Where a frame's header has the number of its stream.
const STREAM: std::ops::Range<usize> = 8..12;

/// A unary echo of 128 B, 16 in flight: at most one allocation per call. The client of this test
/// allocates nothing while it is counted: it repeats the bytes of one call with other stream numbers.
#[test]
fn a_unary_call_costs_few_allocations() {
    let server = Server::builder().add_service(TrialServer::new(TrialService::default()));
    let server = server.spawn("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    let (request, reply_bytes) = third_call(&mut stream);
    let mut last = u32::from_be_bytes(request[STREAM].try_into().unwrap());
    let mut batch = request.repeat(BATCH);
    let mut replies = vec![0; reply_bytes * BATCH];
    let mut exchange = || {
        for frame in batch.chunks_mut(request.len()) {
            last += 1;
            frame[STREAM].copy_from_slice(&last.to_be_bytes());
        }
        stream.write_all(&batch).unwrap();
        stream.read_exact(&mut replies).unwrap();
    };
    // Tables and buffers grow to what is needed.
    (0..10).for_each(|_| exchange());
    let region = Region::new(ALLOCATOR);
    (0..BATCHES).for_each(|_| exchange());
    let change = region.change();
    let calls = (BATCH * BATCHES) as f64;
    let allocations = (change.allocations + change.reallocations) as f64 / calls;
    println!("{allocations:.2} allocations per call");
    assert!(allocations <= 1.0, "{allocations} allocations per call");
    let region = Region::new(ALLOCATOR);
    drop(std::hint::black_box(Box::new(BATCH)));
    assert!(0 < region.change().allocations, "nothing is counted");
    assert_eq!(server.stats().calls_failed, 0);
}

/// Makes three calls; gives the bytes of the third, which names its method by number, and the length
/// of its reply.
fn third_call(stream: &mut TcpStream) -> (Vec<u8>, usize) {
    let now = Instant::from_nanos(0);
    let mut machine = native::Connection::client(native::Config::default(), now);
    let (mut request, mut reply_bytes) = (Vec::new(), 0);
    for _ in 0..3 {
        let echo = Task {
            payload: vec![b'x'; 128].into(),
            ..task(Behaviour::Echo)
        };
        let head = Head {
            path: "/kettle.trial.v1.Trial/Run",
            metadata: Metadata::new(),
            timeout: None,
        };
        let message = echo.encode_to_vec().into();
        machine.open(now, head, Some(message), true).unwrap();
        let payload = machine.poll_transmit(now, u64::MAX).unwrap();
        request = payload.into_chain().unwrap().to_vec();
        stream.write_all(&request).unwrap();
        reply_bytes = 0;
        while 0 < machine.open_calls() {
            let mut buffer = vec![0; 4096];
            let n = stream.read(&mut buffer).unwrap();
            buffer.truncate(n);
            reply_bytes += n;
            machine.handle_bytes(now, buffer.into());
            while machine.poll_event().is_some() {}
        }
    }
    (request, reply_bytes)
}
