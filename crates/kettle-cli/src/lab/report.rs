//! What the lab prints.

use super::cell::Cell;
use super::column::{Column, LEGEND};
use super::conclusion::{self, Conclusion};
use super::plan::{Plan, WAIT_TIMEOUT};
use super::replay;
use super::verdict::{by_figures, not_measured};
use super::{LoadResults, Results};
use crate::affinity::Cores;
use crate::load::Errors;
use crate::table::{Table, bar, counted};
use std::io::{self, Write};
use std::iter;

/// Columns of a bar, and between it and the table. What is shorter shows nothing.
const BAR_MIN: usize = 5;
const BAR_MAX: usize = 16;
const BAR_GAP: usize = 2;

/// Prints what will be measured, and how long that takes.
pub fn write_heading(plan: &Plan, cores: Option<Cores>, out: &mut dyn Write) -> io::Result<()> {
    let models: Vec<_> = plan.models.iter().map(|model| model.name()).collect();
    let place = match cores {
        Some(cores) => {
            format!(
                "server on core {}, load generator on core {}",
                cores.server, cores.generator
            )
        }
        None => "server and load generator share the only core".to_owned(),
    };
    let seconds = plan.estimate().as_secs_f64();
    let time = match seconds < 120.0 {
        true => format!("{:.0} s", seconds.ceil()),
        false => format!("{:.0} minutes", (seconds / 60.0).ceil()),
    };
    writeln!(
        out,
        "Comparing {}: {}, {} of {:?} in turns, {place}.",
        models.join(", "),
        plan.subject,
        counted(plan.rounds, "round"),
        plan.window.duration,
    )?;
    writeln!(out, "This takes about {time}.")?;
    if let Some(replay) = plan.subject.replay() {
        writeln!(out)?;
        replay.write_summary(out)?;
    }
    out.flush()
}

/// Prints the table of a load, what failed, and the conclusion. Where lines have so many columns there are
/// bars beside the table, if it leaves room.
pub fn write_load(
    results: &LoadResults,
    columns: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let load = &results.load;
    writeln!(out)?;
    writeln!(out, "{load}   {}", load.in_words())?;
    write!(out, "{}", table(&results.cells, columns))?;
    for cell in &results.cells {
        write_failures(cell, out)?;
    }
    replay::write_remarks(results, out)?;
    write_conclusion("→ ", &conclusion::of_load(results), out)?;
    out.flush()
}

fn write_conclusion(head: &str, conclusion: &Conclusion, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{head}{}", conclusion.recommendation)?;
    match conclusion.notes.as_slice() {
        [] => Ok(()),
        notes => writeln!(out, "  {}", notes.join(" ")),
    }
}

/// Prints what the figures say to what is claimed of the models, and how the tables are to be read.
pub fn write_ending(plan: &Plan, results: &Results, out: &mut dyn Write) -> io::Result<()> {
    if let Some(conclusion) = conclusion::of_run(&results.loads) {
        let loads = results.loads.len();
        writeln!(out)?;
        write_conclusion(&format!("All {loads} loads together → "), &conclusion, out)?;
    }
    if !results.verdicts.is_empty() {
        writeln!(out)?;
    }
    let (judged, _) = by_figures(&results.verdicts);
    for verdict in judged {
        let (outcome, claim) = (verdict.outcome.to_string(), verdict.claim);
        writeln!(out, "{outcome:<12}  {claim}")?;
        writeln!(out, "{:<12}  {}", "", verdict.figures)?;
    }
    if let Some(line) = not_measured(&results.verdicts) {
        writeln!(out, "{line}")?;
    }
    writeln!(out)?;
    for sentence in LEGEND {
        writeln!(out, "{sentence}")?;
    }
    writeln!(out, "`waits`: not served within {WAIT_TIMEOUT:?}.")?;
    if plan.subject.program().is_some() {
        writeln!(
            out,
            "Only `kettle serve` counts its calls, so those of this server are the answers that the load \
             generator got."
        )?;
    }
    if results.interrupted {
        writeln!(out, "Interrupted: not everything was measured.")?;
    }
    if results.any_failed() {
        writeln!(out, "Something FAILED; see above.")?;
    }
    out.flush()
}

fn table(cells: &[Cell], columns: Option<usize>) -> Table {
    let plain = table_with(cells, 0);
    let room = columns.unwrap_or(0).saturating_sub(plain.width() + BAR_GAP);
    match room {
        0..BAR_MIN => plain,
        _ => table_with(cells, room.min(BAR_MAX)),
    }
}

