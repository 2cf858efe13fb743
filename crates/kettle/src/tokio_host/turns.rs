//! One poll of a task: turns, until one brought nothing.

use super::desk::Desk;
use std::task::{Context, Poll};

/// Turns of a task before it lets others run.
const TURNS_MAX: usize = 16;

/// A task that works in turns.
pub(super) trait Turns {
    fn desk(&mut self) -> &mut Desk;

    /// One turn. `None` when the task is over; false when there was nothing to do.
    fn turn(&mut self, cx: &mut Context<'_>) -> Option<bool>;

    /// The task goes to rest, or lets others run.
    fn rest(&mut self) {}

    /// The task is over.
    fn end(&mut self) {}

    fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _home = self.desk().begin(cx);
        for _ in 0..TURNS_MAX {
            match self.turn(cx) {
                None => {
                    self.end();
                    return Poll::Ready(());
                }
                Some(false) if self.desk().doze() => {
                    self.rest();
                    return Poll::Pending;
                }
                Some(_) => {}
            }
        }
        self.rest();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
