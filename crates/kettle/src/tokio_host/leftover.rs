//! Handlers that run on after their clients have gone, each as a task of its own.

use super::desk::Desk;
use super::timer::Timer;
use crate::BoxFuture;
use crate::command::{Command, Unfinished};
use crate::mailbox::Note;
use crate::server::{Registered, Running};
use crate::stopping::{Due, Stop};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// What is left of a handler, as a task that the server waits for.
struct Leftover {
    /// `None` when it is over.
    handler: Option<BoxFuture<'static, ()>>,
    desk: Desk,
    timer: Timer,
    stop: Stop,
    registered: Registered,
    running: Arc<Running>,
}

/// Runs it on, where there is a runtime.
pub(super) fn spawn(running: &Arc<Running>, Unfinished(handler): Unfinished) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let desk = Desk::new();
    let (mailbox, stats) = (Arc::clone(&desk.mailbox), Arc::clone(&desk.stats));
    runtime.spawn(Leftover {
        handler: Some(handler),
        desk,
        timer: Timer::default(),
        stop: Stop::Running,
        registered: running.register(mailbox, stats),
        running: Arc::clone(running),
    });
}

impl Leftover {
    /// A handler that is dropped, or ends, may leave something of itself.
    fn read_notes(&mut self) {
        let mut notes = self.desk.take_notes();
        for note in notes.drain(..) {
            match note {
                Note::Command(Command::Stop { grace }) => self.stop.begin(self.desk.now, grace),
                Note::Command(Command::Finish(unfinished)) => spawn(&self.running, unfinished),
                Note::Command(_) | Note::Wake(_) => {}
            }
        }
        self.desk.put_away(notes);
    }
}

impl Future for Leftover {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let _home = this.desk.begin(cx);
        let Some(handler) = &mut this.handler else {
            return Poll::Ready(());
        };
        if handler.as_mut().poll(cx).is_ready() {
            this.handler = None;
        }
        loop {
            this.desk.look_at_clock();
            this.read_notes();
            if this.stop.due(this.desk.now) != Due::Nothing {
                this.handler = None;
                this.desk.mailbox.close();
            }
            if this.handler.is_none() {
                return Poll::Ready(());
            }
            let (now, clock) = (this.desk.now, this.desk.clock);
            if !this.timer.is_due(this.stop.next(), now, clock, cx) && this.desk.doze() {
                return Poll::Pending;
            }
        }
    }
}

impl std::fmt::Debug for Leftover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Leftover").field(&self.registered).finish()
    }
}
