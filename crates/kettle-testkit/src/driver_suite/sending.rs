//! Promises 4 and 6, connecting and shutting down: what goes out. Files stand in `files.rs`.

use super::rig::{LIMIT, Rig, Subject, pattern, received};
use kettle_buf::Segment;
use kettle_io::{Address, Op, OpKind, Outcome, Role, socket};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A payload larger than the socket's room leaves in several sends.
pub fn p4_send_waits_for_a_slow_reader(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, _, far) = rig.stream();
    let bytes = pattern(8 << 20);
    let reader = read_slowly(far, bytes.len());
    let sends = rig.send_all(socket, Segment::from(bytes.clone()).into());
    assert!(1 < sends, "8 MiB fit into the socket at once");
    assert!(
        reader.join().unwrap().1 == bytes,
        "bytes were lost, repeated or exchanged"
    );
    assert_eq!(rig.driver.stats().sent_bytes, bytes.len() as u64);
}

/// Two sides that both send more than fits do not wait for each other.
pub fn p4_receiving_goes_on_while_a_send_waits(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.receiving();
    rig.fill(socket);
    // Both sides would wait for ever if the driver waited in the send alone.
    let sent = pattern(4 << 20);
    let expected = sent.clone();
    let writer = thread::spawn(move || far.write_all(&sent).map(|()| far));
    assert!(
        rig.receive(token, expected.len()) == expected,
        "bytes were lost or exchanged"
    );
    assert!(rig.is_in_flight(token, OpKind::Send), "nobody has read");
    drop(writer.join().unwrap().unwrap());
    rig.until_last(token, OpKind::Send);
}

/// A socket that was full, and was emptied while no Send waited, takes the next one.
pub fn p4_room_between_two_sends_is_seen(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.stream();
    for _ in 0..5 {
        rig.send(socket, vec![9; 16 << 20]);
        let done = rig.until_last(token, OpKind::Send);
        let sent = done.into_iter().find_map(|one| match one.outcome {
            Outcome::Sent { bytes, .. } => Some(bytes),
            _ => None,
        });
        let sent = sent.unwrap();
        assert!(sent < 16 << 20, "16 MiB fit into the socket at once");
        let reader = read_slowly(far, sent as usize);
        // The driver is told of the room while it has no use for it.
        assert!(rig.wait(Some(Duration::from_millis(100))).is_empty());
        far = reader.join().unwrap().0;
        rig.assert_rests(subject);
    }
}

/// Sending to a reset connection fails with an error.
pub fn p6_send_to_a_gone_peer_fails(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, far) = rig.stream();
    rig.send_all(socket, b"never read".to_vec().into());
    // Closing with unread bytes resets the connection.
    drop(far);
    let mut error = None;
    while error.is_none() {
        rig.send(socket, vec![1; 1000]);
        let done = rig.until_last(token, OpKind::Send);
        error = done.into_iter().find_map(|one| match one.outcome {
            Outcome::Failed(error) => Some(error.kind()),
            _ => None,
        });
    }
    let kind = error.unwrap();
    assert!(
        matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{kind}"
    );
    // A receive says it too: by an error, or by the end when the send has taken the error.
    rig.submit(Op::Receive { socket });
    rig.until_last(token, OpKind::Receive);
}

/// A connect ends as connected or with the kernel's error.
pub fn connect_succeeds_and_is_refused(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let (socket, token) = rig.attach(socket::stream(&address, None).unwrap(), Role::Stream);
    rig.submit(Op::Connect {
        socket,
        address: address.clone(),
    });
    let done = rig.until_last(token, OpKind::Connect);
    assert!(
        matches!(done.last().unwrap().outcome, Outcome::Connected),
        "{done:?}"
    );
    let (mut far, _) = listener.accept().unwrap();
    rig.submit(Op::Receive { socket });
    far.write_all(b"hello").unwrap();
    assert_eq!(rig.receive(token, 5), b"hello");
    rig.detach(socket);

    drop(listener);
    let (socket, token) = rig.attach(socket::stream(&address, None).unwrap(), Role::Stream);
    rig.submit(Op::Connect { socket, address });
    let done = rig.until_last(token, OpKind::Connect);
    match &done.last().unwrap().outcome {
        Outcome::Failed(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        other => panic!("{other:?}"),
    }
}

/// After shutdown the peer reads the end and may still send.
pub fn shutdown_ends_our_side_only(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.receiving();
    rig.send_all(socket, b"bye".to_vec().into());
    rig.driver.shutdown(socket);
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"bye");
    far.write_all(b"still here").unwrap();
    assert_eq!(rig.receive(token, 10), b"still here");
    drop(far);
    let done = rig.until_last(token, OpKind::Receive);
    assert!(received(token, &done).is_empty());
    // Both sides are shut now; that must not keep a driver busy that has nothing to do.
    assert!(rig.wait(Some(Duration::from_millis(20))).is_empty());
    rig.assert_rests(subject);
}

/// Reads `count` bytes, beginning when the sender's socket is probably full, in small steps.
pub(super) fn read_slowly(mut stream: TcpStream, count: usize) -> JoinHandle<(TcpStream, Vec<u8>)> {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    thread::spawn(move || {
        let mut bytes = vec![0; count];
        thread::park_timeout(Duration::from_millis(50));
        for part in bytes.chunks_mut(30_011) {
            stream.read_exact(part).unwrap();
            thread::yield_now();
        }
        (stream, bytes)
    })
}
