//! A pool gives blocks again, keeps its limit, and knows what it holds.

use crate::pattern;
use allocation_counter::measure;
use kettle_buf::{LargeBuffer, Pool, PoolConfig, Segment};
use proptest::prelude::*;
use proptest::sample::Index;

const BLOCK: usize = 32 * 1024;

fn pool_of(blocks: usize) -> Pool {
    Pool::new(PoolConfig {
        block_bytes: BLOCK,
        limit_bytes: blocks * BLOCK,
    })
}

/// Receives at most `n` bytes of a pattern.
fn receive(pool: &mut Pool, n: usize, seed: u32) -> Segment {
    let room = pool.room();
    assert!(room.is_empty());
    let n = n.min(room.capacity());
    room.extend_from_slice(&pattern(n, seed));
    let segment = pool.take();
    assert_eq!(segment.len(), n);
    segment
}

fn large_segment(mut buffer: LargeBuffer, n: usize) -> Segment {
    buffer.extend_from_slice(&pattern(n, 0));
    buffer.into_segment()
}

#[derive(Clone, Debug)]
enum Op {
    Receive(usize),
    Slice(Index, Index),
    Drop(Index),
    DropMany(Index),
    Large(usize),
    FillLarge(Index),
    DropLarge(Index),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..=BLOCK).prop_map(Op::Receive),
        4 => (1..200usize).prop_map(Op::Receive),
        1 => any::<(Index, Index)>().prop_map(|(which, at)| Op::Slice(which, at)),
        4 => any::<Index>().prop_map(Op::Drop),
        1 => any::<Index>().prop_map(Op::DropMany),
        2 => (1..4 * BLOCK).prop_map(Op::Large),
        1 => any::<Index>().prop_map(Op::FillLarge),
        1 => any::<Index>().prop_map(Op::DropLarge),
    ]
}

/// A segment, what it must hold, and where its memory is.
#[derive(Clone)]
struct Held {
    segment: Segment,
    expected: Vec<u8>,
    origin: Origin,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Origin {
    /// In the block that starts at this address.
    Block(usize),
    /// In a large buffer of this size.
    Large { id: u32, bytes: usize },
    /// In a copy of this size, made at the limit.
    Copy { id: u32, bytes: usize },
    /// It is empty.
    Nothing,
}

struct Test {
    pool: Pool,
    limit: usize,
    held: Vec<Held>,
    large: Vec<(LargeBuffer, Origin)>,
    /// Where blocks start that the pool has allocated, though it may have freed some again.
    bases: Vec<usize>,
    seed: u32,
}

impl Test {
    fn new(blocks: usize) -> Self {
        let (pool, limit) = (pool_of(blocks), blocks * BLOCK);
        Self {
            pool,
            limit,
            held: Vec::new(),
            large: Vec::new(),
            bases: Vec::new(),
            seed: 0,
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Receive(n) => self.receive(n),
            Op::Slice(which, at) if !self.held.is_empty() => {
                let mut held = which.get(&self.held).clone();
                let at = at.index(held.expected.len() + 1);
                held.segment.advance(at);
                held.expected.drain(..at);
                self.held.push(held);
            }
            Op::Drop(which) if !self.held.is_empty() => {
                self.held.swap_remove(which.index(self.held.len()));
            }
            Op::DropMany(n) => self.held.truncate(n.index(self.held.len() + 1)),
            Op::Large(bytes) => self.large(bytes),
            Op::FillLarge(which) if !self.large.is_empty() => {
                let (buffer, origin) = self.large.swap_remove(which.index(self.large.len()));
                let Origin::Large { bytes, .. } = origin else {
                    unreachable!()
                };
                let segment = large_segment(buffer, bytes);
                self.held.push(Held {
                    segment,
                    expected: pattern(bytes, 0),
                    origin,
                });
            }
            Op::DropLarge(which) if !self.large.is_empty() => {
                self.large.swap_remove(which.index(self.large.len()));
            }
            _ => (),
        }
    }

    fn receive(&mut self, n: usize) {
        self.seed += 1;
        let before = self.pool.stats();
        let address = self.pool.room().as_ptr().addr();
        let after = self.pool.stats();
        let is_small = before.fallbacks < after.fallbacks;
        if before.allocations < after.allocations {
            // The allocator may use the memory of a freed block again, elsewhere cut.
            self.bases.retain(|base| base.abs_diff(address) >= BLOCK);
            self.bases.push(address);
        }
        if is_small {
            assert!(
                self.limit < after.bytes + BLOCK,
                "small although there was memory"
            );
            let used = self.blocks_in_use();
            assert_eq!(
                after.bytes - self.large_bytes(),
                used * BLOCK,
                "small beside a free block"
            );
        }
        let n = n.min(self.pool.room().capacity());
        let segment = receive(&mut self.pool, n, self.seed);
        let origin = match is_small {
            _ if n == 0 => Origin::Nothing,
            true => Origin::Copy {
                id: self.seed,
                bytes: n,
            },
            false => Origin::Block(self.base_of(address)),
        };
        self.held.push(Held {
            segment,
            expected: pattern(n, self.seed),
            origin,
        });
    }

