//! The columns of a load's table: what is told of each model, and what that is.

use super::cell::{Cell, Round};
use crate::table::{grouped, kib, latency, number};

/// A column with figures.
#[derive(Clone, Copy)]
pub struct Column {
    /// What stands above it.
    pub name: &'static str,
    /// What stands in it, of a cell that has figures.
    pub figure: fn(&Cell) -> String,
    /// Whether it has a place where lines are short, too.
    pub narrow: bool,
}

impl Column {
    /// All of them, from left to right. The first is the rate.
    pub const ALL: [Column; 10] = [
        column("calls/s", |cell| {
            show(cell, |it| Some(it.rps), |rps| grouped(rps.round() as u64))
        }),
        column("p50", |cell| {
            show(cell, |it| Some(it.latency.p50_us), latency)
        }),
        column("p99", |cell| {
            show(cell, |it| Some(it.latency.p99_us), latency)
        }),
        column("p99.9", |cell| {
            show(cell, |it| Some(it.latency.p999_us), latency)
        }),
        column("CPU µs/call", |cell| {
            show(cell, |it| Some(it.cpu_us_per_call), number)
        }),
        column("least–most", |cell| {
            let (least, most) = cell.spread();
            format!("{}–{}", number(least), number(most))
        }),
        column("syscalls", |cell| {
            show(cell, |it| it.system_calls_per_call, number)
        }),
        column("switches", |cell| {
            show(cell, |it| it.switches_per_call, number)
        }),
        column("memory/conn", |cell| {
            show(cell, |it| it.memory_bytes_per_connection, kib)
        }),
        wide("generator cores", |cell| {
            show(cell, |it| it.generator_cores, number)
        }),
    ];
}

/// How the columns are to be read, a sentence each.
pub const LEGEND: [&str; 6] = [
    "Every figure is the median of the rounds.",
    "CPU: of the server process, user and system, per call, with its least and most.",
    "syscalls: system calls on sockets and pollers, per call; those of tokio's runtime and of a server of one's \
     own are not counted: –.",
    "switches: context switches of the server's threads, per call; where threads ended meanwhile they took \
     their counts along: –.",
    "memory: growth of the server's heap and stacks, from before the first connection to after the last, without \
     the kernel's socket buffers; of connections that come and go it is not known: –.",
    "*: the load generator kept its core busy, so that a faster server would not have shown.",
];

const fn column(name: &'static str, figure: fn(&Cell) -> String) -> Column {
    Column {
        name,
        figure,
        narrow: true,
    }
}

const fn wide(name: &'static str, figure: fn(&Cell) -> String) -> Column {
    Column {
        name,
        figure,
        narrow: false,
    }
}

/// The middle over the rounds, or that no round has it.
fn show(cell: &Cell, figure: fn(&Round) -> Option<f64>, text: fn(f64) -> String) -> String {
    cell.median(figure).map_or("–".to_owned(), text)
}
