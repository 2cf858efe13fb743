//! Promise 4 for files, by every strategy.

use super::rig::{Kind, LIMIT, Rig, Subject, pattern};
use super::sending::read_slowly;
use kettle_buf::{FileRegion, Payload, Segment};
use kettle_io::{Completion, DriverConfig, FileStrategy, OpKind, Outcome, SendStats, SocketId};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// More than a socket takes that nobody reads.
const LARGE_BYTES: u64 = 8 * MIB;

/// What the test files begin with.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(LARGE_BYTES as usize));

/// A file with bytes at its start and around 4 GiB, and nothing between.
static FILE: LazyLock<Arc<File>> = LazyLock::new(|| {
    let file = new_file();
    let around = &CONTENT[..2 * MIB as usize];
    file.write_all_at(&CONTENT, 0).unwrap();
    file.write_all_at(around, 4 * GIB - MIB).unwrap();
    Arc::new(file)
});

/// Every region arrives as it is in the file, and is counted for its strategy.
pub fn p4_every_strategy_sends_every_region(subject: &Subject) {
    let ranges = [0, 1, 4095, 4096].map(|len| [0, 1, 4095, 4097].map(|offset| (offset, len)));
    let large = [(7, MIB + 1), (4 * GIB - MIB / 2 - 1, MIB)];
    for strategy in FileStrategy::ALL {
        let mut rig = with(subject, strategy);
        let (socket, _, far) = rig.stream();
        let (mut payload, mut expected, mut file_bytes) = (Payload::new(), Vec::new(), 0);
        for &(offset, len) in ranges.as_flattened().iter().chain(&large) {
            let region = FileRegion::new(Arc::clone(&FILE), offset, len);
            file_bytes += len;
            expected.extend_from_slice(b"head");
            expected.extend(content(&region));
            payload.put_slice(b"head");
            payload.append_region(region);
        }
        let reader = read(far, expected.len());
        rig.send_all(socket, payload);
        assert!(
            reader.join().unwrap() == expected,
            "{strategy}: bytes were lost, repeated or exchanged"
        );
        let stats = rig.driver.stats();
        assert_eq!(stats.sends, sent_by(strategy, file_bytes), "{strategy}");
        assert_eq!(stats.sent_bytes, expected.len() as u64, "{strategy}");
    }
}

/// Memory and file regions leave in order, to a slow reader.
pub fn p4_send_mixes_memory_and_files(subject: &Subject) {
    for strategy in FileStrategy::ALL {
        let mut rig = with(subject, strategy);
        let (socket, _, far) = rig.stream();
        let (mut payload, mut expected) = (Payload::new(), Vec::new());
        for round in 0..100u64 {
            let region = FileRegion::new(Arc::clone(&FILE), round * 31, 1 + round * 997);
            expected.extend_from_slice(&round.to_be_bytes());
            expected.extend(pattern(20_000));
            expected.extend(content(&region));
            payload.put_slice(&round.to_be_bytes());
            payload.append(Segment::from(pattern(20_000)));
            payload.append_region(region);
        }
        let region = FileRegion::new(Arc::clone(&FILE), 0, 5 * MIB);
        expected.extend(content(&region));
        payload.append_region(region);
        let reader = read_slowly(far, expected.len());
        rig.send_all(socket, payload);
        assert!(
            reader.join().unwrap().1 == expected,
            "{strategy}: bytes were lost, repeated or exchanged"
        );
    }
}

/// A file shorter than its region fails the send, after the bytes that it has.
pub fn p4_a_file_that_ends_early_fails(subject: &Subject) {
    for strategy in FileStrategy::ALL {
        let mut rig = with(subject, strategy);
        let (socket, token, mut far) = rig.stream();
        let file = new_file();
        file.write_all_at(b"short", 0).unwrap();
        rig.send(socket, FileRegion::new(Arc::new(file), 0, 6));
        let error = failure(&mut rig, socket);
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{strategy}");
        let text = error.to_string();
        assert!(text.contains("1 bytes short of its region"), "{text}");
        rig.detach(socket);
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"short", "{strategy}");
        assert!(!rig.is_in_flight(token, OpKind::Receive));
    }
}

/// The same with a file that becomes shorter while some of it is on its way.
pub fn p4_a_file_cut_while_it_is_sent_fails(subject: &Subject) {
    for strategy in FileStrategy::ALL {
        let mut rig = with(subject, strategy);
        let (socket, _, mut far) = rig.stream();
        let file = Arc::new(new_file());
        file.write_all_at(&CONTENT, 0).unwrap();
        let region = FileRegion::new(Arc::clone(&file), 0, LARGE_BYTES);
        let sent = fill(&mut rig, socket, region.into());
        // In the middle of a page, and of what may be in a pipe already.
        let end = sent + 5_000;
        file.set_len(end).unwrap();
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            far.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let error = failure(&mut rig, socket);
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{strategy}");
        rig.detach(socket);
        let arrived = reader.join().unwrap();
        assert_eq!(arrived.len() as u64, end, "{strategy}");
        assert!(
            arrived == CONTENT[..end as usize],
            "{strategy}: what the file had is changed"
        );
    }
}

