//! The log through its handle, in one process.

use crate::harness::{fill, open, options, payload, records, wait};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::{join, join_all};
use log_broker::{AppendError, BATCH_RECORDS_MAX, Error, Fsync, Log, Options, OutOfRange};
use log_broker::{check, record};
use std::fs;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};
use tempfile::tempdir;

/// The files with records, oldest first.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|it| it.extension().is_some_and(|it| it == "log"))
        .collect();
    paths.sort();
    paths
}

/// All records from an offset on.
fn read(log: &Log, offset: u64, bytes_max: u64) -> Vec<record::Record> {
    let (mut all, mut next) = (Vec::new(), offset);
    while let Some(batch) = log.fetch(next, bytes_max).unwrap() {
        let wanted = records(&batch).into_iter().filter(|it| next <= it.offset);
        all.extend(wanted);
        next = batch.next_offset;
    }
    all
}

fn expect(log: &Log, offset: u64, count: u64, bytes_max: u64) {
    let found = read(log, offset, bytes_max);
    assert_eq!(found.len() as u64, count, "{offset}, {bytes_max}");
    for (record, offset) in found.iter().zip(offset..) {
        let text = payload(format!("record {offset}"));
        assert_eq!((record.offset, &record.payload), (offset, &text));
    }
}

#[test]
fn every_offset_can_be_read_in_steps_of_any_length() {
    let directory = tempdir().unwrap();
    let (log, _) = open(directory.path(), options());
    fill(&log, 100);
    assert!(
        3 <= segments(directory.path()).len(),
        "there are segments to cross"
    );
    for offset in 0..=100 {
        for bytes_max in [0, 1, 33, 100, 101, 250, 10_000] {
            expect(&log, offset, 100 - offset, bytes_max);
        }
    }
}

#[test]
fn a_batch_is_whole_records_within_its_limits() {
    let directory = tempdir().unwrap();
    let (log, _) = open(directory.path(), options());
    fill(&log, 100);
    for offset in 0..100 {
        for bytes_max in [0, 150, 400] {
            let batch = log.fetch(offset, bytes_max).unwrap().unwrap();
            records(&batch);
            let bytes = batch.region.len();
            assert!((batch.first_offset..batch.next_offset).contains(&offset));
            // To the next point at least: that lies less than 100 bytes and a record away.
            assert!(bytes <= bytes_max.max(100 + 33), "{bytes} of {bytes_max}");
            assert_eq!(batch.end_offset, 100);
        }
    }
}

#[test]
fn what_was_added_is_there_after_a_restart_whatever_the_sync() {
    for fsync in [Fsync::Always, Fsync::Interval, Fsync::Never] {
        let directory = tempdir().unwrap();
        let options = || Options { fsync, ..options() };
        for n in 0..3 {
            let (log, recovery) = open(directory.path(), options());
            assert_eq!((recovery.offsets, recovery.cut_bytes), (0..40 * n, 0));
            assert_eq!(recovery.segments, segments(directory.path()).len());
            fill(&log, 40);
            expect(&log, 0, 40 * (n + 1), 500);
        }
        let checked = check(directory.path()).unwrap();
        assert_eq!((checked.offsets, checked.torn), (0..120, None));
    }
}

#[test]
fn appends_at_the_same_time_get_offsets_of_their_own() {
    let directory = tempdir().unwrap();
    let (log, _) = open(directory.path(), options());
    let batch = |producer: usize| {
        let texts = (0..=producer).map(move |n| payload(format!("{producer}-{n}")));
        texts.collect::<Vec<_>>()
    };
    let added = wait(join_all(
        (0..50).map(|producer| log.append(batch(producer))),
    ));
    let found = read(&log, 0, 1000);
    assert_eq!(found.len(), (1..=50).sum::<usize>());
    for (producer, offsets) in added.into_iter().enumerate() {
        let offsets = offsets.unwrap();
        let range = offsets.start as usize..offsets.end as usize;
        let payloads = found[range].iter().map(|it| it.payload.clone());
        assert_eq!(payloads.collect::<Vec<_>>(), batch(producer));
    }
}

#[test]
fn records_may_have_any_length_to_the_limit() {
    let directory = tempdir().unwrap();
    let (log, _) = open(directory.path(), options());
    let lengths = [0, 1, 999, 1_000_000, record::RECORD_BYTES_MAX, 0];
    let payloads = lengths.map(|length| Bytes::from(vec![7; length]));
    assert_eq!(wait(log.append(payloads.to_vec())).unwrap(), 0..6);
    let found = read(&log, 0, 1).into_iter().map(|it| it.payload);
    assert_eq!(found.collect::<Vec<_>>(), payloads);
}

