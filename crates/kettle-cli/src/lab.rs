//! The lab: the I/O models side by side, under the same real RPC traffic.
//!
//! `plan.rs` says what is measured, `traffic.rs` (or a recording, `replay.rs`) under which loads and `subject.rs` whom.
//! `measure.rs` measures one cell of it, with the `servers.rs` of a turn (each a `server_process.rs` or a
//! `command_process.rs`) and its `clients.rs`, of which idle ones may be in processes beside it (`holder_process.rs`).
//!
//! `cell.rs` keeps what was found and `column.rs` what is told of it. `report.rs` prints it, `page.rs` draws it,
//! `markdown.rs` has tables of it for documents, `conclusion.rs` says what follows from it in the words of
//! `recommendation.rs`, `verdict.rs` judges claims by it, `raw.rs` writes it down.

mod cell;
mod clients;
mod column;
mod command_process;
mod conclusion;
mod holder_process;
mod markdown;
mod measure;
mod own_process;
mod page;
mod plan;
mod raw;
mod recommendation;
mod replay;
mod report;
mod server_process;
mod servers;
mod socket_folder;
mod subject;
mod tail;
mod traffic;
mod verdict;

pub use page::{try_folder, write as write_page};
pub use plan::Plan;
pub use raw::{try_file, write as write_raw};
pub use replay::{Replay, ReplayOptions};
pub use subject::{OwnProgram, OwnServer, Subject, Transport};
pub use traffic::{Load, Work};
use verdict::Verdict;

use crate::affinity::Cores;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, millis};
use crate::terminal::utf8_columns;
use cell::Cell;
use kettle::Model;
use measure::{Measured, Setup};
use std::io::Write;

/// What the lab found out.
#[derive(Debug)]
pub struct Results {
    /// One for each load that was begun.
    pub loads: Vec<LoadResults>,
    /// What they say to what is claimed of the models.
    pub verdicts: Vec<Verdict>,
    /// Cores that this process was allowed to use.
    pub cores_usable: usize,
    /// Where server and load generator ran; `None` when they shared a core.
    pub cores: Option<Cores>,
    /// Whether it was ended early.
    pub interrupted: bool,
}

/// What was found out under one load.
#[derive(Debug)]
pub struct LoadResults {
    /// The load.
    pub load: Load,
    /// One for each row of the table.
    pub cells: Vec<Cell>,
}

impl LoadResults {
    /// The cells that compare with each other: none with one connection in place of many.
    pub fn compared(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| !cell.row.alone)
    }

    /// A model's cell among these.
    pub fn cell(&self, model: Model) -> Option<&Cell> {
        self.compared().find(|cell| cell.row.model == model)
    }
}

impl Results {
    /// Whether a call failed, or a server did not do what its model promises.
    pub fn any_failed(&self) -> bool {
        self.loads
            .iter()
            .flat_map(|load| &load.cells)
            .any(Cell::failed)
    }
}

/// Measures load after load and prints a table for each as soon as it is there.
pub fn run(plan: &Plan, interrupt: &Interrupt, out: &mut dyn Write) -> Result<Results, Failure> {
    let cores = Cores::choose()?;
    // Counted before this thread keeps to one of them.
    let cores_usable = std::thread::available_parallelism().map_or(1, usize::from);
    rehearse(plan, cores, interrupt)?;
    report::write_heading(plan, cores, out)?;
    let setup = Setup {
        plan,
        cores,
        interrupt,
    };
    let progress = Progress::new(millis(plan.estimate()));
    let mut results = Results {
        loads: Vec::new(),
        verdicts: Vec::new(),
        cores_usable,
        cores,
        interrupted: false,
    };
    for &load in &plan.loads {
        if interrupt.is_set() {
            break;
        }
        let found = run_load(&setup, load, &progress)?;
        progress.suspend(|| report::write_load(&found, utf8_columns(), out))?;
        results.loads.push(found);
    }
    progress.done();
    results.interrupted = interrupt.is_set();
    if plan.subject.replay().is_none() {
        results.verdicts = verdict::verdicts(&results.loads);
    }
    report::write_ending(plan, &results, out)?;
    Ok(results)
}

/// Tries the subject out on the first model that this machine runs.
fn rehearse(plan: &Plan, cores: Option<Cores>, interrupt: &Interrupt) -> Result<(), Failure> {
    let mut models = plan.models.iter();
    let Some(&model) = models.find(|model| model.probe().runs()) else {
        return Ok(());
    };
    match plan.subject.rehearse(model, cores, interrupt) {
        // What was interrupted has not failed; the lab is about to see it too.
        Err(_) if interrupt.is_set() => Ok(()),
        rehearsed => rehearsed,
    }
}

/// The rows in turns, round after round, so that a noisy minute hits all of them alike.
fn run_load(setup: &Setup<'_>, load: Load, progress: &Progress) -> Result<LoadResults, Failure> {
    let mut cells: Vec<_> = setup.plan.rows(load).into_iter().map(Cell::new).collect();
    for round in 1..=setup.plan.rounds {
        for cell in &mut cells {
            if setup.interrupt.is_set() {
                return Ok(LoadResults { load, cells });
            }
            progress.doing(format!("{load}: {}, round {round}", cell.row));
            // What keeps a model from being measured does not change from round to round.
            if cell.reason.is_none() {
                match measure::measure(setup, &cell.row)? {
                    Measured::Round(round) => cell.rounds.push(*round),
                    Measured::Reason(reason) => cell.reason = Some(reason),
                    Measured::Interrupted => return Ok(LoadResults { load, cells }),
                }
            }
            progress.advance(millis(setup.plan.estimate_turn(&cell.row, round)));
        }
    }
    Ok(LoadResults { load, cells })
}
