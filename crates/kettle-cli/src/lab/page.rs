//! What the lab found out as a page to look at: one file that needs nothing else.

mod chart;

use super::cell::{Cell, Round, spread};
use super::column::{Column, LEGEND};
use super::plan::Plan;
use super::raw::{self, Machine};
use super::traffic::Load;
use super::verdict::{by_figures, not_measured};
use super::{LoadResults, Results, conclusion, markdown};
use crate::failure::Failure;
use crate::table::{grouped, number};
use chart::{Chart, Line};
use kettle::Model;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// How the page looks, by day and by night.
const STYLE: &str = include_str!("page/style.css");

/// The files in the folder.
const PAGE: &str = "index.html";
const RAW: &str = "results.json";
const TABLES: &str = "tables.md";

/// Whether a report can be written into this folder, before time is spent on it. Makes the folder.
pub fn try_folder(folder: &Path) -> Result<(), Failure> {
    let made = fs::create_dir_all(folder);
    made.map_err(|error| Failure::because(format!("cannot make {}", folder.display()), &error))?;
    let mut files = [PAGE, RAW, TABLES].iter();
    files.try_for_each(|file| raw::try_file(&folder.join(file)))
}

/// Writes the page, and everything that was found out beside it.
pub fn write(plan: &Plan, results: &Results, folder: &Path) -> Result<(), Failure> {
    raw::write(plan, results, &folder.join(RAW))?;
    let texts = [
        (PAGE, page(plan, results)),
        (TABLES, markdown::tables(plan, results)),
    ];
    texts.into_iter().try_for_each(|(file, text)| {
        let path = folder.join(file);
        fs::write(&path, text)
            .map_err(|error| Failure::because(format!("cannot write {}", path.display()), &error))
    })
}

fn page(plan: &Plan, results: &Results) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>kettle lab</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    heading(plan, results, &mut page);
    recommendations(results, &mut page);
    if !results.verdicts.is_empty() {
        verdicts(results, &mut page);
    }
    heat_map(plan, results, &mut page);
    charts(plan, results, &mut page);
    for load in &results.loads {
        table(load, &mut page);
    }
    legend(&mut page);
    page.push_str("</body>\n</html>\n");
    page
}

fn heading(plan: &Plan, results: &Results, page: &mut String) {
    let Machine {
        kernel,
        processor,
        cores,
        ..
    } = raw::machine(results);
    let rounds = format!(
        "{} of {:?} in turns, {}",
        plan.rounds, plan.window.duration, plan.subject
    );
    page.push_str(
        "<h1>Which network I/O model?</h1>\n<p class=\"soft\">Measured by kettle lab.</p>\n<dl>\n",
    );
    for (term, text) in [
        ("machine", format!("{processor}, {cores} cores")),
        ("kernel", format!("Linux {kernel}")),
        ("rounds", rounds),
        ("command", raw::command().join(" ")),
    ] {
        let text = escaped(&text);
        let _ = writeln!(page, "<dt>{term}</dt><dd><code>{text}</code></dd>");
    }
    page.push_str("</dl>\n");
    if let Some(replay) = plan.subject.replay() {
        let mut summary = Vec::new();
        replay
            .write_summary(&mut summary)
            .expect("a vector takes everything");
        let summary = escaped(&String::from_utf8_lossy(&summary));
        let _ = writeln!(page, "<pre>{summary}</pre>");
    }
    if results.interrupted {
        page.push_str("<p><strong>Interrupted: not everything was measured.</strong></p>\n");
    }
}

fn recommendations(results: &Results, page: &mut String) {
    page.push_str("<h2>What to use</h2>\n<dl>\n");
    let of_loads = results.loads.iter();
    let of_loads = of_loads.map(|it| (it.load.to_string(), conclusion::of_load(it)));
    let of_run = conclusion::of_run(&results.loads);
    for (what, conclusion) in of_loads.chain(of_run.map(|it| ("all loads".to_owned(), it))) {
        let text = escaped(&conclusion.recommendation);
        let notes = escaped(&conclusion.notes.join(" "));
        let _ = writeln!(
            page,
            "<dt>{what}</dt><dd>{text} <small>{notes}</small></dd>"
        );
    }
    page.push_str("</dl>\n");
}

fn verdicts(results: &Results, page: &mut String) {
    page.push_str("<h2>What is said of the models</h2>\n<ul class=\"verdicts\">\n");
    let (judged, _) = by_figures(&results.verdicts);
    for verdict in judged {
        let (outcome, figures) = (verdict.outcome, escaped(&verdict.figures));
        let _ = writeln!(
            page,
            "<li><span class=\"tag {outcome}\">{outcome}</span>{}<br><small>{figures}</small></li>",
            verdict.claim
        );
    }
    page.push_str("</ul>\n");
    if let Some(line) = not_measured(&results.verdicts) {
        let _ = writeln!(page, "<p class=\"soft\">{line}</p>");
    }
}

