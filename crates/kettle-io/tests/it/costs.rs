//! What a request costs: system calls, counted, and allocations, none.

use crate::allocator::allocations;
use kettle_buf::FileRegion;
use kettle_io::{
    Completion, Driver, DriverConfig, FileStrategy, Model, Op, Outcome, Patience, Role, SocketId,
    SystemCalls, Token, open,
};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Patience = Patience {
    timeout: Some(Duration::from_secs(60)),
    wakeable: false,
};

/// A driver that echoes on several connections, and the clients' ends.
struct Echo {
    driver: Box<dyn Driver>,
    sockets: Vec<SocketId>,
    clients: Vec<TcpStream>,
    done: Vec<Completion>,
    /// Allocations inside the driver.
    allocations: u64,
}

impl Echo {
    fn new(model: Model, connections: usize) -> Self {
        let mut driver = open(model, &DriverConfig::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut sockets, mut clients) = (Vec::new(), Vec::new());
        for number in 0..connections {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (stream, _) = listener.accept().unwrap();
            let token = Token(number as u64);
            let socket = driver.attach(stream.into(), Role::Stream, token).unwrap();
            driver.submit(Op::Receive { socket });
            sockets.push(socket);
        }
        Self {
            driver,
            sockets,
            clients,
            done: Vec::new(),
            allocations: 0,
        }
    }

    /// Every client sends one request, the driver answers all, every client reads its answer.
    fn round(&mut self) {
        for client in &mut self.clients {
            client.write_all(&[1; 100]).unwrap();
        }
        // In bytes: a request may come in two parts where a block ends.
        let mut answered = 0;
        while answered < 100 * self.clients.len() as u64 {
            let before = allocations();
            self.driver.wait(PATIENCE, &mut self.done).unwrap();
            self.allocations += allocations() - before;
            for completion in self.done.drain(..) {
                match completion.outcome {
                    Outcome::Received(segment) => {
                        let socket = self.sockets[completion.token.0 as usize];
                        self.driver.submit(Op::Send {
                            socket,
                            payload: segment.into(),
                        });
                    }
                    Outcome::Sent { bytes, .. } => answered += bytes,
                    other => panic!("{other:?}"),
                }
            }
        }
        for client in &mut self.clients {
            client.read_exact(&mut [0; 100]).unwrap();
        }
    }

    /// The system calls of `rounds` rounds, after some for warming up.
    fn measure(&mut self, rounds: usize) -> SystemCalls {
        for _ in 0..10 {
            self.round();
        }
        let before = self.driver.stats().system_calls;
        for _ in 0..rounds {
            self.round();
        }
        self.driver.stats().system_calls - before
    }
}

#[test]
fn a_blocking_request_costs_two_system_calls() {
    for model in [Model::Blocking, Model::Threads] {
        let calls = Echo::new(model, 1).measure(100);
        let expected = SystemCalls {
            receive: 100,
            send: 100,
            ..SystemCalls::default()
        };
        assert_eq!(calls, expected, "{model}");
    }
}

#[test]
fn a_multiplexed_request_costs_two_system_calls_and_a_share_of_a_wait() {
    for model in [Model::Select, Model::Poll, Model::Epoll, Model::EpollEdge] {
        let calls = Echo::new(model, 64).measure(20);
        // All requests of a round are there when the wait begins.
        let requests = 64 * 20;
        let expected = SystemCalls {
            receive: requests,
            send: requests,
            wait: 20,
            ..calls
        };
        assert_eq!(calls, expected, "{model}");
        assert_eq!(calls.total(), 2 * requests + 20, "{model}");
        let calls = Echo::new(model, 1).measure(100);
        assert_eq!(calls.total(), 300, "{model}: {calls:?}");
    }
}

#[test]
fn a_request_by_io_uring_costs_a_share_of_an_enter() {
    // One brings the requests, one hands over the answers and says that they are sent. The kernel brings
    // some 20 at once.
    for (connections, enters_max) in [(1, 40), (64, 20 * 64 / 8)] {
        let calls = Echo::new(Model::Uring, connections).measure(20);
        assert_eq!(calls.total(), calls.enter, "{connections}: {calls:?}");
        assert!(calls.enter <= enters_max, "{connections}: {calls:?}");
    }
}

