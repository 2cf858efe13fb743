//! Uploads.

use crate::harness::{Host, block_on, code, content, host, host_with, names, serve, until};
use crate::on_models;
use futures_core::Stream;
use kettle::{Code, Model, Status};
use kettle_file::v1::{WriteReply, WriteRequest, WriteStart};
use kettle_file::{FilesService, UploadOptions, upload};
use std::collections::VecDeque;
use std::fs;
use std::future::Future;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

on_models! {
    a_file_appears_when_it_is_whole
    an_upload_that_is_cancelled_leaves_nothing
    a_file_of_this_machine_is_sent
}

pub fn start(path: &str) -> WriteStart {
    WriteStart {
        path: path.to_owned(),
        ..WriteStart::default()
    }
}

/// Uploads these pieces, the first with `start`.
pub fn write(host: &Host, start: WriteStart, pieces: &[&str]) -> Result<WriteReply, Status> {
    write_with(host, start, pieces, None)
}

fn write_with(
    host: &Host,
    start: WriteStart,
    pieces: &[&str],
    crc32c: Option<u32>,
) -> Result<WriteReply, Status> {
    let messages = Messages::default();
    messages.give(WriteRequest {
        start: Some(start),
        ..WriteRequest::default()
    });
    for (index, piece) in pieces.iter().enumerate() {
        messages.give(WriteRequest {
            data: piece.as_bytes().to_vec().into(),
            crc32c: crc32c.filter(|_| index + 1 == pieces.len()),
            ..WriteRequest::default()
        });
    }
    messages.end();
    block_on(host.client().write(messages)).map(kettle::Response::into_inner)
}

/// Messages that are given one by one.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Given>>);

#[derive(Default)]
struct Given {
    messages: VecDeque<WriteRequest>,
    ended: bool,
    waker: Option<Waker>,
}

impl Messages {
    fn change(&self, change: impl FnOnce(&mut Given)) {
        let mut given = self.0.lock().unwrap();
        change(&mut given);
        given.waker.take().into_iter().for_each(Waker::wake);
    }

    fn give(&self, message: WriteRequest) {
        self.change(|given| given.messages.push_back(message));
    }

    fn end(&self) {
        self.change(|given| given.ended = true);
    }
}

