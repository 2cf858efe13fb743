//! Made-up results, and every verdict in every form.

use super::*;
use crate::lab::cell::{Cell, Round};
use crate::lab::plan::Row;

const FEW: Load = Load::new(1, 1, 0);
const MANY: Load = Load::new(64, 1, 0);
const DEEP: Load = Load::new(64, 16, 0);
const IDLE: Load = Load::new(64, 1, 1000);

/// Models and what they cost in each round.
type Row2 = (Model, [f64; 3]);

fn results(load: Load, rows: &[Row2]) -> LoadResults {
    let cells = rows.iter().map(|&(model, costs)| {
        let mut cell = Cell::new(Row {
            model,
            load,
            alone: false,
        });
        cell.rounds = costs.map(Round::made_up).to_vec();
        cell
    });
    LoadResults {
        load,
        cells: cells.collect(),
    }
}

fn outcome(claim: &str, loads: &[LoadResults]) -> Outcome {
    let verdicts = verdicts(loads);
    let mut found = verdicts.iter().filter(|it| it.claim.contains(claim));
    let verdict = found.next().unwrap();
    assert!(found.next().is_none(), "{claim} names one claim");
    verdict.outcome
}

/// A cost below, above and around that of 10 µs.
const LESS: [f64; 3] = [5.0, 5.5, 6.0];
const SAME: [f64; 3] = [9.0, 10.5, 12.0];
const MORE: [f64; 3] = [20.0, 21.0, 22.0];
const TEN: [f64; 3] = [9.5, 10.0, 11.0];

/// What the claim says when its own side costs this, and the other 10 µs.
fn check(claim: &str, measured: impl Fn([f64; 3]) -> Vec<LoadResults>) {
    assert_eq!(
        outcome(claim, &measured(LESS)),
        Outcome::Confirmed,
        "{claim}"
    );
    assert_eq!(outcome(claim, &measured(MORE)), Outcome::Refuted, "{claim}");
    assert_eq!(
        outcome(claim, &measured(SAME)),
        Outcome::WithinNoise,
        "{claim}"
    );
    assert_eq!(outcome(claim, &[]), Outcome::NotMeasured, "{claim}");
}

#[test]
fn each_claim_is_confirmed_refuted_and_within_noise() {
    check("Blocking I/O", |own| {
        vec![
            results(FEW, &[(Model::Blocking, own), (Model::Epoll, TEN)]),
            results(MANY, &[(Model::Blocking, MORE), (Model::Epoll, LESS)]),
        ]
    });
    check("A thread for each", |own| {
        let few = results(FEW, &[(Model::Threads, LESS), (Model::Epoll, MORE)]);
        let many = results(IDLE, &[(Model::Threads, TEN), (Model::Epoll, own)]);
        // More than a server has threads for.
        let more = results(Load::new(64, 1, 9000), &[(Model::Epoll, LESS)]);
        vec![few, many, more]
    });
    check("A scan", |without| {
        vec![
            results(MANY, &[(Model::Scan, without)]),
            results(IDLE, &[(Model::Scan, TEN)]),
        ]
    });
    check("epoll beats", |own| {
        let rows = [
            (Model::Select, MORE),
            (Model::Poll, TEN),
            (Model::Epoll, own),
        ];
        vec![results(MANY, &[(Model::Epoll, TEN)]), results(IDLE, &rows)]
    });
    check("Asynchronous", |own| {
        let rows = [(Model::Epoll, TEN), (Model::Uring, own)];
        vec![results(MANY, &[(Model::Uring, MORE)]), results(DEEP, &rows)]
    });
}

#[test]
fn idle_connections_may_cost_a_little() {
    let claim = "Multiplexing (epoll)";
    let measured = |with| {
        [
            results(MANY, &[(Model::Epoll, TEN)]),
            results(IDLE, &[(Model::Epoll, with)]),
        ]
    };
    assert_eq!(
        outcome(claim, &measured([11.0, 12.0, 12.4])),
        Outcome::Confirmed
    );
    assert_eq!(
        outcome(claim, &measured([12.0, 13.0, 14.0])),
        Outcome::WithinNoise
    );
    assert_eq!(outcome(claim, &measured(MORE)), Outcome::Refuted);
    assert_eq!(outcome(claim, &measured(LESS)), Outcome::Confirmed);
    let without = [results(IDLE, &[(Model::Epoll, TEN)])];
    assert_eq!(outcome(claim, &without), Outcome::NotMeasured);
}

#[test]
fn one_round_is_noise() {
    let mut few = results(FEW, &[(Model::Blocking, LESS), (Model::Epoll, TEN)]);
    for cell in &mut few.cells {
        cell.rounds.truncate(1);
    }
    assert_eq!(outcome("Blocking I/O", &[few]), Outcome::WithinNoise);
}

#[test]
fn a_verdict_has_its_figures() {
    let few = results(FEW, &[(Model::Blocking, LESS), (Model::Epoll, TEN)]);
    let verdict = verdicts(&[few]).remove(0);
    assert_eq!(
        verdict.figures,
        "blocking 5.50 µs, epoll 10.0 µs (at 1 × 1)"
    );
}

#[test]
fn other_work_than_echoing_takes_no_part() {
    let large = Load {
        payload: Some(65_536),
        ..FEW
    };
    let large = results(large, &[(Model::Blocking, LESS), (Model::Epoll, TEN)]);
    assert_eq!(outcome("Blocking I/O", &[large]), Outcome::NotMeasured);
}

#[test]
fn several_processes_take_no_part() {
    let more = Load {
        processes: 3,
        ..Load::new(64, 1, 40_000)
    };
    let few = results(FEW, &[(Model::Poll, MORE), (Model::Epoll, LESS)]);
    let more = results(more, &[(Model::Poll, LESS), (Model::Epoll, MORE)]);
    assert_eq!(outcome("epoll beats", &[few, more]), Outcome::Confirmed);
}

#[test]
fn claims_without_figures_are_told_in_one_line() {
    let few = results(FEW, &[(Model::Blocking, LESS), (Model::Epoll, TEN)]);
    let verdicts = verdicts(&[few]);
    let (judged, _) = by_figures(&verdicts);
    let judged: Vec<_> = judged.iter().map(|it| it.about).collect();
    assert_eq!(judged, ["blocking"]);
    let wanted = "Not judged, because their loads or models were not asked for: threads, scan, idle \
                  connections on epoll, epoll beside select and poll, io_uring.";
    assert_eq!(not_measured(&verdicts).unwrap(), wanted);
    let judged: Vec<_> = verdicts.into_iter().take(1).collect();
    assert_eq!(not_measured(&judged), None);
}
