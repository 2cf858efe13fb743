//! What is measured: loads, models, rounds, and how long it will take.

use super::subject::Subject;
use super::traffic::Load;
use crate::load::Window;
use kettle::Model;
use std::fmt;
use std::time::Duration;

/// How long connections may wait to be served where only one of them will be.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long connections may wait where all of them will be served: milliseconds on a quiet machine,
/// but a thousand new threads on a busy one take their time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Threads that a server of `threads` has unless told otherwise; see `ServerBuilder::threads_max`.
const THREADS_MAX: usize = 4096;

/// What starting a server takes, at most, on a machine like those it was measured on.
const START: Duration = Duration::from_millis(60);

/// What opening one connection takes, a thread for it included.
const CONNECT: Duration = Duration::from_micros(150);

/// What the lab measures.
#[derive(Debug)]
pub struct Plan {
    /// The models.
    pub models: Vec<Model>,
    /// Under each of these.
    pub loads: Vec<Load>,
    /// Whom it measures.
    pub subject: Subject,
    /// How often each model has its turn under each load.
    pub rounds: usize,
    /// How long a turn is.
    pub window: Window,
}

/// A row of a table: a model under a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The model.
    pub model: Model,
    /// What it is measured with: the load of the table, but for [`Row::alone`].
    pub load: Load,
    /// With one connection in place of all, for a model that serves one at a time. It does not
    /// compare with the other rows.
    pub alone: bool,
}

impl Plan {
    /// The rows of a load's table.
    pub fn rows(&self, load: Load) -> Vec<Row> {
        let mut rows = Vec::new();
        for &model in &self.models {
            rows.push(Row {
                model,
                load,
                alone: false,
            });
            if serves_one(model) && 1 < load.total() {
                let load = Load {
                    connections: 1,
                    idle: 0,
                    processes: 1,
                    ..load
                };
                rows.push(Row {
                    model,
                    load,
                    alone: true,
                });
            }
        }
        rows
    }

    /// How long all of it will take.
    pub fn estimate(&self) -> Duration {
        let rows = self.loads.iter().flat_map(|&load| self.rows(load));
        let turns = rows.flat_map(|row| (1..=self.rounds).map(move |round| (row, round)));
        turns
            .map(|(row, round)| self.estimate_turn(&row, round))
            .sum()
    }

    /// How long a turn of a row will take in a round. A model that does not serve all connections has one
    /// turn, in which that is found out.
    pub fn estimate_turn(&self, row: &Row, round: usize) -> Duration {
        let Row { model, load, .. } = *row;
        let served = load
            .total()
            .min(connections_max(model).saturating_mul(load.processes));
        let connect = START * load.processes as u32 + CONNECT * served as u32;
        match (served == load.total(), round) {
            (true, _) => connect + self.window.warmup + self.window.duration,
            (false, 1) if serves_one(model) => connect + WAIT_TIMEOUT,
            (false, 1) => connect,
            (false, _) => Duration::ZERO,
        }
    }
}

impl Row {
    /// How long a connection of this row may wait to be served.
    pub fn connect_timeout(&self) -> Duration {
        match serves_one(self.model) && 1 < self.load.total() {
            true => WAIT_TIMEOUT,
            false => CONNECT_TIMEOUT,
        }
    }
}

/// Whether a server of this model serves one connection at a time.
pub fn serves_one(model: Model) -> bool {
    let traits = model.traits();
    traits.driver_connections_max == Some(1) && !traits.thread_per_connection
}

/// Connections that a server process of this model serves at once.
fn connections_max(model: Model) -> usize {
    let traits = model.traits();
    match traits.thread_per_connection {
        true => THREADS_MAX,
        false => traits.driver_connections_max.unwrap_or(usize::MAX),
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.alone {
            true => write!(f, "{} (1 connection)", self.model),
            false => write!(f, "{}", self.model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::subject::Transport;

    fn plan(loads: &[Load]) -> Plan {
        let window = Window {
            warmup: Duration::from_millis(150),
            duration: Duration::from_millis(600),
        };
        Plan {
            models: Model::ALL.to_vec(),
            loads: loads.to_vec(),
            subject: Subject::Echo {
                payload: 128,
                transport: Transport::Tcp,
            },
            rounds: 3,
            window,
        }
    }

    #[test]
    fn blocking_has_a_row_of_its_own_where_others_have_several_connections() {
        let plan = plan(&Load::USUAL);
        assert_eq!(plan.rows(Load::USUAL[0]).len(), Model::ALL.len());
        let rows = plan.rows(Load::USUAL[3]);
        assert_eq!(rows.len(), Model::ALL.len() + 1);
        assert_eq!(rows[1].to_string(), "blocking (1 connection)");
        assert_eq!(rows[1].load, Load::new(1, 1, 0));
        let shared = plan.rows(Load::new(64, 1, 40_000).with_processes_of(20_000));
        assert_eq!(shared[1].load, Load::new(1, 1, 0));
        assert!(rows.iter().filter(|row| row.alone).count() == 1);
    }

    #[test]
    fn the_usual_plan_takes_less_than_two_minutes() {
        let estimate = plan(&Load::USUAL).estimate();
        assert!(estimate < Duration::from_secs(110), "{estimate:?}");
        assert!(Duration::from_secs(60) < estimate, "{estimate:?}");
    }

    #[test]
    fn only_connections_that_will_not_be_served_are_given_up_soon() {
        let plan = plan(&Load::USUAL);
        let rows = plan.rows(Load::USUAL[1]);
        let soon: Vec<_> = rows
            .iter()
            .filter(|row| row.connect_timeout() == WAIT_TIMEOUT)
            .collect();
        assert_eq!(soon, [&rows[0]], "blocking with several connections");
    }

    #[test]
    fn what_is_not_measured_takes_no_rounds() {
        let estimate = |idle| {
            let models = vec![Model::Select];
            Plan {
                models,
                ..plan(&[Load::new(64, 1, idle)])
            }
            .estimate()
        };
        let (idle, busy) = (estimate(1000), estimate(0));
        assert!(idle < busy, "select is over its limit: {idle:?} < {busy:?}");
    }

    #[test]
    fn more_threads_than_a_server_has_are_not_measured() {
        let turn = |idle, round| {
            let load = Load::new(64, 1, idle);
            let model = Model::Threads;
            let row = Row {
                model,
                load,
                alone: false,
            };
            plan(&[load]).estimate_turn(&row, round)
        };
        assert_eq!(turn(1000, 1), turn(1000, 2));
        assert_eq!(turn(9000, 2), Duration::ZERO);
        assert_eq!(turn(9000, 1), turn(40_000, 1), "it is full");
    }

    #[test]
    fn a_full_plan_takes_less_than_twenty_minutes() {
        let window = Window {
            warmup: Duration::from_millis(150),
            duration: Duration::from_secs(1),
        };
        let full = Plan {
            window,
            ..plan(&Load::full())
        };
        let estimate = full.estimate();
        assert!(estimate < Duration::from_secs(19 * 60), "{estimate:?}");
    }
}