    fn base_of(&self, address: usize) -> usize {
        let mut bases = self.bases.iter().copied();
        let base = bases.find(|base| (*base..base + BLOCK).contains(&address));
        base.expect("room is in a block that was allocated")
    }

    fn large(&mut self, bytes: usize) {
        let before = self.large_bytes();
        match self.pool.large(bytes) {
            Some(buffer) => {
                assert!(bytes <= buffer.capacity() && before + bytes <= self.limit / 2);
                self.seed += 1;
                self.large.push((
                    buffer,
                    Origin::Large {
                        id: self.seed,
                        bytes,
                    },
                ));
            }
            None => assert!(
                self.limit / 2 < before + bytes
                    || self.limit < self.blocks_in_use() * BLOCK + before + bytes + BLOCK,
            ),
        }
    }

    fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = Vec::new();
        let held = self.held.iter().map(|held| held.origin);
        for origin in held.chain(self.large.iter().map(|(_, origin)| *origin)) {
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        origins
    }

    fn large_bytes(&self) -> usize {
        let bytes = |origin| {
            if let Origin::Large { bytes, .. } = origin {
                bytes
            } else {
                0
            }
        };
        self.origins().into_iter().map(bytes).sum()
    }

    fn blocks_in_use(&self) -> usize {
        self.origins()
            .iter()
            .filter(|origin| matches!(origin, Origin::Block(_)))
            .count()
    }

    fn check(&self) {
        let bytes = self.pool.stats().bytes;
        let blocks = bytes - self.large_bytes();
        assert!(bytes <= self.limit, "{bytes} over the limit");
        assert!(
            blocks.is_multiple_of(BLOCK),
            "{blocks} are not whole blocks"
        );
        assert!(
            self.blocks_in_use() * BLOCK <= blocks,
            "blocks in use are not counted"
        );
        for held in &self.held {
            assert!(*held.segment == *held.expected, "a segment changed");
        }
    }

