//! The answer that the last call of a loop left behind, for the next call of its method.

use crate::answer::BoxAnswer;
use crate::router::RouteId;
use std::fmt;

/// At most one answer.
#[derive(Default)]
pub(super) struct SpareAnswer {
    kept: Option<(RouteId, BoxAnswer)>,
}

impl SpareAnswer {
    /// The answer of this method, when it is the one that is kept.
    pub(super) fn take(&mut self, route: RouteId) -> Option<BoxAnswer> {
        let (_, answer) = self.kept.take_if(|(kept, _)| *kept == route)?;
        Some(answer)
    }

    /// Keeps an answer whose reply was given, if it can be used again. Drops the one that was kept.
    pub(super) fn put(&mut self, route: RouteId, answer: BoxAnswer) {
        if answer.is_reusable() {
            self.kept = Some((route, answer));
        }
    }
}

impl fmt::Debug for SpareAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = self.kept.as_ref().map(|(route, _)| route);
        f.debug_tuple("SpareAnswer").field(&route).finish()
    }
}
