//! What several tests need.

use bytes::Bytes;
use futures::executor::block_on;
use futures::future::{Either, select};
use log_broker::record::{self, Record};
use log_broker::{Batch, Log, Options, Recovery};
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

/// How long something may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let late = pin!(kettle::sleep(PATIENCE));
    match block_on(select(pin!(future), late)) {
        Either::Left((value, _)) => value,
        Either::Right(_) => panic!("it takes more than {PATIENCE:?}"),
    }
}

/// Small segments with many points.
pub fn options() -> Options {
    Options {
        segment_bytes: 1000,
        index_bytes: 100,
        ..Options::default()
    }
}

pub fn open(directory: &Path, options: Options) -> (Log, Recovery) {
    Log::open(directory, options).unwrap()
}

pub fn payload(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

/// Adds `record 0`, `record 1` and so on, one at a time, as the offsets say.
pub fn fill(log: &Log, count: u64) {
    for _ in 0..count {
        let next = log.bounds().1;
        let added = wait(log.append(vec![payload(format!("record {next}"))]));
        assert_eq!(added.unwrap(), next..next + 1);
    }
}

/// The records of a batch, read from the file.
pub fn records(batch: &Batch) -> Vec<Record> {
    let mut bytes = vec![0; batch.region.len() as usize];
    let file = batch.region.file();
    file.read_exact_at(&mut bytes, batch.region.offset())
        .unwrap();
    split(bytes.into(), batch.first_offset, batch.next_offset)
}

/// Splits records that lie next to each other.
pub fn split(mut bytes: Bytes, first_offset: u64, next_offset: u64) -> Vec<Record> {
    let offsets = first_offset..next_offset;
    let records = offsets.map(|offset| record::take(&mut bytes, offset).unwrap());
    let records = records.collect();
    assert!(
        bytes.is_empty(),
        "{} bytes follow the last record",
        bytes.len()
    );
    records
}