    /// Bytes on the heap that are the tests' own, or copies made at the limit.
    fn beside_the_pool(&self) -> usize {
        let held = self.held.capacity() * size_of::<Held>();
        let expected: usize = self.held.iter().map(|held| held.expected.capacity()).sum();
        let copy = |origin| {
            if let Origin::Copy { bytes, .. } = origin {
                bytes
            } else {
                0
            }
        };
        let copies: usize = self.origins().into_iter().map(copy).sum();
        held + expected
            + copies
            + self.large.capacity() * size_of::<(LargeBuffer, Origin)>()
            + self.bases.capacity() * size_of::<usize>()
    }
}

proptest! {
    #[test]
    fn the_limit_holds_and_segments_do_not_change(
        ops in prop::collection::vec(op(), 0..120), blocks in 1..12usize,
    ) {
        let mut test = Test::new(blocks);
        for op in &ops {
            test.apply(op);
            test.check();
        }
    }

    /// What the pool says that it holds is what it has allocated and not freed.
    #[test]
    fn the_accounts_are_those_of_the_allocator(
        ops in prop::collection::vec(op(), 0..120), blocks in 1..60usize,
    ) {
        let mut test = None;
        let on_heap = measure(|| {
            let mut running = Test::new(blocks);
            ops.iter().for_each(|op| running.apply(op));
            test = Some(running);
        });
        let test = test.unwrap();
        let on_heap = on_heap.bytes_current as usize - test.beside_the_pool();
        let accounted = test.pool.stats().bytes;
        // The 4 KiB for receives at the limit, reference counts, and the lists.
        let overhead = 8 * 1024 + 200 * (blocks + test.held.len());
        prop_assert!(
            accounted <= on_heap && on_heap <= accounted + overhead,
            "{accounted} accounted, {on_heap} on the heap, overhead {overhead}"
        );
    }
}

#[test]
fn small_receives_share_a_block() {
    let mut pool = pool_of(4);
    let segments: Vec<_> = (0..16).map(|seed| receive(&mut pool, 1024, seed)).collect();
    assert_eq!((pool.stats().bytes, pool.stats().allocations), (BLOCK, 1));
    let next = |pair: &[Segment]| pair[0].as_ptr().addr() + 1024 == pair[1].as_ptr().addr();
    assert!(segments.windows(2).all(next));
}

#[test]
fn an_empty_receive_holds_no_block() {
    let mut pool = pool_of(1);
    let data = receive(&mut pool, BLOCK, 0);
    drop(data);
    let _end_of_stream = receive(&mut pool, 0, 0);
    assert_eq!(receive(&mut pool, BLOCK, 0).len(), BLOCK);
    assert_eq!(receive(&mut pool, BLOCK, 0).len(), BLOCK);
}

#[test]
fn nothing_is_allocated_once_blocks_go_round() {
    let mut pool = pool_of(64);
    let mut held = std::collections::VecDeque::with_capacity(8);
    let bytes = pattern(5000, 1);
    let mut go_round = |times| {
        for _ in 0..times {
            pool.room().extend_from_slice(&bytes);
            held.push_back(pool.take());
            if held.len() == 8 {
                held.pop_front();
            }
        }
    };
    go_round(100);
    assert_eq!(measure(|| go_round(10_000)).count_total, 0);
}

#[test]
fn one_block_held_for_long_does_not_hide_the_others() {
    let mut pool = pool_of(64);
    let _long: Vec<_> = (0..6).map(|seed| receive(&mut pool, BLOCK, seed)).collect();
    let mut window = [Segment::new(), Segment::new()];
    for seed in 0..1000 {
        window[seed as usize % 2] = receive(&mut pool, BLOCK, seed);
    }
    let allocations = pool.stats().allocations;
    assert!(
        allocations <= 6 + 8,
        "{allocations} blocks where 8 are in use"
    );
}

#[test]
fn spare_blocks_are_freed_after_a_burst() {
    let mut pool = pool_of(1000);
    let burst: Vec<_> = (0..1000)
        .map(|seed| receive(&mut pool, BLOCK, seed))
        .collect();
    assert_eq!(pool.stats().bytes, 1000 * BLOCK);
    drop(burst);
    // A trickle, each piece dropped at once, as after rush hour.
    for seed in 0..1000 {
        receive(&mut pool, BLOCK, seed);
    }
    assert_eq!(pool.stats().bytes, (32 + 1) * BLOCK);
    assert_eq!(pool.stats().allocations, 1000);
}

#[test]
fn a_full_pool_gives_exact_copies_and_recovers() {
    let mut pool = pool_of(2);
    let blocks: Vec<_> = (0..2).map(|seed| receive(&mut pool, BLOCK, seed)).collect();
    assert_eq!(receive(&mut pool, BLOCK, 3).len(), 4096);
    let mut copy = None;
    let copies = measure(|| {
        pool.room().extend_from_slice(b"exact");
        copy = Some(pool.take());
    });
    assert_eq!(copy.as_deref(), Some(&b"exact"[..]));
    assert!(copies.bytes_current <= 5, "{copies:?}");
    assert_eq!((pool.stats().bytes, pool.stats().fallbacks), (2 * BLOCK, 2));

    drop(blocks);
    assert_eq!(receive(&mut pool, BLOCK, 4).len(), BLOCK);
    assert_eq!((pool.stats().bytes, pool.stats().fallbacks), (2 * BLOCK, 2));
}

#[test]
fn a_large_buffer_counts_until_its_last_segment_is_gone() {
    let mut pool = pool_of(8);
    let mut segment = large_segment(pool.large(100_000).unwrap(), 100_000);
    let part = segment.split_to(10);
    assert_eq!(pool.stats().bytes, 100_000);
    drop(segment);
    assert_eq!(pool.stats().bytes, 100_000);
    std::thread::spawn(move || drop(part)).join().unwrap();
    assert_eq!(pool.stats().bytes, 0);

    let unfilled = pool.large(5000).unwrap();
    assert_eq!(pool.stats().bytes, 5000);
    drop(unfilled);
    assert_eq!(pool.stats().bytes, 0);
}

#[test]
fn large_buffers_take_half_at_most() {
    let mut pool = pool_of(4);
    let _half = pool.large(2 * BLOCK).unwrap();
    assert!(pool.large(1).is_none() && pool.large(usize::MAX).is_none());
    assert_eq!((pool.stats().fallbacks, pool.stats().allocations), (2, 1));
}

#[test]
fn a_large_buffer_takes_the_place_of_spare_blocks() {
    let mut pool = pool_of(4);
    let blocks: Vec<_> = (0..4).map(|seed| receive(&mut pool, BLOCK, seed)).collect();
    assert!(pool.large(2 * BLOCK).is_none());
    drop(blocks);
    let _large = pool.large(2 * BLOCK).unwrap();
    assert_eq!(pool.stats().bytes, 4 * BLOCK);
}

#[test]
fn segments_outlive_their_pool() {
    let mut pool = pool_of(2);
    let segments = [
        receive(&mut pool, 100, 1),
        large_segment(pool.large(100).unwrap(), 100),
    ];
    drop(pool);
    assert_eq!(
        [&*segments[0], &*segments[1]],
        [pattern(100, 1), pattern(100, 0)]
    );
}
