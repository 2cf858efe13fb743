//! Fetching files.

use crate::harness::{Host, block_on, content, host};
use crate::on_models;
use kettle::{Code, Model};
use kettle_file::{Download, DownloadOptions, Error, Fetched, Resumed};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

on_models! {
    a_file_is_fetched_on_several_connections
    a_server_that_comes_back_is_waited_for
}

/// Somewhere for files to go.
struct Target(tempfile::TempDir);

impl Target {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("x")
    }
}

fn options(set: impl FnOnce(&mut DownloadOptions)) -> DownloadOptions {
    let mut options = DownloadOptions::default();
    set(&mut options);
    options
}

fn get(host: &Host, target: &Path, options: DownloadOptions) -> Result<Fetched, Error> {
    let channel = host.channel();
    block_on(async {
        let (download, _) = Download::begin(&channel, "x", target, options).await?;
        download.fetch(&channel, |_| {}).await?;
        download.finish(&channel).await
    })
}

fn a_file_is_fetched_on_several_connections(model: Model) {
    let (host, target) = (host(model), Target::new());
    let bytes = content(10_000_003);
    host.write("x", &bytes);
    let options = options(|options| options.ranges = 4);
    let channel = host.channel();
    let (download, _) = block_on(Download::begin(&channel, "x", &target.path(), options)).unwrap();
    let come = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let each = |bytes| {
                    come.fetch_add(bytes, Ordering::Relaxed);
                };
                block_on(download.fetch(&host.channel(), each)).unwrap();
            });
        }
    });
    assert_eq!(
        (download.bytes(), download.total_bytes()),
        (10_000_003, 10_000_003)
    );
    assert_eq!(come.into_inner(), 10_000_003);
    let fetched = block_on(download.finish(&channel)).unwrap();
    assert!(fetched.verified);
    assert_eq!(fetched.crc32c, crc32c::crc32c(&bytes));
    assert!(fs::read(target.path()).unwrap() == bytes);
    assert_eq!(fs::read_dir(target.0.path()).unwrap().count(), 1);
}

/// The server is stopped in the middle, and another one takes its place.
fn a_server_that_comes_back_is_waited_for(model: Model) {
    let (mut host, target) = (host(model), Target::new());
    let bytes = content(30_000_000);
    host.write("x", &bytes);
    let channel = host.channel();
    let options = DownloadOptions::default();
    let (download, _) = block_on(Download::begin(&channel, "x", &target.path(), options)).unwrap();
    let (come, address) = (AtomicU64::new(0), host.server.local_addr());
    thread::scope(|scope| {
        let fetch = scope.spawn(|| {
            let each = |bytes| {
                // Until the server has gone.
                if come.fetch_add(bytes, Ordering::SeqCst) < 5_000_000 {
                    return;
                }
                while come.load(Ordering::SeqCst) < u64::MAX / 2 {
                    thread::yield_now();
                }
            };
            block_on(download.fetch(&channel, each))
        });
        crate::harness::until("some of it", || 5_000_000 < come.load(Ordering::SeqCst));
        host.server.stop_now();
        host.server.wait().unwrap();
        let files = kettle_file::FilesService::new(host.directory.path()).unwrap();
        let server = kettle::Server::builder().model(model);
        host.server = server.add_service(files.host()).spawn(address).unwrap();
        come.fetch_add(u64::MAX / 2, Ordering::SeqCst);
        fetch.join().unwrap().unwrap();
    });
    assert!(block_on(download.finish(&channel)).unwrap().verified);
    assert!(fs::read(target.path()).unwrap() == bytes);
}

