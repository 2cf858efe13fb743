//! How long a channel waits between its attempts to connect.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How much longer each pause is than the one before, as gRPC's.
const FACTOR: f64 = 1.6;

/// A pause is by chance up to this part of itself shorter or longer, so that the clients of a server
/// that was away do not all come back in the same moment. As gRPC's.
const JITTER: f64 = 0.2;

/// How the pauses between attempts to connect grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// The pause after the first attempt that failed, before chance.
    pub(crate) base: Duration,
    /// The longest pause, before chance.
    pub(crate) max: Duration,
}

impl Backoff {
    /// gRPC begins with 1 s and ends at 120 s, for clients of services across the world. A server on the
    /// same network is often back within a second, and an attempt costs it one packet.
    pub(crate) const DEFAULT: Self = Self {
        base: Duration::from_millis(100),
        max: Duration::from_secs(10),
    };

    /// The pause after this many attempts in a row have failed, at least one.
    pub(crate) fn pause(&self, failures: u32, random: &mut Random) -> Duration {
        let growth = FACTOR.powi(failures.saturating_sub(1).min(i32::MAX as u32) as i32);
        let pause = (self.base.as_secs_f64() * growth).min(self.max.as_secs_f64());
        let chance = 1.0 + JITTER * (2.0 * random.fraction() - 1.0);
        Duration::try_from_secs_f64(pause * chance).unwrap_or(self.max)
    }
}

/// Random numbers, not for secrets (splitmix64: Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Other numbers at every start.
    pub(crate) fn from_system() -> Self {
        Self(RandomState::new().hash_one(0))
    }

    /// The same numbers for the same seed.
    #[cfg(feature = "tokio-host")]
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 up to and without 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The 53 bits that a number between 0 and 1 has room for.
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::from_system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_no_further() {
        let (backoff, mut random) = (Backoff::DEFAULT, Random(1));
        let mut expected = 0.1;
        for failures in 1..=40 {
            let pause = backoff.pause(failures, &mut random).as_secs_f64();
            let around = 0.8 * expected..=1.2 * expected;
            assert!(around.contains(&pause), "{failures}: {pause}, {around:?}");
            expected = (1.6 * expected).min(10.0);
        }
        assert_eq!(expected, 10.0);
        let longest = backoff.pause(u32::MAX, &mut random);
        assert!(longest <= Duration::from_secs(12), "{longest:?}");
    }

    #[test]
    fn pauses_differ_from_client_to_client() {
        let pauses: Vec<_> = (0..1000)
            .map(|_| Backoff::DEFAULT.pause(1, &mut Random::from_system()))
            .collect();
        let within = |from, to| {
            let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
            pauses.iter().filter(|p| (from..to).contains(p)).count()
        };
        assert_eq!(within(80, 121), 1000);
        // A quarter each, if chance is even: 250 ± 14.
        for quarter in [(80, 90), (90, 100), (100, 110), (110, 121)] {
            let count = within(quarter.0, quarter.1);
            assert!((150..350).contains(&count), "{quarter:?}: {count}");
        }
    }

    #[test]
    fn extreme_settings_harm_nobody() {
        let mut random = Random(2);
        for (base, max) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::MAX, Duration::MAX),
            (Duration::from_nanos(1), Duration::MAX),
        ] {
            let backoff = Backoff { base, max };
            for failures in [0, 1, 1000, u32::MAX] {
                assert!(backoff.pause(failures, &mut random) <= max);
            }
        }
    }
}
