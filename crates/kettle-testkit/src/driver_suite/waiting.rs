//! Promises 7, 8 and 9: when a wait ends.

use super::rig::{Kind, LIMIT, Rig, Subject};
use kettle_io::{Op, OpKind, Outcome};
use std::io::Write;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A wait that ends within this has not slept for [`LIMIT`].
const SOON: Duration = Duration::from_secs(5);

/// With completions at hand a wait does not sleep.
pub fn p7_completions_of_submit_and_cancel_end_the_next_wait(subject: &Subject) {
    for wakeable in [false, true] {
        let mut rig = Rig::new(subject);
        rig.wakeable = wakeable;
        let (socket, token, _far) = rig.receiving();
        let started = Instant::now();
        for _ in 0..3 {
            rig.send(socket, b"now".to_vec());
            assert!(!rig.wait(Some(LIMIT)).is_empty());
        }
        rig.driver.cancel(socket, OpKind::Receive);
        rig.until_last(token, OpKind::Receive);
        rig.submit(Op::Receive { socket });
        rig.detach(socket);
        rig.until_last(token, OpKind::Receive);
        assert!(
            started.elapsed() < SOON,
            "a wait slept with completions at hand"
        );
    }
}

/// What was taken comes once, and lets the next wait sleep. A driver may have nothing to take.
pub fn p7_completions_that_were_taken_end_no_wait(subject: &Subject) {
    const SLEEP: Duration = Duration::from_millis(20);
    let mut rig = Rig::new(subject);
    let (socket, token, _far) = rig.receiving();
    for _ in 0..3 {
        rig.send(socket, b"now".to_vec());
        if rig.take_done().is_empty() {
            rig.until_last(token, OpKind::Send);
            continue;
        }
        assert!(!rig.is_in_flight(token, OpKind::Send));
        let started = Instant::now();
        assert!(rig.wait(Some(SLEEP)).is_empty());
        assert!(SLEEP <= started.elapsed(), "a wait ended for nothing");
    }
    rig.driver.cancel(socket, OpKind::Receive);
    if rig.take_done().is_empty() {
        rig.until_last(token, OpKind::Receive);
    }
    assert!(!rig.is_in_flight(token, OpKind::Receive));
    rig.submit(Op::Receive { socket });
    rig.detach(socket);
    if rig.take_done().is_empty() {
        rig.until_last(token, OpKind::Receive);
    }
    assert!(!rig.is_in_flight(token, OpKind::Receive));
}

/// Many wakes before a wait end that wait and no other; one during a wait ends it.
pub fn p8_a_wake_ends_one_wait(subject: &Subject) {
    let mut rig = Rig::new(subject);
    rig.wakeable = true;
    let (_, token, mut far) = rig.receiving();
    let waker = rig.driver.waker();
    for _ in 0..1000 {
        waker.wake();
    }
    let started = Instant::now();
    assert!(rig.wait(Some(LIMIT)).is_empty());
    assert!(started.elapsed() < SOON, "a wake before the wait was lost");
    let started = Instant::now();
    assert!(rig.wait(Some(Duration::from_millis(50))).is_empty());
    assert!(
        Duration::from_millis(50) <= started.elapsed(),
        "wakes ended a second wait"
    );
    let sleeper = thread::spawn(move || {
        thread::park_timeout(Duration::from_millis(30));
        waker.wake();
    });
    let started = Instant::now();
    assert!(rig.wait(Some(LIMIT)).is_empty());
    assert!(started.elapsed() < SOON, "a wake during the wait was lost");
    sleeper.join().unwrap();
    // A wake takes nothing away from the sockets.
    far.write_all(b"too").unwrap();
    rig.driver.waker().wake();
    assert_eq!(rig.receive(token, 3), b"too");
}

