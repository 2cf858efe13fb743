//! Promises 4 and 6, connecting and shutting down: what goes out.

use super::rig::{LIMIT, Rig, Subject, pattern, received};
use kettle_buf::{FileRegion, Payload, Segment};
use kettle_io::{Address, Op, OpKind, Outcome, Role, socket};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
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

/// Memory and file regions leave in order, to a slow reader.
pub fn p4_send_mixes_memory_and_files(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, _, far) = rig.stream();
    let content = pattern(5 << 20);
    let file = TestFile::new(&content);
    let (mut payload, mut expected) = (Payload::new(), Vec::new());
    for round in 0..100u64 {
        let (offset, len) = (round * 31, 1 + round * 997);
        payload.put_slice(&round.to_be_bytes());
        payload.append(Segment::from(pattern(20_000)));
        payload.append_region(FileRegion::new(Arc::clone(&file.file), offset, len));
        expected.extend_from_slice(&round.to_be_bytes());
        expected.extend(pattern(20_000));
        expected.extend_from_slice(&content[offset as usize..(offset + len) as usize]);
    }
    payload.append_region(FileRegion::new(Arc::clone(&file.file), 0, 5 << 20));
    expected.extend_from_slice(&content);
    let reader = read_slowly(far, expected.len());
    rig.send_all(socket, payload);
    assert!(
        reader.join().unwrap().1 == expected,
        "bytes were lost, repeated or exchanged"
    );
}

/// A file shorter than its region fails the send, after the bytes that it has.
pub fn p4_a_file_that_ends_early_fails(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.stream();
    let file = TestFile::new(b"short");
    let mut payload = Payload::from(FileRegion::new(Arc::clone(&file.file), 0, 6));
    loop {
        rig.send(socket, payload);
        let over = |outcome: &Outcome| matches!(outcome, Outcome::Sent { .. } | Outcome::Failed(_));
        let done = rig.until(|one| over(&one.outcome));
        match done.into_iter().map(|one| one.outcome).find(over) {
            Some(Outcome::Sent { rest, .. }) => payload = rest,
            Some(Outcome::Failed(error)) => {
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    rig.detach(socket);
    let mut bytes = Vec::new();
    far.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"short");
    assert!(!rig.is_in_flight(token, OpKind::Receive));
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

/// A file that nobody reads waits like memory does, and keeps nobody from receiving.
pub fn p4_a_file_waits_without_blocking(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.receiving();
    let file = TestFile::new(&pattern(1 << 20));
    // Ends a send that sleeps in the kernel, so that the test fails instead of hanging.
    let mut rescuer = far.try_clone().unwrap();
    let (filled, is_filled) = mpsc::channel::<()>();
    let rescue = thread::spawn(move || {
        let slept = is_filled.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
        if slept {
            let _ = io::copy(&mut rescuer, &mut io::sink());
        }
        slept
    });
    rig.fill_with(socket, || {
        FileRegion::new(Arc::clone(&file.file), 0, 1 << 20).into()
    });
    drop(filled);
    assert!(!rescue.join().unwrap(), "the driver slept in a send");
    far.write_all(b"heard").unwrap();
    assert_eq!(rig.receive(token, 5), b"heard");
    assert!(rig.is_in_flight(token, OpKind::Send));
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
fn read_slowly(mut stream: TcpStream, count: usize) -> JoinHandle<(TcpStream, Vec<u8>)> {
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

/// A file of the test's own, gone with it.
struct TestFile {
    file: Arc<File>,
    path: PathBuf,
}

impl TestFile {
    fn new(content: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kettle-driver-suite-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = open_with(&path, content).expect("a file in the temporary directory");
        Self {
            file: Arc::new(file),
            path,
        }
    }
}

fn open_with(path: &PathBuf, content: &[u8]) -> io::Result<File> {
    fs::write(path, content)?;
    File::open(path)
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
