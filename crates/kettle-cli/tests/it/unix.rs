//! Unix-domain sockets: `kettle serve`, `call` and `bench` over one.

use crate::process::{Running, kettle, run, run_with};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A path for a socket that no other test has.
fn path(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("kettle-cli-{}-{test}.sock", std::process::id()))
}

#[test]
fn serve_call_and_bench_meet() {
    let path = path("meet");
    let url = format!("unix://{}", path.display());
    let mut server = Running::start(&format!("serve --listen {url} --unix-mode 600"));
    let line = server.line();
    assert_eq!(line, format!("listening on {url} model=epoll loops=1\n"));
    let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let data = r#"{"payload":"aGk="}"#;
    let call = run_with(["call", &url, "echo.v1.Echo/Unary", "-d", data]);
    assert_eq!(call.stdout, "{\"payload\":\"aGk=\"}\n", "{call:?}");
    for more in ["-c 4", "--method bidi", "--blocking"] {
        let bench = run(&format!(
            "bench {url} --warmup 0 --duration 200ms --json {more}"
        ));
        assert_eq!(bench.code, Some(0), "{bench:?}");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0.code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn the_server_at_a_path_is_found() {
    let path = path("found");
    let url = format!("unix://{}", path.display());
    let mut server = Running::start(&format!("serve --listen {url}"));
    server.line();
    let bench = run(&format!("bench {url} --warmup 0 --duration 300ms"));
    assert!(bench.stdout.contains("server"), "{bench:?}");
}

#[test]
fn what_a_killed_server_left_is_taken_over() {
    let path = path("killed");
    let url = format!("unix://{}", path.display());
    let mut killed = Running::start(&format!("serve --listen {url}"));
    killed.line();
    killed.signal(Signal::KILL);
    killed.finish();
    assert!(path.exists());
    let mut command = kettle("serve");
    let mut server = Running::of(command.env("KETTLE_LISTEN", &url));
    assert!(server.line().contains(&url));
    let second = run(&format!("serve --listen {url}"));
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("address in use"), "{second:?}");
    server.signal(Signal::INT);
    server.finish();
}

#[test]
fn a_wrong_mode_is_named() {
    for mode in ["888", "1777", "u+w"] {
        let run = run(&format!(
            "serve --listen unix:///tmp/x.sock --unix-mode {mode}"
        ));
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains("octal"), "{run:?}");
    }
}

#[test]
fn a_path_that_is_too_long_is_named() {
    let url = format!("unix:///{}", "x".repeat(107));
    for command in [
        format!("serve --listen {url}"),
        format!("bench {url} --duration 100ms"),
        format!("call {url} echo.v1.Echo/Unary"),
    ] {
        let run = run(&command);
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.stderr.contains("107 at most"), "{run:?}");
    }
}
