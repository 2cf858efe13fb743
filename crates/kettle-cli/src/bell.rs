//! How a thread wakes a future.

use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// Holds the waker of the future that waits: the last that was left.
#[derive(Debug, Default)]
pub struct Bell(Mutex<Option<Waker>>);

impl Bell {
    /// Leaves a waker. What it waits for is to be looked at afterwards: it may have happened before.
    pub fn leave(&self, waker: &Waker) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// Wakes whoever waits.
    pub fn ring(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
