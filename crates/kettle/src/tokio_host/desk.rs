//! What a task needs for its peer: its mail, the time, and what counts its work.

use crate::clock::Clock;
use crate::key::PeerKey;
use crate::mailbox::{Mailbox, Note};
use crate::peer::{Spare, Turn};
use crate::reactor::{self, Home};
use crate::stats::LoopStats;
use kettle_io::DriverStats;
use kettle_proto::Instant;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;

/// The place from which one task hosts one peer at a time.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) clock: Clock,
    pub(super) now: Instant,
    pub(super) stats: Arc<LoopStats>,
    spare: Spare,
    notes: Vec<Note>,
}

impl Desk {
    pub(super) fn new() -> Self {
        let mailbox = Arc::new(Mailbox::of_task());
        let clock = mailbox.clock();
        Self {
            clock,
            now: clock.now(),
            stats: Arc::default(),
            spare: Spare::new(&mailbox),
            notes: Vec::new(),
            mailbox,
        }
    }

    /// The task is polled, until the result is dropped: what runs meanwhile is at home here.
    pub(super) fn begin(&mut self, cx: &Context<'_>) -> Home {
        self.mailbox.rise();
        self.mailbox.listen(cx.waker());
        reactor::be_home(&self.mailbox)
    }

    /// Brings the time up to date.
    pub(super) fn look_at_clock(&mut self) {
        self.now = self.clock.now();
    }

    /// The notes that have come. Their memory goes back with [`Desk::put_away`].
    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        let mut notes = std::mem::take(&mut self.notes);
        if !self.mailbox.is_empty() {
            self.mailbox.take(&mut notes);
        }
        notes
    }

    pub(super) fn put_away(&mut self, notes: Vec<Note>) {
        self.notes = notes;
    }

    /// The task has nothing to do. False when it has after all: a note has come.
    pub(super) fn doze(&self) -> bool {
        self.mailbox.doze()
    }

    /// What the peer with this key may use while it runs.
    pub(super) fn turn(&mut self, key: PeerKey) -> Turn<'_> {
        Turn::new(key, self.now, self.clock, &mut self.spare, &self.stats)
    }

    /// Shows others what this task has done and holds.
    pub(super) fn publish(&self, pending: u32, received_bytes: u64, sent_bytes: u64) {
        self.stats.pending.store(pending.into(), Ordering::Relaxed);
        self.stats.publish_driver(DriverStats {
            received_bytes,
            sent_bytes,
            ..DriverStats::default()
        });
    }
}
