//! `kettle serve`.

use crate::process::{Running, kettle, run, until};
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn its_first_line_tells_address_model_and_loops() {
    let mut server = Running::start("serve --listen 127.0.0.1:0 --model poll --loops 2");
    let line = server.line();
    assert!(line.starts_with("listening on 127.0.0.1:"), "{line}");
    assert!(line.ends_with(" model=poll loops=2\n"), "{line}");
}

#[test]
fn it_answers_on_every_model() {
    for model in kettle::Model::ALL {
        let (_server, url) = Running::serve(&format!("--model {model}"));
        let bench = run(&format!("bench {url} --warmup 0 --duration 200ms --json"));
        assert_eq!(bench.code, Some(0), "{model}: {bench:?}");
        assert!(
            0 < bench.json()["calls"].as_u64().unwrap(),
            "{model}: {bench:?}"
        );
    }
}

#[test]
fn a_signal_ends_it_in_good_order() {
    for signal in [Signal::TERM, Signal::INT] {
        for model in kettle::Model::ALL {
            let (server, _) = Running::serve(&format!("--model {model}"));
            server.signal(signal);
            let (status, rest) = server.finish();
            assert_eq!(
                (status.code(), rest.as_str()),
                (Some(0), ""),
                "{model}, {signal:?}"
            );
        }
    }
}

#[test]
fn a_signal_ends_it_while_it_is_loaded() {
    let (mut server, url) = Running::serve("--stats");
    let arguments = format!("bench {url} -c 8 --warmup 0 --duration 3600 --json");
    let mut bench = Running::start(&arguments);
    until(|| (server.counts()["calls"] != 0).then_some(()));
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0.code(), Some(0));
    // Callers give up when nobody answers any more, long before the hour is over.
    let line = bench.line();
    let report: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
    assert!(0 < report["errors"].as_u64().unwrap(), "{report}");
    assert_eq!(bench.finish().0.code(), Some(1));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (_server, url) = Running::serve("");
    let address = url.strip_prefix("kettle://").unwrap();
    let second = run(&format!("serve --listen {address}"));
    assert_eq!((second.code, second.stdout.as_str()), (Some(1), ""));
    assert!(second.stderr.contains(address), "{second:?}");
    assert!(
        second.stderr.contains("Address already in use"),
        "{second:?}"
    );
    assert_eq!(second.stderr.lines().count(), 1, "{second:?}");
}

#[test]
fn loops_of_a_model_without_loops_are_refused() {
    let run = run("serve --listen 127.0.0.1:0 --model threads --loops 2");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("loops must be 1"), "{run:?}");
}

#[test]
fn it_counts_for_whoever_started_it_and_ends_with_them() {
    let (mut server, url) = Running::serve("--stats");
    let before = server.counts();
    let bench = run(&format!("bench {url} --warmup 0 --duration 200ms --json")).json();
    let after = server.counts();
    assert_eq!(before["calls"], 0);
    // One more may have been in flight at the end of the measurement.
    let (calls, counted) = (
        bench["calls"].as_u64().unwrap(),
        after["calls"].as_u64().unwrap(),
    );
    assert!((calls..=calls + 1).contains(&counted), "{bench} {after}");
    assert!(
        2 * calls <= after["system_calls"]["total"].as_u64().unwrap(),
        "{after}"
    );
    server.close_stdin();
    assert_eq!(server.finish().0.code(), Some(0));
}

#[test]
fn connections_beyond_its_limit_are_refused() {
    let (mut server, url) = Running::serve("--stats --connections-max 2");
    let bench = run(&format!(
        "bench {url} -c 5 --warmup 0 --duration 200ms --json"
    ));
    assert_eq!(bench.json()["unserved"], 3, "{bench:?}");
    let counts = server.counts();
    assert_eq!(counts["connections_refused"], 3, "{counts}");
}

#[test]
fn the_environment_sets_it_where_no_argument_does() {
    let environment = [
        ("KETTLE_LISTEN", "127.0.0.2:0"),
        ("KETTLE_MODEL", "poll"),
        ("KETTLE_LOOPS", "2"),
    ];
    for (arguments, wanted) in [
        ("serve", " model=poll loops=2\n"),
        ("serve --model scan", " model=scan loops=2\n"),
    ] {
        let mut command = kettle(arguments);
        let mut server = Running::of(command.envs(environment));
        let line = server.line();
        assert!(line.starts_with("listening on 127.0.0.2:"), "{line}");
        assert!(line.ends_with(wanted), "{line}");
    }
}
