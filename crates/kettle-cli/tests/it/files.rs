//! `kettle serve --files`, `get`, `put` and `ls`.

use crate::process::{Run, Running, kettle_with, run_with, until};
use kettle::{FileStrategy, Model};
use rustix::process::Signal;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

/// Models that differ in how they send files, and the second host.
const MODELS: [Model; 5] = [
    Model::Epoll,
    Model::Uring,
    Model::Threads,
    Model::Select,
    Model::Tokio,
];

/// Long enough to be caught in the middle.
const LARGE: u64 = 512 << 20;

/// A directory that is served, and one where files go.
struct Place {
    served: TempDir,
    here: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            served: tempfile::tempdir().unwrap(),
            here: tempfile::tempdir().unwrap(),
        }
    }

    fn serve(&self, arguments: &str) -> (Running, String) {
        Running::serve(&format!(
            "--files {} {arguments}",
            self.served.path().display()
        ))
    }

    fn there(&self, name: &str) -> PathBuf {
        self.served.path().join(name)
    }

    fn here(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    /// A file with holes, and bytes all over it.
    fn large(&self, name: &str) {
        let file = File::create(self.there(name)).unwrap();
        file.set_len(LARGE).unwrap();
        for at in (0..LARGE).step_by(5 << 20) {
            file.write_all_at(&at.to_le_bytes(), at).unwrap();
        }
    }

    /// How much of a file has come.
    fn part(&self, name: &str) -> Option<u64> {
        let metadata = fs::metadata(self.here(&format!("{name}.part"))).ok()?;
        Some(metadata.len())
    }
}

fn words<'a>(words: &[&'a str], path: &'a Path) -> Vec<&'a str> {
    let mut words = words.to_vec();
    words.push(path.to_str().unwrap());
    words
}

fn get(url: &str, to: &Path, arguments: &[&str]) -> Run {
    let mut all = words(&["get", url, "-o"], to);
    all.extend(arguments);
    run_with(all)
}

fn put(file: &Path, url: &str, arguments: &[&str]) -> Run {
    let mut all = words(&["put"], file);
    all.push(url);
    all.extend(arguments);
    run_with(all)
}

fn same(one: &Path, other: &Path) -> bool {
    fs::read(one).unwrap() == fs::read(other).unwrap()
}

fn content(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n % 251) as u8).collect()
}

#[test]
fn files_go_both_ways_on_every_model() {
    for model in MODELS {
        if let kettle::Probe::Refused(reason) = model.probe() {
            println!("{model} does not run here: {reason}");
            continue;
        }
        let place = Place::new();
        let (_server, url) = place.serve(&format!("--model {model} --writable"));
        fs::write(place.here("one"), content(5_000_001)).unwrap();
        let sent = put(&place.here("one"), &format!("{url}/x"), &["--fsync"]);
        assert_eq!(sent.code, Some(0), "{model}: {sent:?}");
        assert!(same(&place.here("one"), &place.there("x")), "{model}");
        for parallel in ["1", "3"] {
            let target = place.here("two");
            let got = get(&format!("{url}/x"), &target, &["--parallel", parallel]);
            assert_eq!((got.code, &*got.stderr), (Some(0), ""), "{model}: {got:?}");
            assert!(got.stdout.contains(", verified\n"), "{model}: {got:?}");
            assert!(same(&place.here("one"), &target), "{model}");
        }
    }
}

/// The server counts how the bytes left, and the file went without being read into the process but by `copy`.
#[test]
fn files_are_sent_as_asked_for() {
    const LENGTH: u64 = 5_000_001;
    for strategy in FileStrategy::ALL {
        let place = Place::new();
        fs::write(place.there("x"), content(LENGTH as usize)).unwrap();
        let (mut server, url) = place.serve(&format!("--stats --file-strategy {strategy}"));
        let got = get(&format!("{url}/x"), &place.here("x"), &[]);
        assert_eq!(got.code, Some(0), "{strategy}: {got:?}");
        assert!(same(&place.there("x"), &place.here("x")), "{strategy}");
        let counts = server.counts();
        let sent = &counts["files"][format!("{strategy}_bytes")];
        assert_eq!(sent.as_u64(), Some(LENGTH), "{strategy}: {counts}");
    }
}

