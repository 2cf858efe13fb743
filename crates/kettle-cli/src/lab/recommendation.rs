//! Which of several to use by what they cost, in two sentences.

use super::cell::{median, spread};
use crate::table::number;

/// Who might be used, and what it cost in each round.
#[derive(Clone, Copy, Debug)]
pub struct Contender<'a> {
    /// The model's name.
    pub name: &'a str,
    /// One figure for each round.
    pub costs: &'a [f64],
}

/// What may be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommendation<'a> {
    /// The cheapest, and those that are not clearly dearer; the cheapest stands first.
    pub names: Vec<&'a str>,
    /// Two sentences: what it costs, and by how much that is less than the runner-up.
    pub text: String,
}

/// A contender with figures.
#[derive(Debug)]
struct Standing<'a> {
    name: &'a str,
    rounds: usize,
    median: f64,
    least: f64,
    most: f64,
}

/// Compares contenders by their costs, which `unit` puts into words.
///
/// Two differ when every round of the one was cheaper than every round of the other. Contenders without
/// figures take no part.
pub fn recommend<'a>(contenders: &[Contender<'a>], unit: &str) -> Recommendation<'a> {
    let mut standings: Vec<_> = contenders.iter().filter_map(standing).collect();
    standings.sort_by(|a, b| a.median.total_cmp(&b.median));
    let [best, others @ ..] = standings.as_slice() else {
        return Recommendation {
            names: Vec::new(),
            text: "No model was measured.".to_owned(),
        };
    };
    let cost = format!("{} {unit}", number(best.median));
    let only_best = |text| Recommendation {
        names: vec![best.name],
        text,
    };
    let Some(second) = others.first() else {
        return only_best(format!("Only {} was measured: {cost}.", best.name));
    };
    if best.rounds.min(second.rounds) < 2 {
        return only_best(format!(
            "{} was the cheapest: {cost}. The runner-up is {}, {}; one round does not tell how much of that \
             is noise.",
            best.name,
            second.name,
            dearer(best, second)
        ));
    }
    let is_level = |other: &&Standing<'_>| other.least <= best.most;
    let level: Vec<_> = others.iter().filter(is_level).collect();
    if level.is_empty() {
        return only_best(format!(
            "Use {}: {cost}. The runner-up is {}, {}, beyond noise.",
            best.name,
            second.name,
            dearer(best, second)
        ));
    }
    let behind = others.iter().find(|other| !is_level(other));
    no_difference(best, &level, behind, unit)
}

/// The best is not clearly cheaper than these. The first that it is clearly cheaper than is told too.
fn no_difference<'a>(
    best: &Standing<'a>,
    level: &[&Standing<'a>],
    behind: Option<&Standing<'_>>,
    unit: &str,
) -> Recommendation<'a> {
    let names: Vec<_> = [best.name]
        .into_iter()
        .chain(level.iter().map(|it| it.name))
        .collect();
    let most = level.iter().map(|it| it.median).fold(best.median, f64::max);
    let (listed, from, to) = (and(&names), number(best.median), number(most));
    let mut text = format!("No difference beyond noise between {listed}: {from} to {to} {unit}.");
    if let Some(behind) = behind {
        let (name, margin) = (behind.name, dearer(best, behind));
        text.push_str(&format!(
            " The runner-up is {name}, {margin}, beyond noise."
        ));
    }
    Recommendation { names, text }
}

