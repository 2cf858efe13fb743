//! Limits and leaks of descriptors. These tests change or count what the whole process has, so they
//! stand in a binary of their own and run one after the other.

use kettle_buf::FileRegion;
use kettle_io::model::FD_SETSIZE;
use kettle_io::{
    Completion, Driver, DriverConfig, FileStrategy, Model, Op, OpKind, Outcome, PIPES_MAX,
    Patience, Role, SocketId, Token, open, socket,
};
use kettle_testkit::MULTIPLEXED;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn opened(model: Model) -> Box<dyn Driver> {
    open(model, &DriverConfig::default()).unwrap()
}

fn wait(driver: &mut dyn Driver, timeout: Duration) -> Vec<Completion> {
    let mut done = Vec::new();
    let patience = Patience {
        timeout: Some(timeout),
        wakeable: false,
    };
    driver.wait(patience, &mut done).unwrap();
    done
}

/// A listener with a standing Accept, under token 0.
fn accepting(driver: &mut dyn Driver) -> (SocketId, SocketAddr) {
    let listener = socket::listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let address = socket::local_address(&listener).unwrap();
    let id = driver.attach(listener, Role::Listener, Token(0)).unwrap();
    driver.submit(Op::Accept { socket: id });
    (id, address)
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, far)
}

/// What is open of the kinds that a driver opens. Files are left out: the C library opens one for a
/// moment when a thread that has ended gives memory back, and each listing is one itself.
fn open_descriptors() -> Vec<String> {
    let mut open: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| !target.starts_with('/'))
        .collect();
    open.sort_unstable();
    open
}

#[test]
fn select_refuses_descriptors_from_fd_setsize_on() {
    let _alone = alone();
    let mut driver = opened(Model::Select);
    let mut fillers: Vec<File> = Vec::new();
    let mut highest = 0;
    while highest < FD_SETSIZE as i32 - 2 {
        fillers.push(File::open("/dev/null").unwrap());
        highest = highest.max(fillers.last().unwrap().as_raw_fd());
    }
    // Numbers below FD_SETSIZE that are still free, if any, go first.
    let (mut taken, mut refused) = (Vec::new(), None);
    while refused.is_none() {
        let (near, far) = connection();
        let number = near.as_raw_fd();
        match driver.attach(near.into(), Role::Stream, Token(1)) {
            Ok(id) => {
                assert!(number < FD_SETSIZE as i32);
                taken.push((id, far));
            }
            Err(error) => {
                assert!(FD_SETSIZE as i32 <= number);
                refused = Some((error, far));
            }
        }
    }
    let (error, mut far) = refused.unwrap();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert!(error.to_string().contains("FD_SETSIZE = 1024"), "{error}");
    // The refused socket is closed, and the driver goes on.
    assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
    drop(fillers);
    let (near, mut far) = connection();
    let socket = driver.attach(near.into(), Role::Stream, Token(2)).unwrap();
    driver.submit(Op::Receive { socket });
    far.write_all(b"!").unwrap();
    assert_eq!(wait(&mut *driver, LONG).len(), 1);
}

/// Leaves the process `spare` descriptors to open, until dropped.
struct Scarce {
    before: Rlimit,
    _fillers: Vec<File>,
}

impl Scarce {
    fn new(spare: usize) -> Self {
        let before = getrlimit(Resource::Nofile);
        // The limit is on numbers, so the holes below it are filled first.
        let highest = fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok())
            .max()
            .unwrap();
        let limit = Rlimit {
            current: Some(highest + 8),
            maximum: before.maximum,
        };
        setrlimit(Resource::Nofile, limit).unwrap();
        let mut fillers = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            fillers.push(file);
        }
        fillers.truncate(fillers.len() - spare);
        Self {
            before,
            _fillers: fillers,
        }
    }
}

impl Drop for Scarce {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.before).unwrap();
    }
}

