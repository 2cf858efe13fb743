//! Chains, payloads, regions and pools against models, and what they allocate.
#![forbid(unsafe_code)]

mod allocations;
mod chain;
mod payload;
mod pool;
mod region;

use proptest::prelude::*;
use proptest::sample::Index;

/// A place in `0..=len`.
fn upto(index: Index, len: usize) -> usize {
    index.index(len + 1)
}

/// Some bytes that tell where they came from: the same byte seldom stands twice at the same place.
fn bytes(len: impl Strategy<Value = usize>) -> impl Strategy<Value = Vec<u8>> {
    (len, any::<u32>()).prop_map(|(len, seed)| pattern(len, seed))
}

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mix = |i| (seed ^ i as u32).wrapping_mul(0x9e37_79b1).rotate_left(15) as u8;
    (0..len).map(mix).collect()
}
