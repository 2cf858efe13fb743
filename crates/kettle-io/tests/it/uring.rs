//! What is peculiar to io_uring: who may forbid it, which thread a driver belongs to, and memory that is the
//! kernel's while a request is under way.
#![expect(
    unsafe_code,
    reason = "a thread forbids itself a system call, as a sandbox does"
)]

use kettle_buf::{Payload, Segment};
use kettle_io::{
    Address, Completion, Driver, DriverConfig, Model, Op, Outcome, Patience, Probe, Role, SocketId,
    Token, UringFeatures, open, socket,
};
use std::io::{self, ErrorKind, Read, Write};
use std::mem::offset_of;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// Kernels that have all features, some, and none.
const KERNELS: [UringFeatures; 3] = [
    UringFeatures::ALL,
    UringFeatures {
        deferred: false,
        incremental: false,
        multishot_receive: false,
        ..UringFeatures::ALL
    },
    UringFeatures::NONE,
];

fn driver(uring: UringFeatures) -> Box<dyn Driver> {
    let config = DriverConfig {
        uring,
        ..DriverConfig::default()
    };
    open(Model::Uring, &config).unwrap()
}

fn wait(driver: &mut dyn Driver, timeout: Duration) -> io::Result<Vec<Completion>> {
    let mut done = Vec::new();
    let patience = Patience {
        timeout: Some(timeout),
        wakeable: false,
    };
    driver.wait(patience, &mut done).map(|()| done)
}

/// A socket that receives, and its far end.
fn receiving(driver: &mut dyn Driver) -> (SocketId, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(LONG)).unwrap();
    let socket = driver.attach(near.into(), Role::Stream, Token(1)).unwrap();
    driver.submit(Op::Receive { socket });
    (socket, far)
}

fn received(driver: &mut dyn Driver) -> Vec<u8> {
    let done = wait(driver, LONG).unwrap();
    let bytes = done.into_iter().map(|one| match one.outcome {
        Outcome::Received(segment) => segment.to_vec(),
        other => panic!("{other:?}"),
    });
    bytes.flatten().collect()
}

#[test]
fn a_sandbox_that_forbids_io_uring_is_told() {
    for (error, word) in [
        (libc::EPERM, "seccomp"),
        (libc::ENOSYS, "a sandbox hides it"),
    ] {
        // What a thread forbids itself ends with it.
        let forbidden = thread::spawn(move || {
            forbid(libc::SYS_io_uring_setup, error);
            let opened = open(Model::Uring, &DriverConfig::default());
            (Model::Uring.probe(), opened.map(drop))
        });
        let (probe, opened) = forbidden.join().unwrap();
        let Probe::Refused(reason) = probe else {
            panic!("{probe:?}");
        };
        assert!(reason.starts_with("io_uring_setup(2): "), "{reason}");
        assert!(reason.contains(word), "{reason}");
        assert_eq!(opened.unwrap_err().to_string(), reason);
    }
    assert!(Model::Uring.probe().runs());
}

/// Makes a system call fail with this error on the calling thread, and on no other.
fn forbid(call: libc::c_long, error: libc::c_int) {
    let step = |code: u32, k: u32, otherwise: u8| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: otherwise,
        k,
    };
    let number = offset_of!(libc::seccomp_data, nr) as u32;
    let filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, number, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 1),
        step(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | error as u32,
            0,
        ),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: no memory is passed.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: prctl(2) reads a program and the filter it points to, both of which live until it returns.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

#[test]
fn a_driver_is_made_on_one_thread_and_used_on_another() {
    for uring in KERNELS {
        let mut driver = driver(uring);
        let (_, mut far) = receiving(&mut *driver);
        let there = thread::spawn(move || {
            far.write_all(b"there").unwrap();
            assert_eq!(received(&mut *driver), b"there");
        });
        there.join().unwrap();
    }
}

/// With deferred completions the kernel lets no other thread wait. Nothing is lost by the attempt.
#[test]
fn a_driver_belongs_to_the_thread_that_first_waited_with_it() {
    for uring in KERNELS {
        let mut driver = driver(uring);
        let (_, mut far) = receiving(&mut *driver);
        far.write_all(b"here").unwrap();
        assert_eq!(received(&mut *driver), b"here");
        far.write_all(b"once more").unwrap();
        let elsewhere = thread::scope(|scope| {
            let waits = scope.spawn(|| wait(&mut *driver, LONG));
            waits.join().unwrap()
        });
        match elsewhere {
            Ok(done) => {
                assert!(!uring.deferred, "this kernel has deferred completions");
                assert_eq!(done.len(), 1);
            }
            Err(error) => {
                assert!(uring.deferred, "{error}");
                assert!(
                    error.to_string().contains("the thread that first waited"),
                    "{error}"
                );
                assert_eq!(received(&mut *driver), b"once more");
            }
        }
    }
}

/// The kernel has let go of the sockets, and of the memory that it would have written to.
#[test]
fn a_driver_that_is_dropped_leaves_nothing_in_flight() {
    for uring in KERNELS {
        for _ in 0..10 {
            let (driver, peers) = busy(uring);
            drop(driver);
            peers.into_iter().for_each(until_the_end);
        }
    }
}

/// There it may not ask for the end of its requests: its memory is the kernel's for good.
#[test]
fn a_driver_may_be_dropped_on_a_thread_that_it_does_not_belong_to() {
    for uring in KERNELS {
        let (driver, peers) = busy(uring);
        thread::spawn(move || drop(driver)).join().unwrap();
        peers.into_iter().for_each(until_the_end);
    }
}

/// A driver with operations of every kind in flight, and bytes that are on their way into its memory; the far ends
/// of its streams.
fn busy(uring: UringFeatures) -> (Box<dyn Driver>, Vec<UnixStream>) {
    let mut driver = driver(uring);
    let (_, plain) = receiving(&mut *driver);
    let (gathering, gathered) = receiving(&mut *driver);
    driver.expect(gathering, 100_000);
    let mut peers = vec![plain, gathered];
    for pieces in [1, 3] {
        let (socket, far) = receiving(&mut *driver);
        let mut payload = Payload::new();
        (0..pieces).for_each(|_| payload.append(Segment::from(vec![7; 1 << 20])));
        fill(&mut *driver, socket, payload);
        peers.push(far);
    }
    let listener = socket::listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let address = Address::from(socket::local_address(&listener).unwrap());
    let stream = socket::stream(&address, None).unwrap();
    let listener = driver.attach(listener, Role::Listener, Token(0)).unwrap();
    driver.submit(Op::Accept { socket: listener });
    assert!(
        wait(&mut *driver, Duration::from_millis(1))
            .unwrap()
            .is_empty()
    );
    let socket = driver.attach(stream, Role::Stream, Token(0)).unwrap();
    driver.submit(Op::Connect { socket, address });
    for mut peer in &peers {
        peer.write_all(b"never received").unwrap();
    }
    (driver, peers)
}

/// Sends until the rest of the payload waits for room.
fn fill(driver: &mut dyn Driver, socket: SocketId, mut payload: Payload) {
    loop {
        driver.submit(Op::Send { socket, payload });
        let done = wait(driver, Duration::from_millis(10)).unwrap();
        match done.into_iter().next().map(|one| one.outcome) {
            Some(Outcome::Sent { rest, .. }) => payload = rest,
            None => return,
            other => panic!("{other:?}"),
        }
    }
}

/// Reads to the end, which a reset is too.
fn until_the_end(mut peer: UnixStream) {
    match peer.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}
