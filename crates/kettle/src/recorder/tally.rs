//! The messages that pass in one direction of a call.

use super::payloads::Payloads;
use kettle_buf::Chain;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The messages that have passed in one direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) payloads: Option<Payloads>,
}

/// The same of a stream that somebody else reads.
#[derive(Debug)]
pub(crate) struct Tally {
    flow: Mutex<Flow>,
}

impl Flow {
    /// None yet; their bytes are kept when there is a place for them.
    pub(super) fn new(payloads: Option<Payloads>) -> Self {
        Self {
            payloads,
            ..Self::default()
        }
    }

    /// One more, of this length.
    pub(super) fn count(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }

    /// One more, whose bytes are here.
    pub(super) fn pass(&mut self, message: &Chain) {
        self.count(message.len() as u64);
        if let Some(payloads) = &mut self.payloads {
            payloads.push(message.len(), || message.to_vec());
        }
    }
}

impl Tally {
    pub(super) fn new(flow: Flow) -> Self {
        let flow = Mutex::new(flow);
        Self { flow }
    }

    /// A message was taken.
    pub(crate) fn taken(&self, message: &Chain) {
        self.lock().pass(message);
    }

    /// What has passed; what comes later is not counted.
    pub(super) fn finish(&self) -> Flow {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Flow> {
        // Nothing panics under this lock, so a poisoned one is as good as new.
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
