//! Asking silent peers for a sign of life: the setting that servers and channels share.

use crate::Error;
use crate::error::Kind;
use kettle_proto::limits::Limits;
use std::time::Duration;

/// The shortest interval and time-out. A loop that is busy for longer does not make its peers dead.
const KEEPALIVE_MIN: Duration = Duration::from_millis(10);

pub(crate) fn set(limits: &mut Limits, interval: Duration, timeout: Duration) {
    limits.keepalive_interval = Some(interval);
    limits.ping_timeout = timeout;
}

pub(crate) fn check(limits: &Limits) -> Result<(), Error> {
    let timeout = limits.ping_timeout;
    match limits.keepalive_interval {
        Some(interval) if interval.min(timeout) < KEEPALIVE_MIN => {
            let text = format!(
                "keepalive has an interval of {interval:?} and a time-out of {timeout:?}; \
                 both must be {KEEPALIVE_MIN:?} or more"
            );
            Err(Error::new(Kind::Config, text))
        }
        _ => Ok(()),
    }
}
