//! What the lab found out as a page to look at: one file that needs nothing else.

mod chart;

use super::cell::{Cell, Round, spread};
use super::column::Column;
use super::plan::Plan;
use super::raw::{self, Machine};
use super::traffic::Load;
use super::{LoadResults, Results, report};
use crate::failure::Failure;
use crate::table::number;
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

/// Whether a report can be written into this folder, before time is spent on it. Makes the folder.
pub fn try_folder(folder: &Path) -> Result<(), Failure> {
    let made = fs::create_dir_all(folder);
    made.map_err(|error| Failure::because(format!("cannot make {}", folder.display()), &error))?;
    raw::try_file(&folder.join(PAGE))?;
    raw::try_file(&folder.join(RAW))
}

/// Writes the page, and everything that was found out beside it.
pub fn write(plan: &Plan, results: &Results, folder: &Path) -> Result<(), Failure> {
    raw::write(plan, results, &folder.join(RAW))?;
    let path = folder.join(PAGE);
    fs::write(&path, page(plan, results))
        .map_err(|error| Failure::because(format!("cannot write {}", path.display()), &error))
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
    let command: Vec<_> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
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
        ("command", command.join(" ")),
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
    for load in &results.loads {
        let text = escaped(&report::conclusion(load));
        let _ = writeln!(page, "<dt>{}</dt><dd>{text}</dd>", load.load);
    }
    page.push_str("</dl>\n");
}

fn verdicts(results: &Results, page: &mut String) {
    page.push_str("<h2>What is said of the models</h2>\n<ul class=\"verdicts\">\n");
    for verdict in &results.verdicts {
        let (outcome, figures) = (verdict.outcome, escaped(&verdict.figures));
        let _ = writeln!(
            page,
            "<li><span class=\"tag {outcome}\">{outcome}</span>{}<br><small>{figures}</small></li>",
            verdict.claim
        );
    }
    page.push_str("</ul>\n");
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
            .map(|it| it.load.connections.to_string())
            .collect(),
        lines: lines(plan, &busy),
    };
    let by_idle = Chart {
        title: "CPU µs per call of 64 connections over idle ones beside them",
        axis: "idle connections",
        places: idle.iter().map(|it| it.load.idle.to_string()).collect(),
        lines: lines(plan, &idle),
    };
    page.extend([by_connections, by_idle].iter().filter_map(Chart::svg));
    if let Some(load) = busy.last() {
        page.extend(latencies(plan, load));
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
    use crate::lab::subject::Subject;
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
        let loads = [Load::new(1, 1, 0), Load::new(64, 1, 0)];
        let plan = Plan {
            models: vec![Model::Blocking, Model::Epoll],
            loads: loads.to_vec(),
            subject: Subject::Echo { payload: 128 },
            rounds: 3,
            window: Window {
                warmup: Duration::ZERO,
                duration: Duration::from_secs(1),
            },
        };
        let loads: Vec<_> = loads.map(results).into();
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
        assert!(page.contains("<span class=\"tag not measured\">not measured</span>"));
        assert_eq!(page.matches("<svg").count(), 2, "connections and latencies");
        assert!(page.contains("Only epoll was measured."));
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let page = made_up();
        for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
