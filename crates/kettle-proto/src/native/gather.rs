//! Collects bytes that arrive in parts.

use crate::limits::REST_COPY_BYTES_MAX;
use alloc::vec::Vec;
use kettle_buf::{Chain, Segment};

/// Copied parts are closed into a segment at this size, in bytes, so that they are moved rarely.
const TAIL_BYTES_MAX: usize = 64 * 1024;

/// Bytes that arrive in parts: long parts are linked, short ones copied together, so that neither a
/// trickle of bytes makes a long list nor a short part keeps a receive block.
#[derive(Debug, Default)]
pub(super) struct Gather {
    linked: Chain,
    copied: Vec<u8>,
}

impl Gather {
    pub fn len(&self) -> usize {
        self.linked.len() + self.copied.len()
    }

    pub fn push(&mut self, part: Segment) {
        if part.len() < REST_COPY_BYTES_MAX {
            part.copy_to(&mut self.copied);
        }
        if TAIL_BYTES_MAX <= self.copied.len() || REST_COPY_BYTES_MAX <= part.len() {
            self.close();
        }
        if REST_COPY_BYTES_MAX <= part.len() {
            self.linked.append(part);
        }
    }

    pub fn take(mut self) -> Chain {
        self.close();
        self.linked
    }

    fn close(&mut self) {
        self.linked.append(core::mem::take(&mut self.copied).into());
    }
}
