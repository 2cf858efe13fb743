//! A server on a model, and a client of it.

use kettle::{
    Address, Channel, Hosting, ListenAddress, Model, Server, ServerBuilder, ServerHandle,
};
pub use kettle_testkit::MULTIPLEXED;
use kettle_testkit::trial::TrialService;
use kettle_testkit::trial::trial_client::TrialClient;
use kettle_testkit::trial::trial_server::TrialServer;
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Far beyond what anything here takes, and short enough to see that something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server with the trial service.
pub struct Host {
    pub server: ServerHandle,
    pub service: TrialService,
}

/// A server on this model with default settings.
pub fn host(model: Model) -> Host {
    host_with(Server::builder().model(model))
}

/// A server with these settings.
pub fn host_with(builder: ServerBuilder) -> Host {
    host_at(builder, new_address())
}

/// A server with these settings at this address.
pub fn host_at(builder: ServerBuilder, address: impl Into<ListenAddress>) -> Host {
    host_as(builder, address, Hosting::from)
}

/// A server with these settings, which hosts the service in this way.
pub fn host_so(
    builder: ServerBuilder,
    host: impl FnOnce(TrialServer<TrialService>) -> Hosting,
) -> Host {
    host_as(builder, new_address(), host)
}

fn host_as(
    builder: ServerBuilder,
    address: impl Into<ListenAddress>,
    host: impl FnOnce(TrialServer<TrialService>) -> Hosting,
) -> Host {
    let service = TrialService::default();
    let server = builder.add_service(host(TrialServer::new(service.clone())));
    let server = server.spawn(address).expect("the server starts");
    Host { server, service }
}

thread_local! {
    /// Whether servers of this thread's test listen on Unix-domain sockets.
    static OVER_UNIX: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test whose servers listen on Unix-domain sockets, where they do not say where.
pub fn over_unix(test: impl FnOnce()) {
    OVER_UNIX.set(true);
    test();
    OVER_UNIX.set(false);
}

/// Where nobody listens yet.
fn new_address() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if !OVER_UNIX.get() {
        return "127.0.0.1:0".to_owned();
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("kettle-host-{}-{number}.sock", std::process::id());
    // The server takes its file with it.
    format!("unix://{}", std::env::temp_dir().join(name).display())
}

/// A plain stream to a server. What the standard library calls a TcpStream is any descriptor.
pub fn stream_to(address: &Address) -> io::Result<TcpStream> {
    match address {
        Address::Tcp(address) => TcpStream::connect(address),
        Address::Unix(path) => UnixStream::connect(path).map(|stream| OwnedFd::from(stream).into()),
        Address::Unnamed => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

impl Host {
    pub fn url(&self) -> String {
        match self.server.address() {
            Address::Tcp(address) => format!("kettle://{address}"),
            unix => unix.to_string(),
        }
    }

    pub fn client(&self) -> TrialClient {
        TrialClient::new(self.channel())
    }

    pub fn channel(&self) -> Channel {
        block_on(Channel::connect(self.url())).expect("the server answers")
    }

    /// Waits until something about the service or the server is as it should be.
    pub fn until(&self, what: &str, is_so: impl Fn(&Host) -> bool) {
        let begin = Instant::now();
        while !is_so(self) {
            assert!(
                begin.elapsed() < PATIENCE,
                "{what} did not come: {:?}",
                self.server.stats()
            );
            thread::yield_now();
        }
    }
}

/// Runs a future on this thread, as the simplest executor there is. Panics when it takes too long.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let (mut future, begin) = (pin!(future), Instant::now());
    loop {
        // Before the poll: one that is done by then, and was not woken, has not told so.
        let left = PATIENCE
            .checked_sub(begin.elapsed())
            .expect("the future is done in time");
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        thread::park_timeout(left);
    }
}

/// Defines a module for each test function, with a test for each I/O model.
#[macro_export]
macro_rules! on_every_model {
    ($($name:ident)*) => { $(
        mod $name {
            use super::$name as test;
            $crate::test_models! {}
        }
    )* };
}

/// The same with servers that listen on Unix-domain sockets: for tests in which it matters how much a socket
/// holds, and how its end is told.
#[macro_export]
macro_rules! on_every_model_over_unix {
    ($($name:ident)*) => {
        mod over_unix { $(
            mod $name {
                fn test(model: kettle::Model) {
                    $crate::harness::over_unix(|| super::super::$name(model));
                }
                $crate::test_models! {}
            }
        )* }
    };
}

/// A test for each I/O model, which calls the function `test` with it.
#[macro_export]
macro_rules! test_models {
    () => {
        use kettle::Model;
        #[test]
        fn blocking() {
            test(Model::Blocking)
        }
        #[test]
        fn threads() {
            test(Model::Threads)
        }
        #[test]
        fn scan() {
            test(Model::Scan)
        }
        #[test]
        fn select() {
            test(Model::Select)
        }
        #[test]
        fn poll() {
            test(Model::Poll)
        }
        #[test]
        fn epoll() {
            test(Model::Epoll)
        }
        #[test]
        fn epoll_edge() {
            test(Model::EpollEdge)
        }
        #[test]
        fn signal() {
            test(Model::Signal)
        }
        #[test]
        fn uring() {
            test(Model::Uring)
        }
        #[cfg(feature = "tokio-host")]
        #[test]
        fn tokio() {
            test(Model::Tokio)
        }
    };
}

/// Polls a future once, with a waker that does nothing.
pub fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// Done when another thread has waited for this time.
pub async fn after(time: Duration) {
    let shared = Arc::new(Mutex::new((false, None::<Waker>)));
    let theirs = Arc::clone(&shared);
    thread::spawn(move || {
        let begin = Instant::now();
        while let Some(left) = time.checked_sub(begin.elapsed()) {
            thread::park_timeout(left);
        }
        let mut shared = theirs.lock().unwrap();
        shared.0 = true;
        shared.1.take().into_iter().for_each(Waker::wake);
    });
    std::future::poll_fn(|cx| {
        let mut shared = shared.lock().unwrap();
        shared.1 = Some(cx.waker().clone());
        match shared.0 {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// Runs futures together; gives their results in order.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, done) in futures.iter_mut().filter(|(_, done)| done.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(result) => *done = Some(result),
                Poll::Pending => pending = true,
            }
        }
        if pending {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    futures.into_iter().filter_map(|(_, done)| done).collect()
}
