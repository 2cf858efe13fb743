//! `kettle lab`.

use crate::process::{Running, run, until};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;

const SHORT: &str = "--duration 30ms --warmup 5ms";

/// Columns of a row with figures: the model, calls/s, p50 and p99 with their units, CPU and its
/// spread, system calls, switches, memory with its unit.
const WORDS: usize = 12;

/// The rows of a model: its figures or the reason, without the name.
fn rows<'a>(stdout: &'a str, model: &str) -> Vec<Vec<&'a str>> {
    let words = stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
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
                .all(|row| row.len() == WORDS && !row.contains(&"-")),
            "{rows:?}"
        );
    }
    assert_eq!(lab.stdout.matches("\n→ ").count(), 4, "{}", lab.stdout);
    check_raw(&serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap());
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
