//! What the figures say about what is claimed of the I/O models: the claims of the article that this
//! project grew out of, each with the figures behind its verdict.
//!
//! Costs are processor time of the server per call. One is clearly less than another when every round of
//! it was; anything else is noise.

use super::LoadResults;
use super::cell::{median, spread};
use super::traffic::Load;
use crate::table::{kib, number};
use kettle::Model;
use serde::Serialize;
use std::fmt;

/// Models that ask the kernel about many sockets at once, in the order in which they came up.
const MULTIPLEXED: [Model; 4] = [Model::Select, Model::Poll, Model::Epoll, Model::EpollEdge];

/// Idle connections cost nothing when a call beside them is at most this much dearer.
const TOLERANCE: f64 = 1.25;

/// A claim and what the figures say to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What the claim is about, in a word or two.
    pub about: &'static str,
    /// What is claimed.
    pub claim: &'static str,
    /// Whether it holds here.
    pub outcome: Outcome,
    /// The figures, or which are missing.
    pub figures: String,
}

/// Whether a claim holds on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every round says so.
    Confirmed,
    /// Every round says the opposite.
    Refuted,
    /// Rounds contradict each other, or there was only one.
    WithinNoise,
    /// The figures are missing.
    NotMeasured,
}

/// What something cost in each round, in microseconds.
#[derive(Clone, Debug)]
struct Costs {
    name: String,
    rounds: Vec<f64>,
}

/// A claim, and what it is about.
#[derive(Clone, Copy, Debug)]
struct Claim {
    about: &'static str,
    claim: &'static str,
}

/// Splits verdicts into those that have figures, and the others.
pub fn by_figures(verdicts: &[Verdict]) -> (Vec<&Verdict>, Vec<&Verdict>) {
    let is_measured = |it: &&Verdict| it.outcome != Outcome::NotMeasured;
    verdicts.iter().partition(is_measured)
}

/// The claims without figures, for one line.
pub fn not_measured(verdicts: &[Verdict]) -> Option<String> {
    let (_, without) = by_figures(verdicts);
    let names: Vec<_> = without.iter().map(|it| it.about).collect();
    (!names.is_empty()).then(|| {
        let names = names.join(", ");
        format!("Not judged, because their loads or models were not asked for: {names}.")
    })
}

/// The verdict on each claim.
pub fn verdicts(loads: &[LoadResults]) -> Vec<Verdict> {
    let figures = Figures { loads };
    vec![
        figures.blocking_costs_less(),
        figures.threads_waste(),
        figures.scan_pays_for_idle(),
        figures.multiplexing_pays_for_ready(),
        figures.epoll_beats_its_elders(),
        figures.asynchronous_beats_multiplexing(),
    ]
}

struct Figures<'a> {
    loads: &'a [LoadResults],
}

