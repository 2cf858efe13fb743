//! `kettle call` of methods that stream.

use super::{TRIAL_PROTO, check, folder, trial};
use crate::process::{Running, kettle_with, run_on, run_with, until};
use kettle::ServerHandle;
use rustix::process::Signal;
use std::net::TcpListener;
use std::process::Stdio;

const CLIENT_STREAM: &str = "echo.v1.Echo/ClientStream";
const SERVER_STREAM: &str = "echo.v1.Echo/ServerStream";
const BIDI: &str = "echo.v1.Echo/Bidi";

/// `kettle` and `cup`.
const TWO: &str = "{\"payload\":\"a2V0dGxl\"}\n{\"payload\":\"Y3Vw\"}\n";

/// What a call may keep in memory: little beside what passes through it in the tests of endless streams.
const MEMORY_MAX: u64 = 64 * 1024 * 1024;

/// A message of 64 KiB as JSON.
fn large() -> String {
    format!("{{\"payload\":\"{}\"}}", "AAAA".repeat(64 * 1024 / 3))
}

/// Starts a call of the trial service with stdin for its input, and stderr as a pipe.
fn start_trial(url: &str, method: &str, more: &[&str]) -> Running {
    let method = format!("kettle.trial.v1.Trial/{method}");
    let call = ["call", url, &method, "--proto", TRIAL_PROTO, "-d", "-"];
    let mut command = kettle_with(call.into_iter().chain(more.iter().copied()));
    Running::of(command.stderr(Stdio::piped()))
}

/// Waits until the server has given up one call.
fn until_given_up(server: &ServerHandle) {
    until(|| (server.stats().calls_failed == 1).then_some(()));
}

#[test]
fn a_stream_of_requests_is_answered_once() {
    let (_server, url) = Running::serve("");
    let nine = "{\"payload\":\"OQ==\"}\n";
    check(
        &run_with(["call", &url, CLIENT_STREAM, "-d", TWO]),
        0,
        nine,
        "",
    );
    check(
        &run_on(TWO, ["call", &url, CLIENT_STREAM, "-d", "-"]),
        0,
        nine,
        "",
    );
    let folder = folder(&[("two.json", TWO)]);
    let file = format!("@{}/two.json", folder.path().display());
    check(
        &run_with(["call", &url, CLIENT_STREAM, "-d", &file]),
        0,
        nine,
        "",
    );
    let none = "{\"payload\":\"MA==\"}\n";
    check(
        &run_on("", ["call", &url, CLIENT_STREAM, "-d", "-"]),
        0,
        none,
        "",
    );
}

#[test]
fn a_stream_of_replies_is_a_line_each() {
    let (_server, url) = Running::serve("");
    let three = "{\"payload\":\"Y3Vw\"}\n".repeat(3);
    let data = "{\"payload\":\"Y3Vw\",\"want\":3}";
    let call = run_with(["call", &url, SERVER_STREAM, "-d", data]);
    check(&call, 0, &three, "");
    check(&run_with(["call", &url, SERVER_STREAM]), 0, "", "");
    let both = run_with(["call", &url, SERVER_STREAM, "-d", "{}{}"]);
    let wanted = "kettle: ServerStream(EchoRequest) returns (stream EchoReply) takes one message, \
                  and more were given\n";
    check(&both, 1, "", wanted);
}

#[test]
fn each_of_a_stream_is_answered() {
    let (_server, url) = Running::serve("");
    check(&run_on(TWO, ["call", &url, BIDI, "-d", "-"]), 0, TWO, "");
    check(&run_on("", ["call", &url, BIDI, "-d", "-"]), 0, "", "");
    check(&run_with(["call", &url, BIDI]), 0, "{}\n", "");
    let many = TWO.repeat(20_000);
    let call = run_with(["call", &url, BIDI, "-d", "@/dev/null"]);
    check(&call, 0, "", "");
    let folder = folder(&[("many.json", &many)]);
    let file = format!("@{}/many.json", folder.path().display());
    let call = run_with(["call", &url, BIDI, "-d", &file]);
    assert!(
        call.code == Some(0) && call.stdout == many,
        "{:?}",
        call.stderr
    );
}

#[test]
fn a_conversation_goes_on_while_stdin_is_open() {
    let (_server, url) = Running::serve("");
    let mut call = Running::start_with(["call", &url, BIDI, "-d", "-"]);
    for word in ["a2V0dGxl", "Y3Vw", "dGVh"] {
        let line = format!("{{\"payload\":\"{word}\"}}");
        call.say(&line);
        assert_eq!(call.line().trim_end(), line);
    }
    call.close_stdin();
    let (status, rest) = call.finish();
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
}

#[test]
fn a_status_in_the_middle_becomes_the_exit_code_while_stdin_is_open() {
    let (_server, url) = Running::serve("");
    let mut call = Running::of(kettle_with(["call", &url, BIDI, "-d", "-"]).stderr(Stdio::piped()));
    call.say("{}");
    assert_eq!(call.line(), "{}\n");
    call.say("{\"want\":9999999}");
    assert!(
        call.errors()
            .starts_with("kettle: RESOURCE_EXHAUSTED: want is 9999999")
    );
    let (status, rest) = call.finish();
    assert_eq!((status.code(), rest.as_str()), (Some(72), ""));
}

