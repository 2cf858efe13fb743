//! Promises 1, 2 and 12: standing operations, their ends, and detach.

use super::rig::{LIMIT, Rig, Subject, received};
use kettle_io::{Address, Op, OpKind, Outcome, Role, socket};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One Accept takes several connections, with their addresses.
pub fn p1_accept_stands(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (_, token, address) = rig.accepting();
    for _ in 0..3 {
        let client = TcpStream::connect(address).unwrap();
        let done = rig.until(|one| matches!(one.outcome, Outcome::Accepted { .. }));
        assert_eq!((done.len(), done[0].token, done[0].last), (1, token, false));
        let Outcome::Accepted { stream, address } = &done[0].outcome else {
            unreachable!()
        };
        assert_eq!(*address, client.local_addr().unwrap().into());
        assert_eq!(
            Address::Tcp(socket::peer_address(stream).unwrap()),
            *address
        );
    }
}

/// One Receive takes several messages.
pub fn p1_receive_stands(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (_, token, mut far) = rig.receiving();
    for text in [b"one", b"two", b"six"] {
        far.write_all(text).unwrap();
        assert_eq!(rig.receive(token, 3), text);
    }
    assert!(rig.is_in_flight(token, OpKind::Receive));
}

/// A cancelled operation has one last completion, and then silence.
pub fn p2_every_operation_ends_once_after_cancel(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (listener, accepts, address) = rig.accepting();
    let (stream, token, far) = rig.receiving();
    rig.fill(stream);
    for (socket, token, kind) in [
        (stream, token, OpKind::Send),
        (stream, token, OpKind::Receive),
        (listener, accepts, OpKind::Accept),
    ] {
        rig.driver.cancel(socket, kind);
        rig.driver.cancel(socket, kind);
        rig.until(|one| {
            let cancelled = matches!(one.outcome, Outcome::Cancelled);
            cancelled && one.last && (one.token, one.kind) == (token, kind)
        });
    }
    // With nothing in flight cancel does nothing, and what would have completed is not delivered.
    rig.driver.cancel(stream, OpKind::Connect);
    rig.driver.cancel(stream, OpKind::Receive);
    let _client = TcpStream::connect(address).unwrap();
    (&far).write_all(b"unheard").unwrap();
    assert!(rig.wait(Some(Duration::from_millis(50))).is_empty());
}

/// A detached socket's operations have one last completion each, and then silence.
pub fn p2_every_operation_ends_once_after_detach(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (listener, accepts, _) = rig.accepting();
    let (stream, token, _far) = rig.receiving();
    rig.fill(stream);
    rig.detach(stream);
    rig.detach(listener);
    let ends = [
        (token, OpKind::Receive),
        (token, OpKind::Send),
        (accepts, OpKind::Accept),
    ];
    while ends
        .iter()
        .any(|(token, kind)| rig.is_in_flight(*token, *kind))
    {
        rig.next();
    }
    assert!(rig.wait(Some(Duration::from_millis(50))).is_empty());
}

/// Detach closes the socket; nothing of its past reaches the next one of that number.
pub fn p12_detach_closes_and_silences(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (near, far) = rig.connection();
    let (stream, old) = rig.attach(near, Role::Stream);
    rig.driver.expect(stream, 100);
    rig.submit(Op::Receive { socket: stream });
    (&far).write_all(b"read, but never delivered").unwrap();
    assert!(rig.wait(Some(Duration::from_millis(50))).len() <= 1);
    (&far).write_all(b"never read").unwrap();
    rig.driver.cancel(stream, OpKind::Receive);
    rig.detach(stream);
    far.set_read_timeout(Some(LIMIT)).unwrap();
    match (&far).read(&mut [0; 8]) {
        Ok(0) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        other => panic!("the stream is still open: {other:?}"),
    }
    // The next socket may have the old one's number, but nothing of its past.
    let (_, token, mut far) = rig.receiving();
    far.write_all(b"new").unwrap();
    let done = rig.until(|one| one.token == token);
    assert!(received(old, &done).is_empty());
    assert!(b"new".starts_with(&received(token, &done)[..]));
    assert!(!rig.is_in_flight(old, OpKind::Receive));
}

/// A socket that still has much to read can be detached; the driver does not try it again.
pub fn p12_detach_in_the_middle_of_a_flood(subject: &Subject) {
    let mut rig = Rig::new(subject);
    for _ in 0..3 {
        let (socket, token, mut far) = rig.receiving();
        far.write_all(&vec![1; 200_000]).unwrap();
        rig.receive(token, 1);
        rig.detach(socket);
        rig.until_last(token, OpKind::Receive);
        assert!(rig.wait(Some(Duration::from_millis(10))).is_empty());
    }
}
