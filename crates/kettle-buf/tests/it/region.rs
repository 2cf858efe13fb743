//! A file region is a range of numbers.

use kettle_buf::FileRegion;
use proptest::prelude::*;
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

static FILE: LazyLock<Arc<File>> =
    LazyLock::new(|| Arc::new(File::open("/dev/null").expect("it is there")));

/// Some range, also beyond 4 GiB and up to the last byte that a file could have.
fn range() -> impl Strategy<Value = Range<u64>> {
    let start = prop_oneof![
        0..10_000u64,
        u64::from(u32::MAX) - 5_000..u64::from(u32::MAX) + 5_000,
        u64::MAX - 10_000..=u64::MAX,
    ];
    (start, 0..20_000u64).prop_map(|(start, len)| start..start.saturating_add(len))
}

fn check(region: &FileRegion, model: &Range<u64>) {
    assert_eq!(region.offset(), model.start);
    assert_eq!(region.len(), model.end - model.start);
    assert_eq!(region.is_empty(), model.is_empty());
    assert!(Arc::ptr_eq(region.file(), &FILE));
}

proptest! {
    /// Steps are parts of what is left, in 256ths; cut off, or dropped.
    #[test]
    fn a_region_is_cut_as_a_range(mut model in range(), steps in prop::collection::vec(any::<(u8, bool)>(), 0..20)) {
        let mut region = FileRegion::new(Arc::clone(&FILE), model.start, model.end - model.start);
        for (part, cut) in steps {
            let n = (model.end - model.start) * u64::from(part) / 255;
            let front = model.start..model.start + n;
            model.start += n;
            match cut {
                true => check(&region.split_to(n), &front),
                false => region.advance(n),
            }
            check(&region, &model);
        }
        let rest = region.len();
        region.advance(rest);
        check(&region, &(model.end..model.end));
    }
}

#[test]
#[should_panic(expected = "split_to(4) of a file region of 3 bytes")]
fn split_beyond_the_end() {
    let _ = FileRegion::new(Arc::clone(&FILE), 1, 3).split_to(4);
}

#[test]
#[should_panic(expected = "advance(4) of a file region of 3 bytes")]
fn advance_beyond_the_end() {
    FileRegion::new(Arc::clone(&FILE), 1, 3).advance(4);
}

#[test]
#[should_panic(expected = "ends beyond 2^64 bytes")]
fn a_region_beyond_all_files() {
    let _ = FileRegion::new(Arc::clone(&FILE), u64::MAX, 1);
}
