//! Which loop a thread turns: what waits there, or runs on there, belongs to it.

use crate::mailbox::Mailbox;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    /// The mailbox of the loop that runs on this thread: a server's, a client's, or one that its caller drives.
    static HOME: RefCell<Option<Arc<Mailbox>>> = const { RefCell::new(None) };
}

/// The mailbox of the loop that runs on this thread.
pub(crate) fn home() -> Option<Arc<Mailbox>> {
    HOME.with_borrow(Clone::clone)
}

/// Whether what runs on this thread is a tokio task.
pub(super) fn is_of_task() -> bool {
    HOME.with_borrow(|home| home.as_ref().is_some_and(|home| home.is_of_task()))
}

/// The loop with this mailbox runs on this thread, until the result is dropped.
#[must_use = "dropping it at once means that the loop does not run here"]
pub(crate) fn be_home(mailbox: &Arc<Mailbox>) -> Home {
    let outer = HOME.replace(Some(Arc::clone(mailbox)));
    Home { outer }
}

/// See [`be_home`]. On a thread with several loops, such as a blocking client in a handler on `threads`, the outer one
/// is at home again afterwards.
#[derive(Debug)]
pub(crate) struct Home {
    outer: Option<Arc<Mailbox>>,
}

impl Drop for Home {
    fn drop(&mut self) {
        HOME.set(self.outer.take());
    }
}
