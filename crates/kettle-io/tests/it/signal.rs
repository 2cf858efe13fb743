//! What is peculiar to signals: they go to one thread, and tell of events instead of states.

use kettle_io::{
    Completion, Driver, DriverConfig, Model, Op, Outcome, Patience, Role, SocketId, Token, open,
};
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

fn driver() -> Box<dyn Driver> {
    open(Model::Signal, &DriverConfig::default()).unwrap()
}

fn wait(driver: &mut dyn Driver, millis: u64) -> Vec<Completion> {
    let patience = Patience {
        timeout: Some(Duration::from_millis(millis)),
        wakeable: false,
    };
    let mut done = Vec::new();
    driver.wait(patience, &mut done).unwrap();
    done
}

/// A socket that receives, and its far end.
fn receiving(driver: &mut dyn Driver, token: u64) -> (SocketId, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = listener.accept().unwrap().0;
    let socket = driver
        .attach(near.into(), Role::Stream, Token(token))
        .unwrap();
    driver.submit(Op::Receive { socket });
    (socket, far)
}

/// The bytes of the next wait that brings any.
fn received(driver: &mut dyn Driver) -> Vec<u8> {
    let done = wait(driver, 20_000);
    let bytes = done.into_iter().filter_map(|one| match one.outcome {
        Outcome::Received(segment) => Some(segment.to_vec()),
        _ => None,
    });
    bytes.flatten().collect()
}

#[test]
fn signals_follow_the_driver_to_another_thread() {
    let mut driver = driver();
    let (_, mut far) = receiving(&mut *driver, 1);
    far.write_all(b"here").unwrap();
    assert_eq!(received(&mut *driver), b"here");
    far.write_all(b"between").unwrap();
    let there = thread::spawn(move || {
        assert_eq!(received(&mut *driver), b"between");
        far.write_all(b"there").unwrap();
        assert_eq!(received(&mut *driver), b"there");
        (driver, far)
    });
    let (mut driver, mut far) = there.join().unwrap();
    far.write_all(b"back").unwrap();
    assert_eq!(received(&mut *driver), b"back");
}

/// Bytes and the end of the stream are two events, of which one read finds the first only.
#[test]
fn the_end_behind_bytes_is_not_missed() {
    let mut driver = driver();
    for token in 0..50 {
        let (socket, mut far) = receiving(&mut *driver, token);
        // Watched from here on.
        assert!(wait(&mut *driver, 1).is_empty());
        far.write_all(b"last words").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        assert_eq!(received(&mut *driver), b"last words");
        let done = wait(&mut *driver, 20_000);
        let [Completion { outcome, last, .. }] = done.as_slice() else {
            panic!("{done:?}");
        };
        assert!(matches!(outcome, Outcome::Received(end) if end.is_empty()) && *last);
        driver.detach(socket);
    }
}

#[test]
fn drivers_of_one_thread_do_not_take_each_others_signals() {
    let (mut a, mut b) = (driver(), driver());
    let (_, mut far_a) = receiving(&mut *a, 1);
    let (_, mut far_b) = receiving(&mut *b, 2);
    for _ in 0..100 {
        far_a.write_all(b"a").unwrap();
        far_b.write_all(b"b").unwrap();
        assert_eq!(received(&mut *a), b"a");
        assert_eq!(received(&mut *b), b"b");
    }
}

#[test]
fn a_thread_runs_so_many_drivers_and_no_more() {
    let on_its_own = thread::spawn(|| {
        let mut drivers: Vec<_> = (0..16).map(|_| driver()).collect();
        for driver in &mut drivers {
            assert!(wait(&mut **driver, 0).is_empty());
        }
        let mut one_more = driver();
        let patience = Patience {
            timeout: Some(Duration::ZERO),
            wakeable: false,
        };
        let error = one_more.wait(patience, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        assert!(error.to_string().contains("at most 16"), "{error}");
        drop(drivers.pop());
        one_more.wait(patience, &mut Vec::new()).unwrap();
    });
    on_its_own.join().unwrap();
}

/// The signal of a driver that goes to another thread, or ends there, may be used again.
#[test]
fn a_driver_that_leaves_its_thread_gives_its_signal_back() {
    let on_its_own = thread::spawn(|| {
        for round in 0..40 {
            let mut driver = driver();
            let (_, mut far) = receiving(&mut *driver, 1);
            assert!(wait(&mut *driver, 0).is_empty());
            let elsewhere = thread::spawn(move || {
                if round % 2 == 0 {
                    far.write_all(b"there").unwrap();
                    assert_eq!(received(&mut *driver), b"there");
                }
            });
            elsewhere.join().unwrap();
        }
    });
    on_its_own.join().unwrap();
}
