//! `kettle lab`: compares the I/O models.

use crate::args::LabArgs;
use crate::call;
use crate::descriptors;
use crate::failure::Failure;
use crate::interrupt::{self, Interrupt};
use crate::lab::{
    self, Load, OwnProgram, OwnServer, Plan, Replay, ReplayOptions, Subject, Transport, Work,
};
use crate::load::Window;
use crate::log;
use crate::schema::{Kind, Schema};
use kettle::Model;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long each model is measured in each round, unless told otherwise.
const DURATION: Duration = Duration::from_millis(600);

/// Connections of one server process at most, where the limit on open files allows more: a load is to
/// be the same on machines whose limits are not.
const EACH_MAX: usize = 20_000;

/// Server processes at most, each with one beside it that holds its idle connections.
const PROCESSES_MAX: usize = 64;

/// Measures, prints tables, and keeps the raw results when asked to.
pub fn run(args: LabArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    log::init(0)?;
    let json = args.json.clone();
    let report = args.report.clone();
    json.as_deref().map(lab::try_file).transpose()?;
    report.as_deref().map(lab::try_folder).transpose()?;
    descriptors::raise_limit();
    let plan = plan(args)?;
    for load in &plan.loads {
        check(load)?;
    }
    let interrupt = Interrupt::install()?;
    let results = lab::run(&plan, &interrupt, out)?;
    if let Some(path) = json {
        lab::write_raw(&plan, &results, &path)?;
    }
    if let Some(folder) = report {
        lab::write_page(&plan, &results, &folder)?;
        writeln!(
            out,
            "The report is {}.",
            folder.join("index.html").display()
        )?;
    }
    Ok(match (results.interrupted, results.any_failed()) {
        (true, _) => ExitCode::from(interrupt::EXIT_CODE),
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    })
}

/// Whether this machine lets us hold a load's connections.
fn check(load: &Load) -> Result<(), Failure> {
    descriptors::need(load.held_by_generator())?;
    if PROCESSES_MAX < load.processes {
        return Err(Failure::Text(format!(
            "{} connections would need {} server processes, and the lab starts {PROCESSES_MAX} at most: raise \
             `ulimit -n`, or ask for fewer",
            load.total(),
            load.processes
        )));
    }
    Ok(())
}

fn plan(args: LabArgs) -> Result<Plan, Failure> {
    let subject = subject(&args)?;
    let each_max = descriptors::connections_max().min(EACH_MAX);
    let replay = subject.replay();
    let own = match replay {
        Some(replay) => Some(Load::replay(replay.connections)),
        None => own_load(&args),
    };
    let loads = match (own, args.full) {
        (Some(own), _) => vec![own],
        (None, true) => Load::full(),
        (None, false) => Load::USUAL.to_vec(),
    };
    let duration = match replay {
        Some(replay) => replay.turn,
        None => args.duration.unwrap_or(DURATION),
    };
    Ok(Plan {
        models: if args.models.is_empty() {
            Model::ALL.to_vec()
        } else {
            args.models
        },
        loads: loads
            .into_iter()
            .map(|load| load.with_processes_of(each_max))
            .collect(),
        subject,
        rounds: args.rounds,
        window: Window {
            warmup: args.warmup,
            duration,
        },
    })
}

/// The one load that is asked for, if any.
fn own_load(args: &LabArgs) -> Option<Load> {
    let plain = args.connections.or(args.in_flight).or(args.idle);
    let own = Load::new(
        args.connections.unwrap_or(1),
        args.in_flight.unwrap_or(1),
        args.idle.unwrap_or(0),
    );
    let work = if args.churn { Work::Churn } else { own.work };
    (args.churn || plain.is_some()).then_some(Load { work, ..own })
}

fn subject(args: &LabArgs) -> Result<Subject, Failure> {
    let program = args.server.as_ref().map(|command| OwnProgram {
        command: command.clone(),
        start_timeout: args.start_timeout,
    });
    if let Some(path) = &args.replay {
        let options = ReplayOptions {
            speed: args.speed,
            turn: args.duration,
            program,
        };
        return Ok(Subject::Replay(Arc::new(Replay::read(path, options)?)));
    }
    let (Some(program), Some(method)) = (program, &args.call) else {
        if !args.protos.proto.is_empty() {
            let text = "--proto describes the calls of a server of one's own: give --server too";
            return Err(Failure::Text(text.to_owned()));
        }
        return Ok(Subject::Echo {
            payload: args.payload,
            transport: match args.unix {
                true => Transport::Unix,
                false => Transport::Tcp,
            },
        });
    };
    let method = Schema::load(&args.protos)?.method(method)?;
    if method.kind() != Kind::Unary {
        let text = format!(
            "{method} is {}, and the lab makes unary calls",
            method.kind()
        );
        return Err(Failure::Text(text));
    }
    let messages = call::messages(args.data.as_ref(), &method)?;
    Ok(Subject::Own(OwnServer {
        program,
        message: call::only(messages, &method)?,
        path: method.path().into(),
    }))
}