#[test]
fn accept_without_descriptors_fails_once_and_does_not_spin() {
    let _alone = alone();
    for model in driven() {
        let mut driver = opened(model);
        let (listener, address) = accepting(&mut *driver);
        let _client = TcpStream::connect(address).unwrap();
        let scarce = Scarce::new(0);
        let done = wait(&mut *driver, LONG);
        match done.as_slice() {
            [
                Completion {
                    outcome: Outcome::Failed(error),
                    last: true,
                    ..
                },
            ] => {
                let emfile = rustix::io::Errno::MFILE.raw_os_error();
                assert_eq!(error.raw_os_error(), Some(emfile), "{model}: {error}");
            }
            other => panic!("{model}: {other:?}"),
        }
        let before = driver.stats().system_calls;
        assert!(wait(&mut *driver, Duration::from_millis(100)).is_empty());
        let calls = driver.stats().system_calls - before;
        if model == Model::Blocking || model == Model::Threads {
            // No descriptor is left for the waker's eventfd: its flag is looked at now and then.
            assert!(calls.total() <= 30, "{model}: {calls:?}");
        } else {
            assert!(calls.total() <= 3, "{model}: {calls:?}");
        }
        drop(scarce);
        driver.submit(Op::Accept { socket: listener });
        let done = wait(&mut *driver, LONG);
        assert!(
            matches!(done[0].outcome, Outcome::Accepted { .. }),
            "{model}: {done:?}"
        );
    }
}

#[test]
fn a_blocking_model_is_woken_without_descriptors_too() {
    let _alone = alone();
    let mut driver = opened(Model::Blocking);
    let scarce = Scarce::new(0);
    let waker = driver.waker();
    let other = thread::spawn(move || {
        thread::park_timeout(Duration::from_millis(30));
        waker.wake();
    });
    let started = Instant::now();
    driver
        .wait(
            Patience {
                timeout: Some(LONG),
                wakeable: true,
            },
            &mut Vec::new(),
        )
        .unwrap();
    assert!(started.elapsed() < LONG / 2, "the wake was lost");
    other.join().unwrap();
    drop(scarce);
}

fn driven() -> impl Iterator<Item = Model> {
    Model::ALL.into_iter().filter(|model| model.has_driver())
}

/// One life of a driver with every kind of end that a descriptor can have.
fn live(model: Model) -> io::Result<()> {
    let mut driver = opened(model);
    let waker = driver.waker();
    let (listener, address) = accepting(&mut *driver);
    let _clients = [TcpStream::connect(address)?, TcpStream::connect(address)?];
    // An accepted connection that nobody attaches.
    drop(wait(&mut *driver, LONG));
    let (near, far) = connection();
    let stream = driver.attach(near.into(), Role::Stream, Token(1))?;
    driver.submit(Op::Receive { socket: stream });
    (&far).write_all(b"!")?;
    drop(wait(&mut *driver, LONG));
    driver.cancel(stream, OpKind::Receive);
    driver.detach(stream);
    waker.interrupt();
    drop(wait(&mut *driver, Duration::ZERO));
    // One that is still attached when the driver goes, and one that is refused.
    let (near, _far) = connection();
    driver.attach(near.into(), Role::Stream, Token(2))?;
    if model == Model::Blocking {
        let (near, _far) = connection();
        let error = driver
            .attach(near.into(), Role::Stream, Token(3))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    }
    driver.cancel(listener, OpKind::Accept);
    drop(driver);
    waker.wake();
    Ok(())
}

#[test]
fn no_descriptor_is_leaked() {
    let _alone = alone();
    for model in driven() {
        let before = open_descriptors();
        for _ in 0..3 {
            live(model).unwrap();
        }
        assert_eq!(open_descriptors(), before, "{model}");
    }
}

#[test]
fn an_idle_blocking_connection_needs_one_descriptor() {
    let _alone = alone();
    let (near, _far) = connection();
    let before = open_descriptors();
    let mut driver = opened(Model::Threads);
    let socket = driver.attach(near.into(), Role::Stream, Token(1)).unwrap();
    driver.submit(Op::Receive { socket });
    assert!(wait(&mut *driver, Duration::from_millis(20)).is_empty());
    assert_eq!(open_descriptors(), before);
}

#[test]
fn many_connections_are_all_served() {
    let _alone = alone();
    for model in MULTIPLEXED {
        serve_many(model, if model == Model::Select { 400 } else { 1000 });
    }
}

