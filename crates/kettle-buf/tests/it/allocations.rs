//! What the usual ways through this crate allocate.

use crate::pattern;
use allocation_counter::measure;
use kettle_buf::{Chain, Payload, Pool, PoolConfig, Segment};

/// Ten thousand connections that each sent half a frame hold 8 KiB each at most, all told.
#[test]
fn half_frames_do_not_hold_blocks() {
    const CONNECTIONS: usize = 10_000;
    // 4095 bytes is the longest rest that a protocol machine copies out.
    for half in [1, 300, 4095] {
        let bytes = pattern(half, 1);
        let memory = measure(|| {
            let mut pool = Pool::new(PoolConfig::default());
            let mut rests: Vec<Chain> = Vec::new();
            for _ in 0..CONNECTIONS {
                pool.room().extend_from_slice(&bytes);
                let received = pool.take();
                rests.push(Segment::copy_from_slice(&received).into());
            }
        });
        let each = memory.bytes_max as usize / CONNECTIONS;
        assert!(
            each < 8 * 1024,
            "{each} bytes per connection that holds {half}"
        );
    }
}

/// Whole receives that stay where they are share blocks too: what a connection holds is what it
/// received, and its part of what is left over at the end of a block.
#[test]
fn received_segments_share_blocks() {
    let mut pool = Pool::new(PoolConfig::default());
    let bytes = pattern(5000, 1);
    let mut segments = Vec::new();
    for _ in 0..1000 {
        pool.room().extend_from_slice(&bytes);
        segments.push(pool.take());
    }
    assert!(pool.stats().bytes / 1000 < 8 * 1024, "{:?}", pool.stats());
}

#[test]
fn a_chain_of_one_segment_does_not_allocate() {
    let segment = Segment::from(pattern(100, 1));
    let through = measure(|| {
        let mut chain = Chain::from(segment);
        drop(chain.cut(10));
        drop(chain.slice(5, 20));
        chain.advance(10);
        let mut other = Chain::new();
        other.append_chain(chain);
        let mut out = [0; 8];
        assert!(other.peek(&mut out));
        drop(other.into_segment());
    });
    // The count that the first cut makes the segment's memory share.
    assert_eq!(through.count_total, 1);
}

#[test]
fn a_whole_chain_is_taken_as_it_is() {
    let mut chain = Chain::new();
    (0..3).for_each(|seed| chain.append(pattern(100, seed).into()));
    let moved = measure(|| {
        let mut empty = Chain::new();
        empty.append_chain(chain.cut(300));
        chain = empty;
    });
    assert_eq!((moved.count_total, chain.segment_count()), (0, 3));
}

#[test]
fn a_payload_of_small_pieces_is_one_allocation() {
    let segment = Segment::from(pattern(100, 1));
    let built = measure(|| {
        let mut payload = Payload::new();
        payload.put_slice(b"header");
        payload.append(segment);
        let mut outbox = Payload::new();
        outbox.append_payload(payload);
        assert_eq!(outbox.as_slice().map(<[u8]>::len), Some(106));
        outbox.advance(50);
        drop(outbox.cut(56));
    });
    assert_eq!(built.count_total, 1);
}

#[test]
fn a_linked_segment_costs_the_queue_and_its_room() {
    let segment = Segment::from(pattern(100_000, 1));
    let built = measure(|| drop(Payload::from(segment)));
    assert_eq!(built.count_total, 2);
}