/// With bars of this width behind the rows, for the processor time per call.
fn table_with(cells: &[Cell], bar_width: usize) -> Table {
    let shown: Vec<_> = Column::ALL.into_iter().filter(|it| it.narrow).collect();
    let names = shown.iter().map(|column| column.name);
    let heading: Vec<_> = iter::once("model").chain(names).collect();
    let mut table = Table::new(&heading);
    let cost = |cell: &Cell| cell.median(|it| Some(it.cpu_us_per_call)).unwrap_or(0.0);
    let most = cells.iter().map(cost).fold(0.0, f64::max);
    for cell in cells {
        let name = cell.row.to_string();
        match cell.missing() {
            Some(why) => table.remark(name, why),
            None => {
                let mut figures: Vec<_> = shown.iter().map(|it| (it.figure)(cell)).collect();
                if cell.generator_was_the_limit() {
                    figures[0].push('*');
                }
                let figures = iter::once(name).chain(figures).collect();
                table.row_with(figures, bar(cost(cell) / most, bar_width));
            }
        }
    }
    table
}

fn write_failures(cell: &Cell, out: &mut dyn Write) -> io::Result<()> {
    for (index, round) in cell.rounds.iter().enumerate() {
        for (kind, errors) in &round.errors {
            let (row, number) = (&cell.row, index + 1);
            let Errors { count, first } = errors;
            writeln!(
                out,
                "FAILED: {row}, round {number}: {count} calls, {kind} ({first})"
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::cell::{Reason, Round};
    use crate::lab::plan::Row;
    use crate::lab::traffic::Load;
    use kettle::Model;

    const LOAD: Load = Load::new(64, 1, 0);

    fn cell(model: Model, alone: bool, costs: &[f64]) -> Cell {
        let mut cell = Cell::new(Row {
            model,
            load: LOAD,
            alone,
        });
        cell.rounds = costs.iter().copied().map(Round::made_up).collect();
        cell
    }

    /// What is printed, with single spaces.
    fn written(cells: Vec<Cell>) -> String {
        let mut out = Vec::new();
        write_load(&LoadResults { load: LOAD, cells }, None, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_table_has_figures_reasons_and_a_conclusion() {
        let mut waits = cell(Model::Blocking, false, &[]);
        waits.reason = Some(Reason::Waits { served: 1, of: 64 });
        let text = written(vec![
            waits,
            cell(Model::Blocking, true, &[1.0, 1.0]),
            cell(Model::Epoll, false, &[4.0, 5.0, 4.5]),
            cell(Model::Poll, false, &[9.0, 8.0, 10.0]),
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "64 × 1 64 connections with 1 call in flight");
        assert_eq!(lines[3], "blocking waits (1 of 64 served)");
        let epoll = "epoll 22,222 50.0 µs 1.50 ms 0 ns 4.50 4.00–5.00 2.00 – 2.00 KiB";
        assert_eq!(lines[5], epoll);
        let wanted = "→ Use epoll: 4.50 µs of CPU per call. The runner-up is poll, 2.00 times as dear, \
                      beyond noise.";
        assert_eq!(
            lines[7], wanted,
            "the row with one connection takes no part"
        );
        assert_eq!(lines[8], "Not up to this load: blocking.");
    }

    #[test]
    fn bars_stand_beside_a_table_that_leaves_room() {
        let cells = [
            cell(Model::Epoll, false, &[4.0, 4.0]),
            cell(Model::Poll, false, &[8.0, 8.0]),
        ];
        let width = table(&cells, None).width();
        let shown = |columns| table(&cells, Some(columns)).to_string();
        assert!(!shown(width + 6).contains('█'), "too narrow");
        let narrow = shown(width + 7);
        let bars: Vec<_> = narrow
            .lines()
            .filter_map(|it| it.split("KiB  ").nth(1))
            .collect();
        assert_eq!(bars, ["██▌", "█████"]);
        let longest = shown(10_000).lines().map(|it| it.chars().count()).max();
        assert_eq!(longest, Some(width + 2 + BAR_MAX));
    }

    #[test]
    fn a_server_that_failed_halfway_has_no_figures() {
        let mut failed = cell(Model::Poll, false, &[1.0]);
        failed.reason = Some(Reason::Failed {
            why: "gone".to_owned(),
        });
        assert!(failed.failed());
        let text = written(vec![failed, cell(Model::Epoll, false, &[2.0, 2.0])]);
        assert!(text.contains("poll FAILED: gone\n"), "{text}");
        assert!(
            text.ends_with("→ Only epoll was measured: 2.00 µs of CPU per call."),
            "{text}"
        );
    }

    #[test]
    fn a_failed_call_is_shown() {
        let mut failed = cell(Model::Poll, false, &[1.0, 1.0]);
        let errors = Errors {
            count: 3,
            first: "gone".to_owned(),
        };
        failed.rounds[1]
            .errors
            .insert("UNAVAILABLE".to_owned(), errors);
        assert!(failed.failed());
        let text = written(vec![failed]);
        assert!(
            text.contains("FAILED: poll, round 2: 3 calls, UNAVAILABLE (gone)"),
            "{text}"
        );
    }
}
