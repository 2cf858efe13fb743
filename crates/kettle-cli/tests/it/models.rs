//! `kettle models`.

use crate::process::run;
use kettle::Model;
use serde_json::Value;

#[test]
fn it_lists_all_models_in_order() {
    let run = run("models");
    let names: Vec<_> = run
        .stdout
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(run.code, Some(0));
    assert_eq!(names, Model::ALL.map(Model::name));
    assert!(
        run.stdout
            .lines()
            .skip(1)
            .all(|line| line.ends_with("  yes")),
        "{}",
        run.stdout
    );
}

#[test]
fn it_tells_more_when_asked() {
    let run = run("models -v");
    assert_eq!(
        run.stdout
            .matches("while idle     keeps its core busy")
            .count(),
        1
    );
    assert_eq!(
        run.stdout.matches("runs here      yes").count(),
        Model::ALL.len()
    );
    // Each feature of the kernel is found or it is not.
    let features = run.stdout.lines().find(|line| line.contains("buffer ring"));
    assert!(
        features.is_some_and(|line| line.starts_with("  kernel has ")),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("at most 1024 on each loop"),
        "{}",
        run.stdout
    );
}

#[test]
fn it_tells_programs() {
    let listed: Value = serde_json::from_str(&run("models --json").stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), Model::ALL.len());
    assert_eq!(listed[0]["name"], "blocking");
    assert_eq!(listed[0]["connections_max"], 1);
    assert_eq!(listed[5]["runs_here"], true);
    assert_eq!(listed[5]["features"], serde_json::json!([]));
    let mut all = listed.as_array().unwrap().iter();
    let uring = all.find(|model| model["name"] == "uring").unwrap();
    let features = uring["features"].as_array().unwrap();
    let found = |it: &Value| it["name"] == "buffer ring" && it["found"].is_boolean();
    assert!(features.iter().any(found), "{features:?}");
}
