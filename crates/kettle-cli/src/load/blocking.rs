//! One call after the other with a blocking client, on this thread.

use super::call::Call;
use super::record::Recorder;
use super::streak::Streak;
use super::{Observer, Record, SLICE, Window};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use kettle::blocking::Channel;
use std::time::{Duration, Instant};

/// Makes calls for the time of the window. With Ctrl-C it ends early, and gives what was recorded.
pub fn run(
    channel: &Channel,
    call: &Call,
    window: Window,
    interrupt: &Interrupt,
    observer: &mut dyn Observer,
) -> Result<Record, Failure> {
    let recorder = Recorder::new();
    let mut caller = Caller {
        channel,
        call,
        recorder: &recorder,
        streak: Streak::default(),
    };
    caller.go_on(window.warmup, interrupt, observer);
    observer.begins()?;
    recorder.measure(true);
    let begun = Instant::now();
    caller.go_on(window.duration, interrupt, observer);
    let ended = Instant::now();
    observer.ends()?;
    Ok(recorder.finish((begun, ended), 0, interrupt.is_set()))
}

struct Caller<'a> {
    channel: &'a Channel,
    call: &'a Call,
    recorder: &'a Recorder,
    streak: Streak,
}

impl Caller<'_> {
    /// Makes calls until the time is over, too many failed, or somebody interrupts.
    fn go_on(&mut self, duration: Duration, interrupt: &Interrupt, observer: &mut dyn Observer) {
        let begun = Instant::now();
        let (mut now, mut slice) = (begun, begun + SLICE);
        while now < begun + duration && !interrupt.is_set() && self.streak.goes_on(self.recorder) {
            let outcome = self.call.make_blocking(self.channel);
            now = self
                .streak
                .note(outcome, now, self.recorder, Recorder::succeeded);
            if slice <= now {
                observer.goes_on(now - begun);
                slice = now + SLICE;
            }
        }
    }
}