/// A file that nobody reads waits like memory does, and keeps nobody from receiving.
pub fn p4_a_file_waits_without_blocking(subject: &Subject) {
    for strategy in FileStrategy::ALL {
        let mut rig = with(subject, strategy);
        let (socket, token, mut far) = rig.receiving();
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
        let region = FileRegion::new(Arc::clone(&FILE), 0, LARGE_BYTES);
        fill(&mut rig, socket, region.into());
        drop(filled);
        assert!(
            !rescue.join().unwrap(),
            "{strategy}: the driver slept in a send"
        );
        far.write_all(b"heard").unwrap();
        assert_eq!(rig.receive(token, 5), b"heard");
        // Who tries all the time finds room when the kernel sends again what had no room at the peer.
        if subject.kind != Kind::Scanning {
            assert!(rig.is_in_flight(token, OpKind::Send));
            rig.assert_rests(subject);
        }
    }
}

/// What was under way of a cancelled file does not come before the next.
pub fn p4_a_cancelled_file_leaves_nothing_for_the_next(subject: &Subject) {
    for strategy in FileStrategy::ALL {
        let mut rig = with(subject, strategy);
        let (socket, token, far) = rig.stream();
        let region = FileRegion::new(Arc::clone(&FILE), 0, LARGE_BYTES);
        let sent = fill(&mut rig, socket, region.into());
        rig.driver.cancel(socket, OpKind::Send);
        let done = rig.until_last(token, OpKind::Send);
        let outcome = &done.last().unwrap().outcome;
        assert!(matches!(outcome, Outcome::Cancelled), "{outcome:?}");
        goes_on_with_another(&mut rig, socket, far, sent, "");
    }
}

/// The rest of a payload need not be sent.
pub fn p4_a_file_given_up_leaves_nothing_for_the_next(subject: &Subject) {
    for strategy in FileStrategy::ALL {
        for between in ["", "between"] {
            let mut rig = with(subject, strategy);
            let (socket, _, far) = rig.stream();
            let region = FileRegion::new(Arc::clone(&FILE), 0, LARGE_BYTES);
            let (mut payload, mut sent, mut full) = (Payload::from(region), 0, false);
            while !full {
                rig.send(socket, payload);
                let Outcome::Sent { bytes, rest } = next_of_send(&mut rig) else {
                    panic!("{strategy}: the send failed");
                };
                // A driver that has sent less of a file in one go has found the socket full.
                (payload, sent, full) = (rest, sent + bytes, bytes < MIB - 4096);
            }
            drop(payload);
            goes_on_with_another(&mut rig, socket, far, sent, between);
        }
    }
}

/// A reset in the middle of a file concerns one socket.
pub fn p4_a_file_to_a_gone_peer_leaves_nothing_for_others(subject: &Subject) {
    for strategy in FileStrategy::ALL {
        let mut rig = with(subject, strategy);
        let (socket, token, far) = rig.stream();
        let region = FileRegion::new(Arc::clone(&FILE), 0, LARGE_BYTES);
        fill(&mut rig, socket, region.into());
        drop(far);
        let done = rig.until_last(token, OpKind::Send);
        match &done.last().unwrap().outcome {
            Outcome::Failed(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ),
                "{error}"
            ),
            other => panic!("{other:?}"),
        }
        rig.detach(socket);
        let (socket, _, far) = rig.stream();
        goes_on_with_another(&mut rig, socket, far, 0, "");
    }
}

/// Without a pipe files leave by sendfile(2).
pub fn p4_files_need_no_pipes(subject: &Subject) {
    let config = DriverConfig {
        pipes_max: 0,
        ..DriverConfig::default()
    };
    let mut rig = Rig::with(subject, config);
    let (socket, _, far) = rig.stream();
    goes_on_with_another(&mut rig, socket, far, 0, "");
    let sends = rig.driver.stats().sends;
    assert_eq!(sends.sendfile_bytes, ANOTHER_BYTES, "{sends:?}");
    assert!(0 < sends.pipe_fallbacks, "{sends:?}");
}

