//! Figures as SVG, in the colours of the page that they stand in.

use crate::table::number;
use std::fmt::Write;

/// Size of a chart in its own units; the page scales it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;

/// Room for the axis on the left, the names on the right, the title above and the labels below.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 110.0;
const ABOVE: f64 = 34.0;
const BELOW: f64 = 40.0;

/// Names at the end of lines keep this distance from each other.
const NAME_HEIGHT: f64 = 14.0;

/// Figures beside the axis, at most, unless it spans more powers of ten.
const TICKS_MAX: usize = 9;

/// Colours that lines go through; see the page's style.
pub const COLOURS: usize = 10;

/// Lines over labelled places, on a logarithmic axis.
#[derive(Debug)]
pub struct Chart<'a> {
    /// What is shown, with the unit.
    pub title: &'a str,
    /// What the places are.
    pub axis: &'a str,
    /// The places from left to right.
    pub places: Vec<String>,
    /// Lines, each with a figure for each place that has one.
    pub lines: Vec<Line>,
}

/// A line of a chart.
#[derive(Debug)]
pub struct Line {
    /// Whose figures.
    pub name: String,
    /// Which colour it has in all charts.
    pub colour: usize,
    /// A figure above zero for each place; `None` leaves a gap.
    pub figures: Vec<Option<f64>>,
}

impl Chart<'_> {
    /// The picture; `None` when there are not two places, or no figure.
    pub fn svg(&self) -> Option<String> {
        let scale = Scale::of(self.lines.iter().flat_map(|line| &line.figures))?;
        if self.places.len() < 2 {
            return None;
        }
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"18\">{title}</text>\n",
            title = self.title
        );
        self.grid(&scale, &mut svg);
        for line in &self.lines {
            self.line(line, &scale, &mut svg);
        }
        self.names(&scale, &mut svg);
        svg.push_str("</svg>\n");
        Some(svg)
    }

    fn grid(&self, scale: &Scale, svg: &mut String) {
        for tick in scale.ticks() {
            let (y, right, text) = (scale.y(tick), WIDTH - RIGHT, number(tick));
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick end\" x=\"{}\" y=\"{:.1}\">{text}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let bottom = HEIGHT - BELOW + 16.0;
        for (index, place) in self.places.iter().enumerate() {
            let x = self.x(index);
            let _ = writeln!(
                svg,
                "<text class=\"tick middle\" x=\"{x:.1}\" y=\"{bottom}\">{place}</text>"
            );
        }
        let (middle, bottom) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0);
        let axis = self.axis;
        let _ = writeln!(
            svg,
            "<text class=\"tick middle\" x=\"{middle}\" y=\"{bottom}\">{axis}</text>"
        );
    }

    fn line(&self, line: &Line, scale: &Scale, svg: &mut String) {
        let (mut path, mut gap) = (String::new(), true);
        for (index, figure) in line.figures.iter().enumerate() {
            let Some(figure) = figure.filter(|figure| 0.0 < *figure) else {
                gap = true;
                continue;
            };
            let (x, y) = (self.x(index), scale.y(figure));
            let step = if gap { 'M' } else { 'L' };
            let _ = write!(path, "{step}{x:.1} {y:.1} ");
            gap = false;
            let (name, value) = (&line.name, number(figure));
            let _ = writeln!(
                svg,
                "<circle class=\"c{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{name}: {value}</title></circle>",
                line.colour % COLOURS
            );
        }
        let colour = line.colour % COLOURS;
        let _ = writeln!(svg, "<path class=\"l{colour}\" d=\"{}\"/>", path.trim_end());
    }

    /// The name of each line beside its end, moved apart where ends are close.
    fn names(&self, scale: &Scale, svg: &mut String) {
        let ends = self.lines.iter().filter_map(|line| {
            let last = line.figures.iter().rev().flatten().next()?;
            Some((scale.y(*last), line))
        });
        let mut ends: Vec<_> = ends.collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let heights = apart(ends.iter().map(|(y, _)| *y).collect());
        for (y, (_, line)) in heights.into_iter().zip(ends) {
            let (x, colour) = (WIDTH - RIGHT + 8.0, line.colour % COLOURS);
            let _ = writeln!(
                svg,
                "<text class=\"name c{colour}\" x=\"{x}\" y=\"{:.1}\">{}</text>",
                y + 4.0,
                line.name
            );
        }
    }

    fn x(&self, index: usize) -> f64 {
        let step = (WIDTH - RIGHT - LEFT - 20.0) / (self.places.len() - 1) as f64;
        LEFT + 10.0 + step * index as f64
    }
}

/// Sorted heights of names moved down as far as those above need it, and then up from the lower edge.
fn apart(mut heights: Vec<f64>) -> Vec<f64> {
    let mut free = ABOVE;
    for y in &mut heights {
        *y = y.max(free);
        free = *y + NAME_HEIGHT;
    }
    let mut free = HEIGHT - NAME_HEIGHT / 2.0;
    for y in heights.iter_mut().rev() {
        *y = y.min(free);
        free = *y - NAME_HEIGHT;
    }
    heights
}

