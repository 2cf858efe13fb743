//! `kettle bench`.

use crate::process::{Running, run, until};
use rustix::process::Signal;
use serde_json::Value;
use std::net::TcpListener;

const SHORT: &str = "--warmup 10ms --duration 200ms";

#[test]
fn its_json_has_the_fields() {
    let (_server, url) = Running::serve("");
    let bench = run(&format!(
        "bench {url} -c 4 -i 3 --payload 100 {SHORT} --json"
    ));
    assert_eq!((bench.code, bench.stderr.as_str()), (Some(0), ""));
    let report = bench.json();
    let positive = [
        "rps", "calls", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "seconds",
    ];
    for field in positive {
        assert!(0.0 < report[field].as_f64().unwrap(), "{field}: {report}");
    }
    for (field, value) in [
        ("errors", 0),
        ("unserved", 0),
        ("connections", 4),
        ("in_flight", 3),
    ] {
        assert_eq!(report[field], value, "{report}");
    }
    // A tag, a length and the payload, there and back.
    let calls = report["calls"].as_u64().unwrap();
    assert_eq!(report["bytes"].as_u64().unwrap(), calls * 2 * 102);
    let rps = calls as f64 / report["seconds"].as_f64().unwrap();
    assert!(
        (report["rps"].as_f64().unwrap() - rps).abs() < 1.0,
        "{report}"
    );
}

#[test]
fn its_text_tells_the_same() {
    let (_server, url) = Running::serve("");
    let bench = run(&format!("bench {url} -c 2 {SHORT}"));
    assert_eq!((bench.code, bench.stderr.as_str()), (Some(0), ""));
    assert!(
        bench
            .stdout
            .starts_with("2 connections with 1 call in flight, 128 B"),
        "{bench:?}"
    );
    for line in [
        "\n  calls/s  ",
        "\n  p50      ",
        "\n  p99.9    ",
        "\n  errors     0\n",
        " of CPU per call, ",
        "\n  bench      ",
    ] {
        assert!(bench.stdout.contains(line), "{line:?} {bench:?}");
    }
}

#[test]
fn replies_can_be_longer_than_requests() {
    let (_server, url) = Running::serve("");
    let bench = run(&format!(
        "bench {url} --payload 0 --want 1000000 {SHORT} --json"
    ));
    assert_eq!(bench.code, Some(0), "{bench:?}");
    assert_eq!(bench.json()["errors"], 0);
}

#[test]
fn on_blocking_the_second_connection_is_not_served() {
    let (_server, url) = Running::serve("--model blocking");
    let bench = run(&format!(
        "bench {url} -c 2 --connect-timeout 300ms {SHORT} --json"
    ));
    let report = bench.json();
    assert_eq!(
        (bench.code, &report["unserved"], &report["errors"]),
        (Some(0), &1.into(), &0.into())
    );
    assert!(0 < report["calls"].as_u64().unwrap(), "{report}");
    let text = run(&format!("bench {url} -c 2 --connect-timeout 300ms {SHORT}"));
    assert!(
        text.stdout.contains("unserved   1 of 2 connections ("),
        "{text:?}"
    );
}

#[test]
fn nobody_listening_is_said() {
    // A port that was free a moment ago, and that nobody else is told.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let bench = run(&format!("bench kettle://{address} -c 3"));
    assert_eq!((bench.code, bench.stdout.as_str()), (Some(1), ""));
    assert!(
        bench.stderr.contains("none of 3 connections was served"),
        "{bench:?}"
    );
    assert!(bench.stderr.contains("Connection refused"), "{bench:?}");
}

#[test]
fn a_listener_that_says_nothing_is_not_served_either() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("kettle://{}", silent.local_addr().unwrap());
    let bench = run(&format!("bench {url} --connect-timeout 50ms"));
    assert_eq!(bench.code, Some(1));
    assert!(
        bench.stderr.contains("none of 1 connections was served"),
        "{bench:?}"
    );
}

#[test]
fn a_wrong_url_is_explained() {
    let bench = run("bench http://127.0.0.1:1");
    assert_eq!(bench.code, Some(1));
    assert!(
        bench.stderr.contains("write kettle://HOST:PORT"),
        "{bench:?}"
    );
}

#[test]
fn slow_calls_are_told_apart() {
    let (_server, url) = Running::serve("");
    let slow = "--slow 10 --slow-wait 30ms";
    let bench = run(&format!("bench {url} -c 4 -i 2 {slow} {SHORT} --json"));
    let report = bench.json();
    assert_eq!((bench.code, &report["errors"]), (Some(0), &0.into()));
    let (calls, slow) = (report["calls"].as_u64().unwrap(), &report["slow"]);
    let count = slow["calls"].as_u64().unwrap();
    assert!(0 < count && count < calls, "{report}");
    let micros = |figures: &Value, field| figures[field].as_f64().unwrap();
    assert!(30_000.0 <= micros(slow, "p50_us") * 1.001, "{report}");
    assert!(micros(&report, "p50_us") < 30_000.0, "{report}");
    let text = run(&format!("bench {url} -c 4 --slow 10 {SHORT}"));
    assert!(text.stdout.contains("\n  slow       "), "{text:?}");
    for (arguments, why) in [
        ("--slow 100", "between 0 and 99"),
        ("--slow 1 --method bidi", "--slow is for --method unary"),
        ("--slow 1 --rate 10", "cannot be used with"),
    ] {
        let bench = run(&format!("bench {url} {arguments}"));
        assert_eq!((bench.code, bench.stdout.as_str()), (Some(2), ""));
        assert!(bench.stderr.contains(why), "{bench:?}");
    }
}