#[test]
fn a_server_that_does_not_come_back_is_given_up() {
    let (host, target) = (host(Model::Epoll), Target::new());
    host.write("x", content(5_000_000));
    let options = options(|options| options.patience = Duration::from_millis(300));
    let channel = host.channel();
    let (download, _) = block_on(Download::begin(&channel, "x", &target.path(), options)).unwrap();
    host.server.stop_now();
    host.server.wait().unwrap();
    match block_on(download.fetch(&channel, |_| {})) {
        Err(Error::Call(status)) => assert_eq!(status.code(), Code::Unavailable),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_range_is_a_file_of_its_own() {
    let (host, target) = (host(Model::Epoll), Target::new());
    let bytes = content(3_000_000);
    host.write("x", &bytes);
    for range in [
        0..1,
        1_000_001..2_999_999,
        2_999_999..9_000_000,
        3_000_000..9_000_000,
    ] {
        let end = bytes.len().min(range.end as usize);
        let wanted = &bytes[range.start as usize..end];
        let fetched = get(
            &host,
            &target.path(),
            options(|options| options.range = Some(range.clone())),
        );
        let fetched = fetched.unwrap();
        assert!(fs::read(target.path()).unwrap() == wanted, "{range:?}");
        assert_eq!(fetched.crc32c, crc32c::crc32c(wanted));
        assert!(!fetched.verified, "{range:?}");
    }
    let beyond = options(|options| options.range = Some(3_000_001..3_000_002));
    match get(&host, &target.path(), beyond) {
        Err(Error::Call(status)) => assert_eq!(status.code(), Code::OutOfRange),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_file_is_fetched() {
    let (host, target) = (host(Model::Epoll), Target::new());
    host.write("x", "");
    fs::write(target.path(), "what was there before").unwrap();
    assert!(
        get(&host, &target.path(), DownloadOptions::default())
            .unwrap()
            .verified
    );
    assert_eq!(fs::read(target.path()).unwrap(), b"");
}

/// A file is left alone by a download that fails, and its part goes on or begins anew.
#[test]
fn what_is_left_is_used_when_the_file_is_the_same() {
    let (host, target) = (host(Model::Epoll), Target::new());
    let bytes = content(5_000_000);
    host.write("x", &bytes);
    let channel = host.channel();
    let begin = |resume| {
        let options = options(|options| (options.resume, options.ranges) = (resume, 2));
        block_on(Download::begin(&channel, "x", &target.path(), options)).unwrap()
    };
    let fetch_some = || {
        let (download, _) = begin(false);
        let each = |_| panic!("enough");
        let fetch = std::panic::AssertUnwindSafe(|| block_on(download.fetch(&channel, each)));
        std::panic::catch_unwind(fetch).unwrap_err();
        download.note().unwrap();
        download.bytes()
    };
    let have = fetch_some();
    assert!(0 < have && have < 5_000_000, "{have}");
    let (download, resumed) = begin(true);
    assert_eq!(resumed, Resumed::Bytes(have));
    let come = AtomicU64::new(0);
    let each = |bytes| {
        come.fetch_add(bytes, Ordering::Relaxed);
    };
    block_on(download.fetch(&channel, each)).unwrap();
    assert_eq!(come.into_inner(), 5_000_000 - have);
    assert!(block_on(download.finish(&channel)).unwrap().verified);
    assert!(fs::read(target.path()).unwrap() == bytes);

    fetch_some();
    host.write("x", "another");
    let (download, resumed) = begin(true);
    assert!(matches!(resumed, Resumed::Useless(_)), "{resumed:?}");
    block_on(download.fetch(&channel, |_| {})).unwrap();
    block_on(download.finish(&channel)).unwrap();
    assert_eq!(fs::read(target.path()).unwrap(), b"another");
}

#[test]
fn a_file_that_changes_meanwhile_is_told() {
    let (host, target) = (host(Model::Epoll), Target::new());
    let channel = host.channel();
    let begin = || {
        host.write("x", content(5_000_000));
        let options = DownloadOptions::default();
        block_on(Download::begin(&channel, "x", &target.path(), options))
            .unwrap()
            .0
    };
    // Before it is read, and before it is verified.
    let download = begin();
    host.write("x", "another");
    let fetched = block_on(download.fetch(&channel, |_| {}));
    assert!(matches!(fetched, Err(Error::Changed)), "{fetched:?}");
    drop(download);
    let download = begin();
    block_on(download.fetch(&channel, |_| {})).unwrap();
    host.write("x", "another");
    let finished = block_on(download.finish(&channel));
    assert!(matches!(finished, Err(Error::Changed)), "{finished:?}");
    assert_eq!(fs::read_dir(target.0.path()).unwrap().count(), 0);
}

/// What is on the disk here is not what was sent.
#[test]
fn a_part_that_was_damaged_is_found_out() {
    let (host, target) = (host(Model::Epoll), Target::new());
    host.write("x", content(100_000));
    let part = target.0.path().join("x.part");
    fs::write(&part, vec![7; 50_000]).unwrap();
    let stat = block_on(kettle_file::stat(&host.channel(), "x", false)).unwrap();
    let version = stat.info.unwrap().version;
    let notes = format!("kettle-file 1\nversion {version}\nrange 0 100000\npiece 0 50000\n");
    fs::write(target.0.path().join("x.part.notes"), notes).unwrap();
    let error = get(
        &host,
        &target.path(),
        options(|options| options.resume = true),
    )
    .unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert_eq!(fs::read_dir(target.0.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_file_is_neither_fetched_nor_replaced() {
    let (host, target) = (host(Model::Epoll), Target::new());
    fs::create_dir(host.at("x")).unwrap();
    match get(&host, &target.path(), DownloadOptions::default()) {
        Err(Error::Call(status)) => assert_eq!(status.code(), Code::FailedPrecondition),
        other => panic!("{other:?}"),
    }
    let error = get(&host, target.0.path(), DownloadOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Local { .. }), "{error:?}");
}
