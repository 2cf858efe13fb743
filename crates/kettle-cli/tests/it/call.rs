//! `kettle call`: what all kinds of calls share. `call/streams.rs` has what only streams do.

mod streams;

use crate::process::{Run, Running, run, run_on, run_with};
use kettle::{Server, ServerHandle};
use kettle_testkit::trial::{TrialService, trial_server::TrialServer};
use std::fs;
use std::net::TcpListener;
use tempfile::TempDir;

const UNARY: &str = "echo.v1.Echo/Unary";
const RUN: &str = "kettle.trial.v1.Trial/Run";
const TRIAL_PROTO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../kettle-testkit/proto/trial.proto"
);

/// A server that ends calls in every way, and its URL.
fn trial() -> (ServerHandle, String) {
    let service = TrialServer::new(TrialService::default());
    let server = Server::builder().add_service(service).spawn("127.0.0.1:0");
    let server = server.unwrap();
    let url = format!("kettle://{}", server.local_addr());
    (server, url)
}

/// A call of the trial service's method Run.
fn run_trial(url: &str, data: &str, more: &[&str]) -> Run {
    let call = ["call", url, RUN, "--proto", TRIAL_PROTO, "-d", data];
    run_with(call.into_iter().chain(more.iter().copied()))
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// A URL where nobody listens: a port that was free a moment ago, and that nobody else is told.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("kettle://{}", listener.local_addr().unwrap())
}

#[track_caller]
fn check(run: &Run, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (Some(code), stdout, stderr)
    );
}

#[test]
fn the_echo_service_is_known_without_a_file() {
    let (_server, url) = Running::serve("");
    let hello = r#"{"payload":"aGVsbG8="}"#;
    let reply = format!("{hello}\n");
    check(&run_with(["call", &url, UNARY, "-d", hello]), 0, &reply, "");
    check(
        &run_on(hello, ["call", &url, UNARY, "-d", "-"]),
        0,
        &reply,
        "",
    );
    let folder = folder(&[("hello.json", "{\n  \"payload\": \"aGVsbG8=\"\n}\n")]);
    let file = format!("@{}/hello.json", folder.path().display());
    check(&run_with(["call", &url, UNARY, "-d", &file]), 0, &reply, "");
    check(&run_with(["call", &url, UNARY]), 0, "{}\n", "");
}

#[test]
fn any_service_is_known_by_its_proto_file() {
    let (_server, url) = trial();
    let data = r#"{"behaviour":"ECHO","payload":"AP8=","number":"7"}"#;
    let reply = "{\"payload\":\"AP8=\",\"number\":\"7\"}\n";
    check(&run_trial(&url, data, &[]), 0, reply, "");
}

#[test]
fn imports_are_found_beside_the_file_or_where_they_are_said_to_be() {
    let service = "syntax = \"proto3\"; package kettle.trial.v1; import \"sub/task.proto\";
        import \"google/protobuf/empty.proto\";
        service Trial { rpc Run(Task) returns (google.protobuf.Empty); }";
    let task = "syntax = \"proto3\"; package kettle.trial.v1; message Task { uint64 number = 3; }";
    let folder = folder(&[
        ("sub/service.proto", service),
        ("sub/task.proto", task),
        ("s.proto", service),
    ]);
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (_server, url) = trial();
    let (beside, inside, root) = (path("s.proto"), path("sub/service.proto"), path(""));
    let call = ["call", &url, RUN, "-d", "{\"number\":1}", "--proto"];
    let calls = |more: &[&str]| run_with(call.into_iter().chain(more.iter().copied()));
    check(&calls(&[&beside]), 0, "{}\n", "");
    check(&calls(&[&inside, "-I", &root]), 0, "{}\n", "");
    let lost = calls(&[&inside]);
    let wanted = [
        "service.proto:1:45: import 'sub/task.proto' not found (looked in ",
        "-I FOLDER names where",
    ];
    assert!(
        wanted.iter().all(|text| lost.stderr.contains(text)),
        "{lost:?}"
    );
    assert_eq!((lost.code, lost.stdout.as_str()), (Some(1), ""));
}

