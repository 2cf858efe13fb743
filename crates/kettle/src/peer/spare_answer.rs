//! The answer that the last call of a loop left behind, for the next call of its method.

use crate::answer::{Answer, BoxAnswer};
use crate::router::RouteId;
use std::fmt;
use std::pin::Pin;

/// At most one answer.
#[derive(Default)]
pub(super) struct SpareAnswer {
    kept: Option<(RouteId, BoxAnswer)>,
}

impl SpareAnswer {
    /// The answer of this method, when it is the one that is kept.
    #[inline]
    pub(super) fn get(&mut self, route: RouteId) -> Option<Pin<&mut dyn Answer>> {
        match &mut self.kept {
            Some((kept, answer)) if *kept == route => Some(answer.as_mut()),
            _ => None,
        }
    }

    /// Takes the answer that is kept: it still runs, or nobody knows what became of it.
    pub(super) fn take(&mut self) -> Option<BoxAnswer> {
        self.kept.take().map(|(_, answer)| answer)
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
