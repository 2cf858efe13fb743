//! Tables of plain text.

use std::fmt;
use std::time::Duration;

/// What stands between two columns.
const GAP: &str = "  ";

/// Rows under a heading. The first column is set to the left, the others to the right.
#[derive(Debug)]
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    /// A cell for each heading, and what stands behind the last, set to the left.
    Cells(Vec<String>, String),
    /// A first cell, and a remark in place of all others.
    Remark(String, String),
}

impl Table {
    /// No rows yet.
    pub fn new(heading: &[&str]) -> Self {
        Self {
            heading: heading.iter().map(|&text| text.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of as many cells as the heading has.
    pub fn row(&mut self, cells: Vec<String>) {
        self.row_with(cells, String::new());
    }

    /// The same with something behind it, which has no heading.
    pub fn row_with(&mut self, cells: Vec<String>, behind: String) {
        assert_eq!(
            cells.len(),
            self.heading.len(),
            "a row has a cell for each heading"
        );
        self.rows.push(Row::Cells(cells, behind));
    }

    /// Adds a row that has a remark in place of figures.
    pub fn remark(&mut self, first: impl Into<String>, remark: impl Into<String>) {
        self.rows.push(Row::Remark(first.into(), remark.into()));
    }

    /// Columns that its cells take.
    pub fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + GAP.len() * (widths.len() - 1)
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<_> = self.heading.iter().map(|text| width(text)).collect();
        for row in &self.rows {
            match row {
                Row::Cells(cells, _) => {
                    for (widest, cell) in widths.iter_mut().zip(cells) {
                        *widest = (*widest).max(width(cell));
                    }
                }
                Row::Remark(first, _) => widths[0] = widths[0].max(width(first)),
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        line(f, &self.heading, "", &widths)?;
        for row in &self.rows {
            match row {
                Row::Cells(cells, behind) => line(f, cells, behind, &widths)?,
                Row::Remark(first, remark) => {
                    writeln!(
                        f,
                        "{first:<first_width$}{GAP}{remark}",
                        first_width = widths[0]
                    )?;
                }
            }
        }
        Ok(())
    }
}

fn line(
    f: &mut fmt::Formatter<'_>,
    cells: &[String],
    behind: &str,
    widths: &[usize],
) -> fmt::Result {
    for (index, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        match index {
            0 => write!(f, "{cell:<width$}")?,
            _ => write!(f, "{GAP}{cell:>width$}")?,
        }
    }
    match behind {
        "" => writeln!(f),
        _ => writeln!(f, "{GAP}{behind}"),
    }
}

/// A bar that is as long as this part of its width, in eighths of a character; empty without a part.
pub fn bar(part: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (part.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    // What is there is seen.
    let least = usize::from(0.0 < part && 0 < width);
    let eighths = eighths.max(least);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// Columns that a text takes: every character that we print takes one.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// A number with as many decimals as make three significant digits, and commas from 10,000 on.
pub fn number(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "-".to_owned(),
        _ if value < 0.0 => format!("-{}", number(-value)),
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => grouped(value.round() as u64),
    }
}

/// A whole number, with commas from 10,000 on.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    if digits.len() <= 4 {
        return digits;
    }
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing: `1 connection`, `64 connections`.
pub fn counted(count: usize, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {thing}{s}", grouped(count as u64))
}

/// The size of a file: `5 bytes`, `12.5 KiB`, `4.00 GiB`.
pub fn bytes(bytes: u64) -> String {
    let value = bytes as f64 / 1024.0;
    match value {
        _ if bytes < 1024 => counted(bytes as usize, "byte"),
        _ if value < 1023.5 => kib(bytes as f64),
        _ if value < 1023.5 * 1024.0 => format!("{} MiB", number(value / 1024.0)),
        _ => format!("{} GiB", number(value / 1024.0 / 1024.0)),
    }
}

/// How fast so many bytes moved: `1.25 GB/s`.
pub fn rate(bytes: u64, time: Duration) -> String {
    let per_second = bytes as f64 / time.as_secs_f64().max(1e-9);
    match per_second {
        _ if per_second < 1e6 => format!("{} kB/s", number(per_second / 1e3)),
        _ if per_second < 1e9 => format!("{} MB/s", number(per_second / 1e6)),
        _ => format!("{} GB/s", number(per_second / 1e9)),
    }
}

/// Memory: `12.5 KiB`.
pub fn kib(bytes: f64) -> String {
    format!("{} KiB", number(bytes / 1024.0))
}

/// A latency, with its unit: `950 ns`, `52.1 µs`, `1.20 ms`, `3.00 s`.
pub fn latency(micros: f64) -> String {
    match micros {
        _ if micros < 0.9995 => format!("{:.0} ns", micros * 1e3),
        _ if micros < 999.5 => format!("{} µs", number(micros)),
        _ if micros < 999.5e3 => format!("{} ms", number(micros / 1e3)),
        _ => format!("{} s", number(micros / 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["model", "calls/s", "µs"]);
        table.row(vec!["epoll-edge".into(), "9".into(), "10.5".into()]);
        table.row(vec!["scan".into(), "12,345,678".into(), "1".into()]);
        table.remark("blocking", "waits (1 of 64 served)");
        let wanted = "model          calls/s    µs\n\
                      epoll-edge           9  10.5\n\
                      scan        12,345,678     1\n\
                      blocking    waits (1 of 64 served)\n";
        assert_eq!(table.to_string(), wanted);
    }

    #[test]
    fn what_stands_behind_a_row_has_no_column() {
        let mut table = Table::new(&["model", "µs"]);
        table.row_with(vec!["epoll".into(), "5".into()], bar(0.5, 4));
        table.row_with(vec!["scan".into(), "10".into()], bar(1.0, 4));
        let wanted = "model  µs\nepoll   5  ██\nscan   10  ████\n";
        assert_eq!(table.to_string(), wanted);
        assert_eq!(table.width(), 9);
    }

    #[test]
    fn bars_are_drawn_in_eighths_within_their_width() {
        for (part, text) in [
            (0.0, ""),
            (0.0001, "▏"),
            (0.25, "█"),
            (0.3125, "█▎"),
            (1.0, "████"),
            (7.0, "████"),
            (f64::NAN, ""),
        ] {
            assert_eq!(bar(part, 4), text, "{part}");
        }
    }

    #[test]
    fn numbers_have_three_digits_or_more() {
        for (value, text) in [
            (0.0, "0.00"),
            (0.126, "0.13"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (99.96, "100"),
            (9999.4, "9999"),
            (12_345.6, "12,346"),
            (1e6, "1,000,000"),
            (-3.0, "-3.00"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn things_are_counted() {
        assert_eq!(counted(1, "connection"), "1 connection");
        assert_eq!(counted(0, "call"), "0 calls");
        assert_eq!(counted(10_000, "call"), "10,000 calls");
    }

    #[test]
    fn sizes_and_rates_have_a_unit() {
        for (size, text) in [
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (12_800, "12.5 KiB"),
            (5 << 20, "5.00 MiB"),
            (4 << 30, "4.00 GiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        let second = Duration::from_secs(1);
        assert_eq!(rate(500, second), "0.50 kB/s");
        assert_eq!(rate(12_500_000, second), "12.5 MB/s");
        assert_eq!(rate(2_500_000_000, 2 * second), "1.25 GB/s");
    }

    #[test]
    fn latencies_have_a_unit() {
        for (micros, text) in [
            (0.95, "950 ns"),
            (0.9996, "1.00 µs"),
            (52.13, "52.1 µs"),
            (999.6, "1.00 ms"),
            (133_000.0, "133 ms"),
            (2.5e6, "2.50 s"),
        ] {
            assert_eq!(latency(micros), text);
        }
    }
}