/// Killed, not stopped: nothing is said to the client.
#[test]
fn a_get_goes_on_when_the_server_was_killed_and_comes_back() {
    for parallel in ["1", "4"] {
        let place = Place::new();
        place.large("x");
        let (server, url) = place.serve("");
        let target = place.here("x");
        let remote = format!("{url}/x");
        let arguments = words(&["get", &remote, "--parallel", parallel, "-o"], &target);
        let get = Running::start_with(arguments);
        until(|| place.part("x").filter(|&bytes| 8 << 20 <= bytes));
        get.signal(Signal::STOP);
        server.signal(Signal::KILL);
        let address = url.strip_prefix("kettle://").unwrap();
        server.finish();
        get.signal(Signal::CONT);
        let directory = place.served.path().display();
        let again = format!("serve --files {directory} --listen {address}");
        let mut server = Running::start(&again);
        assert!(server.line().starts_with("listening"));
        let (status, stdout) = get.finish();
        assert_eq!(status.code(), Some(0), "{stdout}");
        assert!(stdout.ends_with(", verified"), "{stdout}");
        assert!(same(&place.there("x"), &target));
        let names = fs::read_dir(place.here.path()).unwrap().count();
        assert_eq!(names, 1, "parts and notes are gone");
    }
}

#[test]
fn an_interrupted_get_is_continued() {
    let place = Place::new();
    place.large("x");
    let (_server, url) = place.serve("");
    let (remote, target) = (format!("{url}/x"), place.here("x"));
    let interrupt = || {
        let mut command = kettle_with(words(&["get", &remote, "-o"], &target));
        let mut get = Running::of(command.stderr(Stdio::piped()));
        until(|| place.part("x").filter(|&bytes| 8 << 20 <= bytes));
        get.signal(Signal::INT);
        let errors = get.errors();
        assert_eq!(get.finish().0.code(), Some(130), "{errors}");
        assert!(errors.contains("--continue goes on"), "{errors}");
        assert!(!target.exists());
    };
    interrupt();
    let got = get(&remote, &target, &["--continue"]);
    assert_eq!(got.code, Some(0), "{got:?}");
    assert!(got.stderr.contains("goes on with"), "{got:?}");
    assert!(same(&place.there("x"), &target));

    fs::remove_file(&target).unwrap();
    interrupt();
    fs::write(place.there("x"), "another").unwrap();
    let got = get(&remote, &target, &["--continue"]);
    assert_eq!(got.code, Some(0), "{got:?}");
    assert!(got.stderr.contains("changed on the server"), "{got:?}");
    assert_eq!(fs::read(&target).unwrap(), b"another");
}

#[test]
fn a_range_is_fetched() {
    let place = Place::new();
    let (_server, url) = place.serve("");
    fs::write(place.there("x"), content(1000)).unwrap();
    let target = place.here("x");
    for (range, wanted) in [("0-9", 0..10), ("990-", 990..1000), ("999-5000", 999..1000)] {
        let got = get(&format!("{url}/x"), &target, &["--range", range]);
        assert_eq!(got.code, Some(0), "{got:?}");
        assert!(got.stdout.contains("not verified"), "{got:?}");
        assert_eq!(fs::read(&target).unwrap(), content(1000)[wanted]);
    }
    let beyond = get(&format!("{url}/x"), &target, &["--range", "1001-"]);
    assert_eq!(beyond.code, Some(64 + 11), "{beyond:?}");
}