/// The system calls of a send of a part of a file that the socket has room for.
#[test]
fn a_file_costs_one_to_five_system_calls() {
    for (strategy, file, send) in [
        (FileStrategy::Splice, 1, 1),
        (FileStrategy::Sendfile, 0, 1),
        (FileStrategy::Mmap, 4, 1),
        (FileStrategy::Copy, 1, 1),
    ] {
        for (model, control) in [(Model::Epoll, 0), (Model::Blocking, 2)] {
            let config = DriverConfig {
                file_strategy: strategy,
                ..DriverConfig::default()
            };
            let mut driver = open(model, &config).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (near, _) = listener.accept().unwrap();
            let socket = driver.attach(near.into(), Role::Stream, Token(0)).unwrap();
            let program = Arc::new(File::open(std::env::current_exe().unwrap()).unwrap());
            let mut send_once = || {
                let payload = FileRegion::new(Arc::clone(&program), 0, 64 * 1024).into();
                let before = driver.stats().system_calls;
                driver.submit(Op::Send { socket, payload });
                let mut done = Vec::new();
                driver.take_done(&mut done);
                let outcome = &done[0].outcome;
                assert!(
                    matches!(outcome, Outcome::Sent { bytes: 65_536, .. }),
                    "{outcome:?}"
                );
                far.read_exact(&mut [0; 64 * 1024]).unwrap();
                driver.stats().system_calls - before
            };
            // The first one makes the pipe.
            send_once();
            // Only these two would sleep in blocking mode.
            let control = match strategy {
                FileStrategy::Splice | FileStrategy::Sendfile => control,
                _ => 0,
            };
            let expected = SystemCalls {
                file,
                send,
                control,
                ..SystemCalls::default()
            };
            assert_eq!(send_once(), expected, "{model}, {strategy}");
        }
    }
}

#[test]
fn a_short_read_is_not_followed_by_another() {
    for model in [Model::Select, Model::Poll, Model::Epoll, Model::EpollEdge] {
        let mut echo = Echo::new(model, 4);
        echo.round();
        let before = echo.driver.stats().system_calls;
        let brief = Patience {
            timeout: Some(Duration::from_millis(10)),
            wakeable: false,
        };
        echo.driver.wait(brief, &mut echo.done).unwrap();
        let calls = echo.driver.stats().system_calls - before;
        assert_eq!((calls.receive, calls.wait), (0, 1), "{model}");
    }
}

#[test]
fn a_batch_of_signals_costs_two_system_calls() {
    let calls = Echo::new(Model::Signal, 64).measure(20);
    // A poll and a read for each round.
    assert_eq!(calls.total(), 2 * 64 * 20 + 2 * 20, "{calls:?}");
    let calls = Echo::new(Model::Signal, 1).measure(100);
    assert_eq!(calls.total(), 400, "{calls:?}");
}

#[test]
fn a_scanned_request_needs_no_wait() {
    let calls = Echo::new(Model::Scan, 8).measure(50);
    assert_eq!((calls.send, calls.wait, calls.control), (400, 0, 0));
    assert!(400 <= calls.receive);
}

#[test]
fn a_request_allocates_nothing_in_the_driver() {
    for (model, connections) in [
        (Model::Blocking, 1),
        (Model::Select, 16),
        (Model::Poll, 16),
        (Model::Epoll, 16),
        (Model::EpollEdge, 16),
        (Model::Signal, 16),
        (Model::Uring, 16),
    ] {
        let mut echo = Echo::new(model, connections);
        echo.measure(0);
        echo.allocations = 0;
        echo.measure(100);
        // The pool's blocks are used again and again; making one more is no cost of a request.
        assert!(
            echo.allocations <= 4,
            "{model}: {} allocations",
            echo.allocations
        );
    }
}

#[test]
fn an_accepted_connection_does_not_wake_at_its_listeners_timeout() {
    let mut driver = open(Model::Blocking, &DriverConfig::default()).unwrap();
    let listener = kettle_io::socket::listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let address = kettle_io::socket::local_address(&listener).unwrap();
    let listener = driver.attach(listener, Role::Listener, Token(0)).unwrap();
    driver.submit(Op::Accept { socket: listener });
    let mut done = Vec::new();
    let brief = Patience {
        timeout: Some(Duration::from_millis(5)),
        wakeable: false,
    };
    driver.wait(brief, &mut done).unwrap();
    assert!(done.is_empty());
    let mut client = TcpStream::connect(address).unwrap();
    driver.wait(PATIENCE, &mut done).unwrap();
    let Some(Completion {
        outcome: Outcome::Accepted { stream, .. },
        ..
    }) = done.pop()
    else {
        panic!("nothing was accepted");
    };
    let socket = driver.attach(stream, Role::Stream, Token(1)).unwrap();
    driver.submit(Op::Receive { socket });
    let other = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(100));
        client.write_all(b"!").unwrap();
    });
    driver
        .wait(
            Patience {
                timeout: None,
                wakeable: false,
            },
            &mut done,
        )
        .unwrap();
    assert_eq!((done.len(), driver.stats().system_calls.receive), (1, 1));
    other.join().unwrap();
}
