//! Time as machines know it: a number that the caller gives.

use core::num::NonZeroU64;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A point in time, in nanoseconds since a moment that the caller chose.
///
/// Machines never read a clock; they compare and add. 64 bits of nanoseconds last 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    /// One more than the nanoseconds, so that an `Option` of it is no larger.
    NonZeroU64,
);

impl Instant {
    /// The last representable instant, which never comes.
    const NEVER: Instant = Instant(NonZeroU64::MAX);

    /// The point `nanos` nanoseconds after the caller's moment; the last representable one is
    /// `u64::MAX - 1`.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the caller's moment.
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// How long after `earlier` this is; zero when it is before.
    pub const fn saturating_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// The earliest of some times, of which any may be missing. The last representable instant never
    /// comes, and counts as missing.
    #[inline]
    pub fn earliest<const N: usize>(times: [Option<Instant>; N]) -> Option<Instant> {
        let earlier =
            |first: Instant, time: Option<Instant>| first.min(time.unwrap_or(Self::NEVER));
        let first = times.into_iter().fold(Self::NEVER, earlier);
        (first != Self::NEVER).then_some(first)
    }
}

/// The caller's moment.
impl Default for Instant {
    fn default() -> Self {
        Self::from_nanos(0)
    }
}

/// Saturates at the last representable instant: a deadline that far away never comes.
impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_that_may_be_missing_is_no_larger() {
        assert_eq!(size_of::<Option<Instant>>(), size_of::<Instant>());
        for nanos in [0, 1, u64::MAX - 1] {
            assert_eq!(Instant::from_nanos(nanos).as_nanos(), nanos);
        }
    }

    #[test]
    fn the_earliest_of_what_comes_at_all() {
        let at = |nanos| Some(Instant::from_nanos(nanos));
        assert_eq!(Instant::earliest([None, at(7), at(3), None]), at(3));
        assert_eq!(Instant::earliest([at(u64::MAX), at(7)]), at(7));
        assert_eq!(
            Instant::earliest([None, at(u64::MAX)]),
            None,
            "it never comes"
        );
        assert_eq!(Instant::earliest([]), None);
    }
}
