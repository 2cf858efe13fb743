//! What follows from the figures: of a load, and of the whole run.

use super::LoadResults;
use super::cell::{Cell, Reason, median};
use super::plan::serves_one;
use super::recommendation::{Contender, Recommendation, and, recommend};
use kettle::Model;
use std::fmt;

/// What to use, and what to mind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The cheapest, and those that are not clearly dearer.
    pub recommended: Vec<Model>,
    /// Two sentences.
    pub recommendation: String,
    /// Limits of what is recommended, and who is not up to it; a sentence each.
    pub notes: Vec<String>,
}

/// What follows from the figures of a load.
pub fn of_load(results: &LoadResults) -> Conclusion {
    let costs = results.compared().map(|it| (it.row.model, it.costs()));
    let cells: Vec<_> = results.compared().collect();
    let unable = cells.iter().filter(|cell| is_unable(cell));
    let unable: Vec<_> = unable.map(|cell| cell.row.model).collect();
    conclude(
        &costs.collect::<Vec<_>>(),
        "µs of CPU per call",
        ("Not up to this load", &unable),
    )
}

/// What follows from all loads together; `None` when there are not two, or no model has figures of all.
///
/// The cost of a model under a load counts as a multiple of the cheapest model's there, and the mean of
/// these is the geometric one, round by round.
pub fn of_run(loads: &[LoadResults]) -> Option<Conclusion> {
    if loads.len() < 2 {
        return None;
    }
    let models: Vec<_> = loads[0].compared().map(|cell| cell.row.model).collect();
    let costs: Vec<_> = models
        .iter()
        .map(|&it| (it, multiples(loads, it)))
        .collect();
    if costs.iter().all(|(_, costs)| costs.is_empty()) {
        return None;
    }
    let without = costs.iter().filter(|(_, costs)| costs.is_empty());
    let without: Vec<_> = without.map(|&(model, _)| model).collect();
    Some(conclude(
        &costs,
        "times the cost of the cheapest, on average",
        ("Without figures of every load", &without),
    ))
}

/// In each round, how much more than the cheapest a model cost, on average over the loads; none when it has
/// no figures of one of them.
fn multiples(loads: &[LoadResults], model: Model) -> Vec<f64> {
    let costs = |load: &LoadResults| load.cell(model).map_or(Vec::new(), Cell::costs);
    let rounds = loads
        .iter()
        .map(|load| costs(load).len())
        .min()
        .unwrap_or(0);
    let multiple = |load: &LoadResults, round: usize| costs(load)[round] / cheapest(load);
    let mean = |round| {
        let logarithms = loads.iter().map(|load| multiple(load, round).ln());
        (logarithms.sum::<f64>() / loads.len() as f64).exp()
    };
    (0..rounds).map(mean).collect()
}

/// What the cheapest model cost under a load.
fn cheapest(load: &LoadResults) -> f64 {
    let medians = load.compared().filter_map(|cell| median(cell.costs()));
    medians.fold(f64::INFINITY, f64::min)
}

fn conclude(
    costs: &[(Model, Vec<f64>)],
    unit: &str,
    (reproach, unable): (&str, &[Model]),
) -> Conclusion {
    let contenders = costs.iter().map(|(model, costs)| Contender {
        name: model.name(),
        costs,
    });
    let contenders: Vec<_> = contenders.collect();
    let Recommendation { names, text } = recommend(&contenders, unit);
    let recommended = costs.iter().map(|(model, _)| *model);
    let recommended: Vec<_> = recommended
        .filter(|it| names.contains(&it.name()))
        .collect();
    let mut notes: Vec<_> = limits(&recommended).into_iter().collect();
    if !unable.is_empty() {
        notes.push(format!("{reproach}: {}.", and(&names_of(unable))));
    }
    Conclusion {
        recommended,
        recommendation: text,
        notes,
    }
}

/// What limits the models that are recommended, or which of them have no such limit.
fn limits(recommended: &[Model]) -> Option<String> {
    let limited: Vec<_> = recommended
        .iter()
        .filter_map(|&model| Some(format!("{model} {}", limit(model)?)))
        .collect();
    let others = recommended.iter().copied();
    let others: Vec<_> = others.filter(|&model| limit(model).is_none()).collect();
    match (limited.len(), others.len()) {
        (0, _) => None,
        (_, 0) => Some(format!("Mind that {}.", limited.join(", and "))),
        (_, 1) => Some(format!("Of these, {} has no limit of its own.", others[0])),
        _ => {
            let names = and(&names_of(&others));
            Some(format!("Of these, {names} have no limit of their own."))
        }
    }
}

/// What a model cannot do that others can.
fn limit(model: Model) -> Option<String> {
    let traits = model.traits();
    match traits.driver_connections_max {
        _ if serves_one(model) => Some("serves one connection at a time".to_owned()),
        _ if traits.thread_per_connection => {
            Some("takes a thread for each connection, up to a cap".to_owned())
        }
        _ if traits.spins => Some("keeps a core busy while nothing happens".to_owned()),
        Some(max) => Some(format!("serves no descriptor from {max} on")),
        None => None,
    }
}

/// Whether a model does not serve as many connections as there are.
fn is_unable(cell: &Cell) -> bool {
    matches!(
        cell.reason,
        Some(Reason::Waits { .. } | Reason::Refused { .. })
    )
}