#[test]
fn a_wrong_message_in_the_middle_cancels_the_call() {
    let (server, url) = trial();
    for (count, method) in ["Chat", "Collect"].into_iter().enumerate() {
        let mut call = start_trial(&url, method, &[]);
        call.say("{}");
        if method == "Chat" {
            assert_eq!(call.line(), "{}\n");
        }
        let calls = count as u64 + 1;
        until(|| (server.stats().calls == calls).then_some(()));
        call.say("{\"numbre\":1}");
        let errors = call.errors();
        let wanted = "kettle: stdin: unrecognized field name 'numbre' at line 2 column 10; ";
        assert!(errors.starts_with(wanted), "{errors}");
        assert_eq!(call.finish().0.code(), Some(1), "{method}");
        until(|| (server.stats().calls_failed == calls).then_some(()));
    }
}

#[test]
fn metadata_goes_ahead_and_comes_behind_a_stream() {
    let (_server, url) = trial();
    let mut call = start_trial(&url, "Push", &["-v", "-H", "x-trace: 7"]);
    call.say("{\"behaviour\":\"METADATA\"}");
    call.close_stdin();
    let errors = call.errors();
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(
        lines[1..lines.len() - 1],
        [
            "> /kettle.trial.v1.Trial/Push",
            "> x-trace: 7",
            "< x-trace: 7",
            "< x-trace: 7 (trailer)",
        ],
        "{errors}"
    );
    let last = lines.last().unwrap();
    assert!(last.starts_with("* OK after "), "{errors}");
    assert!(
        last.ends_with("; sent 1 message of 2 B, received 1 message of 0 B"),
        "{errors}"
    );
    let (status, rest) = call.finish();
    assert_eq!((status.code(), rest.as_str()), (Some(0), "{}"));
}

#[test]
fn a_deadline_ends_streams() {
    let (_server, url) = trial();
    for method in ["Collect", "Push", "Chat"] {
        let mut call = start_trial(&url, method, &["--deadline", "100ms"]);
        call.say("{\"behaviour\":\"NEVER\"}");
        if method == "Push" {
            call.close_stdin();
        }
        let errors = call.errors();
        assert!(
            errors.starts_with("kettle: DEADLINE_EXCEEDED: "),
            "{method}: {errors}"
        );
        let (status, rest) = call.finish();
        assert_eq!((status.code(), rest.as_str()), (Some(68), ""), "{method}");
    }
}

#[test]
fn ctrl_c_cancels_a_call_of_every_kind() {
    for method in ["Run", "Collect", "Push", "Chat"] {
        let (server, url) = trial();
        let mut call = start_trial(&url, method, &["-v"]);
        call.say("{\"behaviour\":\"NEVER\"}");
        if matches!(method, "Run" | "Push") {
            call.close_stdin();
        }
        until(|| (server.stats().calls == 1).then_some(()));
        call.signal(Signal::INT);
        let errors = call.errors();
        let (before, last) = errors.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(last, "kettle: interrupted", "{method}");
        assert!(
            before.contains("\n* CANCELLED after "),
            "{method}: {errors}"
        );
        let (status, rest) = call.finish();
        assert_eq!((status.code(), rest.as_str()), (Some(130), ""), "{method}");
        until_given_up(&server);
    }
}

#[test]
fn ctrl_c_ends_connecting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("kettle://{}", silent.local_addr().unwrap());
    let call = Running::start_with(["call", &url, BIDI, "-d", "-"]);
    let _connection = silent.accept().unwrap();
    call.signal(Signal::INT);
    assert_eq!(call.finish().0.code(), Some(130));
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let (server, url) = trial();
    let mut call = start_trial(&url, "Push", &[]);
    call.say("{\"behaviour\":\"LARGE\",\"number\":100}");
    call.close_stdin();
    assert!(call.line().starts_with("{\"payload\":\"eHh4"));
    call.close_stdout();
    assert_eq!(call.errors(), "");
    assert_eq!(call.finish().0.code(), Some(0));
    until_given_up(&server);
}

#[test]
fn an_endless_stream_of_replies_takes_bounded_memory() {
    let (_server, url) = trial();
    let mut call = start_trial(&url, "Push", &[]);
    call.say("{\"behaviour\":\"LARGE\",\"number\":65536}");
    call.close_stdin();
    for _ in 0..2000 {
        assert!(!call.line().is_empty());
    }
    let peak = call.memory_peak();
    assert!(peak < MEMORY_MAX, "{peak} bytes");
}

#[test]
fn an_endless_stream_of_requests_takes_bounded_memory() {
    let (_server, url) = Running::serve("");
    let mut call = Running::start_with(["call", &url, CLIENT_STREAM, "-d", "-"]);
    let line = large();
    for _ in 0..2000 {
        call.say(&line);
    }
    let peak = call.memory_peak();
    assert!(peak < MEMORY_MAX, "{peak} bytes");
    call.close_stdin();
    let (status, rest) = call.finish();
    // 2,000 times 65,535 bytes: 131070000.
    assert_eq!(
        (status.code(), rest.as_str()),
        (Some(0), "{\"payload\":\"MTMxMDcwMDAw\"}")
    );
}
