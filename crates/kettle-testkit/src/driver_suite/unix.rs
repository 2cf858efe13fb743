//! Unix-domain sockets: accepting, connecting, and a backlog that is full.

use super::rig::{Rig, Subject};
use kettle_io::{Address, Completion, Op, OpKind, Outcome, Role, SocketId, Token, socket};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A path that no other test has.
fn path() -> Arc<Path> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("kettle-suite-{}-{number}.sock", std::process::id());
    std::env::temp_dir().join(name).into()
}

fn connect(rig: &mut Rig, path: &Arc<Path>) -> (SocketId, Token, Completion) {
    let address = Address::Unix(Arc::clone(path));
    let stream = socket::stream(&address, None).unwrap();
    let (socket, token) = rig.attach(stream, Role::Stream);
    rig.submit(Op::Connect { socket, address });
    let mut done = rig.until_last(token, OpKind::Connect);
    (socket, token, done.pop().unwrap())
}

/// Unnamed peers are connections like others.
pub fn unix_peers_are_accepted(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let path = path();
    let (listener, _file) = socket::listen_unix(&path, None).unwrap();
    let (socket, token) = rig.attach(listener, Role::Listener);
    rig.submit(Op::Accept { socket });
    for _ in 0..3 {
        let _client = UnixStream::connect(&path).unwrap();
        let done = rig.until(|one| matches!(one.outcome, Outcome::Accepted { .. }));
        assert_eq!((done.len(), done[0].token, done[0].last), (1, token, false));
        let Outcome::Accepted { stream, address } = &done[0].outcome else {
            unreachable!()
        };
        assert_eq!(*address, Address::Unnamed);
        let peer = socket::peer_credentials(stream).unwrap();
        assert_eq!(peer.pid, Some(std::process::id()));
    }
}

/// A connect ends as connected or with the kernel's error.
pub fn unix_connect_succeeds_and_is_refused(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let path = path();
    let (listener, file) = socket::listen_unix(&path, None).unwrap();
    let (socket, token, done) = connect(&mut rig, &path);
    assert!(matches!(done.outcome, Outcome::Connected), "{done:?}");
    rig.submit(Op::Receive { socket });
    drop(listener);
    // What waited in the backlog ends with it.
    rig.until_last(token, OpKind::Receive);
    rig.detach(socket);
    let (socket, _, done) = connect(&mut rig, &path);
    assert_failed(&done, ErrorKind::ConnectionRefused);
    rig.detach(socket);
    drop(file);
    let (_, _, done) = connect(&mut rig, &path);
    assert_failed(&done, ErrorKind::NotFound);
}

/// A full backlog fails a connect at once, with EAGAIN.
pub fn unix_connect_does_not_wait_for_a_backlog(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let path = path();
    let (listener, _file) = socket::listen_unix(&path, None).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let (waiting, _, done) = connect(&mut rig, &path);
    assert!(matches!(done.outcome, Outcome::Connected), "{done:?}");
    rig.detach(waiting);
    let (_, _, done) = connect(&mut rig, &path);
    assert_failed(&done, ErrorKind::WouldBlock);
}

fn assert_failed(done: &Completion, kind: ErrorKind) {
    match &done.outcome {
        Outcome::Failed(error) => assert_eq!(error.kind(), kind),
        other => panic!("{other:?}"),
    }
}
