//! Progress on a terminal; nothing in a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// A line on stderr that shows how far a command is, when stderr is a terminal.
#[derive(Clone, Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// At the beginning of so many steps.
    pub fn new(steps: u64) -> Self {
        Self::styled(steps, "{bar:30} {percent:>3} %  {eta} left  {msg}")
    }

    /// Of a transfer of so many bytes, some of which are there already.
    pub fn of_bytes(total: u64, have: u64) -> Self {
        let template =
            "{bar:30} {percent:>3} %  {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        let progress = Self::styled(total, template);
        progress.bar.set_position(have);
        // The rate is of what comes from now on.
        progress.bar.reset_eta();
        progress
    }

    fn styled(steps: u64, template: &str) -> Self {
        let target = match io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.expect("the templates are constants that fit"));
        Self { bar }
    }

    /// Shows what is going on.
    pub fn doing(&self, what: String) {
        self.bar.set_message(what);
    }

    /// So many steps are done.
    pub fn at(&self, step: u64) {
        self.bar.set_position(step);
    }

    /// So many more steps are done.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Takes the line away while something is printed.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the line away, so that the result stands alone.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

/// The step of a bar over time: milliseconds.
pub fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
