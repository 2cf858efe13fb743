//! A channel's connections to its server, as its loop keeps them.

use crate::Status;
use crate::backoff::Random;
use crate::call::CallRequest;
use crate::key::PeerKey;
use crate::link::{LinkConfig, Unreachable};
use crate::peer::{Failure, News, Waiting};
use crate::pending::Promise;
use kettle_proto::Instant;
use std::sync::Arc;
use std::time::Duration;

/// A channel's way to its server.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) config: Arc<LinkConfig>,
    /// One for each connection; at least one.
    pub(crate) subchannels: Box<[Subchannel]>,
    /// Calls that wait for a connection.
    pub(crate) waiting: Waiting,
    /// Callers that wait for the connections only.
    connects: Vec<Promise<(), ()>>,
    /// Why the last connection could not be made.
    error: Option<Status>,
    /// Counts the calls, so that connections with equally many take turns.
    turn: usize,
    /// The earliest time that stands in the timers for this link.
    scheduled: Option<Instant>,
}

/// One connection of a channel, from one to the next.
#[derive(Clone, Debug)]
pub(crate) struct Subchannel {
    pub(crate) state: State,
    /// Attempts that failed since the server last greeted.
    failures: u32,
}

/// What is to be done after the link was told of a connection.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Calls that waited for the server to greet, and begin on this connection.
    pub(crate) begin: Waiting,
    /// The connection takes no more calls: see [`Link::down`].
    pub(crate) down: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The next call connects.
    Idle,
    /// Looking the name up, or connecting.
    Connecting,
    /// Connected; calls may be made, whether the server has greeted or not.
    Up { key: PeerKey, greeted: bool },
    /// Connecting failed; it is not tried again before this time.
    Backoff { until: Instant },
}

impl Link {
    pub(crate) fn new(config: Arc<LinkConfig>) -> Self {
        let new = Subchannel {
            state: State::Idle,
            failures: 0,
        };
        Self {
            subchannels: vec![new; config.connections].into(),
            config,
            waiting: Waiting::default(),
            connects: Vec::new(),
            error: None,
            turn: 0,
            scheduled: None,
        }
    }

    /// The connection of a link that has only one, on which the server has greeted.
    pub(crate) fn only(&self) -> Option<PeerKey> {
        match &self.subchannels[..] {
            [only] => only.greeted_key(),
            _ => None,
        }
    }

    /// The connection for the next call: one on which the server has greeted if there is any, of those
    /// the one with the fewest calls, of those the next in turn.
    ///
    /// A call that waits for the server is not risked before the greeting: a server that is about to
    /// end, or is full, closes without a word as often as not, and what was sent may have been run.
    pub(crate) fn choose(
        &mut self,
        request: &CallRequest,
        calls: impl Fn(PeerKey) -> usize,
    ) -> Option<PeerKey> {
        self.turn = self.turn.wrapping_add(1);
        let count = self.subchannels.len();
        let in_turn = (0..count).map(|n| &self.subchannels[self.turn.wrapping_add(n) % count]);
        let up = in_turn.filter_map(|subchannel| match subchannel.state {
            State::Up { key, greeted } if greeted || !request.wait_for_ready => {
                Some((!greeted, key))
            }
            _ => None,
        });
        let best = up.min_by_key(|(silent, key)| (*silent, calls(*key)));
        best.map(|(_, key)| key)
    }

    /// A subchannel that may connect now; it is marked as connecting.
    pub(crate) fn begin_connect(&mut self, now: Instant) -> Option<usize> {
        let may = |state: State| match state {
            State::Idle => true,
            State::Backoff { until } => until <= now,
            State::Connecting | State::Up { .. } => false,
        };
        let index = self.subchannels.iter().position(|it| may(it.state))?;
        self.subchannels[index].state = State::Connecting;
        Some(index)
    }

    /// Whether a call that waits may soon have a connection.
    pub(crate) fn is_hopeful(&self) -> bool {
        let hopeful = |state| matches!(state, State::Connecting | State::Up { .. });
        self.subchannels.iter().any(|it| hopeful(it.state))
    }

    /// The subchannel that has this connection.
    fn with_key(&mut self, of: PeerKey) -> Option<&mut Subchannel> {
        let has = |state| matches!(state, State::Up { key, .. } if key == of);
        self.subchannels.iter_mut().find(|it| has(it.state))
    }

    /// A caller waits for the connections.
    pub(crate) fn await_connect(&mut self, promise: Promise<(), ()>) {
        self.connects.push(promise);
    }

    /// Answers those who wait for the connections only, once there is something to tell.
    pub(crate) fn answer_connects(&mut self) {
        if self.subchannels.iter().all(Subchannel::is_greeted) {
            for promise in self.connects.drain(..) {
                promise.answer(Ok(()));
            }
        }
    }

    /// Takes note of what happened on a connection. One that the link has given up already concerns it no more.
    pub(crate) fn heard(
        &mut self,
        key: PeerKey,
        news: &News,
        now: Instant,
        random: &mut Random,
    ) -> Heard {
        let (config, over) = (Arc::clone(&self.config), news.is_over());
        let Some(subchannel) = self.with_key(key) else {
            return Heard::default();
        };
        if news.ready {
            subchannel.greeted();
        }
        if over && subchannel.is_greeted() {
            subchannel.lost();
        } else if over {
            subchannel.failed(now, &config, random);
        }
        self.answer_connects();
        if over {
            let failure = news.failure.as_ref().unwrap_or(&Failure(None));
            self.failed(failure.reason(), &failure.to_string());
        }
        let begin = match news.ready && !over {
            true => std::mem::take(&mut self.waiting),
            false => Waiting::default(),
        };
        Heard { begin, down: over }
    }