#[test]
fn a_blocking_client_loads_too() {
    let (_server, url) = Running::serve("--model blocking");
    let bench = run(&format!("bench {url} --blocking {SHORT} --json"));
    let report = bench.json();
    assert_eq!((bench.code, &report["errors"]), (Some(0), &0.into()));
    assert!(0 < report["calls"].as_u64().unwrap(), "{report}");
    assert!(0.0 < report["p50_us"].as_f64().unwrap(), "{report}");
    let bench = run(&format!("bench {url} --blocking -c 2"));
    assert_eq!(bench.code, Some(2));
    assert!(bench.stderr.contains("cannot be used with"), "{bench:?}");
}

#[test]
fn an_open_loop_makes_the_calls_of_its_schedule() {
    let (_server, url) = Running::serve("");
    let arguments = "-c 3 --rate 2000 --warmup 50ms --duration 500ms --json";
    let bench = run(&format!("bench {url} {arguments}"));
    let report = bench.json();
    let count = |field: &str| report[field].as_u64().unwrap();
    assert_eq!(
        (bench.code, count("errors"), count("skipped")),
        (Some(0), 0, 0),
        "{report}"
    );
    assert_eq!(report["in_flight"], Value::Null);
    // A machine that is busy elsewhere may leave out the last ones.
    assert!((500..=1001).contains(&count("calls")), "{report}");
}

#[test]
fn an_open_loop_says_what_it_could_not_send() {
    let (_server, url) = Running::serve("");
    let arguments = "--rate 1e6 --outstanding-max 1 --warmup 0 --duration 200ms --json";
    let report = run(&format!("bench {url} {arguments}")).json();
    let count = |field: &str| report[field].as_u64().unwrap();
    assert!(0 < count("calls"), "{report}");
    assert!(100_000 < count("skipped"), "{report}");
    assert!(count("calls") + count("skipped") <= 200_001, "{report}");
}

/// Streams of every kind, with the bytes of a message, or of one and its reply: tag, length, payload.
const STREAMS: [(&str, u64); 3] = [
    ("client-stream", 102),
    ("server-stream", 102),
    ("bidi", 204),
];

#[test]
fn streams_are_told_by_the_message() {
    let (mut server, url) = Running::serve("--stats");
    for (method, bytes) in STREAMS {
        let load = format!("-c 2 --streams 3 --payload 100 {SHORT}");
        let bench = run(&format!("bench {url} --method {method} {load} --json"));
        assert_eq!((bench.code, bench.stderr.as_str()), (Some(0), ""));
        let report = bench.json();
        for field in ["messages", "messages_per_s", "seconds", "server_cpu_us"] {
            assert!(0.0 < report[field].as_f64().unwrap(), "{field}: {report}");
        }
        let messages = report["messages"].as_u64().unwrap();
        assert_eq!(
            report["bytes"].as_u64().unwrap(),
            messages * bytes,
            "{report}"
        );
        assert_eq!(report["method"], method);
        assert_eq!(
            (&report["errors"], &report["streams"]),
            (&0.into(), &3.into())
        );
        assert_eq!(report["calls"], Value::Null);
        // Round trips have latencies.
        let bidi = method == "bidi";
        let known = [&report["p50_us"], &report["max_us"], &report["in_flight"]];
        assert!(known.iter().all(|it| it.is_null() != bidi), "{report}");
        until(|| (server.counts()["connections"] == 0).then_some(()));
    }
}

#[test]
fn streams_have_a_text_too() {
    let (_server, url) = Running::serve("");
    for (load, first, lines) in [
        (
            "--method bidi -i 5",
            "1 connection with 1 stream (bidi), 5 messages in flight on each, 128 B payload",
            &[
                "\n  messages/s ",
                "\n  p50        ",
                " of CPU per message, ",
            ][..],
        ),
        (
            "--method server-stream -c 2 --streams 2",
            "2 connections with 2 streams each (server-stream), 128 B payload",
            &["\n  messages/s ", "\n  messages   ", "\n  bench      "],
        ),
    ] {
        let bench = run(&format!("bench {url} {load} {SHORT}"));
        assert_eq!(bench.code, Some(0), "{bench:?}");
        assert!(bench.stdout.starts_with(first), "{bench:?}");
        for line in lines {
            assert!(bench.stdout.contains(line), "{line:?} {bench:?}");
        }
    }
}

#[test]
fn streams_to_a_server_that_is_gone_are_failures() {
    for (method, _) in STREAMS {
        let (mut server, url) = Running::serve("--stats");
        let load = "--warmup 0 --duration 3600 --json";
        let mut bench = Running::start(&format!("bench {url} --method {method} {load}"));
        until(|| (0 < server.counts()["received_bytes"].as_u64()?).then_some(()));
        server.signal(Signal::KILL);
        // Streams give up when nobody answers any more, long before the hour is over.
        let line = bench.line();
        let report: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        let unavailable = &report["errors_by_status"]["UNAVAILABLE"];
        assert_eq!(unavailable.as_u64(), Some(100), "{method}: {report}");
        assert_eq!(bench.finish().0.code(), Some(1));
    }
}

#[test]
fn options_of_another_method_are_wrong_arguments() {
    let bench = run("bench kettle://127.0.0.1:1 --method server-stream --in-flight 2");
    assert_eq!((bench.code, bench.stdout.as_str()), (Some(2), ""));
    assert!(
        bench
            .stderr
            .starts_with("kettle: --in-flight is for --method unary and bidi"),
        "{bench:?}"
    );
}