#[test]
fn batches_outside_of_the_limits_are_refused_and_add_nothing() {
    let directory = tempdir().unwrap();
    let (log, _) = open(directory.path(), options());
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    for (payloads, why) in [
        (vec![], "1 to 10000 records, not 0"),
        (vec![Bytes::new(); BATCH_RECORDS_MAX + 1], "not 10001"),
        (
            vec![Bytes::from(vec![0; (1 << 20) + 1])],
            "at most 1048576 bytes",
        ),
        (vec![megabyte; 3], "at most 3145728 bytes"),
    ] {
        let error = wait(log.append(payloads)).unwrap_err();
        assert!(matches!(error, AppendError::Invalid(_)), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(log.bounds(), (0, 0));
    fill(&log, 1);
}

#[test]
fn a_tail_gets_what_is_there_and_then_what_comes() {
    let directory = tempdir().unwrap();
    let (log, _) = open(directory.path(), options());
    fill(&log, 60);
    let mut tail = log.tail(17).unwrap();
    let mut next = 17;
    for end in [60, 61, 62, 100] {
        fill(&log, end - log.bounds().1);
        while next < end {
            let batch = wait(tail.next()).unwrap().unwrap();
            // Only the first may begin before what was asked for: after that each follows the other.
            assert!(batch.first_offset == next || next == 17, "{next}");
            records(&batch);
            next = batch.next_offset;
        }
        assert_eq!(next, end);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(tail.poll_next_unpin(&mut cx), Poll::Pending));
    }
    // One that waits is woken.
    let added = log.append(vec![payload("one more")]);
    let (batch, added) = wait(join(tail.next(), added));
    assert_eq!(added.unwrap(), 100..101);
    assert_eq!(batch.unwrap().unwrap().first_offset, 100);
}

#[test]
fn offsets_that_are_not_there_are_told_with_those_that_are() {
    let directory = tempdir().unwrap();
    let options = Options {
        retention_bytes: 2500,
        ..options()
    };
    let (log, _) = open(directory.path(), options);
    fill(&log, 10);
    let mut slow = log.tail(0).unwrap();
    let old = log.fetch(0, 100).unwrap().unwrap();
    fill(&log, 190);
    let (first, end) = log.bounds();
    assert_eq!(end, 200);
    let bytes: u64 = segments(directory.path())
        .iter()
        .map(|it| it.metadata().unwrap().len())
        .sum();
    assert!(bytes <= 2500, "{bytes}");
    assert!(
        1500 < bytes,
        "only whole segments that are too much go: {bytes}"
    );
    expect(&log, first, 200 - first, 1000);
    let gone = OutOfRange {
        offset: first - 1,
        first,
        end,
    };
    assert_eq!(log.fetch(first - 1, 100).unwrap_err(), gone);
    let text = format!("offset {} is gone: the log begins at {first}", first - 1);
    assert_eq!(gone.to_string(), text);
    assert_eq!(
        log.tail(201).unwrap_err().to_string(),
        "offset 201 is not there: the log ends at 200"
    );
    // What was fetched before is sent to its end.
    assert_eq!(records(&old)[0].payload, "record 0");
    assert_eq!(wait(slow.next()).unwrap().unwrap_err().first, first);
    // It stays like this.
    drop((log, slow));
    let (log, recovery) = open(
        directory.path(),
        Options {
            retention_bytes: 2500,
            ..self::options()
        },
    );
    assert_eq!(recovery.offsets, first..200);
    fill(&log, 1);
}

#[test]
fn the_newest_segment_stays_however_long_it_is() {
    let directory = tempdir().unwrap();
    let options = Options {
        retention_bytes: 10,
        ..options()
    };
    let (log, _) = open(directory.path(), options);
    fill(&log, 100);
    let (first, end) = log.bounds();
    assert_eq!((segments(directory.path()).len(), end), (1, 100));
    assert!(first < 100);
    expect(&log, first, 100 - first, 1000);
}

#[test]
fn two_may_not_have_one_log() {
    let directory = tempdir().unwrap();
    let (log, _) = open(directory.path(), options());
    let error = Log::open(directory.path(), options()).unwrap_err();
    assert!(matches!(error, Error::InUse(_)), "{error}");
    drop(log);
    open(directory.path(), options());
}

#[test]
fn damage_in_an_old_segment_is_told_and_not_cut() {
    let directory = tempdir().unwrap();
    let (log, _) = open(directory.path(), options());
    fill(&log, 100);
    drop(log);
    let paths = segments(directory.path());
    let whole = fs::read(&paths[1]).unwrap();
    for (at, start_tells) in [(whole.len() - 1, true), (10, false)] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&paths[1], &bytes).unwrap();
        let error = check(directory.path()).unwrap_err();
        let Error::Damaged { path, byte, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(path, &paths[1]);
        assert!((*byte..*byte + 40).contains(&(at as u64)), "{error}");
        assert_eq!(Log::open(directory.path(), options()).is_err(), start_tells);
        assert_eq!(fs::read(&paths[1]).unwrap(), bytes, "it is as it was");
    }
    fs::remove_file(&paths[1]).unwrap();
    let error = Log::open(directory.path(), options()).unwrap_err();
    assert!(matches!(error, Error::Gap { .. }), "{error}");
}

#[test]
fn an_index_that_is_gone_is_made_again() {
    let directory = tempdir().unwrap();
    let (log, _) = open(directory.path(), options());
    fill(&log, 100);
    let fetched = |log: &Log| {
        let batches = (0..100).map(|offset| log.fetch(offset, 200).unwrap().unwrap());
        let places = batches.map(|it| (it.first_offset, it.next_offset, it.region.offset()));
        places.collect::<Vec<_>>()
    };
    let before = fetched(&log);
    drop(log);
    let paths = segments(directory.path()).into_iter();
    let paths: Vec<_> = paths.map(|path| path.with_extension("index")).collect();
    let indexes: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    paths.iter().for_each(|path| fs::remove_file(path).unwrap());
    let (log, _) = open(directory.path(), options());
    assert_eq!(fetched(&log), before);
    let again = paths.iter().map(|path| fs::read(path).unwrap());
    assert_eq!(again.collect::<Vec<_>>(), indexes);
}