/// By how much another costs more than the best.
fn dearer(best: &Standing<'_>, other: &Standing<'_>) -> String {
    let times = other.median / best.median;
    match times {
        _ if !times.is_finite() => "dearer".to_owned(),
        _ if times < 1.0095 => format!("{:.1} % dearer", (times - 1.0) * 100.0),
        _ if times < 1.995 => format!("{:.0} % dearer", (times - 1.0) * 100.0),
        _ => format!("{} times as dear", number(times)),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn and(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}

fn standing<'a>(contender: &Contender<'a>) -> Option<Standing<'a>> {
    let known = contender.costs.iter().copied();
    let costs: Vec<_> = known.filter(|cost| cost.is_finite()).collect();
    let (least, most) = spread(&costs);
    Some(Standing {
        name: contender.name,
        rounds: costs.len(),
        median: median(costs)?,
        least,
        most,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recommended<'a>(contenders: &[(&'a str, &'a [f64])]) -> Recommendation<'a> {
        let contender = |&(name, costs)| Contender { name, costs };
        let contenders: Vec<_> = contenders.iter().map(contender).collect();
        recommend(&contenders, "µs of CPU per call")
    }

    fn check(contenders: &[(&str, &[f64])], wanted: &str) {
        assert_eq!(recommended(contenders).text, wanted);
    }

    #[test]
    fn a_clear_winner() {
        let contenders: [(&str, &[f64]); 3] = [
            ("poll", &[8.0, 8.2, 7.9]),
            ("epoll", &[6.0, 6.1, 5.9]),
            ("scan", &[20.0, 21.0, 19.0]),
        ];
        check(
            &contenders,
            "Use epoll: 6.00 µs of CPU per call. The runner-up is poll, 33 % dearer, beyond noise.",
        );
        assert_eq!(recommended(&contenders).names, ["epoll"]);
        check(
            &[("scan", &[20.0, 21.0]), ("epoll", &[4.0, 4.0])],
            "Use epoll: 4.00 µs of CPU per call. The runner-up is scan, 5.12 times as dear, beyond noise.",
        );
        check(
            &[("poll", &[4.028, 4.028]), ("epoll", &[4.0, 4.0])],
            "Use epoll: 4.00 µs of CPU per call. The runner-up is poll, 0.7 % dearer, beyond noise.",
        );
    }

    #[test]
    fn within_noise() {
        let contenders: [(&str, &[f64]); 3] = [
            ("poll", &[8.0, 8.2, 7.9]),
            ("epoll", &[7.9, 8.1, 7.5]),
            ("scan", &[20.0, 21.0, 19.0]),
        ];
        check(
            &contenders,
            "No difference beyond noise between epoll and poll: 7.90 to 8.00 µs of CPU per call. \
             The runner-up is scan, 2.53 times as dear, beyond noise.",
        );
        assert_eq!(recommended(&contenders).names, ["epoll", "poll"]);
        check(
            &[("a", &[1.0, 3.0]), ("b", &[2.0, 4.0]), ("c", &[2.5, 2.7])],
            "No difference beyond noise between a, c and b: 2.00 to 3.00 µs of CPU per call.",
        );
    }

    #[test]
    fn touching_rounds_are_noise() {
        check(
            &[("a", &[1.0, 2.0]), ("b", &[2.0, 3.0])],
            "No difference beyond noise between a and b: 1.50 to 2.50 µs of CPU per call.",
        );
    }

    #[test]
    fn a_noisy_outsider_is_not_the_runner_up() {
        // c is behind b by its median, but one of its rounds was as good as a's.
        check(
            &[("a", &[1.0, 1.1]), ("b", &[2.0, 2.1]), ("c", &[1.05, 9.0])],
            "No difference beyond noise between a and c: 1.05 to 5.03 µs of CPU per call. \
             The runner-up is b, 95 % dearer, beyond noise.",
        );
    }

    #[test]
    fn missing_cells_take_no_part() {
        let (gone, poll): (&[f64], &[f64]) = (&[], &[4.0, 4.0]);
        check(
            &[("blocking", gone), ("poll", poll), ("epoll", &[2.0, 2.0])],
            "Use epoll: 2.00 µs of CPU per call. The runner-up is poll, 2.00 times as dear, beyond noise.",
        );
        let only_poll = "Only poll was measured: 4.00 µs of CPU per call.";
        check(&[("blocking", gone), ("poll", poll)], only_poll);
        check(&[("broken", &[f64::NAN]), ("poll", poll)], only_poll);
        check(&[("blocking", gone)], "No model was measured.");
        assert!(recommended(&[]).names.is_empty());
    }

    #[test]
    fn one_round_does_not_tell() {
        let wanted = "epoll was the cheapest: 3.00 µs of CPU per call. The runner-up is poll, 33 % dearer; \
             one round does not tell how much of that is noise.";
        check(&[("poll", &[4.0]), ("epoll", &[3.0])], wanted);
        // Interrupted in the second round.
        check(&[("poll", &[4.0]), ("epoll", &[3.0, 3.0])], wanted);
    }
}