/// More is done between two waits than io_uring's queue has places for: the kernel keeps the rest.
#[test]
fn completions_that_find_no_place_are_kept() {
    const STREAMS: usize = 4_600;
    let _alone = alone();
    let mut driver = opened(Model::Uring);
    for pair in 0..STREAMS / 2 {
        let (one, other) = UnixStream::pair().unwrap();
        for (end, stream) in [one, other].into_iter().enumerate() {
            let number = (2 * pair + end) as u64;
            let socket = serve(&mut *driver, stream.into(), number as usize);
            let payload = number.to_be_bytes().to_vec().into();
            driver.submit(Op::Send { socket, payload });
        }
    }
    let (mut sent, mut heard) = (0, vec![false; STREAMS]);
    while sent < STREAMS || heard.contains(&false) {
        let done = wait(&mut *driver, LONG);
        assert!(!done.is_empty(), "{sent} sends were told of");
        for Completion { token, outcome, .. } in done {
            match outcome {
                Outcome::Sent { rest, .. } if rest.is_empty() => sent += 1,
                Outcome::Received(bytes) => {
                    assert_eq!(bytes.to_vec(), (token.0 ^ 1).to_be_bytes());
                    assert!(!std::mem::replace(&mut heard[token.0 as usize], true));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The queue of signals has no room at all: only SIGIO comes, which says no more than that.
#[test]
fn signals_that_find_no_room_are_made_up_for() {
    let _alone = alone();
    let before = getrlimit(Resource::Sigpending);
    let none = Rlimit {
        current: Some(0),
        maximum: before.maximum,
    };
    setrlimit(Resource::Sigpending, none).unwrap();
    serve_many(Model::Signal, 300);
    setrlimit(Resource::Sigpending, before).unwrap();
}

fn serve_many(model: Model, count: usize) {
    let mut driver = opened(model);
    let (_, address) = accepting(&mut *driver);
    let clients = thread::spawn(move || {
        let clients: Vec<_> = (0..count)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        for (number, mut client) in clients.iter().enumerate() {
            client.write_all(&(number as u32).to_be_bytes()).unwrap();
        }
        for (number, mut client) in clients.iter().enumerate() {
            let mut answer = [0; 4];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(u32::from_be_bytes(answer), number as u32);
        }
    });
    let mut sockets = vec![None];
    let mut ends = 0;
    while ends < count {
        let done = wait(&mut *driver, LONG);
        assert!(!done.is_empty(), "{model}: nothing came in time");
        for Completion { token, outcome, .. } in done {
            match outcome {
                Outcome::Accepted { stream, .. } => {
                    sockets.push(Some(serve(&mut *driver, stream, sockets.len())));
                }
                Outcome::Received(segment) if segment.is_empty() => {
                    driver.detach(sockets[token.0 as usize].take().unwrap());
                    ends += 1;
                }
                Outcome::Received(segment) => {
                    let socket = sockets[token.0 as usize].unwrap();
                    driver.submit(Op::Send {
                        socket,
                        payload: segment.into(),
                    });
                }
                Outcome::Sent { rest, .. } => assert!(rest.is_empty()),
                other => panic!("{model}: {other:?}"),
            }
        }
    }
    clients.join().unwrap();
}

fn serve(driver: &mut dyn Driver, stream: OwnedFd, number: usize) -> SocketId {
    let socket = driver
        .attach(stream, Role::Stream, Token(number as u64))
        .unwrap();
    driver.submit(Op::Receive { socket });
    socket
}

fn open_pipe_ends() -> usize {
    let open = open_descriptors();
    open.iter().filter(|name| name.starts_with("pipe:")).count()
}

/// A file of this length, without a name.
fn file(bytes: usize) -> Arc<File> {
    let name = format!("kettle-descriptors-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.expect("a file in the temporary directory");
    fs::remove_file(path).unwrap();
    let content: Vec<u8> = (0..bytes).map(|at| (at * at / 7) as u8).collect();
    file.write_all_at(&content, 0).unwrap();
    Arc::new(file)
}

/// Sends a file until the rest of it waits for room.
fn fill(driver: &mut dyn Driver, socket: SocketId, file: &Arc<File>) {
    let len = file.metadata().unwrap().len();
    let mut payload = FileRegion::new(Arc::clone(file), 0, len).into();
    loop {
        driver.submit(Op::Send { socket, payload });
        let done = wait(driver, Duration::from_millis(60));
        match done.into_iter().next().map(|one| one.outcome) {
            None => return,
            Some(Outcome::Sent { rest, .. }) => payload = rest,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn no_pipe_is_leaked_however_a_send_ends() {
    let _alone = alone();
    let file = file(8 << 20);
    for model in driven() {
        let (before, pipe_ends) = (open_descriptors(), open_pipe_ends());
        let mut driver = opened(model);
        // Cancelled, given up by a detach, reset by the peer, and under way when the driver goes.
        for end in 0..4 {
            let (near, far) = connection();
            let socket = driver.attach(near.into(), Role::Stream, Token(1)).unwrap();
            fill(&mut *driver, socket, &file);
            match end {
                0 => driver.cancel(socket, OpKind::Send),
                2 => drop(far),
                3 => break,
                _ => {}
            }
            if end != 1 {
                assert_eq!(wait(&mut *driver, LONG).len(), 1, "{model}");
            }
            driver.detach(socket);
            drop(wait(&mut *driver, Duration::ZERO));
            // At most the one that is free.
            let new = open_pipe_ends() - pipe_ends;
            assert!(new <= 2, "{model}: {new} after end {end}");
        }
        let calls = driver.stats().system_calls;
        assert!(4 <= calls.close, "{model}: {calls:?}");
        drop(driver);
        assert_eq!(open_descriptors(), before, "{model}");
    }
}

#[test]
fn files_are_sent_without_descriptors_for_a_pipe() {
    let _alone = alone();
    let file = file(100_000);
    for model in driven() {
        let mut driver = opened(model);
        // The driver's own descriptors are there, as after the first wait.
        drop(wait(&mut *driver, Duration::ZERO));
        let (near, mut far) = connection();
        let socket = driver.attach(near.into(), Role::Stream, Token(1)).unwrap();
        let scarce = Scarce::new(1);
        let payload = FileRegion::new(Arc::clone(&file), 1, 99_999).into();
        driver.submit(Op::Send { socket, payload });
        let done = wait(&mut *driver, LONG);
        assert!(
            matches!(done[0].outcome, Outcome::Sent { bytes: 99_999, .. }),
            "{model}: {done:?}"
        );
        drop(scarce);
        let mut bytes = vec![0; 99_999];
        far.read_exact(&mut bytes).unwrap();
        let mut expected = vec![0; 99_999];
        file.read_exact_at(&mut expected, 1).unwrap();
        assert!(bytes == expected, "{model}");
        let sends = driver.stats().sends;
        assert_eq!(
            (sends.sendfile_bytes, sends.pipe_fallbacks),
            (99_999, 1),
            "{model}"
        );
    }
}

/// More connections than pipes, all with a file on its way at once.
#[test]
fn many_connections_share_few_pipes() {
    const CONNECTIONS: usize = 120;
    const BYTES: u64 = 200_000;
    let _alone = alone();
    let file = file(BYTES as usize + CONNECTIONS);
    for model in MULTIPLEXED {
        let pipe_ends = open_pipe_ends();
        let mut driver = opened(model);
        assert_eq!(DriverConfig::default().file_strategy, FileStrategy::Splice);
        let mut readers = Vec::new();
        let mut sockets = Vec::new();
        for number in 0..CONNECTIONS {
            let (near, far) = connection();
            // Small, so that each connection is full with some of the file still in its pipe.
            rustix::net::sockopt::set_socket_send_buffer_size(&near, 16 * 1024).unwrap();
            let token = Token(number as u64);
            let socket = driver.attach(near.into(), Role::Stream, token).unwrap();
            let payload = FileRegion::new(Arc::clone(&file), number as u64, BYTES).into();
            driver.submit(Op::Send { socket, payload });
            sockets.push(socket);
            readers.push(far);
        }
        assert_eq!(open_pipe_ends() - pipe_ends, 2 * PIPES_MAX, "{model}");
        let readers = thread::spawn(move || {
            let read = |mut far: TcpStream| {
                let mut bytes = vec![0; BYTES as usize];
                far.read_exact(&mut bytes).unwrap();
                bytes
            };
            readers.into_iter().map(read).collect::<Vec<_>>()
        });
        let mut left = CONNECTIONS;
        while 0 < left {
            let done = wait(&mut *driver, LONG);
            assert!(!done.is_empty(), "{model}: nothing came in time");
            for one in done {
                match one.outcome {
                    Outcome::Sent { rest, .. } if rest.is_empty() => left -= 1,
                    Outcome::Sent { rest, .. } => driver.submit(Op::Send {
                        socket: sockets[one.token.0 as usize],
                        payload: rest,
                    }),
                    other => panic!("{model}: {other:?}"),
                }
            }
        }
        let mut content = vec![0; BYTES as usize + CONNECTIONS];
        file.read_exact_at(&mut content, 0).unwrap();
        for (number, bytes) in readers.join().unwrap().into_iter().enumerate() {
            assert!(bytes == content[number..][..BYTES as usize], "{model}");
        }
        let sends = driver.stats().sends;
        let (splice, sendfile) = (sends.splice_bytes, sends.sendfile_bytes);
        assert_eq!(splice + sendfile, CONNECTIONS as u64 * BYTES, "{model}");
        assert!(0 < splice && 0 < sends.pipe_fallbacks, "{model}: {sends:?}");
    }
}
