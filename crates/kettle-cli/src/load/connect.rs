//! Opening connections.

use super::Generator;
use crate::failure::{Failure, with_causes};
use kettle::{Channel, Error};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections that are opened at once: well below the backlog of a listening socket, which drops
/// what it has no room for and lets it wait for a second.
const AT_ONCE: usize = 512;

/// How long the loop may take beyond the connections' own time-out to say that it passed.
const SLACK: Duration = Duration::from_secs(5);

/// Connections to a server.
#[derive(Debug, Default)]
pub struct Connected {
    /// Those that were served.
    pub channels: Vec<Channel>,
    /// Those that were not.
    pub unserved: Unserved,
}

/// What became of connections that are held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How many were served.
    pub served: usize,
    /// Those that were not.
    pub unserved: Unserved,
}

/// Connections that were not served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unserved {
    /// How many.
    pub count: usize,
    /// How many of them because they waited too long.
    pub timed_out: usize,
    /// How many of them because the server said that it takes no more.
    pub refused: usize,
    /// Why the first was not.
    pub first: Option<String>,
}

impl Generator {
    /// Opens so many connections, each of which may take so long to be served.
    pub fn connect(
        &mut self,
        url: &str,
        connections: usize,
        timeout: Duration,
    ) -> Result<Connected, Failure> {
        self.connect_while(url, connections, timeout, |_| true)
    }

    /// As [`Generator::connect`], but opens no more when some were not served.
    pub fn connect_while_served(
        &mut self,
        url: &str,
        connections: usize,
        timeout: Duration,
    ) -> Result<Connected, Failure> {
        let all_served = |connected: &Connected| connected.unserved.count == 0;
        self.connect_while(url, connections, timeout, all_served)
    }

    fn connect_while(
        &mut self,
        url: &str,
        connections: usize,
        timeout: Duration,
        goes_on: impl Fn(&Connected) -> bool,
    ) -> Result<Connected, Failure> {
        let mut connected = Connected::default();
        let mut left = connections;
        while 0 < left && !self.interrupt.is_set() && goes_on(&connected) {
            let wave = left.min(AT_ONCE);
            self.connect_wave(url, wave, timeout, &mut connected)?;
            left -= wave;
        }
        Ok(connected)
    }

    fn connect_wave(
        &mut self,
        url: &str,
        wave: usize,
        timeout: Duration,
        connected: &mut Connected,
    ) -> Result<(), Failure> {
        let ends = Arc::new(Mutex::new(Vec::with_capacity(wave)));
        for number in 0..wave {
            let mut builder = Channel::builder(url).connect_timeout(timeout);
            if !self.local_addresses.is_empty() {
                let turn = number % self.local_addresses.len();
                builder = builder.local_address(self.local_addresses[turn]);
            }
            let ends = Arc::clone(&ends);
            self.local.spawn(async move {
                let end = builder.connect().await;
                ends.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(end);
            });
        }
        self.local.run_until(Instant::now() + timeout + SLACK)?;
        self.local.drop_tasks();
        let ends = std::mem::take(&mut *ends.lock().unwrap_or_else(PoisonError::into_inner));
        let silent = wave - ends.len();
        for end in ends {
            match end {
                Ok(channel) => connected.channels.push(channel),
                Err(error) if error.is_config() => return Err(error.into()),
                Err(error) => connected.unserved.add(&error),
            }
        }
        connected.unserved.add_silent(silent);
        Ok(())
    }
}

impl Connected {
    /// The same in numbers.
    pub fn held(&self) -> Held {
        Held {
            served: self.channels.len(),
            unserved: self.unserved.clone(),
        }
    }
}

impl Held {
    /// Other connections too.
    pub fn add(&mut self, others: Self) {
        self.served += others.served;
        self.unserved.add_all(others.unserved);
    }
}

impl Unserved {
    fn add(&mut self, error: &Error) {
        self.count += 1;
        self.timed_out += usize::from(error.is_timeout());
        self.refused += usize::from(error.is_refused());
        self.first.get_or_insert_with(|| with_causes(error));
    }

    /// Those of other connections, too.
    pub fn add_all(&mut self, others: Self) {
        self.count += others.count;
        self.timed_out += others.timed_out;
        self.refused += others.refused;
        self.first = self.first.take().or(others.first);
    }

    fn add_silent(&mut self, silent: usize) {
        self.count += silent;
        self.timed_out += silent;
        if 0 < silent {
            self.first
                .get_or_insert_with(|| "neither served nor refused in time".to_owned());
        }
    }
}