    /// A subchannel's connection could not be made.
    pub(crate) fn unconnected(
        &mut self,
        subchannel: usize,
        reason: Unreachable,
        why: &str,
        now: Instant,
        random: &mut Random,
    ) {
        self.subchannels[subchannel].failed(now, &self.config, random);
        self.failed(reason, why);
    }

    /// A connection is missing. When no other may come soon, only those calls go on waiting that want to.
    /// Whether there are any, for which to connect.
    pub(crate) fn down(&mut self, now: Instant) -> bool {
        if self.is_hopeful() {
            return false;
        }
        let status = self.unavailable(now);
        self.waiting.fail(&status);
        !self.waiting.is_empty()
    }

    /// A connection could not be made, or was lost: those who wait for it only learn why.
    fn failed(&mut self, reason: Unreachable, why: &str) {
        let status = self.config.unreachable(reason, why);
        for promise in self.connects.drain(..) {
            promise.answer(Err(status.clone()));
        }
        self.error = Some(status);
    }

    /// The status of a call that finds no connection, and does not wait for one.
    pub(crate) fn unavailable(&self, now: Instant) -> Status {
        let why = self.error.as_ref().map_or("", Status::message);
        match self.retry_at() {
            Some(until) if now < until => {
                let pause = Duration::from_millis((until - now).as_millis() as u64 + 1);
                Status::unavailable(format!("{why}; the next attempt is in {pause:?}"))
            }
            _ => Status::unavailable(why.to_owned()),
        }
    }

    /// The time to add to the timers, when the link's next one is earlier than what stands there.
    pub(crate) fn schedule(&mut self) -> Option<Instant> {
        let next = self.next_time()?;
        if self.scheduled.is_some_and(|scheduled| scheduled <= next) {
            return None;
        }
        self.scheduled = Some(next);
        self.scheduled
    }

    /// When deadlines of calls that wait are to be looked at, or to connect again for them.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        let retry = self.retry_at();
        let retry = retry.filter(|_| !self.waiting.is_empty() && !self.is_hopeful());
        Instant::earliest([self.waiting.next_deadline(), retry])
    }

    /// A time that stood in the timers has come.
    pub(crate) fn timeout(&mut self, scheduled: Instant, now: Instant) {
        if self.scheduled == Some(scheduled) {
            self.scheduled = None;
        }
        self.waiting.expire(now);
    }

    fn retry_at(&self) -> Option<Instant> {
        let until = |it: &Subchannel| match it.state {
            State::Backoff { until } => Some(until),
            _ => None,
        };
        self.subchannels.iter().filter_map(until).min()
    }
}

impl Subchannel {
    /// The server has greeted.
    fn greeted(&mut self) {
        if let State::Up { greeted, .. } = &mut self.state {
            *greeted = true;
            self.failures = 0;
        }
    }

    fn is_greeted(&self) -> bool {
        self.greeted_key().is_some()
    }

    fn greeted_key(&self) -> Option<PeerKey> {
        match self.state {
            State::Up { key, greeted: true } => Some(key),
            _ => None,
        }
    }

    /// The connection takes no more calls.
    fn lost(&mut self) {
        self.state = State::Idle;
    }

    /// No connection was made, or the server did not greet on it.
    fn failed(&mut self, now: Instant, config: &LinkConfig, random: &mut Random) {
        self.failures = self.failures.saturating_add(1);
        let until = now + config.backoff.pause(self.failures, random);
        self.state = State::Backoff { until };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Backoff;
    use kettle_proto::limits::Limits;

    const NOW: Instant = Instant::from_nanos(7);

    fn link(connections: usize) -> Link {
        Link::new(Arc::new(LinkConfig {
            local_address: None,
            id: 0,
            endpoint: "kettle://localhost:1".parse().unwrap(),
            connections,
            connect_timeout: Duration::from_secs(1),
            backoff: Backoff::DEFAULT,
            limits: Limits::default(),
            nodelay: true,
            #[cfg(feature = "tokio-host")]
            seed: None,
        }))
    }

    fn pause(subchannel: &mut Subchannel, config: &LinkConfig) -> Duration {
        subchannel.failed(NOW, config, &mut Random::from_system());
        match subchannel.state {
            State::Backoff { until } => until - NOW,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_greeting_makes_the_next_pause_the_first_again() {
        let mut link = link(1);
        let (config, only) = (Arc::clone(&link.config), &mut link.subchannels[0]);
        let pauses: Vec<_> = (0..9).map(|_| pause(only, &config)).collect();
        assert!(Duration::from_secs(3) < pauses[8], "{pauses:?}");
        let (slot, generation, greeted) = (0, 0, false);
        let key = PeerKey { slot, generation };
        only.state = State::Up { key, greeted };
        assert!(Duration::from_secs(5) < pause(only, &config));
        only.state = State::Up { key, greeted };
        only.greeted();
        assert!(pause(only, &config) <= Duration::from_millis(120));
    }

    #[test]
    fn nothing_connects_before_its_pause_is_over() {
        let mut link = link(2);
        assert_eq!(link.begin_connect(NOW), Some(0));
        assert_eq!(link.begin_connect(NOW), Some(1));
        assert_eq!(link.begin_connect(NOW), None);
        let config = Arc::clone(&link.config);
        let pause = pause(&mut link.subchannels[1], &config);
        assert!(link.is_hopeful(), "the other one is still connecting");
        let early = pause - Duration::from_nanos(1);
        assert_eq!(link.begin_connect(NOW + early), None);
        assert_eq!(link.begin_connect(NOW + pause), Some(1));
    }
}
