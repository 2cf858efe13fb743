//! `kettle lab`.

use crate::process::{PROGRAM, Run, Running, kettle, run, run_with, run_with_files, until};
use kettle::Model;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;

const SHORT: &str = "--duration 80ms --warmup 5ms";

/// Words of a row with figures: the model, calls/s, p50, p99 and p99.9 with their units, CPU and its
/// spread, system calls, switches, memory with its unit.
const WORDS: usize = 14;

/// The rows of a model: its figures or the reason, without the name.
fn rows<'a>(stdout: &'a str, model: &str) -> Vec<Vec<&'a str>> {
    // Further lines of what is not a table are indented.
    let lines = stdout.lines().filter(|line| !line.starts_with(' '));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter(|words| words.first() == Some(&model))
        .collect()
}

#[test]
fn it_fills_every_cell_of_every_load() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.json");
    let lab = run(&format!(
        "lab --models poll,epoll {SHORT} --rounds 2 --json {}",
        file.display()
    ));
    assert_eq!(
        (lab.code, lab.stderr.as_str()),
        (Some(0), ""),
        "{}",
        lab.stdout
    );
    for model in ["poll", "epoll"] {
        let rows = rows(&lab.stdout, model);
        assert_eq!(rows.len(), 4, "{}", lab.stdout);
        assert!(
            rows.iter()
                .all(|row| row.len() == WORDS && !row.contains(&"–")),
            "{rows:?}"
        );
    }
    assert_eq!(lab.stdout.matches("\n→ ").count(), 4, "{}", lab.stdout);
    check_raw(&serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap());
}

#[test]
fn connections_that_come_and_go_are_served_by_every_model() {
    let lab = run(&format!("lab --churn --connections 4 {SHORT} --rounds 2"));
    assert_eq!(lab.code, Some(0), "{}{}", lab.stdout, lab.stderr);
    assert!(lab.stdout.contains("4 × 1, churn"), "{}", lab.stdout);
    for model in Model::ALL {
        let rows = rows(&lab.stdout, model.name());
        // No connection stays, so there is no memory of one.
        let unknown = |row: &Vec<&str>| row.iter().filter(|&&cell| cell == "–").count();
        assert!(rows.iter().all(|row| 1 <= unknown(row)), "{rows:?}");
        let calls: u64 = rows[0][1].replace([',', '*'], "").parse().unwrap();
        assert!(0 < calls, "{rows:?}");
    }
}

#[test]
fn a_report_is_a_page_with_everything_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("deep/report");
    let lab = run(&format!(
        "lab --models poll,epoll {SHORT} --rounds 2 --report {}",
        report.display()
    ));
    assert_eq!(lab.code, Some(0), "{}{}", lab.stdout, lab.stderr);
    let page = fs::read_to_string(report.join("index.html")).unwrap();
    assert!(
        page.contains("<svg") && page.contains("1000 idle + 64 × 1"),
        "{page}"
    );
    let raw: Value =
        serde_json::from_str(&fs::read_to_string(report.join("results.json")).unwrap()).unwrap();
    check_raw(&raw);
    let tables = fs::read_to_string(report.join("tables.md")).unwrap();
    assert!(tables.contains("\n| load | poll | epoll |\n") && tables.contains("\n| 64 × 16 | "));
    let verdicts = raw["verdicts"].as_array().unwrap();
    let epoll = verdicts
        .iter()
        .find(|it| it["claim"].as_str().unwrap().starts_with("epoll beats"));
    assert_ne!(epoll.unwrap()["outcome"], "not_measured", "{verdicts:?}");
}

#[test]
fn a_report_that_cannot_be_written_is_said_before_anything_is_measured() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().join("report");
    let lab = run(&format!("lab --report {}", folder.display()));
    assert_eq!((lab.code, lab.stdout.as_str()), (Some(1), ""));
    assert!(
        lab.stderr.contains("cannot make") && lab.stderr.contains("report"),
        "{}",
        lab.stderr
    );
}

