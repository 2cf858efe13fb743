//! Which bytes of a range have come.

use crate::checksum::Checksum;
use std::collections::BTreeMap;
use std::ops::Range;

/// The pieces of a range that have come, with their checksums. Pieces that touch are joined.
#[derive(Debug)]
pub(super) struct Pieces {
    range: Range<u64>,
    /// By where they begin.
    pieces: BTreeMap<u64, (u64, Checksum)>,
    bytes: u64,
}

impl Pieces {
    /// Nothing has come of this range.
    pub(super) fn new(range: Range<u64>) -> Self {
        Self {
            range,
            pieces: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// A piece has come, which lies in the range and does not overlap with another. False when it does.
    pub(super) fn add(&mut self, piece: Range<u64>, checksum: Checksum) -> bool {
        let Range { mut start, mut end } = piece;
        if end <= start {
            return start == end;
        }
        let before = self.pieces.range(..end).next_back();
        let before = before.map(|(&start, &(end, checksum))| (start, end, checksum));
        let overlaps = before.is_some_and(|(_, end, _)| start < end);
        if overlaps || start < self.range.start || self.range.end < end {
            return false;
        }
        self.bytes += end - start;
        let mut checksum = checksum;
        if let Some((first, _, sum)) = before.filter(|(_, end, _)| *end == start) {
            checksum = sum.join(checksum, end - start);
            start = first;
        }
        if let Some((after, sum)) = self.pieces.remove(&end) {
            checksum = checksum.join(sum, after - end);
            end = after;
        }
        self.pieces.insert(start, (end, checksum));
        true
    }

    /// How many bytes have come.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.pieces.iter().map(|(&start, &(end, _))| start..end)
    }

    /// What has not come, front first.
    pub(super) fn gaps(&self) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = self.range.start;
        for piece in self.ranges() {
            if at < piece.start {
                gaps.push(at..piece.start);
            }
            at = piece.end;
        }
        if at < self.range.end {
            gaps.push(at..self.range.end);
        }
        gaps
    }

    /// The checksum, when all has come.
    pub(super) fn checksum(&self) -> Option<Checksum> {
        if self.range.is_empty() {
            return Some(Checksum::default());
        }
        let (&start, &(end, checksum)) = self.pieces.first_key_value()?;
        (start == self.range.start && end == self.range.end).then_some(checksum)
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // one range is meant, not its numbers
mod tests {
    use super::*;
    use kettle::{Chain, Segment};

    fn content() -> Vec<u8> {
        (0..1000u32).map(|n| (n % 251) as u8).collect()
    }

    fn sum(range: Range<u64>) -> Checksum {
        let bytes = &content()[range.start as usize..range.end as usize];
        Checksum::of(&Chain::from(Segment::copy_from_slice(bytes)))
    }

    fn add(pieces: &mut Pieces, range: Range<u64>) -> bool {
        pieces.add(range.clone(), sum(range))
    }

    #[test]
    fn pieces_in_any_order_become_one() {
        let parts = [0..10, 10..11, 11..500, 500..1000];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut pieces = Pieces::new(0..1000);
            for (count, part) in order.iter().enumerate() {
                assert_eq!(pieces.checksum(), None, "{count}");
                assert!(add(&mut pieces, parts[*part].clone()));
            }
            assert_eq!(pieces.checksum(), Some(sum(0..1000)), "{order:?}");
            assert_eq!((pieces.bytes(), pieces.gaps()), (1000, vec![]));
        }
    }

    #[test]
    fn gaps_are_what_has_not_come() {
        let mut pieces = Pieces::new(100..1000);
        assert_eq!(pieces.gaps(), [100..1000]);
        for range in [200..300, 999..1000, 100..101] {
            assert!(add(&mut pieces, range));
        }
        assert_eq!(pieces.gaps(), [101..200, 300..999]);
        assert_eq!(pieces.bytes(), 102);
    }

    #[test]
    fn what_overlaps_or_lies_outside_is_refused() {
        let mut pieces = Pieces::new(100..1000);
        assert!(add(&mut pieces, 200..300));
        for range in [199..201, 299..301, 200..300, 150..400, 250..260, 99..101] {
            assert!(!add(&mut pieces, range.clone()), "{range:?}");
        }
        assert!(!pieces.add(900..1001, Checksum::default()));
        assert_eq!(pieces.bytes(), 100);
    }

    #[test]
    fn an_empty_range_is_whole() {
        assert_eq!(Pieces::new(5..5).checksum(), Some(Checksum::default()));
    }
}
