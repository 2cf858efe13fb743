//! Maps whose keys are counted up: streams, links.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by number. Keys must be ours: a peer that could choose them could make them collide.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Spreads numbers that are counted up, at the cost of one multiplication.
#[derive(Debug, Default)]
pub(crate) struct NumberHasher(u64);

/// 2^64 divided by the golden ratio: neighbours land far apart (Knuth, volume 3, section 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(SPREAD);
    }
}