#[test]
fn a_directory_takes_a_file_under_its_name() {
    let place = Place::new();
    let (_server, url) = place.serve("--writable");
    fs::write(place.here("mine"), "some").unwrap();
    let sent = put(&place.here("mine"), &format!("{url}/"), &["--mode", "600"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let mode = fs::metadata(place.there("mine"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::create_dir(place.here("d")).unwrap();
    let got = get(&format!("{url}/mine"), &place.here("d"), &[]);
    assert_eq!(got.code, Some(0), "{got:?}");
    assert_eq!(fs::read(place.here("d/mine")).unwrap(), b"some");
}

#[test]
fn what_fails_is_told_by_the_exit_code_and_one_line() {
    let place = Place::new();
    fs::write(place.there("x"), "some").unwrap();
    fs::write(place.here("x"), "some").unwrap();
    let (_server, url) = place.serve("");
    let (_writable, writable) = place.serve("--writable --file-bytes-max 3");
    let (target, x) = (place.here("y"), place.here("x"));
    for (run, code, text) in [
        (get(&format!("{url}/missing"), &target, &[]), 69, "missing"),
        (get(&format!("{url}/../x"), &target, &[]), 67, "\"..\""),
        (get(&url, &target, &[]), 2, "which file"),
        (get("kettle://127.0.0.1:1/x", &target, &[]), 78, "refused"),
        (get("http://h/x", &target, &[]), 1, "scheme"),
        (
            get(&format!("{url}/x"), &place.here("no/y"), &[]),
            1,
            "no/y",
        ),
        (put(&x, &format!("{url}/x"), &[]), 71, "--writable"),
        (put(&x, &format!("{writable}/y"), &[]), 72, "3 at most"),
        (put(&x, &format!("{writable}/x"), &[]), 72, "3 at most"),
        (
            put(&place.here("no"), &format!("{writable}/y"), &[]),
            1,
            "no",
        ),
        (run_with(["ls", &format!("{url}/x")]), 73, "not a directory"),
        (run_with(["serve", "--files", "/no/such"]), 1, "/no/such"),
        (run_with(["serve", "--writable"]), 2, "--files"),
    ] {
        assert_eq!(run.code, Some(code), "{run:?}");
        assert!(run.stderr.contains(text), "{text}: {run:?}");
        if code != 2 {
            assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
        }
        assert_eq!(run.stdout, "", "{run:?}");
    }
    assert!(!target.exists());
}

#[test]
fn a_directory_is_listed() {
    let place = Place::new();
    fs::create_dir(place.there("d")).unwrap();
    fs::write(place.there("x"), "some").unwrap();
    fs::write(place.there("\u{1b}[2J"), "").unwrap();
    std::os::unix::fs::symlink("x", place.there("link")).unwrap();
    let (_server, url) = place.serve("");
    let listed = run_with(["ls", &url]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let mut names: Vec<_> = listed
        .stdout
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["\\u{1b}[2J", "d/", "link@", "x"]);
    assert!(listed.stdout.contains(" 4 x\n"), "{listed:?}");
}

#[test]
fn files_go_over_a_unix_socket() {
    let place = Place::new();
    fs::write(place.there("x"), content(100_000)).unwrap();
    let socket = place.here("s");
    let directory = place.served.path().display();
    let url = format!("unix://{}", socket.display());
    let mut server = Running::start(&format!("serve --files {directory} --listen {url}"));
    assert!(server.line().starts_with("listening"));
    let got = get(&format!("{url}/x"), &place.here("x"), &[]);
    assert_eq!(got.code, Some(0), "{got:?}");
    assert!(same(&place.there("x"), &place.here("x")));
}

#[test]
fn a_bench_reads_a_file() {
    let place = Place::new();
    fs::write(place.there("x"), content(3_000_000)).unwrap();
    let (_server, url) = place.serve("");
    let remote = format!("{url}/x");
    let bench = ["bench", "--files", &remote, "--warmup", "0"];
    let run = |more: &[&'static str]| {
        let arguments = bench.iter().copied().chain(more.iter().copied());
        run_with(arguments.collect::<Vec<_>>())
    };
    let report = run(&["--bytes", "10000000", "--chunk", "65536", "--json"]).json();
    assert_eq!(report["chunk_bytes"], 65536, "{report}");
    assert_eq!(report["bytes"], 10_000_000, "{report}");
    assert_eq!(report["size"], 3_000_000, "{report}");
    for figure in ["gb_per_s", "server_cpu_s_per_gb", "seconds"] {
        assert!(0.0 < report[figure].as_f64().unwrap(), "{report}");
    }
    let text = run(&[]);
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.contains("s of CPU per GB"), "{text:?}");
    let missing = format!("{url}/missing");
    assert_eq!(run_with(["bench", "--files", &missing]).code, Some(69));
}