#[test]
fn a_server_of_ones_own_is_measured_on_every_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.json");
    let command = format!("{PROGRAM} serve");
    let mut arguments = vec!["lab", "--server", &command, "--call", "echo.v1.Echo/Unary"];
    arguments.extend(["-d", r#"{"payload":"aGVsbG8="}"#, "--connections", "2"]);
    arguments.extend("--rounds 2 --duration 80ms --warmup 5ms --json".split(' '));
    arguments.push(file.to_str().unwrap());
    let lab = run_with(arguments);
    assert_eq!(
        (lab.code, lab.stderr.as_str()),
        (Some(0), ""),
        "{}",
        lab.stdout
    );
    let heading = format!(": echo.v1.Echo/Unary with 7 B to `{command}`, 2 rounds of 80ms");
    assert!(lab.stdout.contains(&heading), "{}", lab.stdout);
    assert!(
        lab.stdout.contains("Only `kettle serve` counts"),
        "{}",
        lab.stdout
    );
    for model in Model::ALL {
        let rows = rows(&lab.stdout, model.name());
        let figures = rows.last().unwrap();
        let unknown = figures.iter().filter(|&&cell| cell == "–").count();
        // Only the system calls are not known.
        assert_eq!(unknown, 1, "{figures:?}");
    }
    assert_eq!(
        rows(&lab.stdout, "blocking")[0].join(" "),
        "blocking waits (1 of 2 served)"
    );
    let raw: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let settings = &raw["settings"];
    assert_eq!(
        [
            &settings["server"],
            &settings["call"],
            &settings["message_bytes"],
            &settings["payload"]
        ],
        [
            &command.into(),
            &"echo.v1.Echo/Unary".into(),
            &7.into(),
            &Value::Null
        ]
    );
    let round = &raw["loads"][0]["rows"][3]["rounds"][1];
    assert_eq!(round["system_calls_per_call"], Value::Null, "{round}");
    assert!(0.0 < round["cpu_us_per_call"].as_f64().unwrap(), "{round}");
}

/// What becomes of a lab with this server.
fn lab_of(command: &str, more: &str) -> Run {
    let call = ["lab", "--server", command, "--call", "echo.v1.Echo/Unary"];
    run_with(call.into_iter().chain(more.split_whitespace()))
}

#[test]
fn a_server_that_refuses_connections_tells_at_which() {
    let more = format!("--models select --idle 1050 {SHORT} --rounds 1");
    let lab = lab_of(&format!("{PROGRAM} serve"), &more);
    assert_eq!(lab.code, Some(0), "{lab:?}");
    let row = rows(&lab.stdout, "select").remove(0).join(" ");
    let limit = row
        .strip_prefix("select refused at ")
        .unwrap_or_else(|| panic!("{row}"));
    assert!(
        (900..1024).contains(&limit.parse::<u32>().unwrap()),
        "{row}"
    );
}

#[test]
fn a_server_that_does_not_start_is_told_before_anything_is_measured() {
    let port = "nobody listens on 127.0.0.1:";
    for (command, why) in [
        (
            "/nonexistent/server",
            vec![
                "it ended with exit code 127; ",
                "/nonexistent/server: not found",
            ],
        ),
        (
            "sh -c 'echo out; echo no licence >&2; exit 3'",
            vec!["it ended with exit code 3; the end of what it printed:\n  out\n  no licence\n"],
        ),
        (
            "sh -c 'kill -s KILL $$'",
            vec!["signal 9 ended it; it printed nothing"],
        ),
        (
            "sleep 3600",
            vec![
                port,
                "after 200ms: the server must take its address from KETTLE_LISTEN",
            ],
        ),
    ] {
        let lab = lab_of(command, "--models scan,epoll --start-timeout 200ms");
        assert_eq!((lab.code, lab.stdout.as_str()), (Some(1), ""), "{lab:?}");
        let begin = format!("kettle: the server `{command}` did not start on model scan: ");
        assert!(lab.stderr.starts_with(&begin), "{lab:?}");
        for why in why {
            assert!(lab.stderr.contains(why), "{why}: {lab:?}");
        }
    }
}

#[test]
fn ctrl_c_ends_the_wait_for_a_server() {
    let call = ["--call", "echo.v1.Echo/Unary", "--start-timeout", "3600"];
    let lab = ["lab", "--server", "sleep 3600"].into_iter().chain(call);
    let lab = Running::start_with(lab);
    let is_sleep = |&id: &u32| command_line(id).starts_with("sleep ");
    until(|| children(lab.id()).into_iter().find(is_sleep));
    lab.signal(Signal::INT);
    let (status, rest) = lab.finish();
    assert_eq!(status.code(), Some(130), "{rest}");
    assert!(rest.contains("Interrupted: not everything"), "{rest}");
}

#[test]
fn a_command_that_only_starts_the_server_is_not_measured_in_its_place() {
    let lab = lab_of(&format!("sh -c '{PROGRAM} serve & wait'"), "--models epoll");
    assert_eq!((lab.code, lab.stdout.as_str()), (Some(1), ""), "{lab:?}");
    for why in [
        " does not listen on 127.0.0.1:",
        " itself: the command must be the server's own program",
        "not one that starts it; ",
    ] {
        assert!(lab.stderr.contains(why), "{why}: {lab:?}");
    }
}

#[test]
fn a_call_that_fails_is_told_before_anything_is_measured() {
    // What it prints before it listens has long been read when the call fails.
    let command = format!("sh -c 'echo hello; exec {PROGRAM} serve'");
    let data = r#"{"want":99999999}"#;
    let call = ["--call", "echo.v1.Echo/Unary", "-d", data];
    let lab = run_with(["lab", "--server", &command].into_iter().chain(call));
    assert_eq!((lab.code, lab.stdout.as_str()), (Some(1), ""), "{lab:?}");
    let wanted = format!(
        "kettle: the first call of /echo.v1.Echo/Unary to `{command}`, on model blocking, failed: \
         RESOURCE_EXHAUSTED: want is 99999999 bytes"
    );
    let said = "; the end of what it printed:\n  hello\n";
    assert!(lab.stderr.contains(said), "{lab:?}");
    assert!(lab.stderr.starts_with(&wanted), "{lab:?}");
}

#[test]
fn what_describes_the_call_wrongly_is_told() {
    for (arguments, why) in [
        (
            "--server x --call y",
            "\"y\" is no method: write SERVICE/METHOD",
        ),
        (
            "--server x --call echo.v1.Echo/Unary -d {\"wan\":1}",
            "unrecognized field name 'wan'",
        ),
        (
            "--server x --call echo.v1.Echo/Unary -d {}{}",
            "takes one message, and more were given",
        ),
        ("--proto x.proto", "give --server too"),
    ] {
        let lab = run(&format!("lab {arguments}"));
        assert_eq!((lab.code, lab.stdout.as_str()), (Some(1), ""), "{lab:?}");
        assert!(lab.stderr.contains(why), "{why}: {lab:?}");
    }
}

#[test]
fn a_server_of_ones_own_ends_with_the_lab_whatever_happens() {
    for signal in [Signal::INT, Signal::KILL] {
        let command = format!("{PROGRAM} serve");
        let arguments = ["lab", "--server", &command, "--call", "echo.v1.Echo/Unary"];
        let more = "--models scan --connections 1 --duration 3600".split(' ');
        let mut lab = Running::start_with(arguments.into_iter().chain(more));
        assert!(lab.line().starts_with("Comparing scan"));
        let server = until(|| {
            let mut servers = children(lab.id()).into_iter();
            servers.find(|&id| command_line(id).contains(" serve "))
        });
        lab.signal(signal);
        lab.finish();
        until(|| (!is_alive(server)).then_some(()));
    }
}

fn check_raw(raw: &Value) {
    assert_eq!(
        raw["settings"]["models"],
        serde_json::json!(["poll", "epoll"])
    );
    assert!(!raw["machine"]["kernel"].as_str().unwrap().is_empty());
    let loads = raw["loads"].as_array().unwrap();
    assert_eq!(loads.len(), 4);
    assert_eq!(loads[3]["idle"], 1000);
    for row in loads
        .iter()
        .flat_map(|load| load["rows"].as_array().unwrap())
    {
        let rounds = row["rounds"].as_array().unwrap();
        assert_eq!((rounds.len(), &row["reason"]), (2, &Value::Null), "{row}");
        for round in rounds {
            let figure = |name: &str| round[name].as_f64().unwrap();
            for name in [
                "rps",
                "p50_us",
                "cpu_us_per_call",
                "memory_bytes_per_connection",
            ] {
                assert!(0.0 < figure(name), "{name}: {round}");
            }
            assert!(0.05 < figure("system_calls_per_call"), "{round}");
            assert_eq!(round["errors"], serde_json::json!({}));
        }
    }
}

#[test]
fn blocking_lets_others_wait_and_has_a_row_alone() {
    let lab = run(&format!(
        "lab --models blocking --connections 3 --idle 2 {SHORT} --rounds 2"
    ));
    assert_eq!(lab.code, Some(0), "{lab:?}");
    let rows = rows(&lab.stdout, "blocking");
    assert_eq!(rows[0].join(" "), "blocking waits (1 of 5 served)");
    assert_eq!(rows[1][..3], ["blocking", "(1", "connection)"]);
    assert_eq!(rows[1].len(), WORDS + 2, "{rows:?}");
    assert!(
        lab.stdout.contains("→ No model was measured."),
        "{}",
        lab.stdout
    );
}

#[test]
fn select_tells_where_its_limit_is() {
    let lab = run(&format!(
        "lab --models select --idle 1050 {SHORT} --rounds 1"
    ));
    assert_eq!(lab.code, Some(0), "{lab:?}");
    let row = rows(&lab.stdout, "select").remove(0).join(" ");
    let limit = row
        .strip_prefix("select refused at ")
        .unwrap_or_else(|| panic!("{row}"));
    assert!(
        (900..1024).contains(&limit.parse::<u32>().unwrap()),
        "{row}"
    );
}

#[test]
fn more_connections_than_one_process_holds_are_on_several() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.json");
    let models = "blocking,epoll,poll";
    let lab = run_with_files(
        164,
        &format!(
            "lab --models {models} --idle 250 --connections 6 {SHORT} --rounds 2 --json {}",
            file.display()
        ),
    );
    assert_eq!(lab.code, Some(0), "{lab:?}");
    let heading = "250 idle + 6 × 1, 3 processes   6 connections with 1 call in flight, beside 250 idle \
                   connections; on 3 server processes × about 86 connections\n";
    assert!(lab.stdout.contains(heading), "{}", lab.stdout);
    let waits = rows(&lab.stdout, "blocking").remove(0).join(" ");
    assert_eq!(waits, "blocking waits (3 of 256 served)");
    let raw: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let load = &raw["loads"][0];
    assert_eq!(load["processes"], 3);
    for row in &load["rows"].as_array().unwrap()[2..] {
        for round in row["rounds"].as_array().unwrap() {
            // All three wait, receive and send: what they count is added up.
            let calls = round["system_calls_per_call"].as_f64().unwrap();
            assert!((2.0..4.0).contains(&calls), "{row}");
            assert!(0.0 < round["cpu_us_per_call"].as_f64().unwrap(), "{row}");
            // Of all three servers, for each of all connections.
            let memory = round["memory_bytes_per_connection"].as_f64().unwrap();
            assert!((500.0..20_000.0).contains(&memory), "{row}");
        }
    }
}

