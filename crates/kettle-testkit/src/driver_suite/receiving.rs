//! Promises 3, 5, 10 and 11, and gathering: what comes in.

use super::rig::{Kind, LIMIT, Rig, Subject, pattern, received};
use kettle_io::{Completion, Op, OpKind, Outcome, Token};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Receiving in many short Receives, some gathering, gives the stream unharmed.
pub fn p3_cancel_and_receive_again_loses_nothing(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.stream();
    let sent = pattern(3 << 20);
    let expected = sent.clone();
    let writer = thread::spawn(move || far.write_all(&sent).map(|()| far));
    let (mut bytes, mut round, started) = (Vec::new(), 0, Instant::now());
    while bytes.len() < expected.len() {
        assert!(started.elapsed() < LIMIT, "only {} bytes came", bytes.len());
        round += 1;
        if round % 3 == 0 {
            // What is gathered when the cancel comes is delivered too.
            rig.driver.expect(socket, 100_000);
        }
        rig.submit(Op::Receive { socket });
        if round % 2 == 0 {
            bytes.extend(received(token, &rig.wait(Some(Duration::from_millis(1)))));
        }
        rig.driver.cancel(socket, OpKind::Receive);
        let done = rig.until_last(token, OpKind::Receive);
        assert!(
            matches!(done.last().unwrap().outcome, Outcome::Cancelled),
            "{done:?}"
        );
        bytes.extend(received(token, &done));
    }
    assert!(bytes == expected, "bytes were lost, repeated or exchanged");
    writer.join().unwrap().unwrap();
}

/// What comes, and what ends, while no Receive stands is delivered to the next one.
pub fn p3_bytes_between_two_receives_are_not_lost(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.receiving();
    for round in 0..20 {
        far.write_all(b"heard").unwrap();
        assert_eq!(rig.receive(token, 5), b"heard");
        rig.driver.cancel(socket, OpKind::Receive);
        rig.until_last(token, OpKind::Receive);
        far.write_all(b"waiting").unwrap();
        if round % 2 == 0 {
            // The driver is told of the bytes now, when nobody wants them.
            assert!(rig.wait(Some(Duration::from_millis(2))).is_empty());
            rig.assert_rests(subject);
        }
        rig.submit(Op::Receive { socket });
        assert_eq!(rig.receive(token, 7), b"waiting");
    }
    rig.driver.cancel(socket, OpKind::Receive);
    rig.until_last(token, OpKind::Receive);
    drop(far);
    assert!(rig.wait(Some(Duration::from_millis(2))).is_empty());
    rig.submit(Op::Receive { socket });
    assert!(is_end(
        rig.until_last(token, OpKind::Receive).last().unwrap()
    ));
}

/// The end is seen when it comes together with bytes, also such that fill receives exactly.
pub fn p5_the_end_is_seen_behind_any_amount(subject: &Subject) {
    let block = match subject.kind {
        Kind::Blocking => kettle_io::model::BLOCK_BYTES_MAX,
        _ => 64 * 1024,
    };
    let mut rig = Rig::new(subject);
    for count in [1, block - 1, block, block + 1, 2 * block, 3 * block + 17] {
        let (socket, token, mut far) = rig.stream();
        let sent = pattern(count);
        far.write_all(&sent).unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        rig.submit(Op::Receive { socket });
        let done = rig.until_last(token, OpKind::Receive);
        assert!(
            received(token, &done) == sent,
            "{count} bytes were not delivered whole"
        );
        assert!(is_end(done.last().unwrap()));
        rig.detach(socket);
    }
}

/// The end of the stream comes after its bytes, once, and leaves the way back open.
pub fn p5_end_of_stream_is_an_empty_receive(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.receiving();
    far.write_all(b"the last words").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let done = rig.until_last(token, OpKind::Receive);
    assert_eq!(received(token, &done), b"the last words");
    assert!(is_end(done.last().unwrap()), "{done:?}");
    // The other way is still open, and an idle half-open stream does not keep the driver busy.
    assert!(rig.wait(Some(Duration::from_millis(50))).is_empty());
    rig.assert_rests(subject);
    rig.send_all(socket, b"an answer".to_vec().into());
    let mut answer = [0; 9];
    far.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"an answer");
}

