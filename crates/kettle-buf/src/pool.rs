//! The blocks that sockets receive into, and the limit on their memory.

use crate::Segment;
use bytes::BytesMut;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Settings of a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Size of a block in bytes. Default 64 KiB: receiving 1 MiB costs 58 µs of CPU with 64 KiB
    /// buffers, 88 µs with 16 KiB and 258 µs with 4 KiB.
    pub block_bytes: usize,
    /// Most bytes that all blocks and large buffers together may have. Default 64 MiB. Beyond it
    /// receives use small buffers of their own, so that a full pool slows down and never stops.
    /// Large buffers may take half of it, so that they leave blocks for everybody else.
    pub limit_bytes: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            block_bytes: 64 * 1024,
            limit_bytes: 64 * 1024 * 1024,
        }
    }
}

/// What a [`Pool`] holds and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes of all blocks and large buffers, in use or waiting.
    pub bytes: usize,
    /// Allocations of blocks and large buffers since the start.
    pub allocations: u64,
    /// Receives and large buffers that had to do with small buffers because of the limit.
    pub fallbacks: u64,
}

/// A receive gets a new block when the current one has less room than this, in bytes.
const ROOM_BYTES_MIN: usize = 16 * 1024;

/// Most bytes of a receive at the limit.
const FALLBACK_BYTES: usize = 4 * 1024;

/// Full blocks that are looked at for ones that nobody refers to any more, each time that a block is
/// used up. More than one, so that the list shrinks faster than it grows once blocks are released.
const RECLAIM_TRIES: usize = 4;

/// As [`RECLAIM_TRIES`], at the limit: searching is cheaper there than receiving in small pieces.
const LIMIT_RECLAIM_TRIES: usize = 64;

/// Blocks that nobody refers to and that stay with the pool; more are freed.
const SPARE_BLOCKS_MAX: usize = 32;

/// Blocks to receive into. One pool belongs to one driver, so it takes no lock.
///
/// ```text
///   current block  [ received, shared as segments | room ]
///   full blocks    [ ..... ] [ ..... ] [ ..... ]       still referred to when last looked at
///   spare blocks   [       ] [       ]                 nobody refers to them
/// ```
///
/// A receive takes the room of the current block; what was received is split off as a [`Segment`],
/// so many small receives share a block. Segments are given back by dropping them, on any thread;
/// the pool notices when it next looks for a block, and uses the block again as it is.
///
/// ```
/// use kettle_buf::{Pool, PoolConfig};
///
/// let mut pool = Pool::new(PoolConfig::default());
/// pool.room().extend_from_slice(b"as recv(2) would");
/// let segment = pool.take();
/// assert_eq!(&segment[..7], b"as recv");
/// ```
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    /// A block, or nothing while there are no blocks at all.
    current: BytesMut,
    full: VecDeque<BytesMut>,
    spare: Vec<BytesMut>,
    /// How many blocks there are: the current one, full ones, spare ones, lent ones.
    blocks: usize,
    /// How many of them are lent.
    lent: usize,
    /// Bytes of the large buffers that are alive; they subtract themselves.
    large_bytes: Arc<AtomicUsize>,
    /// What receives at the limit go through.
    small: BytesMut,
    /// Whether the last [`Pool::room`] was `small`.
    in_small: bool,
    allocations: u64,
    fallbacks: u64,
}

impl Pool {
    /// A pool that allocates nothing until the first receive.
    ///
    /// # Panics
    /// When a block would have no bytes.
    pub fn new(config: PoolConfig) -> Self {
        assert!(0 < config.block_bytes, "a block of a pool has no bytes");
        Self {
            config,
            current: BytesMut::new(),
            full: VecDeque::new(),
            spare: Vec::new(),
            blocks: 0,
            lent: 0,
            large_bytes: Arc::default(),
            small: BytesMut::new(),
            in_small: false,
            allocations: 0,
            fallbacks: 0,
        }
    }

    /// The empty buffer for the next receive: write into its spare capacity, lengthen it by as much,
    /// then call [`Pool::take`]. Its capacity is at least 16 KiB of a block (the whole block when
    /// that is smaller), and 4 KiB when the pool is at its limit.
    pub fn room(&mut self) -> &mut BytesMut {
        debug_assert!(
            self.current.is_empty() && self.small.is_empty(),
            "take() was left out"
        );
        // From the start of the block when nobody refers to it: that memory is in the cache.
        if self.current.try_reclaim(self.config.block_bytes) {
            self.look_over(RECLAIM_TRIES);
            self.in_small = false;
        } else {
            self.in_small = !self.has_room() && !self.renew_current();
        }
        if !self.in_small {
            return &mut self.current;
        }
        self.fallbacks += 1;
        self.small
            .reserve(FALLBACK_BYTES.min(self.config.block_bytes));
        &mut self.small
    }

    /// What was received into [`Pool::room`]. At the limit these bytes are copied into an allocation
    /// of exactly their size; otherwise they stay where they are.
    pub fn take(&mut self) -> Segment {
        if self.current.is_empty() && self.small.is_empty() {
            return Segment::new(); // a part of a block, even an empty one, would hold the block
        }
        if self.in_small {
            let segment = Segment::copy_from_slice(&self.small);
            self.small.clear();
            return segment;
        }
        self.current.split().freeze().into()
    }

    /// A whole block, for a driver that receives into several at once; `None` at the limit. It counts
    /// until [`Pool::give_back`].
    pub fn lend(&mut self) -> Option<BytesMut> {
        self.look_over(RECLAIM_TRIES);
        let Some(block) = self.spare.pop().or_else(|| self.new_block()) else {
            self.fallbacks += 1;
            return None;
        };
        self.lent += 1;
        Some(block)
    }