/// What was posted before a wake is followed by the end of a wait.
pub fn p8_wakes_from_other_threads_are_never_lost(subject: &Subject) {
    const THREADS: u64 = 4;
    const WAKES: u64 = 200_000;
    let mut rig = Rig::new(subject);
    rig.wakeable = true;
    let _idle = rig.receiving();
    let posted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let waker = rig.driver.waker();
            let posted = &posted;
            scope.spawn(move || {
                for _ in 0..WAKES {
                    posted.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                }
            });
        }
        // Each wait ends because of a wake whose post is then seen; a lost wake sleeps on.
        while posted.load(Ordering::Relaxed) < THREADS * WAKES {
            let started = Instant::now();
            rig.wait(Some(LIMIT));
            assert!(started.elapsed() < SOON, "a wake was lost");
        }
    });
}

/// An interrupt ends a wait for anything, wakeable or not.
pub fn p8_interrupt_ends_every_wait(subject: &Subject) {
    for wakeable in [false, true] {
        for situation in [idle, receiving, accepting, sending] {
            let mut rig = Rig::new(subject);
            rig.wakeable = wakeable;
            let kept = situation(&mut rig);
            let waker = rig.driver.waker();
            let other = thread::spawn(move || {
                thread::park_timeout(Duration::from_millis(20));
                waker.interrupt();
            });
            let started = Instant::now();
            for completion in rig.wait(Some(LIMIT)) {
                let end = matches!(&completion.outcome, Outcome::Received(end) if end.is_empty());
                let cancelled = matches!(completion.outcome, Outcome::Cancelled);
                assert!(
                    matches!(subject.kind, Kind::Blocking | Kind::BlockingClient)
                        && (end || cancelled),
                    "{completion:?}"
                );
            }
            assert!(
                started.elapsed() < SOON,
                "an interrupt did not end the wait"
            );
            other.join().unwrap();
            drop(kept);
        }
    }
}

type Kept = Option<std::net::TcpStream>;

fn idle(_rig: &mut Rig) -> Kept {
    None
}

fn receiving(rig: &mut Rig) -> Kept {
    Some(rig.receiving().2)
}

fn accepting(rig: &mut Rig) -> Kept {
    rig.accepting();
    None
}

fn sending(rig: &mut Rig) -> Kept {
    let (socket, _, far) = rig.receiving();
    rig.fill(socket);
    // On the fake driver something may be held back still.
    while !rig.wait(Some(Duration::from_millis(50))).is_empty() {}
    Some(far)
}

/// An interrupt just before, at and after the start of a wait ends it.
pub fn p8_interrupts_at_any_time_are_seen(subject: &Subject) {
    for round in 0..200 {
        let mut rig = Rig::new(subject);
        let _far = rig.receiving();
        let waker = rig.driver.waker();
        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                for _ in 0..round * 20 {
                    std::hint::spin_loop();
                }
                waker.interrupt();
            });
            start.wait();
            let started = Instant::now();
            rig.wait(Some(LIMIT));
            assert!(
                started.elapsed() < SOON,
                "an interrupt around a wait's start was lost"
            );
        });
    }
}

/// A wait with nothing to report lasts its time-out, whatever it waits for.
pub fn p9_wait_lasts_as_long_as_its_timeout(subject: &Subject) {
    for wakeable in [false, true] {
        for situation in [idle, receiving, accepting, sending] {
            let mut rig = Rig::new(subject);
            rig.wakeable = wakeable;
            let _kept = situation(&mut rig);
            // Not in order: a socket's own time-out has to grow and shrink.
            for millis in [0, 30, 2, 80, 1, 10] {
                let timeout = Duration::from_millis(millis);
                let started = Instant::now();
                assert!(rig.wait(Some(timeout)).is_empty());
                let elapsed = started.elapsed();
                assert!(timeout <= elapsed, "{millis} ms ended after {elapsed:?}");
                assert!(
                    elapsed < timeout + SOON,
                    "{millis} ms ended after {elapsed:?}"
                );
            }
        }
    }
}
