//! What the lab found out as Markdown, for documents: what a call cost, loads by models.

use super::cell::{Cell, Reason};
use super::column::Column;
use super::plan::Plan;
use super::raw::{self, Machine};
use super::traffic::Load;
use super::{LoadResults, Results, conclusion};
use crate::table::{counted, number};
use std::fmt::Write;

/// The load whose figures are all shown, if it was measured; else the first.
const SHOWN: Load = Load::new(64, 1, 0);

/// Where and how it was measured, a table of all loads, and one of all figures under one load.
pub fn tables(plan: &Plan, results: &Results) -> String {
    let mut text = heading(plan, results);
    costs(plan, results, &mut text);
    let shown = results.loads.iter().find(|it| it.load == SHOWN);
    if let Some(load) = shown.or(results.loads.first()) {
        figures(load, &mut text);
    }
    text
}

fn heading(plan: &Plan, results: &Results) -> String {
    let Machine {
        kernel,
        processor,
        cores,
        ..
    } = raw::machine(results);
    let command = raw::command().join(" ");
    let rounds = counted(plan.rounds, "round");
    let (duration, subject) = (plan.window.duration, &plan.subject);
    let cores = counted(cores, "core");
    format!(
        "{processor}, {cores}, Linux {kernel}; {rounds} of {duration:?} in turns, {subject}:\n\n```\n{command}\n```\n\n"
    )
}

/// The cheapest of each load, and those that are not clearly dearer, are bold.
fn costs(plan: &Plan, results: &Results, text: &mut String) {
    let names: Vec<_> = plan.models.iter().map(|model| model.name()).collect();
    text.push_str("CPU µs of the server per call; bold: no model was cheaper beyond noise.\n\n");
    row("load", names.iter().map(|name| (*name).to_owned()), text);
    rule(names.len(), text);
    for load in &results.loads {
        let best = conclusion::of_load(load).recommended;
        let cells = plan.models.iter().map(|&model| {
            let cost = load.cell(model).map_or("–".to_owned(), cost);
            match best.contains(&model) {
                true => format!("**{cost}**"),
                false => cost,
            }
        });
        row(&load.load.to_string(), cells, text);
    }
    text.push('\n');
}

/// What a call cost, or in a word why that is not known.
fn cost(cell: &Cell) -> String {
    match &cell.reason {
        Some(Reason::Waits { .. }) => "waits".to_owned(),
        Some(Reason::Refused { at }) => format!("refused at {at}"),
        Some(Reason::NotHere { .. }) => "not here".to_owned(),
        Some(Reason::Failed { .. }) => "failed".to_owned(),
        None => {
            let cost = cell.median(|round| Some(round.cpu_us_per_call));
            cost.map_or("–".to_owned(), number)
        }
    }
}

fn figures(results: &LoadResults, text: &mut String) {
    let _ = writeln!(text, "All figures at {}:\n", results.load);
    row(
        "model",
        Column::ALL.iter().map(|it| it.name.to_owned()),
        text,
    );
    rule(Column::ALL.len(), text);
    for cell in &results.cells {
        let figure = |it: &Column| match cell.missing() {
            Some(_) => "–".to_owned(),
            None => (it.figure)(cell),
        };
        row(&cell.row.to_string(), Column::ALL.iter().map(figure), text);
    }
}

fn row(first: &str, others: impl Iterator<Item = String>, text: &mut String) {
    let others: Vec<_> = others.collect();
    let _ = writeln!(text, "| {first} | {} |", others.join(" | "));
}

/// The first column is set to the left, the others to the right.
fn rule(others: usize, text: &mut String) {
    let _ = writeln!(text, "|---|{}", "--:|".repeat(others));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::cell::Round;
    use crate::lab::plan::Row;
    use crate::lab::subject::{Subject, Transport};
    use crate::load::Window;
    use kettle::Model;
    use std::time::Duration;

    #[test]
    fn loads_are_rows_and_models_columns() {
        let load = Load::new(64, 1, 0);
        let cell = |model, costs: &[f64]| {
            let mut cell = Cell::new(Row {
                model,
                load,
                alone: false,
            });
            cell.rounds = costs.iter().copied().map(Round::made_up).collect();
            cell
        };
        let mut select = cell(Model::Select, &[]);
        select.reason = Some(Reason::Refused { at: 7 });
        let epoll = cell(Model::Epoll, &[4.0, 4.2]);
        let poll = cell(Model::Poll, &[8.0, 8.2]);
        let plan = Plan {
            models: vec![Model::Select, Model::Poll, Model::Epoll],
            loads: vec![load],
            subject: Subject::Echo {
                payload: 128,
                transport: Transport::Tcp,
            },
            rounds: 2,
            window: Window {
                warmup: Duration::ZERO,
                duration: Duration::from_secs(1),
            },
        };
        let results = Results {
            loads: vec![LoadResults {
                load,
                cells: vec![select, poll, epoll],
            }],
            verdicts: Vec::new(),
            cores_usable: 2,
            cores: None,
            interrupted: false,
        };
        let text = tables(&plan, &results);
        let costs = "\n| load | select | poll | epoll |\n|---|--:|--:|--:|\n\
                     | 64 × 1 | refused at 7 | 8.10 | **4.10** |\n\n";
        assert!(text.contains(costs), "{text}");
        let figures = "| epoll | 24,405 | 50.0 µs | 1.50 ms | 0 ns | 4.10 | 4.00–4.20 | 2.00 | – | 2.00 KiB | 0.50 |";
        assert!(text.contains(figures), "{text}");
        assert!(text.contains(", 2 cores, Linux "), "{text}");
    }
}