/// Models by loads, coloured by how much dearer than the cheapest.
fn heat_map(plan: &Plan, results: &Results, page: &mut String) {
    page.push_str(
        "<h2>CPU µs per call</h2>\n<p class=\"soft\">The stronger the green, the nearer to the cheapest of \
         its column.</p>\n<div class=\"scroll\"><table>\n<tr><th>model</th>",
    );
    for load in &results.loads {
        let _ = write!(page, "<th>{}</th>", load.load);
    }
    page.push_str("</tr>\n");
    for &model in &plan.models {
        let _ = write!(page, "<tr><td>{model}</td>");
        for load in &results.loads {
            heat(load, model, page);
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

fn heat(results: &LoadResults, model: Model, page: &mut String) {
    let costs: Vec<_> = results.compared().filter_map(cost).collect();
    let (least, _) = spread(&costs);
    let Some(cell) = results.cell(model) else {
        page.push_str("<td class=\"none\">–</td>");
        return;
    };
    let _ = match cost(cell) {
        Some(cost) => {
            let shade = 0.75 * (least / cost).powi(2);
            let style = format!("background: rgb(var(--good) / {shade:.2})");
            write!(page, "<td style=\"{style}\">{}</td>", number(cost))
        }
        None => {
            let why = escaped(&cell.missing().unwrap_or_default());
            write!(page, "<td class=\"none\" title=\"{why}\">–</td>")
        }
    };
}

fn cost(cell: &Cell) -> Option<f64> {
    let cost = cell.median(|round| Some(round.cpu_us_per_call));
    cost.filter(|cost| cell.reason.is_none() && cost.is_finite())
}

fn charts(plan: &Plan, results: &Results, page: &mut String) {
    let plain: Vec<_> = results
        .loads
        .iter()
        .filter(|it| it.load.is_plain())
        .collect();
    let chosen = |wanted: fn(&Load) -> bool, key: fn(&Load) -> usize| {
        let mut chosen: Vec<_> = plain
            .iter()
            .copied()
            .filter(|it| wanted(&it.load))
            .collect();
        chosen.sort_by_key(|it| key(&it.load));
        chosen
    };
    let busy = chosen(
        |load| load.idle == 0 && load.in_flight == 1,
        |load| load.connections,
    );
    let idle = chosen(
        |load| load.connections == 64 && load.in_flight == 1,
        |load| load.idle,
    );
    let by_connections = Chart {
        title: "CPU µs per call over connections, each with a call in flight",
        axis: "connections",
        places: busy
            .iter()
            .map(|it| grouped(it.load.connections as u64))
            .collect(),
        lines: lines(plan, &busy),
    };
    let by_idle = Chart {
        title: "CPU µs per call of 64 connections over idle ones beside them",
        axis: match idle.iter().any(|it| 1 < it.load.processes) {
            true => "idle connections (on so many server processes)",
            false => "idle connections",
        },
        places: idle.iter().map(|it| idle_place(&it.load)).collect(),
        lines: lines(plan, &idle),
    };
    page.extend([by_connections, by_idle].iter().filter_map(Chart::svg));
    if let Some(load) = busy.last() {
        page.extend(latencies(plan, load));
    }
}

/// A number of idle connections, and on how many server processes they are.
fn idle_place(load: &Load) -> String {
    let idle = grouped(load.idle as u64);
    match load.processes {
        1 => idle,
        processes => format!("{idle} on {processes}"),
    }
}

/// A line for each model, through what a call cost it under each of these loads.
fn lines(plan: &Plan, loads: &[&LoadResults]) -> Vec<Line> {
    let line = |model: Model| {
        let figures = loads.iter().map(|load| cost(load.cell(model)?));
        line(model, figures.collect())
    };
    let lines = plan.models.iter().map(|&model| line(model));
    lines
        .filter(|line| line.figures.iter().any(Option::is_some))
        .collect()
}

fn latencies(plan: &Plan, load: &LoadResults) -> Option<String> {
    let percentiles: [fn(&Round) -> f64; 4] = [
        |round| round.latency.p50_us,
        |round| round.latency.p90_us,
        |round| round.latency.p99_us,
        |round| round.latency.p999_us,
    ];
    let lines = plan.models.iter().filter_map(|&model| {
        let cell = load.cell(model).filter(|cell| cell.reason.is_none())?;
        let figure = |of: &fn(&Round) -> f64| cell.median(|round| Some(of(round)));
        Some(line(model, percentiles.iter().map(figure).collect()))
    });
    let chart = Chart {
        title: &format!("Latency in µs at {}", load.load),
        axis: "of all calls took at most this long",
        places: ["50 %", "90 %", "99 %", "99.9 %"]
            .map(str::to_owned)
            .to_vec(),
        lines: lines.collect(),
    };
    chart.svg()
}

fn line(model: Model, figures: Vec<Option<f64>>) -> Line {
    let place = Model::ALL.iter().position(|it| *it == model);
    Line {
        name: model.name().to_owned(),
        colour: place.unwrap_or(0),
        figures,
    }
}

fn table(results: &LoadResults, page: &mut String) {
    let (load, words) = (&results.load, results.load.in_words());
    let _ = write!(
        page,
        "<h2>{load}</h2>\n<p class=\"soft\">{words}</p>\n<div class=\"scroll\"><table>\n<tr><th>model</th>"
    );
    for column in Column::ALL {
        let _ = write!(page, "<th>{}</th>", column.name);
    }
    page.push_str("</tr>\n");
    for cell in &results.cells {
        let _ = write!(page, "<tr><td>{}</td>", cell.row);
        if let Some(why) = cell.missing() {
            let (span, why) = (Column::ALL.len(), escaped(&why));
            let _ = write!(
                page,
                "<td class=\"text none\" colspan=\"{span}\">{why}</td>"
            );
        } else {
            for column in Column::ALL {
                let _ = write!(page, "<td>{}</td>", (column.figure)(cell));
            }
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

fn legend(page: &mut String) {
    page.push_str("<h2>How to read the tables</h2>\n<ul class=\"soft\">\n");
    for sentence in LEGEND {
        let _ = writeln!(page, "<li>{}</li>", escaped(sentence));
    }
    page.push_str("</ul>\n");
}

/// As text of a page or in quotes.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::cell::Reason;
    use crate::lab::plan::Row;
    use crate::lab::subject::{Subject, Transport};
    use crate::load::Window;
    use std::time::Duration;

    fn results(load: Load) -> LoadResults {
        let row = |model| Row {
            model,
            load,
            alone: false,
        };
        let mut waits = Cell::new(row(Model::Blocking));
        let why = "<b>\"no\"".to_owned();
        waits.reason = Some(Reason::Failed { why });
        let mut epoll = Cell::new(row(Model::Epoll));
        epoll.rounds = [4.0, 5.0, 6.0].map(Round::made_up).to_vec();
        LoadResults {
            load,
            cells: vec![waits, epoll],
        }
    }

    fn made_up() -> String {
        made_up_of(&[Load::new(1, 1, 0), Load::new(64, 1, 0)])
    }

    fn made_up_of(loads: &[Load]) -> String {
        let plan = Plan {
            models: vec![Model::Blocking, Model::Epoll],
            loads: loads.to_vec(),
            subject: Subject::Echo {
                payload: 128,
                transport: Transport::Tcp,
            },
            rounds: 3,
            window: Window {
                warmup: Duration::ZERO,
                duration: Duration::from_secs(1),
            },
        };
        let loads: Vec<_> = loads.iter().copied().map(results).collect();
        let results = Results {
            verdicts: crate::lab::verdict::verdicts(&loads),
            loads,
            cores_usable: 2,
            cores: None,
            interrupted: false,
        };
        page(&plan, &results)
    }

    #[test]
    fn a_page_has_figures_reasons_verdicts_and_charts() {
        let page = made_up();
        assert!(
            page.contains("<td>5.00</td>") && page.contains("4.00–6.00"),
            "{page}"
        );
        assert!(page.contains("FAILED: &lt;b&gt;&quot;no&quot;"), "{page}");
        assert!(page.contains("not asked for: blocking, threads"), "{page}");
        assert!(page.contains("<dt>all loads</dt>"), "{page}");
        assert_eq!(page.matches("<svg").count(), 2, "connections and latencies");
        assert!(page.contains("Only epoll was measured: 5.00 µs"));
    }

    #[test]
    fn costs_are_drawn_over_idle_connections() {
        let idle = [0, 19_000, 40_000].map(|idle| Load::new(64, 1, idle).with_processes_of(19_936));
        let page = made_up_of(&idle);
        for place in [">0</text>", ">19,000</text>", ">40,000 on 3</text>"] {
            assert!(page.contains(place), "{place}: {page}");
        }
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let page = made_up();
        for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
