//! The load generator: connections and calls, all on the calling thread.
//!
//! `connect.rs` opens connections, `closed.rs`, `open.rs`, `slow.rs`, `churn.rs` and `blocking.rs` keep calls coming,
//! `replay.rs` those of a script, and `streams.rs` messages; `call.rs` and `replayed.rs` are one call, `streak.rs` how
//! those of a caller go, `record.rs` what is written down of them.

pub mod blocking;
mod call;
mod churn;
mod closed;
mod connect;
mod open;
mod record;
mod replay;
mod replayed;
mod slow;
mod streak;
mod streams;

pub use call::{Call, CallFailure};
pub use connect::{Connected, Held};
pub use open::model_for as open_loop_model;
pub use record::{Errors, Record};
pub use replay::{Script, Scripted};
pub use replayed::{Replayed, Shape};
pub use slow::Slow;
pub use streams::Streams;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use kettle::{Channel, LocalLoop, Model};
use open::Schedule;
use record::Recorder;
use replay::Replay;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long calls that are in flight at the end of a load may take to be answered.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that come from one address of loopback. The kernel has ports for 28,232, looks through one
/// half of them first, and takes ever longer to find a free one: for 19,000 half a minute in all.
///
/// # Source
/// ip(7), `ip_local_port_range`.
const PER_ADDRESS: usize = 4000;

/// How long the loop runs between looks at the clock and at Ctrl-C.
const SLICE: Duration = Duration::from_millis(50);

/// How calls follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Closed loop: a call follows the answer of the one before.
    Closed {
        /// Calls in flight on each connection.
        in_flight: usize,
    },
    /// The same with some calls that take their time in the server.
    Mixed {
        /// Calls in flight on each connection.
        in_flight: usize,
        /// Which calls.
        slow: Slow,
    },
    /// Open loop: calls follow a schedule, whatever the answers do.
    Open {
        /// Calls per second over all connections.
        rate: f64,
        /// Calls that may wait for their answers; what is due beyond that is skipped, and counted.
        outstanding_max: usize,
    },
    /// Closed loop on streams: a message follows another, or its reply.
    Streams(Streams),
}

/// How long a load runs.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Before it is measured.
    pub warmup: Duration,
    /// While it is measured.
    pub duration: Duration,
}