#[test]
fn what_would_need_too_many_processes_is_told() {
    let lab = run_with_files(100, "lab --idle 10000");
    assert_eq!((lab.code, lab.stdout.as_str()), (Some(1), ""), "{lab:?}");
    let why =
        "10001 connections would need 278 server processes, and the lab starts 64 at most: raise";
    assert!(lab.stderr.contains(why), "{lab:?}");
}

#[test]
fn its_holders_end_with_it_whatever_happens() {
    for signal in [Signal::INT, Signal::KILL] {
        let arguments = "lab --models epoll --idle 200 --duration 3600";
        let script = format!("ulimit -n 164 && exec {PROGRAM} {arguments}");
        let lab = Running::of(std::process::Command::new("sh").args(["-c", &script]));
        // A server and a holder for each of three, when all of them have started.
        let holds = |id: &&u32| command_line(**id).starts_with("kettle hold ");
        let processes = until(|| {
            let processes = children(lab.id());
            let holders = processes.iter().filter(holds).count();
            ((processes.len(), holders) == (6, 3)).then_some(processes)
        });
        lab.signal(signal);
        lab.finish();
        for process in processes {
            until(|| (!is_alive(process)).then_some(()));
        }
    }
}

#[test]
fn it_measures_over_unix_domain_sockets_and_leaves_none_behind() {
    let folder = tempfile::tempdir().unwrap();
    let models = Model::ALL.map(Model::name).join(",");
    let mut command = kettle(&format!(
        "lab --unix --models {models} --connections 2 --idle 3 {SHORT} --rounds 1"
    ));
    let lab = command.env("TMPDIR", folder.path()).output().unwrap();
    let stdout = String::from_utf8(lab.stdout).unwrap();
    assert_eq!(lab.status.code(), Some(0), "{stdout}");
    assert!(
        stdout.contains("128 B payload over Unix-domain sockets"),
        "{stdout}"
    );
    for model in Model::ALL {
        let row = rows(&stdout, model.name()).pop().unwrap();
        assert!(WORDS <= row.len(), "{row:?}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_file_that_cannot_be_written_is_said_before_anything_is_measured() {
    let lab = run("lab --json /nonexistent/results.json");
    assert_eq!((lab.code, lab.stdout.as_str()), (Some(1), ""));
    assert!(
        lab.stderr
            .contains("cannot write /nonexistent/results.json"),
        "{lab:?}"
    );
}

#[test]
fn ctrl_c_ends_it_with_what_was_measured() {
    let mut lab = Running::start("lab --models epoll --connections 1 --duration 3600");
    assert!(lab.line().starts_with("Comparing epoll"));
    lab.signal(Signal::INT);
    let (status, rest) = lab.finish();
    assert_eq!(status.code(), Some(130), "{rest}");
    assert!(
        rest.contains("Interrupted: not everything was measured."),
        "{rest}"
    );
}

#[test]
fn its_servers_end_with_it_whatever_happens() {
    for signal in [Signal::INT, Signal::KILL] {
        let lab = Running::start("lab --models scan --connections 1 --duration 3600");
        let server = until(|| children(lab.id()).first().copied());
        lab.signal(signal);
        lab.finish();
        until(|| (!is_alive(server)).then_some(()));
    }
}

/// Processes that this one has started.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|&id| stat_field(id, 1) == Some(parent.to_string()))
        .collect()
}

/// What a process was started with; empty when it is not there.
fn command_line(id: u32) -> String {
    let bytes = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Whether a process runs; one that nobody has waited for yet does not.
fn is_alive(id: u32) -> bool {
    stat_field(id, 0).is_some_and(|state| state != "Z" && state != "X")
}

/// A field of /proc/PID/stat behind the name: 0 is the state, 1 the parent.
fn stat_field(id: u32, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(index).map(str::to_owned)
}

#[test]
fn streams_are_not_measured_and_say_so() {
    for (method, shown) in [
        (
            "ClientStream",
            "ClientStream(stream EchoRequest) returns (EchoReply) is a client stream",
        ),
        (
            "ServerStream",
            "ServerStream(EchoRequest) returns (stream EchoReply) is a server stream",
        ),
        (
            "Bidi",
            "Bidi(stream EchoRequest) returns (stream EchoReply) is a stream in both directions",
        ),
    ] {
        let lab = run(&format!("lab --server x --call echo.v1.Echo/{method}"));
        let wanted = format!("kettle: {shown}, and the lab makes unary calls\n");
        assert_eq!((lab.code, lab.stderr.as_str()), (Some(1), wanted.as_str()));
    }
}
