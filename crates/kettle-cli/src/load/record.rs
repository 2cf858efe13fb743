//! What is written down of calls.

use super::DRAIN_TIMEOUT;
use super::call::CallFailure;
use crate::latency::Latencies;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most kinds of failure that are told apart; a server may invent status codes.
const KINDS_MAX: usize = 32;

/// What further kinds are counted as.
const OTHERS: &str = "OTHERS";

/// What calls without an answer at the end are counted as.
const UNANSWERED: &str = "UNANSWERED";

/// Where calls of a running load are written down. Used by one thread; shared because the loop's
/// tasks must be able to move.
#[derive(Debug)]
pub struct Recorder {
    book: Mutex<Book>,
    measuring: AtomicBool,
    stopping: AtomicBool,
    outstanding: AtomicUsize,
    /// What passed within the measurement: calls that succeeded, or messages.
    count: AtomicU64,
}

#[derive(Debug)]
struct Book {
    latencies: Latencies,
    slow: Latencies,
    last_answer: Option<Instant>,
    errors: BTreeMap<String, Errors>,
}

/// What a load was found to do.
#[derive(Debug)]
pub struct Record {
    /// Calls that succeeded within the measurement, or messages of streams that passed.
    pub count: u64,
    /// How long it was measured, in seconds.
    pub seconds: f64,
    /// Latencies of the calls that succeeded within the measurement, or of messages and their replies.
    pub latencies: Latencies,
    /// Those of calls that were to be slow, apart.
    pub slow: Latencies,
    /// Failed calls by status, from the first call to the last.
    pub errors: BTreeMap<String, Errors>,
    /// Open loop: calls that were due and not made, because too many were waiting for answers.
    pub skipped: u64,
    /// Whether it was ended early.
    pub interrupted: bool,
}

/// Failed calls of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// How many.
    pub count: u64,
    /// What the first said.
    pub first: String,
}

impl Recorder {
    /// Nothing yet, and not measuring.
    pub fn new() -> Self {
        let book = Book {
            latencies: Latencies::new(),
            slow: Latencies::new(),
            last_answer: None,
            errors: BTreeMap::new(),
        };
        Self {
            book: Mutex::new(book),
            measuring: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            outstanding: AtomicUsize::new(0),
            count: AtomicU64::new(0),
        }
    }

    /// Whether calls that end now belong to the measurement.
    pub fn measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }

    /// Begins or ends the measurement.
    pub fn measure(&self, measuring: bool) {
        self.measuring.store(measuring, Ordering::Relaxed);
    }

    /// Whether callers are to make no more calls.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Asks callers to make no more calls.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Callers that wait for an answer.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// One more caller will wait for answers.
    pub fn caller_begins(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// One caller less.
    pub fn caller_ends(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }

    /// A call of the measurement succeeded just now.
    pub fn succeeded(&self, latency: Duration, now: Instant) {
        let mut book = self.book();
        book.latencies.record(latency);
        book.last_answer = Some(now);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The same of a call that was to be slow.
    pub fn succeeded_slowly(&self, latency: Duration, now: Instant) {
        let mut book = self.book();
        book.slow.record(latency);
        book.last_answer = Some(now);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// So many messages of a stream were answered just now. Those of the measurement are counted.
    pub fn answered(&self, latency: Duration, count: u64) {
        if self.measuring() {
            self.book().latencies.record_many(latency, count);
            self.passed(count);
        }
    }

    /// So many messages of a stream have passed, one way. Those of the measurement are counted.
    pub fn passed(&self, count: u64) {
        if self.measuring() {
            self.count.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A call failed, within the measurement or not: no failure is hidden.
    pub fn failed(&self, failure: CallFailure) {
        self.book().failed(failure.kind, failure.text, 1);
    }

    /// What was recorded in a measurement from `begun` to `ended`, or to the last answer that came
    /// after it. Callers that still wait count as failed, unless they were interrupted.
    pub fn finish(
        &self,
        (begun, ended): (Instant, Instant),
        skipped: u64,
        interrupted: bool,
    ) -> Record {
        let mut book = self.book();
        let ended = book.last_answer.map_or(ended, |last| last.max(ended));
        let unanswered = self.outstanding() as u64;
        if 0 < unanswered && !interrupted {
            let text = format!("no answer within {DRAIN_TIMEOUT:?} after the end");
            book.failed(UNANSWERED.to_owned(), text, unanswered);
        }
        let latencies = std::mem::replace(&mut book.latencies, Latencies::new());
        let slow = std::mem::replace(&mut book.slow, Latencies::new());
        let errors = std::mem::take(&mut book.errors);
        Record {
            count: self.count.load(Ordering::Relaxed),
            seconds: (ended - begun).as_secs_f64(),
            latencies,
            slow,
            errors,
            skipped,
            interrupted,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics under this lock, so a poisoned one is as good as new.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn failed(&mut self, kind: String, text: String, count: u64) {
        let full = KINDS_MAX <= self.errors.len() && !self.errors.contains_key(&kind);
        let kind = if full { OTHERS.to_owned() } else { kind };
        let errors = self.errors.entry(kind).or_insert(Errors {
            count: 0,
            first: text,
        });
        errors.count += count;
    }
}

impl Record {
    /// Calls that failed, of all kinds.
    pub fn failures(&self) -> u64 {
        self.errors.values().map(|errors| errors.count).sum()
    }

    /// Calls that succeeded or messages that passed, per second.
    pub fn rps(&self) -> f64 {
        match 0.0 < self.seconds {
            true => self.count as f64 / self.seconds,
            false => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: &str, text: &str) -> CallFailure {
        CallFailure {
            kind: kind.to_owned(),
            text: text.to_owned(),
        }
    }

    /// What a recorder has after a second.
    fn finish(recorder: &Recorder, begun: Instant, interrupted: bool) -> Record {
        recorder.finish((begun, begun + Duration::from_secs(1)), 0, interrupted)
    }

    #[test]
    fn failures_are_counted_by_kind_with_the_first_text() {
        let (recorder, begun) = (Recorder::new(), Instant::now());
        recorder.succeeded(Duration::from_micros(10), begun);
        recorder.failed(failure("UNAVAILABLE", "first"));
        recorder.failed(failure("INTERNAL", "other"));
        recorder.failed(failure("UNAVAILABLE", "second"));
        let record = finish(&recorder, begun, false);
        assert_eq!((record.count, record.failures(), record.rps()), (1, 3, 1.0));
        assert_eq!(
            record.errors["UNAVAILABLE"],
            Errors {
                count: 2,
                first: "first".to_owned()
            }
        );
    }

    #[test]
    fn answers_after_the_end_stretch_the_measurement() {
        let (recorder, begun) = (Recorder::new(), Instant::now());
        recorder.succeeded(Duration::from_secs(3), begun + Duration::from_secs(4));
        assert_eq!(finish(&recorder, begun, false).rps(), 0.25);
    }

    #[test]
    fn kinds_are_bounded() {
        let recorder = Recorder::new();
        for code in 0..1000 {
            recorder.failed(failure(&format!("CODE {code}"), ""));
        }
        let record = finish(&recorder, Instant::now(), false);
        assert_eq!(record.errors.len(), KINDS_MAX + 1);
        assert_eq!(record.failures(), 1000);
    }

    #[test]
    fn a_call_without_an_answer_is_a_failure() {
        let recorder = Recorder::new();
        recorder.caller_begins();
        recorder.caller_begins();
        recorder.caller_ends();
        assert_eq!(finish(&recorder, Instant::now(), true).failures(), 0);
        assert_eq!(finish(&recorder, Instant::now(), false).failures(), 1);
    }
}
