//! How the rest of the world reaches a loop: notes in a queue, and the wakers of what runs there.

use crate::reactor::Command;
use crate::wake_queue::WakeQueue;
use kettle_io::Waker;
use kettle_proto::CallId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

/// A connection of a loop: a place in its table, and a number that tells its users apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl PeerKey {
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(crate) fn from_u64(key: u64) -> Self {
        Self {
            slot: key as u32,
            generation: (key >> 32) as u32,
        }
    }
}

/// Something for a loop to look at.
#[derive(Debug)]
pub(crate) enum Note {
    /// A future that runs on the loop wants to be polled.
    Wake(Arc<Alarm>),
    /// Something to do.
    Command(Command),
}

/// A loop's queue of notes, and what ends the loop's sleep.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: WakeQueue<Note>,
    waker: Waker,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            queue: WakeQueue::new(),
            waker,
        }
    }

    /// Posts a command. The loop is interrupted even where it sleeps unwakeable in a blocking call.
    ///
    /// Gives the command back when the loop has ended.
    pub(crate) fn interrupt(&self, command: Command) -> Result<(), Command> {
        self.post(Note::Command(command))?;
        self.waker.interrupt();
        Ok(())
    }

    /// Posts a command to a loop that can always be woken. Gives it back when the loop has ended.
    pub(crate) fn send(&self, command: Command) -> Result<(), Command> {
        self.post(Note::Command(command))
    }

    fn post(&self, note: Note) -> Result<(), Command> {
        match self.queue.push(note) {
            Ok(true) => self.waker.wake(),
            Ok(false) => {}
            // A wake after the end does nothing.
            Err(Note::Wake(_)) => {}
            Err(Note::Command(command)) => return Err(command),
        }
        Ok(())
    }

    /// Loop: see [`WakeQueue::doze`].
    pub(crate) fn doze(&self) -> bool {
        self.queue.doze()
    }

    /// Loop: see [`WakeQueue::rise`].
    pub(crate) fn rise(&self) {
        self.queue.rise();
    }

    /// Loop: see [`WakeQueue::take`].
    pub(crate) fn take(&self, notes: &mut Vec<Note>) {
        self.queue.take(notes);
    }

    /// Loop: see [`WakeQueue::close`].
    pub(crate) fn close(&self) -> Vec<Note> {
        self.queue.close()
    }
}

/// What an [`Alarm`] wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The handler of a call.
    Handler(PeerKey, CallId),
    /// A task of the loop.
    Task(u64),
}

/// The waker of a future on a loop. However often it is woken, it stands in the queue once.
#[derive(Debug)]
pub(crate) struct Alarm {
    mailbox: Arc<Mailbox>,
    target: Target,
    queued: AtomicBool,
}

impl Alarm {
    pub(crate) fn new(mailbox: &Arc<Mailbox>, target: Target) -> Self {
        Self {
            mailbox: Arc::clone(mailbox),
            target,
            queued: AtomicBool::new(false),
        }
    }

    /// Loop: takes the alarm out of the queue; wakes from here on queue it again.
    pub(crate) fn ring(&self) -> Target {
        self.queued.store(false, Ordering::SeqCst);
        self.target
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            let mailbox = Arc::clone(&self.mailbox);
            // Only commands come back from a loop that has ended.
            let _ = mailbox.post(Note::Wake(self));
        }
    }
}

/// The waker for the next poll. Most futures are done at their first poll and keep no waker, so one
/// allocation serves call after call; a future that keeps it leaves it to that future.
#[derive(Debug)]
pub(crate) struct SpareAlarm {
    alarm: Arc<Alarm>,
}

impl SpareAlarm {
    pub(crate) fn new(mailbox: &Arc<Mailbox>) -> Self {
        Self {
            alarm: Arc::new(Alarm::new(mailbox, Target::Task(u64::MAX))),
        }
    }

    /// A waker for this target.
    pub(crate) fn waker(&mut self, target: Target) -> std::task::Waker {
        match Arc::get_mut(&mut self.alarm) {
            Some(alarm) => alarm.target = target,
            None => self.alarm = Arc::new(Alarm::new(&Arc::clone(&self.alarm.mailbox), target)),
        }
        Arc::clone(&self.alarm).into()
    }
}
