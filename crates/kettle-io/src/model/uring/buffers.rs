//! The buffers that the kernel receives into: blocks of the pool, in a ring that is shared with it.
//!
//! ```text
//!   ring       [ block 3 ] [ block 1 ] [ block 7 ]     the kernel takes the first when bytes come
//!   block 3    [ received, shared as segments | room ]     and leaves the rest for the next receive
//! ```
//!
//! So an idle connection pins no memory, and small receives share a block. The ring begins with one
//! block; each time that the kernel found none left it gets twice as many, and fewer after a while
//! without need. At the pool's limit it has one small buffer, out of which bytes are copied.
#![expect(unsafe_code, reason = "the kernel writes into the blocks")]

use super::ring::Ring;
use crate::{UringFeatures, sys};
use bytes::BytesMut;
use kettle_buf::{Pool, Segment};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Blocks that the kernel holds at most, 4 MiB of the default size: a buffer for each of 64 connections
/// that fill one in the same turn.
const BLOCKS_MAX: usize = 64;

/// The number of the small buffer; those below are blocks.
const SMALL: u16 = BLOCKS_MAX as u16;

/// Size of the small buffer in bytes, as the pool's own at its limit.
const SMALL_BYTES: usize = 4 * 1024;

/// Places in the ring, a power of two (io_uring_register_buf_ring(3)).
const PLACES: u16 = 128;

/// What is left of a block is used again from this many bytes on, as in the pool.
const ROOM_BYTES_MIN: usize = 16 * 1024;

/// After so many turns with half of the blocks unused the ring gets one block fewer.
const CALM_TURNS: u32 = 256;

/// The provided buffers of one driver.
#[derive(Debug)]
pub(super) struct Buffers {
    shared: Box<Shared>,
    /// How many were ever given, as the kernel counts them.
    tail: u16,
    /// The memory behind each number that is in use.
    blocks: Vec<Option<BytesMut>>,
    block_bytes: usize,
    /// Numbers that the kernel has done with since the last turn.
    spent: Vec<u16>,
    free: Vec<u16>,
    /// How many the kernel holds.
    given: usize,
    /// How many it should hold.
    wanted: usize,
    /// A receive found none.
    starved: bool,
    calm: u32,
}

/// The ring as the kernel sees it, `struct io_uring_buf_ring` of `linux/io_uring.h`. Aligned to a page;
/// where pages are larger the kernel refuses, and the driver does without.
#[derive(Debug)]
#[repr(C, align(4096))]
struct Shared([Place; PLACES as usize]);

/// `struct io_uring_buf`.
#[derive(Debug, Default)]
#[repr(C)]
struct Place {
    address: AtomicU64,
    bytes: AtomicU32,
    number: AtomicU16,
    /// In the first place the ring's tail, else unused.
    tail: AtomicU16,
}

impl Buffers {
    /// Registers a ring of buffers, unless the kernel has none.
    pub(super) fn new(ring: &mut Ring, wanted: UringFeatures, block_bytes: usize) -> Option<Self> {
        let shared = Box::new(Shared(std::array::from_fn(|_| Place::default())));
        let address = std::ptr::from_ref(&*shared) as u64;
        // SAFETY: the box is aligned to a page and all its fields are atomic. The driver drops or
        // leaks it after the ring.
        unsafe { ring.register_buffers(address, PLACES, wanted) };
        ring.features().buffer_ring.then(|| Self {
            shared,
            tail: 0,
            blocks: (0..=SMALL).map(|_| None).collect(),
            block_bytes,
            spent: Vec::new(),
            free: (0..SMALL).rev().collect(),
            given: 0,
            wanted: 1,
            starved: false,
            calm: 0,
        })
    }

    /// The bytes of a receive, which went to the front of this buffer. With `more` the kernel keeps
    /// the rest.
    pub(super) fn take(&mut self, number: u16, bytes: usize, more: bool) -> Segment {
        let Some(block) = &mut self.blocks[usize::from(number)] else {
            return Segment::new();
        };
        // SAFETY: the kernel has written this many bytes to where the block's room began when it got
        // the block, and begins since the last split.
        unsafe { sys::commit(block, bytes) };
        let received = block.split();
        if !more {
            self.given -= 1;
            self.spent.push(number);
        }
        match number {
            SMALL => Segment::copy_from_slice(&received),
            _ => received.freeze().into(),
        }
    }

    /// Takes note that a receive found no buffer.
    pub(super) fn starve(&mut self) {
        self.starved = true;
    }

    /// Gives the kernel as many blocks as it should hold, if the pool has them. Once per turn.
    pub(super) fn refill(&mut self, pool: &mut Pool) {
        self.adapt();
        for at in 0..self.spent.len() {
            self.renew(self.spent[at], pool);
        }
        self.spent.clear();
        while self.given < self.wanted {
            let Some(number) = self.free.pop() else {
                return;
            };
            let Some(block) = pool.lend() else {
                self.free.push(number);
                break;
            };
            self.give(number, block);
        }
        if self.given == 0 {
            self.give(SMALL, BytesMut::with_capacity(SMALL_BYTES));
        }
    }

    /// Decides how many blocks the kernel should hold.
    fn adapt(&mut self) {
        if std::mem::take(&mut self.starved) {
            (self.wanted, self.calm) = ((2 * self.wanted).min(BLOCKS_MAX), 0);
        } else if 2 * self.spent.len() < self.wanted {
            self.calm += 1;
        } else {
            self.calm = 0;
        }
        if CALM_TURNS <= self.calm {
            (self.wanted, self.calm) = ((self.wanted - 1).max(1), 0);
        }
    }

    /// Gives a spent block again, or back to the pool.
    fn renew(&mut self, number: u16, pool: &mut Pool) {
        let Some(mut block) = self.blocks[usize::from(number)].take() else {
            return;
        };
        if number == SMALL {
            return;
        }
        let room = ROOM_BYTES_MIN.min(self.block_bytes);
        let usable = block.try_reclaim(self.block_bytes) || room <= block.capacity();
        if usable && self.given < self.wanted {
            self.give(number, block);
        } else {
            self.free.push(number);
            pool.give_back(block);
        }
    }

    fn give(&mut self, number: u16, mut block: BytesMut) {
        let room = block.spare_capacity_mut();
        let place = &self.shared.0[usize::from(self.tail % PLACES)];
        let address = room.as_mut_ptr() as u64;
        place.address.store(address, Ordering::Relaxed);
        place.bytes.store(room.len() as u32, Ordering::Relaxed);
        place.number.store(number, Ordering::Relaxed);
        self.blocks[usize::from(number)] = Some(block);
        self.tail = self.tail.wrapping_add(1);
        self.given += 1;
        self.shared.0[0].tail.store(self.tail, Ordering::Release);
    }
}
