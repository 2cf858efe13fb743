//! A chain is a flat vector that never copies.

use crate::{bytes, upto};
use bytes::{Buf, Bytes};
use kettle_buf::{Chain, Segment};
use proptest::prelude::*;
use proptest::sample::Index;
use std::io::IoSlice;
use std::ops::Range;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<u8>),
    Prepend(Vec<u8>),
    AppendChain(Vec<Vec<u8>>),
    Cut(Index),
    CutAndAppend(Index),
    Slice(Index, Index),
    Advance(Index),
    Peek(usize),
    CopyToBytes(Index),
    CopyToSlice(Index),
    Gather,
}

fn op() -> impl Strategy<Value = Op> {
    let some = || bytes(0..12usize);
    prop_oneof![
        3 => some().prop_map(Op::Append),
        2 => some().prop_map(Op::Prepend),
        2 => prop::collection::vec(some(), 0..4).prop_map(Op::AppendChain),
        1 => any::<Index>().prop_map(Op::Cut),
        2 => any::<Index>().prop_map(Op::CutAndAppend),
        2 => any::<(Index, Index)>().prop_map(|(a, b)| Op::Slice(a, b)),
        1 => any::<Index>().prop_map(Op::Advance),
        1 => (0..40usize).prop_map(Op::Peek),
        1 => any::<Index>().prop_map(Op::CopyToBytes),
        1 => any::<Index>().prop_map(Op::CopyToSlice),
        1 => Just(Op::Gather),
    ]
}

/// A chain, what it should hold, and all memory that was ever put in.
#[derive(Default)]
struct Test {
    chain: Chain,
    model: Vec<u8>,
    memory: Vec<Bytes>,
}

fn addresses(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr().addr();
    start..start + bytes.len()
}

impl Test {
    fn segment(&mut self, bytes: Vec<u8>) -> Segment {
        let bytes = Bytes::from(bytes);
        self.memory.push(bytes.clone());
        bytes.into()
    }

    fn check(&self, chain: &Chain, expected: &[u8]) {
        assert_eq!(chain.to_vec(), expected);
        assert!(chain == expected);
        assert_eq!(
            (chain.len(), chain.is_empty()),
            (expected.len(), expected.is_empty())
        );
        assert_eq!(
            (chain.remaining(), chain.segments().count()),
            (chain.len(), chain.segment_count())
        );
        assert!(chain.segments().all(|segment| !segment.is_empty()));
        assert_eq!(
            chain.chunk(),
            chain.segments().next().map_or(&[][..], |first| first)
        );
        assert_eq!(chain.front(), chain.chunk());
        let mut slices = [IoSlice::new(&[]); 4];
        let count = chain.chunks_vectored(&mut slices);
        assert_eq!(count, chain.segment_count().min(4));
        assert!(
            slices[..count]
                .iter()
                .zip(chain.segments())
                .all(|(slice, segment)| **slice == **segment)
        );
        for segment in chain.segments() {
            let (part, mut known) = (addresses(segment), self.memory.iter().map(|b| addresses(b)));
            assert!(
                known.any(|all| all.start <= part.start && part.end <= all.end),
                "a copy"
            );
        }
    }

    fn apply(&mut self, op: Op) {
        let len = self.model.len();
        match op {
            Op::Append(bytes) => {
                self.model.extend(&bytes);
                let segment = self.segment(bytes);
                self.chain.append(segment);
            }
            Op::Prepend(bytes) => {
                self.model.splice(..0, bytes.iter().copied());
                let segment = self.segment(bytes);
                self.chain.prepend(segment);
            }
            Op::AppendChain(parts) => {
                let mut other = Chain::new();
                for part in parts {
                    self.model.extend(&part);
                    other.append(self.segment(part));
                }
                self.chain.append_chain(other);
            }
            Op::Cut(n) => {
                let front = self.chain.cut(upto(n, len));
                let expected: Vec<_> = self.model.drain(..upto(n, len)).collect();
                self.check(&front, &expected);
            }
            Op::CutAndAppend(n) => {
                let front = self.chain.cut(upto(n, len));
                self.chain.append_chain(front);
                self.model.rotate_left(upto(n, len));
            }
            Op::Slice(start, n) => {
                let start = upto(start, len);
                let n = upto(n, len - start);
                self.check(&self.chain.slice(start, n), &self.model[start..start + n]);
            }
            Op::Advance(n) => {
                self.chain.advance(upto(n, len));
                self.model.drain(..upto(n, len));
            }
            Op::Peek(n) => {
                let mut out = vec![0; n];
                assert_eq!(self.chain.peek(&mut out), n <= len);
                assert!(len < n || out == self.model[..n]);
            }
            Op::CopyToBytes(n) => {
                let copied = self.chain.copy_to_bytes(upto(n, len));
                assert!(self.model.drain(..upto(n, len)).eq(copied));
            }
            Op::CopyToSlice(n) => {
                let mut out = vec![0; upto(n, len)];
                self.chain.copy_to_slice(&mut out);
                assert!(self.model.drain(..out.len()).eq(out));
            }
            Op::Gather => {
                let was_one = self.chain.segment_count() < 2;
                let segment = self.chain.clone().into_segment();
                assert_eq!(*segment, *self.model);
                assert_eq!(segment.as_ptr() == self.chain.front().as_ptr(), was_one);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_chain_is_a_flat_vector(ops in prop::collection::vec(op(), 0..40)) {
        let mut test = Test::default();
        for op in ops {
            test.apply(op);
            test.check(&test.chain, &test.model);
        }
    }
}

#[test]
#[should_panic(expected = "cut(4) of a chain of 3 bytes")]
fn cut_beyond_the_end() {
    let _ = Chain::from(Segment::from("tea")).cut(4);
}

#[test]
#[should_panic(expected = "advance(4) of a chain of 3 bytes")]
fn advance_beyond_the_end() {
    Chain::from(Segment::from("tea")).advance(4);
}

#[test]
#[should_panic(expected = "slice(2, 18446744073709551615) of 3 bytes")]
fn slice_beyond_the_end() {
    Chain::from(Segment::from("tea")).slice(2, usize::MAX);
}