/// From figures to heights, by their logarithms.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    /// For all of these; `None` when there is none above zero.
    fn of<'a>(figures: impl Iterator<Item = &'a Option<f64>>) -> Option<Self> {
        let known = figures
            .flatten()
            .copied()
            .filter(|it| 0.0 < *it && it.is_finite());
        let (mut least, mut most) = (f64::INFINITY, 0.0f64);
        for figure in known {
            (least, most) = (least.min(figure), most.max(figure));
        }
        let scale = Self {
            least: least / 1.1,
            most: most * 1.1,
        };
        (0.0 < most).then_some(scale)
    }

    fn y(&self, figure: f64) -> f64 {
        let part = (figure / self.least).ln() / (self.most / self.least).ln();
        HEIGHT - BELOW - part * (HEIGHT - BELOW - ABOVE)
    }

    /// Round figures within, as many as there is room for.
    fn ticks(&self) -> Vec<f64> {
        let powers = self.least.log10().floor() as i32..=self.most.log10().ceil() as i32;
        let within = |steps: &[f64]| -> Vec<f64> {
            let powers = powers.clone().map(|power| 10f64.powi(power));
            let ticks = powers.flat_map(|power| steps.iter().map(move |step| step * power));
            ticks
                .filter(|tick| self.least <= *tick && *tick <= self.most)
                .collect()
        };
        let every: Vec<_> = (10..100).map(|tenth| f64::from(tenth) / 10.0).collect();
        let whole: Vec<_> = (1..10).map(f64::from).collect();
        let some = [every, whole, vec![1.0, 2.0, 5.0]].into_iter();
        let mut some = some.map(|steps| within(&steps));
        let some = some.find(|ticks| ticks.len() <= TICKS_MAX);
        some.unwrap_or_else(|| within(&[1.0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(figures: Vec<Option<f64>>) -> Chart<'static> {
        Chart {
            title: "CPU",
            axis: "connections",
            places: (0..figures.len()).map(|place| place.to_string()).collect(),
            lines: vec![Line {
                name: "epoll".to_owned(),
                colour: 5,
                figures,
            }],
        }
    }

    #[test]
    fn a_line_goes_through_its_figures_and_leaves_gaps() {
        let svg = chart(vec![Some(1.0), Some(10.0), None, Some(100.0)])
            .svg()
            .unwrap();
        assert_eq!(svg.matches("<circle").count(), 3);
        let path = svg.split(" d=\"").nth(1).unwrap();
        let path = path.split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 1, "{path}");
        assert!(svg.contains("<title>epoll: 10.0</title>"));
    }

    #[test]
    fn what_cannot_be_drawn_is_not() {
        assert!(
            chart(vec![Some(1.0)]).svg().is_none(),
            "one place is no line"
        );
        assert!(chart(vec![None, None]).svg().is_none());
        assert!(chart(vec![Some(0.0), Some(-1.0)]).svg().is_none());
    }

    #[test]
    fn higher_figures_stand_higher_and_inside() {
        let figures = [Some(0.5), Some(3.0), Some(700.0)];
        let scale = Scale::of(figures.iter()).unwrap();
        let heights: Vec<_> = figures.iter().flatten().map(|it| scale.y(*it)).collect();
        assert!(heights.is_sorted_by(|a, b| b < a), "{heights:?}");
        assert!(
            heights.iter().all(|y| (ABOVE..=HEIGHT - BELOW).contains(y)),
            "{heights:?}"
        );
        let ticks = scale.ticks();
        assert!(2 <= ticks.len() && ticks.len() <= TICKS_MAX, "{ticks:?}");
    }

    #[test]
    fn names_do_not_cover_each_other_and_stay_inside() {
        // The first keeps the others at the lower edge.
        let mut chart = chart(vec![Some(900.0), Some(900.0)]);
        for n in 0..9 {
            let figures = vec![Some(1.0), Some(1.0 + f64::from(n) / 100.0)];
            let name = format!("model {n}");
            chart.lines.push(Line {
                name,
                colour: n as usize,
                figures,
            });
        }
        let svg = chart.svg().unwrap();
        let names = svg.lines().filter(|line| line.contains("class=\"name"));
        let heights = names.map(|line| {
            let height = line
                .split(" y=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap();
            height.parse::<f64>().unwrap()
        });
        let heights: Vec<_> = heights.collect();
        assert_eq!(heights.len(), 10);
        for pair in heights.windows(2) {
            assert!(NAME_HEIGHT <= pair[1] - pair[0] + 0.2, "{heights:?}");
        }
        let inside = |y: &f64| ABOVE <= *y && *y <= HEIGHT - 2.0;
        assert!(heights.iter().all(inside), "{heights:?}");
    }
}
