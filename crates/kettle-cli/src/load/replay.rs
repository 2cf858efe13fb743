//! The calls of a script, again and again: an open loop with the moments, connections and calls that it says.

use super::open::{self, Agenda, Due};
use super::record::Recorder;
use super::replayed::{Outcome, Replayed};
use crate::failure::Failure;
use kettle::{Channel, LocalLoop};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Calls that may wait for their answers; what is due beyond that is not made, and counted.
const OUTSTANDING_MAX: usize = 10_000;

/// Calls with their moments.
#[derive(Debug)]
pub struct Script {
    /// By their moments; at least one.
    pub calls: Vec<Scripted>,
    /// After how long it begins again: later than the last call.
    pub period: Duration,
}

/// A call of a script.
#[derive(Clone, Debug)]
pub struct Scripted {
    /// From the beginning of the script.
    pub at: Duration,
    /// On which connection; where there are fewer, on one of those.
    pub connection: usize,
    /// What is called.
    pub call: Replayed,
}

/// How far a script has gone.
#[derive(Debug)]
pub struct Replay {
    script: Arc<Script>,
    /// When the script began this time.
    begun: Instant,
    /// The next call of it.
    next: usize,
    skipped: u64,
}

impl Replay {
    /// From its beginning, now.
    pub fn new(script: &Arc<Script>, now: Instant) -> Self {
        Self {
            script: Arc::clone(script),
            begun: now,
            next: 0,
            skipped: 0,
        }
    }

    /// Begins again.
    pub fn reset(&mut self, now: Instant) {
        *self = Self::new(&self.script, now);
    }

    /// Calls that were due and not made.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// The items are the numbers of calls in the script.
impl Agenda for Replay {
    type Item = usize;

    fn next(&self) -> Instant {
        self.begun + self.script.calls[self.next].at
    }

    fn take(&mut self, now: Instant) -> Option<(usize, Instant)> {
        let (moment, number) = (self.next(), self.next);
        if now < moment {
            return None;
        }
        self.next += 1;
        if self.next == self.script.calls.len() {
            self.next = 0;
            self.begun += self.script.period;
        }
        Some((number, moment))
    }

    fn outstanding_max(&self) -> usize {
        OUTSTANDING_MAX
    }

