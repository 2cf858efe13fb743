//! What follows from the figures of a load, in one line.

use super::cell::{median, spread};
use crate::table::number;

/// A model and what a call cost it in each round, in microseconds of the server's processor time.
#[derive(Clone, Copy, Debug)]
pub struct Contender<'a> {
    /// The model's name.
    pub name: &'a str,
    /// One figure for each round.
    pub costs: &'a [f64],
}

/// A contender with figures.
#[derive(Debug)]
struct Standing<'a> {
    name: &'a str,
    median: f64,
    least: f64,
    most: f64,
}

/// Which model is the cheapest, and by how much; or that the figures do not tell.
///
/// Two models differ when every round of the one was cheaper than every round of the other.
/// Contenders without figures take no part.
pub fn conclude(contenders: &[Contender<'_>]) -> String {
    let mut standings: Vec<_> = contenders.iter().filter_map(standing).collect();
    standings.sort_by(|a, b| a.median.total_cmp(&b.median));
    let [best, others @ ..] = standings.as_slice() else {
        return "No model was measured.".to_owned();
    };
    let Some(second) = others.first() else {
        return format!("Only {} was measured.", best.name);
    };
    let as_good: Vec<_> = others
        .iter()
        .filter(|other| other.least <= best.most)
        .collect();
    match contenders
        .iter()
        .map(|contender| contender.costs.len())
        .max()
    {
        Some(0 | 1) => format!(
            "{}; one round does not tell how much of it is noise.",
            ahead(best, second)
        ),
        _ if as_good.is_empty() => format!("{}.", ahead(best, second)),
        _ => level(best, &as_good, others),
    }
}

fn standing<'a>(contender: &Contender<'a>) -> Option<Standing<'a>> {
    let costs: Vec<_> = contender
        .costs
        .iter()
        .copied()
        .filter(|cost| cost.is_finite())
        .collect();
    let (least, most) = spread(&costs);
    Some(Standing {
        name: contender.name,
        median: median(costs)?,
        least,
        most,
    })
}

fn ahead(best: &Standing<'_>, second: &Standing<'_>) -> String {
    let margin = match 0.0 < second.median {
        true => (1.0 - best.median / second.median) * 100.0,
        false => 0.0,
    };
    format!(
        "{} costs the least CPU, {} µs per call: {margin:.0} % less than {}, {} µs",
        best.name,
        number(best.median),
        second.name,
        number(second.median),
    )
}

/// The best is not clearly ahead of these. The first that it is ahead of, if any, is told too.
fn level(best: &Standing<'_>, as_good: &[&Standing<'_>], others: &[Standing<'_>]) -> String {
    let most = as_good
        .iter()
        .map(|other| other.median)
        .fold(best.median, f64::max);
    let names: Vec<_> = std::iter::once(best.name)
        .chain(as_good.iter().map(|o| o.name))
        .collect();
    let mut text = format!(
        "No difference beyond noise between {}: {} to {} µs of CPU per call",
        and(&names),
        number(best.median),
        number(most),
    );
    if let Some(behind) = others.iter().find(|other| best.most < other.least) {
        text.push_str(&format!(
            "; clearly behind: {}, {} µs",
            behind.name,
            number(behind.median)
        ));
    }
    text.push('.');
    text
}

/// `a`, `a and b`, `a, b and c`.
fn and(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(contenders: &[(&str, &[f64])], wanted: &str) {
        let contenders: Vec<_> = contenders
            .iter()
            .map(|&(name, costs)| Contender { name, costs })
            .collect();
        assert_eq!(conclude(&contenders), wanted);
    }

    #[test]
    fn a_clear_winner() {
        check(
            &[
                ("poll", &[8.0, 8.2, 7.9]),
                ("epoll", &[6.0, 6.1, 5.9]),
                ("scan", &[20.0, 21.0, 19.0]),
            ],
            "epoll costs the least CPU, 6.00 µs per call: 25 % less than poll, 8.00 µs.",
        );
    }

    #[test]
    fn within_noise() {
        check(
            &[
                ("poll", &[8.0, 8.2, 7.9]),
                ("epoll", &[7.9, 8.1, 7.5]),
                ("scan", &[20.0, 21.0, 19.0]),
            ],
            "No difference beyond noise between epoll and poll: 7.90 to 8.00 µs of CPU per call; \
             clearly behind: scan, 20.0 µs.",
        );
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
    fn a_noisy_outsider_is_not_the_next() {
        // c is behind b by its median, but one of its rounds was as good as a's.
        check(
            &[("a", &[1.0, 1.1]), ("b", &[2.0, 2.1]), ("c", &[1.05, 9.0])],
            "No difference beyond noise between a and c: 1.05 to 5.03 µs of CPU per call; \
             clearly behind: b, 2.05 µs.",
        );
    }

    #[test]
    fn missing_cells_take_no_part() {
        check(
            &[
                ("blocking", &[]),
                ("poll", &[4.0, 4.0]),
                ("epoll", &[2.0, 2.0]),
            ],
            "epoll costs the least CPU, 2.00 µs per call: 50 % less than poll, 4.00 µs.",
        );
        check(
            &[("blocking", &[]), ("poll", &[4.0])],
            "Only poll was measured.",
        );
        check(
            &[("broken", &[f64::NAN]), ("poll", &[4.0])],
            "Only poll was measured.",
        );
        check(&[("blocking", &[])], "No model was measured.");
        check(&[], "No model was measured.");
    }

    #[test]
    fn one_round_does_not_tell() {
        check(
            &[("poll", &[4.0]), ("epoll", &[3.0])],
            "epoll costs the least CPU, 3.00 µs per call: 25 % less than poll, 4.00 µs; \
             one round does not tell how much of it is noise.",
        );
    }
}
