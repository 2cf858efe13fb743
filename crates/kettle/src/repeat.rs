//! A call that is made again and again, on its connection's loop.

use crate::call::{CallRequest, Place, Reply};
use crate::command::Command;
use crate::link::LinkConfig;
use crate::mailbox::Mailbox;
use crate::pending::Promise;
use crate::{Inbound, Response, Status};
use kettle_proto::Instant;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Sees how each call ended, and says whether there is to be another.
pub(crate) type Observe = Box<dyn FnMut(Result<Response<Inbound>, Status>) -> bool + Send>;

/// What a repeated call needs from one time to the next.
pub(crate) struct Repeat {
    observe: Observe,
    /// How long each of the calls may take.
    timeout: Option<Duration>,
    mailbox: Arc<Mailbox>,
    link: Arc<LinkConfig>,
    /// Told when no more calls are made.
    over: Option<Promise<(), Place>>,
}

impl Repeat {
    pub(crate) fn new(
        observe: Observe,
        timeout: Option<Duration>,
        (mailbox, link): (Arc<Mailbox>, Arc<LinkConfig>),
        over: Promise<(), Place>,
    ) -> Self {
        Self {
            observe,
            timeout,
            mailbox,
            link,
            over: Some(over),
        }
    }

    /// A call ended. Whether there is to be another.
    pub(crate) fn ended(&mut self, outcome: Result<Reply, Status>) -> bool {
        if outcome.is_err() && self.is_abandoned() {
            return false;
        }
        let observe = &mut self.observe;
        let outcome = outcome.map(Reply::into_response);
        let over = match catch_unwind(AssertUnwindSafe(|| observe(outcome))) {
            Ok(true) => return true,
            Ok(false) => Ok(()),
            Err(panic) => Err(crate::peer::panicked(&*panic, "observer")),
        };
        if let Some(promise) = self.over.take() {
            promise.answer(over);
        }
        false
    }

    /// When a call that begins now has to have ended.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.timeout.map(|timeout| now + timeout)
    }

    /// Whether nobody waits for the end any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.over.as_ref().is_none_or(Promise::is_abandoned)
    }

    /// Says where the call runs. False when nobody waits for the end any more.
    pub(crate) fn leave_note(&self, place: Place) -> bool {
        self.over
            .as_ref()
            .is_some_and(|over| over.leave_note(place))
    }
}

/// Makes a repeated call once more, in the loop's next turn: it ended where no connection is at hand.
pub(crate) fn post(mut request: Box<CallRequest>) {
    let Some(repeat) = request.repeat() else {
        return;
    };
    let (mailbox, link) = (Arc::clone(&repeat.mailbox), Arc::clone(&repeat.link));
    request.renew(mailbox.clock().now());
    // A command that a loop gives back drops its caller, which answers.
    drop(mailbox.send(Command::Call { link, request }));
}

impl fmt::Debug for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeat")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
