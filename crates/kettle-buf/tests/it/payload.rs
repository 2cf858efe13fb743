//! A payload is a flat vector, whatever is copied, linked, or still in a file.

use crate::{bytes, pattern, upto};
use bytes::BytesMut;
use kettle_buf::{Chain, Encode, FileRegion, LINK_BYTES_MIN, Payload, Piece, Segment};
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, LazyLock};

const FILE_BYTES: usize = 100_000;

static FILE: LazyLock<Arc<File>> = LazyLock::new(|| {
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    file.write_all(&file_bytes())
        .expect("a temporary file can be written");
    Arc::new(file)
});

fn file_bytes() -> Vec<u8> {
    pattern(FILE_BYTES, 7)
}

fn read(region: &FileRegion) -> Vec<u8> {
    let mut bytes = vec![0; region.len() as usize];
    region
        .file()
        .read_exact_at(&mut bytes, region.offset())
        .expect("the region is in the file");
    bytes
}

fn gather(slices: &[IoSlice<'_>]) -> Vec<u8> {
    slices
        .iter()
        .flat_map(|slice| slice.iter().copied())
        .collect()
}

#[derive(Clone, Debug)]
enum Op {
    PutSlice(Vec<u8>),
    Append(Vec<u8>),
    AppendChain(Vec<Vec<u8>>),
    AppendRegion(usize, usize),
    AppendPayload(Vec<Op>),
    TakeOver(Vec<u8>),
    Cut(Index),
    CutAndAppend(Index),
    Advance(Index),
}

fn some() -> impl Strategy<Value = Vec<u8>> {
    bytes(prop_oneof![
        6 => 0..50usize,
        1 => 0..3 * LINK_BYTES_MIN,
        2 => LINK_BYTES_MIN - 1..LINK_BYTES_MIN + 2,
    ])
}

fn op() -> impl Strategy<Value = Op> {
    let region = (0..FILE_BYTES, 0..200usize).prop_map(|(at, len)| (at, len.min(FILE_BYTES - at)));
    let building = prop_oneof![
        4 => some().prop_map(Op::PutSlice),
        4 => some().prop_map(Op::Append),
        2 => prop::collection::vec(some(), 0..4).prop_map(Op::AppendChain),
        2 => region.prop_map(|(at, len)| Op::AppendRegion(at, len)),
        1 => some().prop_map(Op::TakeOver),
    ]
    .boxed();
    prop_oneof![
        12 => building.clone(),
        3 => prop::collection::vec(building, 0..6).prop_map(Op::AppendPayload),
        2 => any::<Index>().prop_map(Op::Cut),
        3 => any::<Index>().prop_map(Op::CutAndAppend),
        2 => any::<Index>().prop_map(Op::Advance),
    ]
}

/// A payload and what it should hold.
#[derive(Default)]
struct Test {
    payload: Payload,
    model: Vec<u8>,
}

impl Test {
    fn apply(&mut self, op: Op) {
        let len = self.model.len();
        match op {
            Op::PutSlice(bytes) => {
                self.payload.put_slice(&bytes);
                self.model.extend(bytes);
            }
            Op::Append(bytes) => {
                self.model.extend(&bytes);
                self.payload.append(bytes.into());
            }
            Op::AppendChain(parts) => {
                self.model.extend(parts.concat());
                let mut chain = Chain::new();
                parts.into_iter().for_each(|part| chain.append(part.into()));
                self.payload.append_chain(chain);
            }
            Op::AppendRegion(at, len) => {
                let region = FileRegion::new(Arc::clone(&FILE), at as u64, len as u64);
                self.payload.append_region(region);
                self.model.extend(&file_bytes()[at..at + len]);
            }
            Op::AppendPayload(ops) => {
                let mut other = Test::default();
                ops.into_iter().for_each(|op| other.apply(op));
                self.payload.append_payload(other.payload);
                self.model.extend(other.model);
            }
            Op::TakeOver(bytes) => {
                self.payload
                    .append_payload(Payload::from(BytesMut::from(&bytes[..])));
                self.model.extend(bytes);
            }
            Op::Cut(n) => {
                let front = self.payload.cut(upto(n, len) as u64);
                let model = self.model.drain(..upto(n, len)).collect();
                Test {
                    payload: front,
                    model,
                }
                .take_apart();
            }
            Op::CutAndAppend(n) => {
                let front = self.payload.cut(upto(n, len) as u64);
                self.payload.append_payload(front);
                self.model.rotate_left(upto(n, len));
            }
            Op::Advance(n) => {
                self.payload.advance(upto(n, len) as u64);
                self.model.drain(..upto(n, len));
            }
        }
    }

    fn check(&self) {
        let (payload, model) = (&self.payload, &self.model);
        assert_eq!(
            (payload.len(), payload.is_empty()),
            (model.len() as u64, model.is_empty())
        );
        assert!(payload.as_slice().is_none_or(|bytes| bytes == model));
        for width in [1, 3, 64] {
            let mut slices = vec![IoSlice::new(&[]); width];
            let count = payload.io_slices(&mut slices);
            assert!(slices[..count].iter().all(|slice| !slice.is_empty()));
            let bytes = gather(&slices[..count]);
            assert_eq!(bytes, model[..bytes.len()]);
            match payload.front_region() {
                Some(region) => assert_eq!(
                    (count, read(region)),
                    (0, model[..region.len() as usize].into())
                ),
                None => assert_eq!(count == 0, model.is_empty()),
            }
            assert!(payload.has_regions() || width < 64 || bytes.len() == model.len());
        }
    }

    /// As a driver sends it: some at a time, slices and regions in turns.
    fn send(mut self, step: usize) {
        while !self.payload.is_empty() {
            self.check();
            let bytes = match self.payload.front_region() {
                Some(region) => read(region),
                None => {
                    let mut slices = [IoSlice::new(&[]); 3];
                    let count = self.payload.io_slices(&mut slices);
                    gather(&slices[..count])
                }
            };
            let n = step.min(bytes.len());
            assert_eq!(bytes[..n], self.model[..n]);
            self.model.drain(..n);
            self.payload.advance(n as u64);
        }
        assert!(self.model.is_empty());
    }

    /// As one who wants all of it at once: a chain without regions, else the pieces.
    fn take_apart(self) {
        self.check();
        let has_regions = self.payload.has_regions();
        match self.payload.into_chain() {
            Ok(chain) => {
                assert!(!has_regions && chain == *self.model);
            }
            Err(payload) => {
                assert!(has_regions);
                let bytes = payload.into_pieces().flat_map(|piece| {
                    assert!(!piece.is_empty());
                    match piece {
                        Piece::Memory(segment) => segment.to_vec(),
                        Piece::File(region) => read(&region),
                    }
                });
                assert!(bytes.eq(self.model));
            }
        }
    }
}

proptest! {
    #[test]
    fn a_payload_is_a_flat_vector(ops in prop::collection::vec(op(), 0..20), step in 1..90_000usize) {
        let mut test = Test::default();
        for op in ops {
            test.apply(op);
            test.check();
        }
        test.send(step);
    }
}

fn slices(payload: &Payload) -> usize {
    payload.io_slices(&mut [IoSlice::new(&[]); 16])
}

#[test]
fn small_pieces_are_packed_and_large_ones_linked() {
    for (len, linked) in [(LINK_BYTES_MIN - 1, false), (LINK_BYTES_MIN, true)] {
        let segment = Segment::from(pattern(len, 1));
        let mut payload = Payload::from(Segment::from("head"));
        payload.append(segment.clone());
        payload.put_slice(b"tail");
        assert_eq!(slices(&payload), if linked { 3 } else { 1 });
        payload.advance(4);
        let mut out = [IoSlice::new(&[])];
        assert_eq!(payload.io_slices(&mut out), 1);
        assert_eq!(out[0].as_ptr() == segment.as_ptr(), linked);
    }
}

#[test]
fn a_payload_in_front_keeps_the_rule() {
    for (len, linked) in [(LINK_BYTES_MIN - 1, false), (LINK_BYTES_MIN, true)] {
        let mut payload = Payload::from(Segment::from("head"));
        payload.append_payload(BytesMut::from(&pattern(len, 1)[..]).into());
        assert_eq!(slices(&payload), if linked { 2 } else { 1 });
    }
}

#[test]
fn a_batch_of_small_replies_leaves_in_few_buffers() {
    let mut payload = Payload::new();
    for _ in 0..10_000 {
        payload.append_payload(Segment::from(pattern(150, 1)).into());
    }
    let pieces = payload.into_pieces().count();
    assert!(
        (1_500_000 / (128 * 1024)..=24).contains(&pieces),
        "{pieces} pieces"
    );
}

#[test]
fn memory_does_not_pass_a_region() {
    let mut payload = Payload::from(FileRegion::new(Arc::clone(&FILE), 5, 2));
    payload.put_slice(b"behind");
    assert_eq!((slices(&payload), payload.as_slice()), (0, None));
    assert_eq!(read(payload.front_region().unwrap()), file_bytes()[5..7]);
    payload.advance(2);
    assert_eq!(
        (payload.as_slice(), payload.has_regions()),
        (Some(&b"behind"[..]), false)
    );
}

#[test]
fn a_cut_between_pieces_leaves_no_empty_piece() {
    let large = || Segment::from(pattern(LINK_BYTES_MIN, 1));
    for front in [
        Payload::from(FileRegion::new(Arc::clone(&FILE), 5, 2)),
        large().into(),
    ] {
        let n = front.len();
        let mut payload = front;
        payload.put_slice(b"behind");
        assert_eq!(payload.cut(n).into_pieces().count(), 1);
        assert_eq!(payload.as_slice(), Some(&b"behind"[..]));
    }
}

#[test]
#[should_panic(expected = "cut(4) of a payload of 3 bytes")]
fn cut_beyond_the_end() {
    let _ = Payload::from(Segment::from("tea")).cut(4);
}

#[test]
#[should_panic(expected = "advance(4) of a payload of 3 bytes")]
fn advance_beyond_the_end() {
    Payload::from(Segment::from("tea")).advance(4);
}

/// Says that it has `says` bytes and has `bytes`; panics behind them when `panics`.
struct Odd<'a> {
    bytes: &'a [u8],
    says: usize,
    panics: bool,
}

impl Encode for Odd<'_> {
    fn encoded_len(&self) -> usize {
        self.says
    }

    fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.bytes);
        assert!(!self.panics, "as asked");
    }
}

#[test]
fn an_encoded_message_is_added_whole_or_not_at_all() {
    let odd = |bytes, says, panics| Odd {
        bytes,
        says,
        panics,
    };
    let mut payload = Payload::new();
    assert!(payload.put_encoded(b"head ", &odd(b"tea", 3, false), 3));
    for (wrong, says) in [(&b"te"[..], 3), (b"teas", 3), (b"", 1)] {
        assert!(!payload.put_encoded(b"head", &odd(wrong, says, false), says));
    }
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        payload.put_encoded(b"head", &odd(b"tea", 3, true), 3)
    }));
    assert!(panics.is_err());
    payload.put_slice(b" time");
    assert_eq!(payload.as_slice(), Some(&b"head tea time"[..]));
    assert_eq!(payload.len(), 13);
}