/// Is told how a load goes on. The loop stands still meanwhile.
pub trait Observer {
    /// The warm-up is over: what happens from now on is measured.
    fn begins(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// The measurement is over; calls are still in flight.
    fn ends(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// So much time has passed since the load began.
    fn goes_on(&mut self, _elapsed: Duration) {}
}

/// Opens connections and makes calls on them, on the thread that it was made on.
#[derive(Debug)]
pub struct Generator {
    local: LocalLoop,
    interrupt: Interrupt,
    /// Where connections come from, in turns; empty: the kernel chooses.
    local_addresses: Vec<IpAddr>,
}

impl Generator {
    /// A generator without connections on this I/O model.
    pub fn new(model: Model, interrupt: Interrupt) -> Result<Self, Failure> {
        Ok(Self {
            local: LocalLoop::new(model)?,
            interrupt,
            local_addresses: Vec::new(),
        })
    }

    /// The same with connections that come from these addresses in turns; empty: the kernel chooses.
    pub fn with_local_addresses(self, local_addresses: Vec<IpAddr>) -> Self {
        Self {
            local_addresses,
            ..self
        }
    }

    /// Lets connections to a server on loopback come from as many addresses as it takes to open so many
    /// of them fast.
    pub fn use_addresses_for(&mut self, url: &str, connections: usize) {
        let addresses = connections.div_ceil(PER_ADDRESS);
        if 1 < addresses && !url.starts_with("unix:") {
            let address = |number: usize| {
                let [.., high, low] = number.to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(127, 0, high, low))
            };
            // 127.0.0.1 is left to all others.
            self.local_addresses = (2..=addresses + 1).map(address).collect();
        }
    }

    /// Keeps the connections, and answers what their servers ask, for as long as the process lives.
    pub fn hold(&mut self) -> Result<(), Failure> {
        Ok(self.local.block_on(std::future::pending())?)
    }

    /// Makes calls on the connections for the time of the window.
    ///
    /// With Ctrl-C it ends early, and gives what was recorded until then.
    pub fn run(
        &mut self,
        channels: &[Channel],
        call: Call,
        pace: Pace,
        window: Window,
        observer: &mut dyn Observer,
    ) -> Result<Record, Failure> {
        let recorder = Arc::new(Recorder::new());
        let source = Source::begin(&mut self.local, channels, call, pace, &recorder);
        self.observe(source, &recorder, window, observer)
    }

    /// Makes the calls of a script on the connections, again and again for the time of the window. Ends as
    /// [`Generator::run`] does.
    pub fn replay(
        &mut self,
        channels: &[Channel],
        script: &Arc<Script>,
        window: Window,
        observer: &mut dyn Observer,
    ) -> Result<Record, Failure> {
        let recorder = Arc::new(Recorder::new());
        // Without a task the loop would not wait for the next moment of the script.
        self.local.spawn(std::future::pending());
        let source = Source::Replay {
            channels,
            replay: Replay::new(script, Instant::now()),
            recorder: Arc::clone(&recorder),
        };
        self.observe(source, &recorder, window, observer)
    }

    /// Makes so many connections at a time to this URL, each for one call, for the time of the window.
    /// Ends as [`Generator::run`] does.
    pub fn churn(
        &mut self,
        url: &str,
        callers: usize,
        call: &Call,
        window: Window,
        observer: &mut dyn Observer,
    ) -> Result<Record, Failure> {
        let recorder = Arc::new(Recorder::new());
        churn::start(&mut self.local, url, callers, call, &recorder);
        self.observe(Source::Closed, &recorder, window, observer)
    }

    /// Runs a load for the time of the window, and gives what was recorded.
    fn observe(
        &mut self,
        mut source: Source<'_>,
        recorder: &Arc<Recorder>,
        window: Window,
        observer: &mut dyn Observer,
    ) -> Result<Record, Failure> {
        let begun = Instant::now();
        self.go_on(&mut source, begun, window.warmup, observer)?;
        observer.begins()?;
        recorder.measure(true);
        let measured = Instant::now();
        source.reset(measured);
        self.go_on(&mut source, measured, window.duration, observer)?;
        let ended = Instant::now();
        recorder.measure(false);
        recorder.stop();
        observer.ends()?;
        self.drain(recorder)?;
        let skipped = source.skipped();
        Ok(recorder.finish((measured, ended), skipped, self.interrupt.is_set()))
    }

    /// Makes calls until the time is over, no caller is left, or somebody interrupts.
    fn go_on(
        &mut self,
        source: &mut Source<'_>,
        begun: Instant,
        duration: Duration,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let until = begun + duration;
        while Instant::now() < until && !self.interrupt.is_set() {
            let slice = until.min(Instant::now() + SLICE);
            if !source.run(&mut self.local, slice)? {
                break;
            }
            observer.goes_on(begun.elapsed());
        }
        Ok(())
    }

    /// Waits for the answers to calls in flight, and gives up those that do not come.
    fn drain(&mut self, recorder: &Recorder) -> Result<(), Failure> {
        let until = Instant::now() + DRAIN_TIMEOUT;
        while 0 < recorder.outstanding() && Instant::now() < until && !self.interrupt.is_set() {
            let slice = until.min(Instant::now() + Duration::from_millis(1));
            if self.local.run_until(slice)? {
                break;
            }
        }
        self.local.drop_tasks();
        Ok(())
    }
}

/// What keeps calls coming.
#[derive(Debug)]
enum Source<'a> {
    Closed,
    Open {
        channels: &'a [Channel],
        call: Call,
        schedule: Schedule,
        recorder: Arc<Recorder>,
    },
    Replay {
        channels: &'a [Channel],
        replay: Replay,
        recorder: Arc<Recorder>,
    },
}

impl<'a> Source<'a> {
    fn begin(
        local: &mut LocalLoop,
        channels: &'a [Channel],
        call: Call,
        pace: Pace,
        recorder: &Arc<Recorder>,
    ) -> Self {
        match pace {
            Pace::Closed { in_flight } => {
                closed::start(local, channels, in_flight, &call, recorder);
                Source::Closed
            }
            Pace::Mixed { in_flight, slow } => {
                slow::start(local, channels, in_flight, (&call, slow), recorder);
                Source::Closed
            }
            Pace::Streams(streams) => {
                streams::start(local, channels, streams, &call, recorder);
                Source::Closed
            }
            Pace::Open {
                rate,
                outstanding_max,
            } => {
                // Without a task the loop would not wait for the next moment of the schedule.
                local.spawn(std::future::pending());
                let schedule = Schedule::new(rate, outstanding_max, Instant::now());
                let recorder = Arc::clone(recorder);
                Source::Open {
                    channels,
                    call,
                    schedule,
                    recorder,
                }
            }
        }
    }

    /// The measurement begins now: the schedule counts from here.
    fn reset(&mut self, now: Instant) {
        match self {
            Source::Closed => {}
            Source::Open { schedule, .. } => schedule.reset(now),
            Source::Replay { replay, .. } => replay.reset(now),
        }
    }

    /// Makes calls until this moment. False when nobody is left who would.
    fn run(&mut self, local: &mut LocalLoop, until: Instant) -> Result<bool, Failure> {
        match self {
            Source::Closed => Ok(!local.run_until(until)?),
            Source::Open {
                channels,
                call,
                schedule,
                recorder,
            } => {
                open::run(local, channels, call, schedule, recorder, until)?;
                Ok(true)
            }
            Source::Replay {
                channels,
                replay,
                recorder,
            } => {
                replay::run(local, channels, replay, recorder, until)?;
                Ok(true)
            }
        }
    }

    /// Calls that were due and not made.
    fn skipped(&self) -> u64 {
        match self {
            Source::Closed => 0,
            Source::Open { schedule, .. } => schedule.skipped(),
            Source::Replay { replay, .. } => replay.skipped(),
        }
    }
}