    /// Takes a lent block back, from which segments may have been split off. It is used again once
    /// nobody refers to them.
    pub fn give_back(&mut self, block: BytesMut) {
        self.lent -= 1;
        self.full.push_back(block);
    }

    /// A buffer of its own for a message of which `bytes` are known to come, or `None` when that
    /// would exceed the limit: use [`Pool::room`] then.
    pub fn large(&mut self, bytes: usize) -> Option<LargeBuffer> {
        let large_bytes = self.large_bytes.load(Ordering::Relaxed);
        let share_left = (self.config.limit_bytes / 2).saturating_sub(large_bytes);
        if share_left < bytes || !self.make_room(bytes) {
            self.fallbacks += 1;
            return None;
        }
        self.allocations += 1;
        Some(LargeBuffer {
            bytes: BytesMut::with_capacity(bytes),
            _charge: Charge::new(&self.large_bytes, bytes),
        })
    }

    /// What the pool holds and has done.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            bytes: self.bytes(),
            allocations: self.allocations,
            fallbacks: self.fallbacks,
        }
    }

    fn bytes(&self) -> usize {
        self.blocks * self.config.block_bytes + self.large_bytes.load(Ordering::Relaxed)
    }

    fn fits(&self, bytes: usize) -> bool {
        bytes <= self.config.limit_bytes.saturating_sub(self.bytes())
    }

    fn has_room(&self) -> bool {
        ROOM_BYTES_MIN.min(self.config.block_bytes) <= self.current.capacity()
    }

    /// Makes `current` a whole block. False at the limit.
    fn renew_current(&mut self) -> bool {
        self.look_over(RECLAIM_TRIES);
        if self.current.try_reclaim(self.config.block_bytes) {
            return true;
        }
        let Some(block) = self.spare.pop().or_else(|| self.new_block()) else {
            return false;
        };
        let old = std::mem::replace(&mut self.current, block);
        if 1 < self.blocks - self.lent {
            self.full.push_back(old);
        }
        true
    }

    fn new_block(&mut self) -> Option<BytesMut> {
        if !self.fits(self.config.block_bytes) {
            self.look_over(LIMIT_RECLAIM_TRIES);
            return self.spare.pop();
        }
        self.allocations += 1;
        self.blocks += 1;
        Some(BytesMut::with_capacity(self.config.block_bytes))
    }

    /// Frees spare blocks until `bytes` more fit. False when they do not fit even so.
    fn make_room(&mut self, bytes: usize) -> bool {
        if !self.fits(bytes) {
            self.look_over(LIMIT_RECLAIM_TRIES);
        }
        while !self.fits(bytes) && self.spare.pop().is_some() {
            self.blocks -= 1;
        }
        self.fits(bytes)
    }

    /// Looks at the oldest full blocks. Those that nobody refers to become spare, the others go to
    /// the back, so that one that is held for long does not hide the ones behind it.
    fn look_over(&mut self, tries: usize) {
        for _ in 0..tries.min(self.full.len()) {
            let Some(mut block) = self.full.pop_front() else {
                return;
            };
            if !block.try_reclaim(self.config.block_bytes) {
                self.full.push_back(block);
            } else if self.spare.len() < SPARE_BLOCKS_MAX {
                self.spare.push(block);
            } else {
                self.blocks -= 1;
            }
        }
    }
}

/// A buffer of its own for one large message, from [`Pool::large`]; fill it like a [`BytesMut`].
///
/// The pool counts it, at the size that was asked for, until it and every segment of it are dropped.
#[derive(Debug)]
pub struct LargeBuffer {
    bytes: BytesMut,
    /// Ends with this buffer.
    _charge: Charge,
}

impl LargeBuffer {
    /// What was filled in, as a segment; nothing is copied.
    pub fn into_segment(self) -> Segment {
        Segment::from_owner(self)
    }
}

impl Deref for LargeBuffer {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        &self.bytes
    }
}

impl DerefMut for LargeBuffer {
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for LargeBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A number of bytes that count in a total for as long as this lives.
#[derive(Debug)]
struct Charge {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Charge {
    fn new(total: &Arc<AtomicUsize>, bytes: usize) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Self {
            total: Arc::clone(total),
            bytes,
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_are_looked_over() {
        let mut pool = Pool::new(PoolConfig::default());
        pool.room();
        assert_eq!((pool.blocks, pool.full.len()), (1, 0));
        let lent = pool.lend().unwrap();
        assert_eq!((pool.blocks, pool.full.len()), (2, 0));
        pool.give_back(lent);
        assert_eq!((pool.blocks, pool.full.len()), (2, 1));
        let mut pool = Pool::new(PoolConfig::default());
        let _lent = pool.lend().unwrap();
        pool.room();
        assert_eq!((pool.blocks, pool.full.len()), (2, 0));
    }

    #[test]
    fn a_lent_block_comes_again_when_nobody_refers_to_it() {
        let mut pool = Pool::new(PoolConfig {
            block_bytes: 100,
            limit_bytes: 250,
        });
        let (mut first, second) = (pool.lend().unwrap(), pool.lend().unwrap());
        first.extend_from_slice(b"received");
        let segment = first.split().freeze();
        pool.give_back(first);
        assert!(pool.lend().is_none(), "a third block is beyond the limit");
        assert_eq!(pool.stats().fallbacks, 1);
        drop((segment, second));
        let again = pool.lend().unwrap();
        assert_eq!((again.len(), again.capacity()), (0, 100));
        assert_eq!(pool.stats().allocations, 2);
    }
}