#[test]
fn a_status_is_told_and_becomes_the_exit_code() {
    let (_server, url) = trial();
    for (number, name, exit) in [
        (1, "CANCELLED", 65),
        (5, "NOT_FOUND", 69),
        (16, "UNAUTHENTICATED", 80),
        (99, "CODE 99", 66),
    ] {
        let data = format!(r#"{{"behaviour":"FAIL","number":{number}}}"#);
        let wanted = format!("kettle: {name}: told to fail, ünd so it does\n");
        check(&run_trial(&url, &data, &[]), exit, "", &wanted);
    }
    let missing = run_with(["call", &url, UNARY]);
    assert_eq!(missing.code, Some(76), "{missing:?}");
    assert!(
        missing.stderr.starts_with("kettle: UNIMPLEMENTED: "),
        "{missing:?}"
    );
}

#[test]
fn metadata_goes_and_comes() {
    let (_server, url) = trial();
    let headers = ["-H", "X-Trace: a: b", "-H", "key-bin: AP8", "-v"];
    let run = run_trial(&url, r#"{"behaviour":"METADATA"}"#, &headers);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (Some(0), "{}\n"),
        "{run:?}"
    );
    let lines: Vec<_> = run.stderr.lines().collect();
    assert!(
        lines[0].starts_with(&format!("* connected to {url} in ")),
        "{run:?}"
    );
    assert_eq!(
        lines[1..8],
        [
            "> /kettle.trial.v1.Trial/Run",
            "> x-trace: a: b",
            "> key-bin: AP8=",
            "< x-trace: a: b",
            "< key-bin: AP8=",
            "< x-trace: a: b (trailer)",
            "< key-bin: AP8= (trailer)",
        ]
    );
    assert!(lines[8].starts_with("* OK after "), "{run:?}");
    assert!(
        lines[8].ends_with("; sent 1 message of 2 B, received 1 message of 0 B"),
        "{run:?}"
    );
    assert_eq!(lines.len(), 9);
}

#[test]
fn what_comes_with_a_failure_is_told_too() {
    let (_server, url) = trial();
    let data = r#"{"behaviour":"FAIL","number":9,"payload":"AP8="}"#;
    let run = run_trial(&url, data, &["-v"]);
    assert_eq!(run.code, Some(73), "{run:?}");
    for line in [
        "\n< trailing: metadata (trailer)\n",
        "\n< details: AP8=\n",
        "\n* FAILED_PRECONDITION after ",
        "received 0 messages of 0 B\nkettle: FAILED_PRECONDITION: told to fail",
    ] {
        assert!(run.stderr.contains(line), "{line}: {run:?}");
    }
}

#[test]
fn a_deadline_ends_the_call_and_the_server_knows_it() {
    let (_server, url) = trial();
    let slow = r#"{"behaviour":"THREAD","number":20000}"#;
    let slow = run_trial(&url, slow, &["--deadline", "50ms"]);
    assert_eq!(
        (slow.code, slow.stdout.as_str()),
        (Some(68), ""),
        "{slow:?}"
    );
    assert!(
        slow.stderr.starts_with("kettle: DEADLINE_EXCEEDED: "),
        "{slow:?}"
    );
    let left = run_trial(&url, r#"{"behaviour":"DEADLINE"}"#, &["--deadline", "60"]).json();
    let left: u64 = left["number"].as_str().unwrap().parse().unwrap();
    assert!((30_000..=60_000).contains(&left), "{left}");
}

#[test]
fn a_deadline_also_ends_connecting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("kettle://{}", silent.local_addr().unwrap());
    let run = run_with(["call", &url, UNARY, "--deadline", "50ms"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(68), ""), "{run:?}");
    assert!(
        run.stderr
            .starts_with("kettle: DEADLINE_EXCEEDED: cannot reach"),
        "{run:?}"
    );
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let url = nobody();
    let wanted =
        format!("kettle: UNAVAILABLE: cannot reach {url}: Connection refused (os error 111)\n");
    check(&run_with(["call", &url, UNARY]), 78, "", &wanted);
}

#[test]
fn what_is_wrong_is_said_before_anybody_is_called() {
    let url = nobody();
    let fields = "; echo.v1.EchoRequest has: payload (bytes, as base64), want (uint64), waitUs (uint32), \
         workUs (uint32), replyBytes (uint64), replies (uint64)";
    let unary = "Unary(EchoRequest) returns (EchoReply)";
    let methods = format!(
        "{unary}\n  Pooled(EchoRequest) returns (EchoReply)\n  ClientStream(stream EchoRequest) returns (EchoReply)\n  \
         ServerStream(EchoRequest) returns (stream EchoReply)\n  \
         Bidi(stream EchoRequest) returns (stream EchoReply)"
    );
    for (arguments, wanted) in [
        (&["echo.v1.Echo/Unari"][..], format!("service echo.v1.Echo has no method \"Unari\"; it has:\n  {methods}")),
        (&["echo.v1.Echo"], format!("which method of echo.v1.Echo? Write echo.v1.Echo/METHOD; it has:\n  {methods}")),
        (&["Unary"], "\"Unary\" is no method: write SERVICE/METHOD, such as echo.v1.Echo/Unary".to_owned()),
        (&["a.B/C"], "no service \"a.B\" is known: only echo.v1.Echo, unless its .proto file is given with --proto FILE".to_owned()),
        (&["a.B/C", "--proto", TRIAL_PROTO], "no service \"a.B\" is in the .proto files; they have: kettle.trial.v1.Trial".to_owned()),
        (&[UNARY, "-d", "{\"wan\":1}"], format!("-d: unrecognized field name 'wan' at line 1 column 7{fields}")),
        (&[UNARY, "-d", "{\n \"want\": \"x\"}"], format!("-d: field want: invalid digit found in string at line 2 column 12{fields}")),
        (&[UNARY, "-d", "{"], format!("-d: EOF while parsing an object at line 1 column 1{fields}")),
        (&[UNARY, "-d", ""], format!("{unary} takes one message, and none was given: {{}} is the empty one")),
        (&[UNARY, "-d", "{}{}"], format!("{unary} takes one message, and more were given")),
        (&[UNARY, "-d", "@/nonexistent"], "cannot read /nonexistent: No such file or directory (os error 2)".to_owned()),
        (&[UNARY, "--proto", "no.proto"], "cannot read no.proto: No such file or directory (os error 2)".to_owned()),
        (&[UNARY, "--proto", "no.proto", "-I", "/"], "file 'no.proto' is not in any include path (looked in /; -I FOLDER names where the names of .proto files begin)".to_owned()),
    ] {
        let call = ["call", &url].into_iter().chain(arguments.iter().copied());
        check(&run_with(call), 1, "", &format!("kettle: {wanted}\n"));
    }
}

#[test]
fn a_wrong_url_is_explained() {
    for (url, why) in [
        (
            "http://127.0.0.1:1",
            "its scheme is not kettle; write kettle://HOST:PORT or unix:///PATH",
        ),
        (
            "127.0.0.1:1",
            "it has no scheme; write kettle://HOST:PORT or unix:///PATH",
        ),
        ("kettle://127.0.0.1", "it has no port"),
    ] {
        let wanted = format!("kettle: {url:?} is not a server's URL: {why}\n");
        check(&run_with(["call", url, UNARY]), 1, "", &wanted);
    }
}

#[test]
fn a_wrong_proto_file_is_answered_with_its_place() {
    let folder = folder(&[(
        "bad.proto",
        "syntax = \"proto3\";\nmessage A { string a = 1 }\n",
    )]);
    let file = folder.path().join("bad.proto");
    let run = run_with(["call", &nobody(), UNARY, "--proto", file.to_str().unwrap()]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(
        run.stderr.contains("bad.proto:2:26: expected ';'"),
        "{run:?}"
    );
}

#[test]
fn a_reply_that_the_proto_file_does_not_describe_is_said() {
    let other = "syntax = \"proto3\"; package kettle.trial.v1;
        service Trial { rpc Run(Task) returns (Outcome); }
        message Task { bytes payload = 2; }
        message Outcome { string payload = 1; }";
    let folder = folder(&[("other.proto", other)]);
    let file = folder.path().join("other.proto");
    let (_server, url) = trial();
    let call = ["call", &url, RUN, "-d", "{\"payload\":\"AP8=\"}"];
    let run = run_with(call.into_iter().chain(["--proto", file.to_str().unwrap()]));
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
    assert!(
        run.stderr
            .starts_with("kettle: the reply is no kettle.trial.v1.Outcome: "),
        "{run:?}"
    );
}

#[test]
fn what_cannot_be_metadata_is_a_wrong_argument() {
    for (header, why) in [
        ("x", "it has no colon: write 'NAME: VALUE'"),
        ("a b: c", "is not 1 to 255 characters of a-z"),
        ("x-bin: ?", "is not base64"),
    ] {
        let run = run_with(["call", &nobody(), UNARY, "-H", header]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
        assert!(run.stderr.contains(why), "{run:?}");
    }
}

#[test]
fn its_help_tells_the_exit_codes() {
    let help = run("call --help").stdout;
    let help: Vec<_> = help.split_whitespace().collect();
    let help = help.join(" ");
    for text in [
        "Exit codes: 0 the status is OK",
        "78 UNAVAILABLE",
        "-H, --header",
    ] {
        assert!(help.contains(text), "{text}: {help}");
    }
}
