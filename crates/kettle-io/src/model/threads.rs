//! `threads`: a thread per connection, each with a blocking driver of its own, and one more that
//! accepts. Whoever opens the drivers starts the threads and limits their number.

use super::blocking::Blocking;
use crate::DriverConfig;

/// The driver of one connection's thread, or of the thread that accepts.
pub(crate) fn driver(config: &DriverConfig) -> Blocking {
    Blocking::new(config)
}