impl Stream for Messages {
    type Item = WriteRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WriteRequest>> {
        let mut given = self.0.lock().unwrap();
        match given.messages.pop_front() {
            Some(message) => Poll::Ready(Some(message)),
            None if given.ended => Poll::Ready(None),
            None => {
                given.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// How many files without a name the process has open in this directory: the server runs in it.
fn nameless(host: &Host) -> usize {
    let directory = host.directory.path().canonicalize().unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let deleted = targets.filter(|target| {
        target.starts_with(&directory) && target.to_string_lossy().ends_with(" (deleted)")
    });
    deleted.count()
}

fn a_file_appears_when_it_is_whole(model: Model) {
    let host = host(model);
    let client = host.client();
    let messages = Messages::default();
    let bytes = content(5_000_000);
    let mut start = start("x");
    (start.mode, start.fsync) = (Some(0o640), true);
    messages.give(WriteRequest {
        start: Some(start),
        data: bytes[..3_000_000].to_vec().into(),
        ..WriteRequest::default()
    });
    let call = client.write(messages.clone());
    let reply = std::thread::scope(|scope| {
        let call = scope.spawn(|| block_on(call));
        until("the file's begin", || nameless(&host) == 1);
        assert_eq!(host.names(), [""; 0]);
        messages.give(WriteRequest {
            data: bytes[3_000_000..].to_vec().into(),
            ..WriteRequest::default()
        });
        messages.end();
        call.join().unwrap().unwrap().into_inner()
    });
    assert_eq!(host.names(), ["x"]);
    assert!(fs::read(host.at("x")).unwrap() == bytes);
    let mode = fs::metadata(host.at("x")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert_eq!(reply.crc32c, crc32c::crc32c(&bytes));
    assert_eq!(reply.info.unwrap().size, 5_000_000);
}

fn an_upload_that_is_cancelled_leaves_nothing(model: Model) {
    let host = host_with(model, |files| files.writable(true).uploads_max(1));
    let messages = Messages::default();
    messages.give(WriteRequest {
        start: Some(start("x")),
        data: content(1_000_000).into(),
        ..WriteRequest::default()
    });
    let client = host.client();
    let mut call = Box::pin(client.write(messages));
    let mut nobody = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut nobody).is_pending());
    until("the file's begin", || nameless(&host) == 1);
    assert_eq!(
        code(write(&host, start("y"), &["y"])),
        Code::ResourceExhausted
    );
    drop(call);
    until("the file's end", || nameless(&host) == 0);
    assert_eq!(host.names(), [""; 0]);
    until("a free place", || write(&host, start("y"), &["y"]).is_ok());
    assert_eq!(host.names(), ["y"]);
}

fn a_file_of_this_machine_is_sent(model: Model) {
    let host = host(model);
    let (here, bytes) = (tempfile::tempdir().unwrap(), content(9_000_001));
    for length in [0, 1, bytes.len()] {
        let source = here.path().join("x");
        fs::write(&source, &bytes[..length]).unwrap();
        for verify in [true, false] {
            let mut options = UploadOptions::default();
            (options.overwrite, options.verify) = (true, verify);
            let told = Arc::new(Mutex::new(0));
            let each = {
                let told = Arc::clone(&told);
                move |bytes| *told.lock().unwrap() += bytes
            };
            let reply = block_on(upload(&host.channel(), &source, "x", &options, each)).unwrap();
            assert!(fs::read(host.at("x")).unwrap() == bytes[..length]);
            assert_eq!(reply.crc32c, crc32c::crc32c(&bytes[..length]));
            assert_eq!(*told.lock().unwrap(), length as u64);
        }
    }
}

#[test]
fn a_name_that_is_taken_is_kept_unless_it_may_be_replaced() {
    let host = host(Model::Epoll);
    let replaced = |path: &str| {
        let mut start = start(path);
        start.overwrite = true;
        write(&host, start, &["new"])
    };
    host.write("x", "old");
    symlink("x", host.at("link")).unwrap();
    for path in ["x", "link"] {
        let status = write(&host, start(path), &["new"]).unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
        host.assert_secret(&status);
    }
    // The link itself is replaced, not what it leads to.
    replaced("link").unwrap();
    assert_eq!(fs::read_to_string(host.at("x")).unwrap(), "old");
    assert!(fs::symlink_metadata(host.at("link")).unwrap().is_file());
    replaced("x").unwrap();
    assert_eq!(fs::read_to_string(host.at("x")).unwrap(), "new");
    assert_eq!(host.names(), ["link", "x"]);
}

#[test]
fn what_cannot_be_written_is_told() {
    let host = host_with(Model::Epoll, |files| {
        files.writable(true).file_bytes_max(100)
    });
    let long = "x".repeat(101);
    let sized = |size| WriteStart {
        size: Some(size),
        ..start("x")
    };
    let mode = WriteStart {
        mode: Some(0o4755),
        ..start("x")
    };
    for (start, piece, crc32c, wanted) in [
        (start("x"), &*long, None, Code::ResourceExhausted),
        (sized(101), "", None, Code::ResourceExhausted),
        (sized(3), "four", None, Code::InvalidArgument),
        (sized(5), "four", None, Code::InvalidArgument),
        (start("x"), "four", Some(1), Code::DataLoss),
        (mode, "four", None, Code::InvalidArgument),
        (start("d/x"), "four", None, Code::NotFound),
        (start("x/"), "four", None, Code::InvalidArgument),
        (start(""), "four", None, Code::InvalidArgument),
        (start(&"n".repeat(256)), "four", None, Code::InvalidArgument),
    ] {
        let status = write_with(&host, start, &[piece], crc32c).unwrap_err();
        assert_eq!(status.code(), wanted, "{status:?}");
        host.assert_secret(&status);
        assert_eq!(host.names(), [""; 0], "{status:?}");
    }
    write(&host, start("x"), &[&long[1..]]).unwrap();
    let crc32c = crc32c::crc32c(b"onetwo");
    write_with(&host, start("y"), &["one", "two"], Some(crc32c)).unwrap();
}

#[test]
fn messages_that_make_no_upload_are_refused() {
    let host = host(Model::Epoll);
    let message = |start: Option<WriteStart>, crc32c| WriteRequest {
        start,
        crc32c,
        data: b"some".to_vec().into(),
    };
    let begin = || message(Some(start("x")), None);
    for messages in [
        vec![],
        vec![message(None, None)],
        vec![begin(), begin()],
        vec![begin(), message(None, Some(1)), message(None, None)],
    ] {
        let stream = Messages::default();
        messages
            .into_iter()
            .for_each(|message| stream.give(message));
        stream.end();
        let written = block_on(host.client().write(stream));
        assert_eq!(code(written), Code::InvalidArgument);
    }
    assert_eq!(host.names(), [""; 0]);
}

#[test]
fn a_server_that_is_not_writable_is_not_written() {
    let host = host_with(Model::Epoll, |files| files);
    let status = write(&host, start("x"), &["x"]).unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("--writable"), "{status:?}");
    assert_eq!(host.names(), [""; 0]);
}

/// A file system that is unmounted in the end.
struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.unwrap().success() || std::thread::panicking());
    }
}

#[test]
fn a_disk_that_is_full_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m", "kettle-test"]);
    let mounted = mount.arg(directory.path()).output();
    if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
        println!("no tmpfs can be mounted here, so no disk is full: {mounted:?}");
        return;
    }
    let mounted = Mounted(directory);
    let files = FilesService::new(mounted.0.path()).unwrap().writable(true);
    let server = serve(Model::Epoll, files);
    let channel = crate::harness::channel_to(&server);
    let here = tempfile::tempdir().unwrap();
    let source = here.path().join("x");
    let send = |length| {
        fs::write(&source, content(length)).unwrap();
        let options = UploadOptions::default();
        block_on(upload(&channel, &source, "x", &options, |_| {}))
    };
    let Err(kettle_file::Error::Call(status)) = send(4 << 20) else {
        panic!("it does not fit")
    };
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("full"), "{status:?}");
    assert_eq!(names(mounted.0.path()), [""; 0]);
    // The room is free again.
    send(1 << 19).unwrap();
    server.stop_now();
    server.wait().unwrap();
}
