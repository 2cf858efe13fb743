//! Ways out of the directory, and what is no file.

use crate::harness::{Host, block_on, client_of, code, content, host, read, serve, until, whole};
use crate::writing::{start, write};
use kettle::{Code, Model, Status};
use kettle_file::FilesService;
use kettle_file::v1::{ListRequest, StatRequest};
use rustix::fs::{CWD, Mode, RenameFlags, mkfifoat, renameat_with};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tempfile::TempDir;

const SECRET: &str = "what lies outside";

/// A directory beside that which is served, with a secret in it.
fn outside() -> TempDir {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), SECRET).unwrap();
    outside
}

/// What each method says to a path, none of which may lead there.
fn refusals(host: &Host, path: &str) -> [Status; 4] {
    let client = host.client();
    let owned = || path.to_owned();
    let list = async {
        let mut pages = client
            .list(ListRequest { path: owned() })
            .await?
            .into_inner();
        pages.message().await
    };
    let stat = client.stat(StatRequest {
        path: owned(),
        checksum: false,
    });
    let refusals = [
        read(&client, whole(path)).expect_err("read"),
        block_on(list).expect_err("list"),
        block_on(stat).expect_err("stat"),
        write(host, start(path), &["x"]).expect_err("write"),
    ];
    for status in &refusals {
        host.assert_secret(status);
    }
    refusals
}

