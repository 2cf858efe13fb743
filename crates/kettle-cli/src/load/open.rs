//! The open loop: calls follow a schedule, whatever the answers do.

use super::call::Call;
use super::record::Recorder;
use crate::failure::Failure;
use kettle::{Channel, LocalLoop, Model};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The loop gets at least this long between looks at the schedule, so that a schedule that is always
/// behind cannot keep it from taking answers.
const TURN_MIN: Duration = Duration::from_micros(20);

/// Open loops up to so many connections run on poll(2), whose time-outs are as fine as the schedule;
/// those of epoll_wait(2) are whole milliseconds. Beyond, poll's walk over all of them costs more.
const POLL_CONNECTIONS_MAX: usize = 128;

/// The I/O model of a generator for an open loop over so many connections.
pub fn model_for(connections: usize) -> Model {
    match connections <= POLL_CONNECTIONS_MAX {
        true => Model::Poll,
        false => Model::Epoll,
    }
}

/// What is to be done when.
pub trait Agenda {
    /// One thing to be done.
    type Item;

    /// When the next thing is due.
    fn next(&self) -> Instant;

    /// Takes the next thing whose moment has come, and the moment.
    fn take(&mut self, now: Instant) -> Option<(Self::Item, Instant)>;

    /// Calls that may wait for their answers.
    fn outstanding_max(&self) -> usize;

    /// What was taken last was not done, because too many calls wait.
    fn skip(&mut self);
}

/// When calls are due.
#[derive(Debug)]
pub struct Schedule {
    rate: f64,
    begun: Instant,
    /// Calls that were due so far, made or skipped.
    due: u64,
    outstanding_max: usize,
    skipped: u64,
}

impl Schedule {
    /// So many calls per second from now on.
    pub fn new(rate: f64, outstanding_max: usize, now: Instant) -> Self {
        Self {
            rate,
            begun: now,
            due: 0,
            outstanding_max,
            skipped: 0,
        }
    }

    /// Begins again.
    pub fn reset(&mut self, now: Instant) {
        *self = Self {
            begun: now,
            due: 0,
            skipped: 0,
            ..*self
        };
    }

    /// Calls that were due and not made.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// The items are the numbers of calls.
impl Agenda for Schedule {
    type Item = u64;

    fn next(&self) -> Instant {
        // From the beginning each time: what an interval is rounded by would add up.
        self.begun + Duration::from_secs_f64(self.due as f64 / self.rate)
    }

    fn take(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let next = self.next();
        if now < next {
            return None;
        }
        self.due += 1;
        Some((self.due - 1, next))
    }

    fn outstanding_max(&self) -> usize {
        self.outstanding_max
    }

    fn skip(&mut self) {
        self.skipped += 1;
    }
}

/// A call that is due.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Since when.
    pub moment: Instant,
    /// Whether it belongs to the measurement.
    pub measured: bool,
}

/// Makes the calls that are due until this moment.
pub fn run(
    local: &mut LocalLoop,
    channels: &[Channel],
    call: &Call,
    schedule: &mut Schedule,
    recorder: &Arc<Recorder>,
    until: Instant,
) -> Result<(), Failure> {
    follow(local, schedule, recorder, until, |local, number, due| {
        let channel = channels[(number % channels.len() as u64) as usize].clone();
        local.spawn(caller(channel, call.clone(), Arc::clone(recorder), due));
    })
}

/// Lets `start` begin what is due until this moment, unless too much waits for its end.
pub fn follow<A: Agenda>(
    local: &mut LocalLoop,
    agenda: &mut A,
    recorder: &Recorder,
    until: Instant,
    start: impl Fn(&mut LocalLoop, A::Item, Due),
) -> Result<(), Failure> {
    loop {
        let now = Instant::now();
        if until <= now {
            return Ok(());
        }
        while let Some((item, moment)) = agenda.take(now) {
            if agenda.outstanding_max() <= recorder.outstanding() {
                agenda.skip();
                continue;
            }
            recorder.caller_begins();
            // Calls that are due in the measurement belong to it, also when they are answered later.
            let measured = recorder.measuring();
            start(local, item, Due { moment, measured });
        }
        let soonest = Instant::now() + TURN_MIN;
        local.run_until(agenda.next().min(until).max(soonest))?;
    }
}

