//! `kettle models`.

use crate::process::run;
use kettle::Model;
use serde_json::Value;
use std::fs;

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

/// Rows of the table under a heading, or under a line within: their cells, trimmed.
fn table<'a>(document: &'a str, above: &str) -> Vec<Vec<&'a str>> {
    let (_, below) = document.split_once(&format!("\n{above}\n")).unwrap();
    let lines = below.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|'));
    let cells = |line: &'a str| line.trim_matches('|').split('|').map(str::trim).collect();
    rows.map(cells).collect()
}

#[test]
fn the_document_has_a_picture_a_use_and_figures_of_each() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/models.md");
    let document = fs::read_to_string(path).unwrap();
    let names = Model::ALL.map(Model::name);
    let uses: Vec<_> = table(&document, "## Choosing")
        .iter()
        .map(|row| row[1])
        .collect();
    let sides = table(&document, "## Side by side");
    let sides: Vec<_> = sides[2..]
        .iter()
        .map(|row| row[0].trim_matches('`'))
        .collect();
    assert_eq!(sides, names);
    let measured = table(&document, "<!-- measured -->");
    assert_eq!(measured[0][0], "load", "{measured:?}");
    assert_eq!(measured[0][1..], names, "{measured:?}");
    assert!(3 <= measured.len(), "there is a load: {measured:?}");
    for name in names {
        let (_, section) = document.split_once(&format!("\n## {name}\n\n")).unwrap();
        assert!(section.starts_with('*'), "{name} has no picture");
        let named = format!("`{name}`");
        assert!(
            uses.contains(&named.as_str()),
            "{name} has no use: {uses:?}"
        );
    }
}
