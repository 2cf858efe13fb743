//! What the lab prints.

use super::cell::Cell;
use super::column::Column;
use super::conclusion::{Contender, conclude};
use super::plan::{Plan, WAIT_TIMEOUT};
use super::replay;
use super::{LoadResults, Results};
use crate::affinity::Cores;
use crate::load::Errors;
use crate::table::Table;
use std::io::{self, Write};
use std::iter;

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
    let seconds = plan.estimate().as_secs_f64().ceil();
    writeln!(
        out,
        "Comparing {} on loopback: {}, {} rounds of {:?} in turns, {place}.",
        models.join(", "),
        plan.subject,
        plan.rounds,
        plan.window.duration,
    )?;
    writeln!(out, "This takes about {seconds} s.")?;
    if let Some(replay) = plan.subject.replay() {
        writeln!(out)?;
        replay.write_summary(out)?;
    }
    out.flush()
}

/// Prints the table of a load, what failed, and the conclusion.
pub fn write_load(results: &LoadResults, out: &mut dyn Write) -> io::Result<()> {
    let load = &results.load;
    writeln!(out)?;
    writeln!(out, "{load}   {}", load.in_words())?;
    write!(out, "{}", table(&results.cells))?;
    for cell in &results.cells {
        write_failures(cell, out)?;
    }
    replay::write_remarks(results, out)?;
    writeln!(out, "→ {}", conclusion(results))?;
    out.flush()
}

/// Prints what the figures say to what is claimed of the models, and how the tables are to be read.
pub fn write_ending(plan: &Plan, results: &Results, out: &mut dyn Write) -> io::Result<()> {
    if !results.verdicts.is_empty() {
        writeln!(out)?;
    }
    for verdict in &results.verdicts {
        let (outcome, claim) = (verdict.outcome.to_string(), verdict.claim);
        writeln!(out, "{outcome:<12}  {claim}")?;
        writeln!(out, "{:<12}  {}", "", verdict.figures)?;
    }
    writeln!(out)?;
    writeln!(
        out,
        "Every figure is the median of the rounds; CPU: of the server process, user and system, \
         with\nits least and most; system calls: on sockets and pollers; switches: context switches \
         of the\nserver's threads; memory: growth of the server's heap and stacks, from before the \
         first\nconnection to after the last, without the kernel's socket buffers. `waits`: not served \
         within {WAIT_TIMEOUT:?}.\n*: the load generator kept its core busy, so that a faster server would not \
         have shown."
    )?;
    if plan.subject.program().is_some() {
        writeln!(
            out,
            "Only `kettle serve` counts its system calls, so those of this server are not known: –. \
             Its calls are\nthe answers that the load generator got."
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

/// What follows from the figures of a load.
pub fn conclusion(results: &LoadResults) -> String {
    let costs: Vec<_> = results
        .compared()
        .map(|cell| (cell.row.model.name(), cell.costs()))
        .collect();
    let contenders: Vec<_> = costs
        .iter()
        .map(|(name, costs)| Contender { name, costs })
        .collect();
    conclude(&contenders)
}

fn table(cells: &[Cell]) -> Table {
    let columns: Vec<_> = Column::ALL.into_iter().filter(|it| it.narrow).collect();
    let names = columns.iter().map(|column| column.name);
    let heading: Vec<_> = iter::once("model").chain(names).collect();
    let mut table = Table::new(&heading);
    for cell in cells {
        let name = cell.row.to_string();
        match cell.missing() {
            Some(why) => table.remark(name, why),
            None => {
                let mut figures: Vec<_> = columns.iter().map(|it| (it.figure)(cell)).collect();
                if cell.generator_was_the_limit() {
                    figures[0].push('*');
                }
                table.row(iter::once(name).chain(figures).collect());
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
        write_load(&LoadResults { load: LOAD, cells }, &mut out).unwrap();
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
        let epoll = "epoll 22,222 50.0 µs 1.50 ms 4.50 4.00–5.00 2.00 – 2.00 KiB";
        assert_eq!(lines[5], epoll);
        let wanted = "→ epoll costs the least CPU, 4.50 µs per call: 50 % less than poll, 9.00 µs.";
        assert_eq!(
            lines[7], wanted,
            "the row with one connection takes no part"
        );
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
        assert!(text.ends_with("→ Only epoll was measured."), "{text}");
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
