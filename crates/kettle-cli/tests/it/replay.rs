//! `kettle serve --record` and `kettle lab --replay`.

use crate::process::{PROGRAM, Run, Running, kettle_with, run, run_with, until};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;

/// Enough to see that it works, too little to mean anything.
const SHORT: &str = "--duration 100ms --warmup 5ms";

/// A folder with a file that is not there yet.
struct Place {
    _folder: TempDir,
    file: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("traffic.jsonl");
        Self {
            _folder: folder,
            file,
        }
    }

    fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    fn calls(&self) -> Vec<Value> {
        let lines = self.text();
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line.get("method").is_some())
            .collect()
    }

    /// Records some calls of all kinds; what the server said at its end.
    fn record(&self, arguments: &str) -> String {
        let (server, url) = Running::serve(&format!("--record {} {arguments}", self.path()));
        for (method, data) in [
            ("Unary", r#"{"payload":"aGVsbG8="}"#),
            ("Unary", r#"{"want":300}"#),
            (
                "ClientStream",
                r#"{"payload":"aGVsbG8="}{"payload":"aGVsbG8="}"#,
            ),
            ("ServerStream", r#"{"payload":"aGVsbG8=","want":4}"#),
            ("Bidi", r#"{"payload":"aGVsbG8="}{"want":7}"#),
        ] {
            let method = format!("echo.v1.Echo/{method}");
            let call = run_with(["call", &url, &method, "-d", data]);
            assert_eq!(call.code, Some(0), "{call:?}");
        }
        let fails = run_with([
            "call",
            &url,
            "echo.v1.Echo/Unary",
            "-d",
            r#"{"want":99999999}"#,
        ]);
        assert_eq!(fails.code, Some(64 + 8), "{fails:?}");
        server.signal(Signal::TERM);
        let (status, rest) = server.finish();
        assert_eq!(status.code(), Some(0), "{rest}");
        rest
    }

    fn replay(&self, more: &str) -> Run {
        let arguments = ["lab", "--replay", self.path()].into_iter();
        run_with(arguments.chain(more.split_whitespace()))
    }
}

/// A line of text with single spaces.
fn has_line(text: &str, wanted: &str) -> bool {
    text.lines().any(|line| {
        line.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .starts_with(wanted)
    })
}

#[test]
fn what_was_recorded_is_replayed_on_every_model() {
    let place = Place::new();
    let said = place.record("--loops 2");
    assert_eq!(said, format!("recorded 6 calls in {}", place.path()));
    let results = place.file.with_extension("json");
    let lab = place.replay(&format!("{SHORT} --rounds 2 --json {}", results.display()));
    assert_eq!(
        (lab.code, lab.stderr.as_str()),
        (Some(0), ""),
        "{}",
        lab.stdout
    );
    let heading = format!(": replay of {}, 2 rounds of 100ms", place.path());
    assert!(lab.stdout.contains(&heading), "{}", lab.stdout);
    for line in [
        "echo.v1.Echo/Unary unary 3 50.0 % 5 B 7 B 7 B 303 B",
        "echo.v1.Echo/ClientStream client-stream 1 16.7 % 2 × 7 B 7 B 4 B 4 B",
        "echo.v1.Echo/ServerStream server-stream 1 16.7 % 9 B 9 B 4 × 7 B 7 B",
        "echo.v1.Echo/Bidi bidi 1 16.7 % 2 × 5 B 5 B 2 × 8 B 8 B",
        "replay × 1 1 connection with calls at their recorded moments",
        "→ ",
    ] {
        assert!(has_line(&lab.stdout, line), "{line}: {}", lab.stdout);
    }
    assert!(lab.stdout.contains("That is few"), "{}", lab.stdout);
    assert!(!lab.stdout.contains("not measured"), "{}", lab.stdout);
    for model in kettle::Model::ALL {
        assert!(
            has_line(&lab.stdout, &format!("{model} ")),
            "{model}: {}",
            lab.stdout
        );
    }
    let raw: Value = serde_json::from_str(&fs::read_to_string(results).unwrap()).unwrap();
    assert_eq!(raw["settings"]["replay"]["calls"], 6, "{raw}");
    assert_eq!(raw["loads"][0]["work"], "replay", "{raw}");
    for row in raw["loads"][0]["rows"].as_array().unwrap() {
        for round in row["rounds"].as_array().unwrap() {
            assert_eq!(round["errors"], serde_json::json!({}), "{row}");
            assert!(0 < round["calls"].as_u64().unwrap(), "{row}");
        }
    }
}

#[test]
fn the_rate_and_the_mix_are_those_of_the_recording() {
    let place = Place::new();
    let (server, url) = Running::serve(&format!("--record {}", place.path()));
    let small = format!("bench {url} --rate 400 -c 3 --payload 100 --warmup 0 --duration 0.5");
    let small = Running::start(&small);
    let large = run(&format!(
        "bench {url} --rate 100 --payload 20000 --want 5 --warmup 0 --duration 0.5"
    ));
    assert_eq!(large.code, Some(0), "{large:?}");
    assert_eq!(small.finish().0.code(), Some(0));
    server.signal(Signal::TERM);
    server.finish();
    let calls = place.calls();
    let large = calls
        .iter()
        .filter(|call| call["request_bytes"].as_u64() > Some(20_000));
    assert!((45..=55).contains(&large.count()), "{calls:?}");
    assert!((240..=260).contains(&calls.len()), "{}", calls.len());
    let lab =
        place.replay("--models epoll,poll --rounds 1 --duration 1 --warmup 0 --json /dev/stderr");
    assert_eq!(lab.code, Some(0), "{lab:?}");
    assert!(
        lab.stdout.contains("on 4 connections at a time"),
        "{}",
        lab.stdout
    );
    let raw: Value = serde_json::from_str(&lab.stderr).unwrap();
    for row in raw["loads"][0]["rows"].as_array().unwrap() {
        let round = &row["rounds"][0];
        let calls = round["calls"].as_u64().unwrap();
        // Two benches that began a little apart, so that there is less at both ends.
        assert!((350..=600).contains(&calls), "{round}");
        assert_eq!(round["skipped"], 0, "{round}");
        assert!(
            round["system_calls_per_call"].as_f64() > Some(0.5),
            "{round}"
        );
    }
}

#[test]
fn a_rate_that_cannot_be_driven_is_told() {
    let place = Place::new();
    let (server, url) = Running::serve(&format!("--record {}", place.path()));
    let bench = run(&format!("bench {url} -c 4 -i 16 --warmup 0 --duration 0.5"));
    assert_eq!(bench.code, Some(0), "{bench:?}");
    server.signal(Signal::TERM);
    server.finish();
    let lab = place.replay("--models epoll --rounds 1 --duration 0.5 --warmup 0 --speed 200");
    assert_eq!(lab.code, Some(0), "{lab:?}");
    assert!(
        lab.stdout
            .contains(" of the calls that were due were not made: "),
        "{}",
        lab.stdout
    );
    assert!(
        lab.stdout.contains("at 200 times the recorded speed"),
        "{}",
        lab.stdout
    );
}

#[test]
fn a_server_of_ones_own_gets_what_was_recorded() {
    let (place, again) = (Place::new(), Place::new());
    place.record("--record-payloads");
    let command = format!(
        "{PROGRAM} serve --record-payloads --record {}",
        again.path()
    );
    let server = ["--server", &command];
    let more = "--models epoll --rounds 1 --duration 2 --warmup 0".split(' ');
    let arguments = ["lab", "--replay", place.path()].into_iter();
    let lab = run_with(arguments.chain(server).chain(more.clone()));
    // The server of the rehearsal has made the file already, and a recording overwrites none.
    assert_eq!(lab.code, Some(1), "{lab:?}");
    assert!(
        lab.stdout.contains("a recording overwrites no file"),
        "{lab:?}"
    );
    let call = &again.calls()[0];
    let wanted = &place.calls()[0];
    for name in ["method", "kind", "payloads", "reply_bytes", "status"] {
        assert_eq!(call[name], wanted[name], "{name}");
    }
    let command = format!("{PROGRAM} serve");
    let arguments = ["lab", "--replay", place.path(), "--server", &command].into_iter();
    let lab = run_with(arguments.chain(more));
    assert_eq!(
        (lab.code, lab.stderr.as_str()),
        (Some(0), ""),
        "{}",
        lab.stdout
    );
    assert!(
        lab.stdout
            .contains(&format!("replay of {} to `{command}`", place.path())),
        "{}",
        lab.stdout
    );
    assert!(
        lab.stdout.contains("with the messages that were recorded"),
        "{}",
        lab.stdout
    );
}

#[test]
fn a_server_of_ones_own_needs_payloads() {
    let place = Place::new();
    place.record("");
    let lab = place.replay("--server x");
    assert_eq!((lab.code, lab.stdout.as_str()), (Some(1), ""), "{lab:?}");
    assert!(
        lab.stderr.contains("has no payloads") && lab.stderr.contains("--record-payloads"),
        "{lab:?}"
    );
}

#[test]
fn a_killed_server_leaves_its_calls() {
    let place = Place::new();
    let (server, url) = Running::serve(&format!("--record {}", place.path()));
    let call = run(&format!("call {url} echo.v1.Echo/Unary"));
    assert_eq!(call.code, Some(0), "{call:?}");
    until(|| place.text().contains("at_us").then_some(()));
    server.signal(Signal::KILL);
    server.finish();
    let lab = place.replay(&format!("{SHORT} --models epoll --rounds 1"));
    assert_eq!(lab.code, Some(0), "{lab:?}");
    let wanted = "it was not completed, because its server was killed or the file was cut; used: its 1 whole call.";
    assert!(lab.stdout.contains(wanted), "{}", lab.stdout);
}

#[test]
fn a_file_that_is_cut_is_used_up_to_there() {
    let place = Place::new();
    place.record("");
    let text = place.text();
    fs::write(&place.file, &text[..text.len() / 2]).unwrap();
    let lab = place.replay(&format!("{SHORT} --models epoll --rounds 1"));
    assert_eq!(lab.code, Some(0), "{lab:?}");
    let whole = text[..text.len() / 2].matches("}\n").count() - 1;
    let wanted = format!("its last line is cut; used: the {whole} whole calls before it.");
    assert!(lab.stdout.contains(&wanted), "{wanted}: {}", lab.stdout);
}

#[test]
fn what_is_no_recording_is_refused_before_anything_is_measured() {
    let place = Place::new();
    let folder = place.file.parent().unwrap().to_owned();
    for (content, why) in [
        ("", "is empty"),
        (
            "# Notes\n",
            "is no recording: its first line is not one of `kettle serve --record`",
        ),
        (
            "{\"kettle_recording\":7,\"kettle\":\"3.1.4\"}\n",
            "is a recording of version 7, written by kettle 3.1.4; this program reads version 1",
        ),
        (
            "{\"kettle_recording\":1}\n{\"end_us\":5,\"calls\":0,\"unrecorded\":0}\n",
            "has no calls",
        ),
    ] {
        fs::write(&place.file, content).unwrap();
        let lab = place.replay("");
        assert_eq!((lab.code, lab.stdout.as_str()), (Some(1), ""), "{lab:?}");
        assert!(
            lab.stderr
                .starts_with(&format!("kettle: {} {why}", place.path())),
            "{lab:?}"
        );
        assert_eq!(lab.stderr.lines().count(), 1, "{lab:?}");
    }
    for (path, why) in [
        ("/nonexistent/f", "No such file"),
        (folder.to_str().unwrap(), "Is a directory"),
    ] {
        let lab = run_with(["lab", "--replay", path]);
        assert_eq!((lab.code, lab.stdout.as_str()), (Some(1), ""), "{lab:?}");
        assert!(
            lab.stderr
                .starts_with(&format!("kettle: cannot read {path}: {why}")),
            "{lab:?}"
        );
    }
}

#[test]
fn a_recording_overwrites_nothing() {
    let place = Place::new();
    fs::write(&place.file, "mine").unwrap();
    for (path, why) in [
        (place.path(), "a recording overwrites no file: File exists"),
        (
            "/nonexistent/f",
            "the recording cannot be written: No such file",
        ),
    ] {
        let server = run_with(["serve", "--listen", "127.0.0.1:0", "--record", path]);
        assert_eq!(
            (server.code, server.stdout.as_str()),
            (Some(1), ""),
            "{server:?}"
        );
        assert!(
            server.stderr.starts_with(&format!("kettle: {path}: {why}")),
            "{server:?}"
        );
    }
    assert_eq!(place.text(), "mine");
    let server = run_with(["serve", "--record", "/tmp/f", "--record-bytes-max", "5"]);
    assert!(
        server
            .stderr
            .contains("bytes_max is 5, and must be 4096 at least"),
        "{server:?}"
    );
}

#[test]
fn a_server_that_does_not_start_leaves_no_file() {
    let place = Place::new();
    let (_server, url) = Running::serve("");
    let address = url.strip_prefix("kettle://").unwrap();
    let second = run_with(["serve", "--listen", address, "--record", place.path()]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(!place.file.exists());
}

#[test]
fn a_full_file_is_told_and_the_server_goes_on() {
    let place = Place::new();
    let mut command = kettle_with(["serve", "--listen", "127.0.0.1:0", "--record", place.path()]);
    command
        .args(["--record-bytes-max", "5000"])
        .stderr(Stdio::piped());
    let mut server = Running::of(&mut command);
    let url = url(&server.line());
    let bench = run(&format!("bench {url} --warmup 0 --duration 0.2 --json"));
    assert_eq!(bench.code, Some(0), "{bench:?}");
    server.signal(Signal::TERM);
    let errors = server.errors();
    assert_eq!(
        errors.matches("the recording is full").count(),
        1,
        "{errors}"
    );
    let (status, rest) = server.finish();
    assert_eq!(status.code(), Some(0));
    let recorded = place.calls().len() as u64;
    assert!(fs::metadata(&place.file).unwrap().len() <= 5000);
    // One more may have been in flight at the end of the measurement.
    let calls = bench.json()["calls"].as_u64().unwrap();
    let wanted = |calls: u64| {
        format!(
            "; {} more were not recorded: the file is full",
            grouped(calls - recorded)
        )
    };
    assert!(
        rest.ends_with(&wanted(calls)) || rest.ends_with(&wanted(calls + 1)),
        "{rest}"
    );
    let lab = place.replay(&format!("{SHORT} --models epoll --rounds 1"));
    assert!(
        lab.stdout
            .contains("because the file had reached its limit after"),
        "{lab:?}"
    );
}

/// As the command groups digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    match digits.len() {
        0..=4 => digits,
        length => format!("{},{}", &digits[..length - 3], &digits[length - 3..]),
    }
}

#[test]
fn a_disk_without_room_is_told_and_the_server_goes_on() {
    let place = Place::new();
    // Blocks of 512 bytes; what is beyond fails as on a full disk, once the signal for it is ignored.
    let command = format!(
        "trap '' XFSZ; ulimit -f 8; exec {PROGRAM} serve --listen 127.0.0.1:0 --record {}",
        place.path()
    );
    let mut shell = std::process::Command::new("sh");
    let mut server = Running::of(shell.args(["-c", &command]).stderr(Stdio::piped()));
    let url = url(&server.line());
    let bench = run(&format!("bench {url} --warmup 0 --duration 0.2 --json"));
    assert_eq!(bench.code, Some(0), "{bench:?}");
    assert_eq!(run(&format!("call {url} echo.v1.Echo/Unary")).code, Some(0));
    server.signal(Signal::TERM);
    let errors = server.errors();
    assert_eq!(
        errors.matches("the recording cannot be written").count(),
        1,
        "{errors}"
    );
    let (status, rest) = server.finish();
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(
        rest.contains("more were not recorded: File too large"),
        "{rest}"
    );
    let text = place.text();
    assert!(text.ends_with("}\n"), "half a line was taken back: {text}");
}

fn url(line: &str) -> String {
    let address = line
        .strip_prefix("listening on ")
        .and_then(|line| line.split(' ').next());
    format!("kettle://{}", address.unwrap_or_else(|| panic!("{line:?}")))
}