fn names_of(models: &[Model]) -> Vec<&'static str> {
    models.iter().map(|model| model.name()).collect()
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.recommendation)?;
        self.notes.iter().try_for_each(|note| write!(f, " {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::cell::Round;
    use crate::lab::plan::Row;
    use crate::lab::traffic::Load;

    const MANY: Load = Load::new(64, 1, 1000);

    fn cell(load: Load, model: Model, costs: &[f64]) -> Cell {
        let mut cell = Cell::new(Row {
            model,
            load,
            alone: false,
        });
        cell.rounds = costs.iter().copied().map(Round::made_up).collect();
        cell
    }

    fn results(load: Load, rows: &[(Model, &[f64])]) -> LoadResults {
        let cells = rows.iter().map(|&(model, costs)| cell(load, model, costs));
        LoadResults {
            load,
            cells: cells.collect(),
        }
    }

    #[test]
    fn limits_of_what_is_recommended_are_told() {
        for (model, wanted) in [
            (
                Model::Select,
                "Mind that select serves no descriptor from 1024 on.",
            ),
            (
                Model::Blocking,
                "Mind that blocking serves one connection at a time.",
            ),
            (
                Model::Scan,
                "Mind that scan keeps a core busy while nothing happens.",
            ),
            (
                Model::Threads,
                "Mind that threads takes a thread for each connection, up to a cap.",
            ),
        ] {
            let rows: [(Model, &[f64]); 2] = [(model, &[1.0, 1.1]), (Model::Epoll, &[2.0, 2.1])];
            let conclusion = of_load(&results(MANY, &rows));
            assert_eq!(conclusion.notes, [wanted]);
        }
        let rows: [(Model, &[f64]); 2] =
            [(Model::Select, &[2.0, 2.1]), (Model::Epoll, &[1.0, 1.1])];
        assert_eq!(of_load(&results(MANY, &rows)).notes, [""; 0]);
    }

    #[test]
    fn those_without_a_limit_are_told_where_nothing_else_tells_them_apart() {
        let level: [(Model, &[f64]); 3] = [
            (Model::Select, &[1.0, 1.2]),
            (Model::Poll, &[1.1, 1.2]),
            (Model::Epoll, &[1.1, 1.3]),
        ];
        let notes = |rows| of_load(&results(MANY, rows)).notes;
        let wanted = "Of these, poll and epoll have no limit of their own.";
        assert_eq!(notes(&level), [wanted]);
        let wanted = "Of these, poll has no limit of its own.";
        assert_eq!(notes(&level[..2]), [wanted]);
        assert_eq!(notes(&level[1..]), [""; 0]);
    }

    #[test]
    fn who_is_not_up_to_a_load_is_told() {
        let mut many = results(
            MANY,
            &[(Model::Epoll, &[1.0, 1.1]), (Model::Poll, &[2.0, 2.1])],
        );
        for (model, reason) in [
            (Model::Blocking, Reason::Waits { served: 1, of: 64 }),
            (Model::Select, Reason::Refused { at: 1000 }),
            (Model::Signal, Reason::Failed { why: "gone".into() }),
        ] {
            let mut cell = cell(MANY, model, &[]);
            cell.reason = Some(reason);
            many.cells.push(cell);
        }
        let conclusion = of_load(&many);
        assert_eq!(
            conclusion.notes,
            ["Not up to this load: blocking and select."]
        );
        let text = conclusion.to_string();
        let wanted = "Use epoll: 1.05 µs of CPU per call. The runner-up is poll, 95 % dearer, beyond noise. \
                      Not up to this load: blocking and select.";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_run_is_judged_by_the_mean_distance_to_the_cheapest() {
        let few: [(Model, &[f64]); 3] = [
            (Model::Blocking, &[2.0, 2.0]),
            (Model::Poll, &[4.0, 4.0]),
            (Model::Epoll, &[8.0, 8.0]),
        ];
        let many: [(Model, &[f64]); 3] = [
            (Model::Blocking, &[]),
            (Model::Poll, &[160.0, 160.0]),
            (Model::Epoll, &[10.0, 10.0]),
        ];
        let loads = [results(Load::new(1, 1, 0), &few), results(MANY, &many)];
        let run = of_run(&loads).unwrap();
        // epoll: 4 times and once the cheapest; poll: twice and 16 times.
        let wanted = "Use epoll: 2.00 times the cost of the cheapest, on average. The runner-up is poll, 2.83 \
                      times as dear, beyond noise.";
        assert_eq!(run.recommendation, wanted);
        assert_eq!(run.notes, ["Without figures of every load: blocking."]);
        assert_eq!(of_run(&loads[..1]), None, "there is nothing to sum up");
    }

    #[test]
    fn a_run_may_show_no_difference() {
        let rows: [(Model, &[f64]); 2] = [(Model::Poll, &[4.0, 5.0]), (Model::Epoll, &[4.5, 4.6])];
        let loads = [MANY, Load::new(64, 1, 0)].map(|load| results(load, &rows));
        let text = of_run(&loads).unwrap().recommendation;
        assert!(
            text.starts_with("No difference beyond noise between "),
            "{text}"
        );
    }

    #[test]
    fn a_run_in_which_nobody_served_all_loads_has_no_conclusion() {
        let one: [(Model, &[f64]); 2] = [(Model::Poll, &[4.0]), (Model::Epoll, &[])];
        let other: [(Model, &[f64]); 2] = [(Model::Poll, &[]), (Model::Epoll, &[4.0])];
        let loads = [results(Load::new(1, 1, 0), &one), results(MANY, &other)];
        assert_eq!(of_run(&loads), None);
    }
}
