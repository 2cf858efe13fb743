//! A server of a directory, and a client of it.

use kettle::{Channel, Code, Model, Server, ServerHandle, Status};
use kettle_file::FilesService;
use kettle_file::v1::files_client::FilesClient;
use kettle_file::v1::{ReadReply, ReadRequest};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far beyond what anything here takes, and short enough to see that something hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, and the directory that it serves.
pub struct Host {
    pub server: ServerHandle,
    pub directory: TempDir,
}

/// Serves a new directory, to be read and written.
pub fn host(model: Model) -> Host {
    host_with(model, |files| files.writable(true))
}

/// Serves a new directory with these settings.
pub fn host_with(model: Model, set: impl FnOnce(FilesService) -> FilesService) -> Host {
    let directory = tempfile::tempdir().unwrap();
    let server = serve(model, set(FilesService::new(directory.path()).unwrap()));
    Host { server, directory }
}

pub fn serve(model: Model, files: FilesService) -> ServerHandle {
    let server = Server::builder().model(model).add_service(files.host());
    server.spawn("127.0.0.1:0").expect("the server starts")
}

pub fn client_of(server: &ServerHandle) -> FilesClient {
    FilesClient::new(channel_to(server))
}

pub fn channel_to(server: &ServerHandle) -> Channel {
    let url = format!("kettle://{}", server.local_addr());
    block_on(Channel::connect(url)).expect("the server answers")
}

impl Host {
    pub fn client(&self) -> FilesClient {
        client_of(&self.server)
    }

    pub fn channel(&self) -> Channel {
        channel_to(&self.server)
    }

    /// Where the file with this path lies.
    pub fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.at(path), content).unwrap();
    }

    /// What lies in the directory, sorted.
    pub fn names(&self) -> Vec<String> {
        names(self.directory.path())
    }

    /// An error tells nothing of where the directory lies.
    pub fn assert_secret(&self, status: &Status) {
        let path = self.directory.path().to_str().unwrap();
        assert!(!status.message().contains(path), "{status:?}");
    }
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Bytes that differ from page to page.
pub fn content(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|n| (n % 251) as u8 ^ (n >> 12) as u8)
        .collect()
}

/// A request for a whole file.
pub fn whole(path: &str) -> ReadRequest {
    ReadRequest {
        path: path.to_owned(),
        ..ReadRequest::default()
    }
}

/// All that a read gives; the messages have to follow each other without a gap.
pub fn read(client: &FilesClient, request: ReadRequest) -> Result<Vec<u8>, Status> {
    block_on(async {
        let mut at = request.offset;
        let mut replies = client.read(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(ReadReply { offset, data }) = replies.message().await? {
            assert_eq!(offset, at);
            assert!(!data.is_empty());
            at += data.len() as u64;
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    })
}

/// The code of a call that has to fail.
pub fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.expect_err("it has to fail").code()
}

/// Waits until something is as it should be.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        thread::yield_now();
    }
}

/// Runs a future on this thread. Panics when it takes too long.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let (mut future, begun) = (pin!(future), Instant::now());
    loop {
        let left = PATIENCE.checked_sub(begun.elapsed());
        let left = left.expect("the future is done in time");
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        thread::park_timeout(left);
    }
}

/// Defines a module for each test function, with a test for each model that sends files in a way of its own, and for
/// the second host.
#[macro_export]
macro_rules! on_models {
    ($($name:ident)*) => { $(
        mod $name {
            use kettle::Model;
            #[test] fn epoll() { super::$name(Model::Epoll) }
            #[test] fn uring() {
                match Model::Uring.probe() {
                    kettle::Probe::Refused(reason) => println!("uring does not run here: {reason}"),
                    _ => super::$name(Model::Uring),
                }
            }
            #[test] fn threads() { super::$name(Model::Threads) }
            #[test] fn select() { super::$name(Model::Select) }
            #[test] fn tokio() { super::$name(Model::Tokio) }
        }
    )* }
}
