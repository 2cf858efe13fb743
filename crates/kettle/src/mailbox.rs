//! How the rest of the world reaches a loop, or a task that hosts a peer: notes in a queue, and the wakers of
//! what runs there.

use crate::clock::Clock;
use crate::command::Command;
use crate::key::PeerKey;
use crate::wake_queue::WakeQueue;
use kettle_io::Waker as LoopWaker;
use kettle_proto::CallId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(feature = "tokio-host")]
use std::sync::{Mutex, PoisonError};
use std::task::{Wake, Waker};

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
    bell: Bell,
}

/// Whom a mailbox tells of its first note.
#[derive(Debug)]
enum Bell {
    Loop(LoopWaker),
    /// A tokio task, once it has said by which waker.
    #[cfg(feature = "tokio-host")]
    Task(Mutex<Option<Waker>>),
}

impl Mailbox {
    pub(crate) fn new(waker: LoopWaker) -> Self {
        Self {
            queue: WakeQueue::new(),
            bell: Bell::Loop(waker),
        }
    }

    /// The mailbox of a tokio task.
    #[cfg(feature = "tokio-host")]
    pub(crate) fn of_task() -> Self {
        Self {
            queue: WakeQueue::new(),
            bell: Bell::Task(Mutex::new(None)),
        }
    }

    /// Whether a tokio task reads it.
    pub(crate) fn is_of_task(&self) -> bool {
        !matches!(self.bell, Bell::Loop(_))
    }

    /// What whoever reads it takes the time from.
    pub(crate) fn clock(&self) -> Clock {
        match &self.bell {
            Bell::Loop(_) => Clock::new(),
            #[cfg(feature = "tokio-host")]
            Bell::Task(_) => Clock::of_tokio(),
        }
    }

    /// Task: this wakes it from now on.
    #[cfg(feature = "tokio-host")]
    pub(crate) fn listen(&self, waker: &Waker) {
        if let Bell::Task(bell) = &self.bell {
            let mut bell = bell.lock().unwrap_or_else(PoisonError::into_inner);
            if !bell.as_ref().is_some_and(|bell| bell.will_wake(waker)) {
                *bell = Some(waker.clone());
            }
        }
    }

    /// Posts a command. The loop is interrupted even where it sleeps unwakeable in a blocking call.
    ///
    /// Gives the command back when the loop has ended.
    pub(crate) fn interrupt(&self, command: Command) -> Result<(), Command> {
        self.post(Note::Command(command))?;
        match &self.bell {
            Bell::Loop(waker) => waker.interrupt(),
            #[cfg(feature = "tokio-host")]
            Bell::Task(_) => {}
        }
        Ok(())
    }

    /// Posts a command to a loop that can always be woken. Gives it back when the loop has ended.
    pub(crate) fn send(&self, command: Command) -> Result<(), Command> {
        self.post(Note::Command(command))
    }

    fn post(&self, note: Note) -> Result<(), Command> {
        match self.queue.push(note) {
            Ok(true) => self.bell.ring(),
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

    /// Loop: see [`WakeQueue::is_empty`].
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
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

impl Bell {
    fn ring(&self) {
        match self {
            Self::Loop(waker) => waker.wake(),
            #[cfg(feature = "tokio-host")]
            Self::Task(bell) => {
                let waker = bell.lock().unwrap_or_else(PoisonError::into_inner).clone();
                waker.into_iter().for_each(Waker::wake);
            }
        }
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
    /// The target, in two numbers; see [`Target::to_bits`].
    target: [AtomicU64; 2],
    queued: AtomicBool,
}

impl Alarm {
    pub(crate) fn new(mailbox: &Arc<Mailbox>, target: Target) -> Self {
        Self {
            mailbox: Arc::clone(mailbox),
            target: target.to_bits().map(AtomicU64::new),
            queued: AtomicBool::new(false),
        }
    }

    /// Loop: takes the alarm out of the queue; wakes from here on queue it again.
    pub(crate) fn ring(&self) -> Target {
        self.queued.store(false, Ordering::SeqCst);
        let [a, b] = &self.target;
        Target::from_bits([a.load(Ordering::Relaxed), b.load(Ordering::Relaxed)])
    }

    /// Loop: gives an alarm that nobody holds another target.
    fn aim(&self, target: Target) {
        for (have, bits) in self.target.iter().zip(target.to_bits()) {
            have.store(bits, Ordering::Relaxed);
        }
    }
}

impl Target {
    /// Calls have a stream, which is never 0; tasks have none.
    fn to_bits(self) -> [u64; 2] {
        match self {
            Target::Task(task) => [task, 0],
            Target::Handler(key, call) => {
                let call = u64::from(call.stream) << 32 | u64::from(call.slot);
                [key.to_u64(), call]
            }
        }
    }

    fn from_bits([first, call]: [u64; 2]) -> Self {
        let (slot, stream) = (call as u32, (call >> 32) as u32);
        match stream {
            0 => Target::Task(first),
            _ => Target::Handler(PeerKey::from_u64(first), CallId { slot, stream }),
        }
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
    /// Holds the alarm too: nobody else does while there are two.
    waker: Waker,
}

impl SpareAlarm {
    pub(crate) fn new(mailbox: &Arc<Mailbox>) -> Self {
        let alarm = Arc::new(Alarm::new(mailbox, Target::Task(u64::MAX)));
        let waker = Arc::clone(&alarm).into();
        Self { alarm, waker }
    }

    /// The mailbox of the loop.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.alarm.mailbox
    }

    /// A waker for this target.
    pub(crate) fn waker(&mut self, target: Target) -> &Waker {
        // Only this thread can make a third holder out of two, by lending the waker.
        if 2 < Arc::strong_count(&self.alarm) {
            *self = Self::new(&Arc::clone(&self.alarm.mailbox));
        }
        self.alarm.aim(target);
        &self.waker
    }
}