/// Connections that wait hold no memory of the pool; a blocking thread its small block.
pub fn p10_an_idle_connection_pins_no_buffer(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let _idle: Vec<_> = match subject.kind {
        Kind::Blocking => vec![rig.receiving()],
        _ => (0..20).map(|_| rig.receiving()).collect(),
    };
    assert!(rig.wait(Some(Duration::from_millis(20))).is_empty());
    let pinned = rig.driver.stats().pool.bytes;
    let allowed = if subject.kind == Kind::Blocking {
        kettle_io::model::BLOCK_BYTES_MAX
    } else {
        0
    };
    // Readiness that turns out to be nothing may make the first block, shared by all.
    let shared = if subject.kind == Kind::Blocking {
        0
    } else {
        64 * 1024
    };
    assert!(
        pinned <= allowed + shared,
        "idle connections pin {pinned} bytes"
    );
}

/// A polite connection is served beside a flood; the blocking form lets it wait in the backlog.
pub fn p11_a_flood_does_not_starve_others(subject: &Subject) {
    let mut rig = Rig::new(subject);
    if subject.kind == Kind::Blocking {
        return others_wait_in_the_backlog(rig);
    }
    let (_, flood, mut flooder) = rig.receiving();
    let (_, polite, mut speaker) = rig.receiving();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let block = vec![1; 1 << 20];
            while !stop.load(Ordering::Relaxed) {
                flooder.write_all(&block).unwrap();
            }
        });
        rig.receive(flood, 1 << 20);
        for _ in 0..20 {
            speaker.write_all(b"?").unwrap();
            let heard = (0..100).any(|_| {
                let done = rig.next();
                assert!(
                    received(flood, &done).len() <= 64 * 1024,
                    "more than a buffer in a wait"
                );
                received(polite, &done) == b"?"
            });
            assert!(heard, "a polite connection was not served in 100 waits");
        }
        stop.store(true, Ordering::Relaxed);
        // The flooder may be stuck in a full socket.
        while !drained(&mut rig, flood) {}
    });
}

/// A caller that always has something to send, which completes at once, still receives.
pub fn p11_sending_all_the_time_does_not_starve_receiving(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.receiving();
    for _ in 0..20 {
        far.write_all(b"?").unwrap();
        let heard = (0..100).any(|_| {
            if !rig.is_in_flight(token, OpKind::Send) {
                rig.send(socket, vec![1]);
            }
            received(token, &rig.next()) == b"?"
        });
        assert!(heard, "nothing was received in 100 waits");
    }
}

/// Receives on until nothing more comes.
fn drained(rig: &mut Rig, token: Token) -> bool {
    received(token, &rig.wait(Some(Duration::from_millis(100)))).is_empty()
}

/// The blocking form: the listener rests while a connection is attached.
fn others_wait_in_the_backlog(mut rig: Rig) {
    let (_, _, address) = rig.accepting();
    let (stream, token, mut far) = rig.receiving();
    let _waiting = std::net::TcpStream::connect(address).unwrap();
    for _ in 0..3 {
        far.write_all(b"!").unwrap();
        assert_eq!(received(token, &rig.next()), b"!");
    }
    rig.detach(stream);
    rig.until(|one| matches!(one.outcome, Outcome::Accepted { .. }));
}

/// An expected message comes as one segment.
pub fn expect_gathers_a_message(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.receiving();
    let message = pattern(300_000);
    let sent = message.clone();
    rig.driver.expect(socket, 300_000);
    let writer = thread::spawn(move || {
        for part in sent.chunks(7_001) {
            far.write_all(part).unwrap();
        }
        far.write_all(b"next").unwrap();
        far
    });
    let (mut bytes, mut pieces) = (Vec::new(), Vec::new());
    while bytes.len() < 300_004 {
        for one in rig.next() {
            bytes.extend(received(token, std::slice::from_ref(&one)));
            pieces.push(bytes.len());
        }
    }
    assert!(bytes[..300_000] == message[..] && &bytes[300_000..] == b"next");
    assert!(
        subject.kind == Kind::Fake || pieces[0] == 300_000,
        "the message came in pieces: {pieces:?}"
    );
    writer.join().unwrap();
}

/// What was gathered of an expected message comes when the stream ends early.
pub fn expect_gives_up_at_the_end_of_the_stream(subject: &Subject) {
    let mut rig = Rig::new(subject);
    let (socket, token, mut far) = rig.receiving();
    rig.driver.expect(socket, 1000);
    far.set_write_timeout(Some(LIMIT)).unwrap();
    far.write_all(b"a part").unwrap();
    drop(far);
    let done = rig.until_last(token, OpKind::Receive);
    assert_eq!(received(token, &done), b"a part");
    assert!(is_end(done.last().unwrap()), "{done:?}");
}

fn is_end(completion: &Completion) -> bool {
    completion.last && matches!(&completion.outcome, Outcome::Received(end) if end.is_empty())
}