/// Its latency counts from the scheduled moment: what it waited to be sent is part of it.
async fn caller(channel: Channel, call: Call, recorder: Arc<Recorder>, due: Due) {
    match call.make(&channel).await {
        Ok(()) if due.measured => {
            let now = Instant::now();
            recorder.succeeded(now - due.moment, now);
        }
        Ok(()) => {}
        Err(failure) => recorder.failed(failure),
    }
    recorder.caller_ends();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::Echo;
    use crate::echo::v1::echo_server::EchoServer;
    use crate::interrupt::Interrupt;
    use crate::load::Generator;
    use crate::schema::Kind;
    use kettle::Server;

    #[test]
    fn calls_are_due_at_even_intervals_and_none_is_lost() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(1000.0, 1, begun);
        let mut due_at = |millis| {
            let now = begun + Duration::from_millis(millis);
            std::iter::from_fn(|| schedule.take(now)).collect::<Vec<_>>()
        };
        assert_eq!(due_at(0), [(0, begun)]);
        assert_eq!(due_at(0), []);
        let late = due_at(3);
        let moments = late.iter().map(|(_, moment)| (*moment - begun).as_millis());
        assert_eq!(
            moments.collect::<Vec<_>>(),
            [1, 2, 3],
            "the stall does not move the schedule"
        );
    }

    #[test]
    fn rates_do_not_drift() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(300_000.0, 1, begun);
        let now = begun + Duration::from_secs(10);
        let due = std::iter::from_fn(|| schedule.take(now)).count();
        assert!((2_999_999..=3_000_002).contains(&due), "{due}");
    }

    #[test]
    fn what_a_call_waited_to_be_sent_is_part_of_its_latency() {
        let service = EchoServer::new(Echo);
        let server = Server::builder()
            .add_service(service)
            .spawn("127.0.0.1:0")
            .unwrap();
        let mut generator = Generator::new(Model::Poll, Interrupt::default()).unwrap();
        let url = format!("kettle://{}", server.local_addr());
        let connected = generator.connect(&url, 1, Duration::from_secs(5)).unwrap();
        let (recorder, late) = (Arc::new(Recorder::new()), Duration::from_millis(100));
        recorder.measure(true);
        // The generator stalled for as long as this before it looked at the schedule.
        let begun = Instant::now() - late;
        let mut schedule = Schedule::new(100.0, 1000, begun);
        generator.local.spawn(std::future::pending());
        let (channels, call) = (&connected.channels, Call::echo(Kind::Unary, 8, 0));
        while schedule.due < 11 {
            let until = Instant::now() + Duration::from_millis(1);
            let local = &mut generator.local;
            run(local, channels, &call, &mut schedule, &recorder, until).unwrap();
        }
        generator.drain(&recorder).unwrap();
        let record = recorder.finish((begun, Instant::now()), 0, false);
        assert!(
            11 <= record.count,
            "none that was due is left out: {record:?}"
        );
        let longest = record.latencies.percentiles().max_us;
        assert!(
            100_000.0 <= longest * 1.001,
            "the first was due 100 ms ago: {longest}"
        );
    }

    #[test]
    fn a_reset_forgets() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(10.0, 7, begun);
        schedule.take(begun);
        schedule.skipped = 3;
        let later = begun + Duration::from_secs(1);
        schedule.reset(later);
        assert_eq!(
            (
                schedule.next(),
                schedule.skipped(),
                schedule.outstanding_max
            ),
            (later, 0, 7)
        );
    }
}