    fn skip(&mut self) {
        self.skipped += 1;
    }
}

/// Makes the calls that are due until this moment.
pub fn run(
    local: &mut LocalLoop,
    channels: &[Channel],
    replay: &mut Replay,
    recorder: &Arc<Recorder>,
    until: Instant,
) -> Result<(), Failure> {
    let script = Arc::clone(&replay.script);
    open::follow(local, replay, recorder, until, |local, number, due| {
        let channel = channels[script.calls[number].connection % channels.len()].clone();
        let (script, recorder) = (Arc::clone(&script), Arc::clone(recorder));
        local.spawn(async move {
            caller(&channel, &script.calls[number].call, &recorder, due).await;
            recorder.caller_ends();
        });
    })
}

/// Its latency counts from the scheduled moment: what it waited to be sent is part of it.
async fn caller(channel: &Channel, call: &Replayed, recorder: &Arc<Recorder>, due: Due) {
    match call.make(channel, recorder).await {
        Ok(Outcome::Done) if due.measured => {
            let now = Instant::now();
            recorder.succeeded(now - due.moment, now);
        }
        Ok(_) => {}
        Err(failure) => recorder.failed(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::Echo;
    use crate::echo::v1::echo_server::EchoServer;
    use crate::interrupt::Interrupt;
    use crate::load::replayed::Shape;
    use crate::load::{Generator, Observer, Window};
    use crate::schema::Kind;
    use kettle::{Model, Server};

    fn call(
        kind: Kind,
        requests: u64,
        request_bytes: u64,
        replies: u64,
        reply_bytes: u64,
    ) -> Replayed {
        let shape = Shape {
            requests,
            request_bytes,
            replies,
            reply_bytes,
        };
        Replayed::echo(kind, shape)
    }

    fn script(calls: Vec<Replayed>, period: Duration) -> Arc<Script> {
        let count = calls.len() as u32;
        let scripted = |(number, call)| Scripted {
            at: period * number as u32 / count,
            connection: number,
            call,
        };
        let calls = calls.into_iter().enumerate().map(scripted).collect();
        Arc::new(Script { calls, period })
    }

    #[test]
    fn a_script_begins_again() {
        let begun = Instant::now();
        let calls = vec![call(Kind::Unary, 1, 9, 1, 9); 2];
        let mut replay = Replay::new(&script(calls, Duration::from_millis(10)), begun);
        let at = |millis| begun + Duration::from_millis(millis);
        let taken: Vec<_> = std::iter::from_fn(|| replay.take(at(21))).collect();
        let wanted = [
            (0, at(0)),
            (1, at(5)),
            (0, at(10)),
            (1, at(15)),
            (0, at(20)),
        ];
        assert_eq!(taken, wanted);
        assert_eq!(replay.next(), at(25));
        replay.skip();
        replay.reset(at(50));
        assert_eq!((replay.next(), replay.skipped()), (at(50), 0));
    }

    struct Nobody;
    impl Observer for Nobody {}

    #[test]
    fn every_kind_of_call_is_made_as_it_was_recorded() {
        let server = Server::builder().add_service(EchoServer::new(Echo));
        let server = server.spawn("127.0.0.1:0").unwrap();
        let mut generator = Generator::new(Model::Poll, Interrupt::default()).unwrap();
        let url = format!("kettle://{}", server.local_addr());
        let connected = generator.connect(&url, 2, Duration::from_secs(5)).unwrap();
        let calls = vec![
            call(Kind::Unary, 1, 131, 1, 131),
            call(Kind::Unary, 1, 0, 1, 0),
            call(Kind::Unary, 1, 5000, 1, 0),
            call(Kind::Unary, 1, 9, 1, 70_000),
            call(Kind::ClientStream, 12, 40, 1, 3),
            call(Kind::ClientStream, 0, 0, 1, 3),
            call(Kind::ServerStream, 1, 20, 9, 500),
            call(Kind::ServerStream, 1, 20, 0, 0),
            call(Kind::Bidi, 4, 100, 4, 100),
            call(Kind::Bidi, 4, 100, 7, 30),
            call(Kind::Bidi, 5, 100, 0, 0),
            call(Kind::Bidi, 0, 0, 3, 30),
        ];
        let count = calls.len() as u64;
        let script = script(calls, Duration::from_millis(120));
        let window = Window {
            warmup: Duration::ZERO,
            duration: Duration::from_millis(400),
        };
        let record = generator.replay(&connected.channels, &script, window, &mut Nobody);
        let record = record.unwrap();
        assert_eq!(record.errors, Default::default());
        // Those that are still open when it ends are given up.
        assert!(
            3 * count <= record.count + 3 && record.skipped == 0,
            "{record:?}"
        );
    }

    #[test]
    fn a_stream_without_end_does_not_hold_the_load_up() {
        let server = Server::builder().add_service(EchoServer::new(Echo));
        let server = server.spawn("127.0.0.1:0").unwrap();
        let mut generator = Generator::new(Model::Poll, Interrupt::default()).unwrap();
        let url = format!("kettle://{}", server.local_addr());
        let connected = generator.connect(&url, 1, Duration::from_secs(5)).unwrap();
        let calls = vec![
            call(Kind::ServerStream, 1, 20, u64::MAX, 50),
            call(Kind::ClientStream, u64::MAX, 20, 1, 50),
            call(Kind::Bidi, u64::MAX, 20, u64::MAX, 50),
        ];
        let window = Window {
            warmup: Duration::ZERO,
            duration: Duration::from_millis(100),
        };
        let script = script(calls, Duration::from_secs(60));
        let record = generator.replay(&connected.channels, &script, window, &mut Nobody);
        let record = record.unwrap();
        assert_eq!((record.errors, record.count), (Default::default(), 0));
    }
}