#[test]
fn paths_that_lead_up_or_away_are_refused() {
    let host = host(Model::Epoll);
    fs::create_dir(host.at("d")).unwrap();
    let outside = outside();
    let absolute = outside.path().join("f").to_str().unwrap().to_owned();
    for path in [
        "..",
        "../f",
        "d/../../f",
        "d/..",
        "../../../../etc/passwd",
        &absolute,
        "/",
        "a\0b",
    ] {
        for status in refusals(&host, path) {
            assert_eq!(status.code(), Code::InvalidArgument, "{path:?}: {status:?}");
        }
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    let (host, outside) = (host(Model::Epoll), outside());
    let name = outside.path().file_name().unwrap().to_str().unwrap();
    symlink(outside.path(), host.at("absolute")).unwrap();
    symlink(format!("../{name}"), host.at("relative")).unwrap();
    symlink("..", host.at("up")).unwrap();
    symlink("relative", host.at("chain")).unwrap();
    symlink("loop", host.at("loop")).unwrap();
    for path in [
        "absolute/f",
        "relative/f",
        "chain/f",
        "loop/f",
        &format!("up/{name}/f"),
    ] {
        for status in refusals(&host, path) {
            assert_eq!(
                status.code(),
                Code::PermissionDenied,
                "{path:?}: {status:?}"
            );
        }
    }
    assert_eq!(
        fs::read_to_string(outside.path().join("f")).unwrap(),
        SECRET
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn links_that_stay_inside_are_followed() {
    let host = host(Model::Epoll);
    fs::create_dir(host.at("d")).unwrap();
    host.write("d/f", "inside");
    symlink("d", host.at("to-directory")).unwrap();
    symlink("../d/f", host.at("d/to-file")).unwrap();
    for path in ["to-directory/f", "d/to-file", "to-directory/to-file"] {
        assert_eq!(read(&host.client(), whole(path)).unwrap(), b"inside");
    }
}

/// Exchanges two names again and again while `attempt` runs, until it has succeeded and was refused often enough.
/// It may never see what lies outside.
fn while_swapped(host: &Host, names: [&str; 2], mut attempt: impl FnMut() -> Result<(), Status>) {
    const EACH: usize = 100;
    let stop = AtomicBool::new(false);
    let [one, other] = names.map(|name| host.at(name));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let (mut fine, mut refused) = (0, 0);
        let attempts = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("both sides of the swap", || {
                match attempt() {
                    Ok(()) => fine += 1,
                    Err(status) => {
                        let codes = [Code::PermissionDenied, Code::Unavailable];
                        assert!(codes.contains(&status.code()), "{status:?}");
                        refused += 1;
                    }
                }
                EACH <= fine && EACH <= refused
            });
        }));
        stop.store(true, Ordering::Relaxed);
        attempts.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn a_directory_that_is_swapped_with_a_link_leads_nowhere() {
    let (host, outside) = (host(Model::Epoll), outside());
    let client = host.client();
    fs::create_dir(host.at("d")).unwrap();
    host.write("d/f", "inside");
    symlink(outside.path(), host.at("link")).unwrap();
    while_swapped(&host, ["d", "link"], || {
        let bytes = read(&client, whole("d/f"))?;
        assert_eq!(bytes, b"inside");
        Ok(())
    });
}

#[test]
fn a_file_that_is_swapped_with_a_link_leads_nowhere() {
    let (host, outside) = (host(Model::Epoll), outside());
    let client = host.client();
    host.write("f", "inside");
    symlink(outside.path().join("f"), host.at("link")).unwrap();
    while_swapped(&host, ["f", "link"], || {
        let bytes = read(&client, whole("f"))?;
        assert_eq!(bytes, b"inside");
        Ok(())
    });
}

#[test]
fn nothing_is_written_through_a_link_that_is_swapped_in() {
    let (host, outside) = (host(Model::Epoll), outside());
    fs::create_dir(host.at("d")).unwrap();
    symlink(outside.path(), host.at("link")).unwrap();
    while_swapped(&host, ["d", "link"], || {
        let mut start = start("d/new");
        start.overwrite = true;
        write(&host, start, &["some"]).map(drop)
    });
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

/// The links of /proc lead anywhere, whatever they look like.
#[test]
fn magic_links_are_refused() {
    let server = serve(Model::Epoll, FilesService::new("/proc/self").unwrap());
    let client = client_of(&server);
    let path = "status".to_owned();
    block_on(client.stat(StatRequest {
        path,
        checksum: false,
    }))
    .unwrap();
    for path in [
        "root/etc/hostname",
        "cwd/Cargo.toml",
        "exe",
        "fd/0",
        "self/exe",
    ] {
        let code = code(read(&client, whole(path)));
        let wanted = match path {
            "self/exe" => Code::NotFound,
            _ => Code::PermissionDenied,
        };
        assert_eq!(code, wanted, "{path}");
    }
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    let host = host(Model::Epoll);
    fs::create_dir(host.at("d")).unwrap();
    mkfifoat(CWD, host.at("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
    let _socket = UnixListener::bind(host.at("socket")).unwrap();
    for path in ["d", "", "fifo", "socket"] {
        let status = read(&host.client(), whole(path)).unwrap_err();
        assert_eq!(
            status.code(),
            Code::FailedPrecondition,
            "{path}: {status:?}"
        );
        host.assert_secret(&status);
    }
    for path in ["d", "fifo", "socket"] {
        let mut start = start(path);
        start.overwrite = true;
        let status = write(&host, start, &["x"]).unwrap_err();
        assert_eq!(
            status.code(),
            Code::FailedPrecondition,
            "{path}: {status:?}"
        );
    }
    let devices = serve(Model::Epoll, FilesService::new("/dev").unwrap());
    for path in ["null", "zero"] {
        let status = read(&client_of(&devices), whole(path)).unwrap_err();
        assert_eq!(
            status.code(),
            Code::FailedPrecondition,
            "{path}: {status:?}"
        );
    }
}

#[test]
fn what_cannot_be_served_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f");
    fs::write(&file, "").unwrap();
    FilesService::new(&file).expect_err("a file");
    FilesService::new(directory.path().join("missing")).expect_err("nothing");
}

#[test]
fn the_directory_stays_the_same_when_another_gets_its_name() {
    let (host, outside) = (host(Model::Epoll), outside());
    host.write("f", content(10));
    let elsewhere = outside.path().join("moved");
    fs::rename(host.directory.path(), &elsewhere).unwrap();
    symlink(outside.path(), host.directory.path()).unwrap();
    assert_eq!(read(&host.client(), whole("f")).unwrap(), content(10));
    fs::remove_file(host.directory.path()).unwrap();
    fs::rename(&elsewhere, host.directory.path()).unwrap();
}
