//! How many there may be of something.

use kettle::Status;
use std::sync::Arc;

/// A number of places, each of which is free or taken.
#[derive(Debug)]
pub(super) struct Places {
    what: &'static str,
    max: usize,
    taken: Arc<()>,
}

/// A taken place. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    _taken: Arc<()>,
}

impl Places {
    /// `what` completes "as many as 5 …".
    pub(super) fn new(what: &'static str, max: usize) -> Self {
        Self {
            what,
            max,
            taken: Arc::new(()),
        }
    }

    /// # Errors
    /// RESOURCE_EXHAUSTED when none is free.
    pub(super) fn take(&self) -> Result<Place, Status> {
        let place = Place {
            _taken: Arc::clone(&self.taken),
        };
        // One is ours. Of several that come for the last place at once all may be refused, none too many taken.
        match Arc::strong_count(&self.taken) - 1 <= self.max {
            true => Ok(place),
            false => Err(Status::resource_exhausted(format!(
                "as many as {} {} at a time, which is this server's limit",
                self.max, self.what
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kettle::Code;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new("are here", 2);
        let (first, _second) = (places.take().unwrap(), places.take().unwrap());
        let status = places.take().unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(
            status
                .message()
                .starts_with("as many as 2 are here at a time")
        );
        drop(first);
        places.take().unwrap();
    }
}