/// Not every file can be spliced, sent by sendfile(2) or mapped.
pub fn p4_a_file_that_cannot_be_spliced_is_copied(subject: &Subject) {
    let path = "/proc/self/cmdline";
    let expected = fs::read(path).unwrap();
    for strategy in FileStrategy::ALL {
        let mut rig = with(subject, strategy);
        let (socket, _, far) = rig.stream();
        let file = Arc::new(File::open(path).unwrap());
        let reader = read(far, expected.len());
        let len = expected.len() as u64;
        rig.send_all(socket, FileRegion::new(file, 0, len).into());
        assert_eq!(reader.join().unwrap(), expected, "{strategy}");
        let sends = rig.driver.stats().sends;
        assert_eq!(sends.copy_bytes, len, "{strategy}: {sends:?}");
        let fell_back = 0 < sends.strategy_fallbacks;
        assert_eq!(fell_back, strategy != FileStrategy::Copy, "{sends:?}");
    }
}

const ANOTHER_BYTES: u64 = 300_001;

/// The peer has been sent `sent` bytes of the file, and now gets `between` and another region of it.
fn goes_on_with_another(rig: &mut Rig, socket: SocketId, far: TcpStream, sent: u64, between: &str) {
    let another = FileRegion::new(Arc::clone(&FILE), 4 * GIB - 100_000, ANOTHER_BYTES);
    let mut expected = CONTENT[..sent as usize].to_vec();
    expected.extend_from_slice(between.as_bytes());
    expected.extend(content(&another));
    let reader = read(far, expected.len());
    let mut payload = Payload::from(between.as_bytes().to_vec());
    payload.append_region(another);
    rig.send_all(socket, payload);
    assert!(
        reader.join().unwrap() == expected,
        "bytes of one send are in another"
    );
}

/// Sends until the rest waits for room, which it goes on doing. How many bytes were sent.
pub(super) fn fill(rig: &mut Rig, socket: SocketId, mut payload: Payload) -> u64 {
    let mut all = 0;
    loop {
        assert!(!payload.is_empty(), "all of it was taken");
        rig.send(socket, payload);
        let started = Instant::now();
        payload = loop {
            if Duration::from_millis(60) < started.elapsed() {
                return all;
            }
            let done = rig.wait(Some(Duration::from_millis(10)));
            if let Some((bytes, rest)) = sent_in(done) {
                all += bytes;
                break rest;
            }
        };
    }
}

/// How the send in flight fails, or one of those for what it leaves.
fn failure(rig: &mut Rig, socket: SocketId) -> io::Error {
    loop {
        match next_of_send(rig) {
            Outcome::Sent { rest, .. } => rig.send(socket, rest),
            Outcome::Failed(error) => return error,
            other => panic!("the send ended with {other:?}"),
        }
    }
}

fn sent_in(done: Vec<Completion>) -> Option<(u64, Payload)> {
    done.into_iter().find_map(|one| match one.outcome {
        Outcome::Sent { bytes, rest } => Some((bytes, rest)),
        _ => None,
    })
}

fn next_of_send(rig: &mut Rig) -> Outcome {
    let over = |one: &Completion| matches!(one.outcome, Outcome::Sent { .. } | Outcome::Failed(_));
    let done = rig.until(over).into_iter();
    done.map(|one| one.outcome)
        .find(|outcome| matches!(outcome, Outcome::Sent { .. } | Outcome::Failed(_)))
        .expect("there is one")
}

/// A driver that sends files so.
fn with(subject: &Subject, file_strategy: FileStrategy) -> Rig {
    let config = DriverConfig {
        file_strategy,
        ..DriverConfig::default()
    };
    Rig::with(subject, config)
}

/// What the driver counts when it has sent so many bytes of files and never fell back.
fn sent_by(strategy: FileStrategy, bytes: u64) -> SendStats {
    let mut stats = SendStats::default();
    match strategy {
        FileStrategy::Splice => stats.splice_bytes = bytes,
        FileStrategy::Sendfile => stats.sendfile_bytes = bytes,
        FileStrategy::Mmap => stats.mmap_bytes = bytes,
        FileStrategy::Copy => stats.copy_bytes = bytes,
        other => panic!("{other} is not counted"),
    }
    stats
}

/// Reads `count` bytes as fast as they come.
pub(super) fn read(mut stream: TcpStream, count: usize) -> JoinHandle<Vec<u8>> {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    thread::spawn(move || {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    })
}

/// The bytes of a region, read without the driver.
fn content(region: &FileRegion) -> Vec<u8> {
    let mut bytes = vec![0; region.len() as usize];
    let file = region.file();
    file.read_exact_at(&mut bytes, region.offset()).unwrap();
    bytes
}

/// An empty file without a name, to read and write.
fn new_file() -> File {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("kettle-driver-suite-{}-{next}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.expect("a file in the temporary directory");
    fs::remove_file(path).unwrap();
    file
}