impl Figures<'_> {
    fn blocking_costs_less(&self) -> Verdict {
        let claim = Claim {
            about: "blocking",
            claim: "Blocking I/O costs less when there are few connections.",
        };
        let few = self.least(|load| load.total());
        let compared = few.and_then(|few| {
            let blocking = costs(few, Model::Blocking)?;
            Some((few.load, blocking, cheapest(few, &MULTIPLEXED)?))
        });
        judge(claim, compared, clearly_less)
    }

    fn threads_waste(&self) -> Verdict {
        let claim = Claim {
            about: "threads",
            claim: "A thread for each connection wastes resources when there are many.",
        };
        // There is a limit to threads.
        let served = self
            .plain()
            .filter(|it| costs(it, Model::Threads).is_some());
        let many = served.max_by_key(|it| it.load.total());
        let compared = many.and_then(|many| {
            let threads = costs(many, Model::Threads)?;
            Some((many.load, cheapest(many, &MULTIPLEXED)?, threads))
        });
        let mut verdict = judge(claim, compared, clearly_less);
        let memory = many.map(|many| {
            let of = |model| memory(many, model).map_or("–".to_owned(), kib);
            let (threads, epoll) = (of(Model::Threads), of(Model::Epoll));
            format!("; memory per connection: threads {threads}, epoll {epoll}")
        });
        verdict.figures.push_str(&memory.unwrap_or_default());
        verdict
    }

    fn scan_pays_for_idle(&self) -> Verdict {
        let claim = Claim {
            about: "scan",
            claim: "A scan pays for idle connections.",
        };
        judge(claim, self.beside_idle(Model::Scan), clearly_less)
    }

    fn multiplexing_pays_for_ready(&self) -> Verdict {
        let claim = Claim {
            about: "idle connections on epoll",
            claim: "Multiplexing (epoll) pays only for connections that are ready.",
        };
        judge(claim, self.beside_idle(Model::Epoll), |without, with| {
            let most = TOLERANCE * median(without.rounds.clone()).unwrap_or(0.0);
            let limit = Costs {
                name: String::new(),
                rounds: vec![most; with.rounds.len()],
            };
            clearly_less(with, &limit)
        })
    }

    fn epoll_beats_its_elders(&self) -> Verdict {
        let claim = Claim {
            about: "epoll beside select and poll",
            claim: "epoll beats select and poll as descriptors grow.",
        };
        let many = self.most(|load| load.total());
        let compared = many.and_then(|many| {
            let epoll = costs(many, Model::Epoll)?;
            Some((many.load, epoll, cheapest(many, &MULTIPLEXED[..2])?))
        });
        judge(claim, compared, clearly_less)
    }

    fn asynchronous_beats_multiplexing(&self) -> Verdict {
        let claim = Claim {
            about: "io_uring",
            claim: "Asynchronous I/O (io_uring) beats multiplexing under load.",
        };
        let busiest = self.most(|load| load.connections * load.in_flight);
        let compared = busiest.and_then(|busiest| {
            let uring = costs(busiest, Model::Uring)?;
            Some((busiest.load, uring, cheapest(busiest, &MULTIPLEXED)?))
        });
        judge(claim, compared, clearly_less)
    }

    /// A model without idle connections and with the most that it was measured with.
    fn beside_idle(&self, model: Model) -> Option<(Load, Costs, Costs)> {
        let with = self.most(|load| load.idle)?;
        let load = with.load;
        let mut others = self.plain();
        let without = others.find(|it| it.load == Load { idle: 0, ..load })?;
        let name = |what: &str, costs: Costs| Costs {
            name: format!("{} {what}", costs.name),
            ..costs
        };
        let (without, with) = (costs(without, model)?, costs(with, model)?);
        let compared = 0 < load.idle;
        compared.then(|| {
            (
                load,
                name("without them", without),
                name("beside them", with),
            )
        })
    }

    /// The loads that differ in connections and calls only. Several processes cost something for being
    /// several.
    fn plain(&self) -> impl Iterator<Item = &LoadResults> {
        let one_process = |it: &&LoadResults| it.load.is_plain() && it.load.processes == 1;
        self.loads.iter().filter(one_process)
    }

    fn most(&self, key: impl Fn(&Load) -> usize) -> Option<&LoadResults> {
        self.plain().max_by_key(|it| key(&it.load))
    }

    fn least(&self, key: impl Fn(&Load) -> usize) -> Option<&LoadResults> {
        self.plain().min_by_key(|it| key(&it.load))
    }
}

/// The verdict on a claim that the first costs less than the second, or as `outcome` compares them.
fn judge(
    Claim { about, claim }: Claim,
    compared: Option<(Load, Costs, Costs)>,
    outcome: impl Fn(&Costs, &Costs) -> Outcome,
) -> Verdict {
    let Some((load, first, second)) = compared else {
        let figures = "the loads or models that it is about were not measured".to_owned();
        return Verdict {
            about,
            claim,
            outcome: Outcome::NotMeasured,
            figures,
        };
    };
    let outcome = outcome(&first, &second);
    Verdict {
        about,
        claim,
        outcome,
        figures: format!("{first}, {second} (at {load})"),
    }
}

fn clearly_less(first: &Costs, second: &Costs) -> Outcome {
    let (least, most) = spread(&first.rounds);
    let (others_least, others_most) = spread(&second.rounds);
    if first.rounds.len().min(second.rounds.len()) < 2 {
        Outcome::WithinNoise
    } else if most < others_least {
        Outcome::Confirmed
    } else if others_most < least {
        Outcome::Refuted
    } else {
        Outcome::WithinNoise
    }
}

fn costs(results: &LoadResults, model: Model) -> Option<Costs> {
    let rounds = results.cell(model)?.costs();
    let known = !rounds.is_empty() && rounds.iter().all(|cost| cost.is_finite());
    known.then(|| Costs {
        name: model.name().to_owned(),
        rounds,
    })
}

fn cheapest(results: &LoadResults, models: &[Model]) -> Option<Costs> {
    let all = models.iter().filter_map(|&model| costs(results, model));
    all.min_by(|a, b| a.median().total_cmp(&b.median()))
}

fn memory(results: &LoadResults, model: Model) -> Option<f64> {
    let cell = results.cell(model)?;
    cell.median(|round| round.memory_bytes_per_connection)
}

impl Costs {
    fn median(&self) -> f64 {
        median(self.rounds.clone()).unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} µs", self.name, number(self.median()))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Confirmed => "confirmed",
            Outcome::Refuted => "refuted",
            Outcome::WithinNoise => "within noise",
            Outcome::NotMeasured => "not measured",
        })
    }
}

#[cfg(test)]
mod tests;
