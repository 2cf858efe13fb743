//! What producers sent and were told, held against what consumers see.

use bytes::Bytes;
use log_broker::record::Record;
use std::ops::Range;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// How long acknowledgements may stay away.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record that was sent: the producer's number, and its own among those of the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub producer: u32,
    pub number: u64,
}

/// All that was acknowledged.
#[derive(Debug, Default)]
pub struct Acknowledged {
    records: Mutex<Vec<(u64, Sent)>>,
    more: Condvar,
}

impl Sent {
    /// Its payload: who it is, and then bytes that only it has. Those of producer 0 are many pages long.
    pub fn payload(self) -> Bytes {
        let mixed = mix(self.number << 8 | u64::from(self.producer));
        let length = match self.producer {
            0 => mixed >> 8 & 0x7ffff,
            _ => mixed >> 8 & 0xff,
        };
        let mut payload = self.producer.to_le_bytes().to_vec();
        payload.extend(self.number.to_le_bytes());
        payload.extend((0..length).map(|n| (mixed.rotate_right(n as u32) ^ n) as u8));
        payload.into()
    }

    /// Which one a record is.
    ///
    /// # Panics
    /// When it is not exactly what was sent.
    pub fn of(record: &Record) -> Self {
        let (producer, rest) = record.payload.split_first_chunk().unwrap();
        let sent = Self {
            producer: u32::from_le_bytes(*producer),
            number: u64::from_le_bytes(*rest.first_chunk().unwrap()),
        };
        assert!(
            record.payload == sent.payload(),
            "record {} was changed",
            record.offset
        );
        sent
    }
}

impl Acknowledged {
    /// The broker says that these are at these offsets.
    pub fn add(&self, offsets: Range<u64>, sent: &[Sent]) {
        assert_eq!(offsets.end - offsets.start, sent.len() as u64);
        let mut records = self.records.lock().unwrap();
        records.extend(offsets.zip(sent.iter().copied()));
        self.more.notify_all();
    }

    pub fn count(&self) -> usize {
        self.records.lock().unwrap().len()
    }

    /// Waits until there are so many.
    pub fn wait_for(&self, count: usize) {
        let records = self.records.lock().unwrap();
        let waiting = self
            .more
            .wait_timeout_while(records, PATIENCE, |records| records.len() < count);
        let (records, timeout) = waiting.unwrap();
        assert!(
            !timeout.timed_out(),
            "{} of {count} are acknowledged",
            records.len()
        );
    }

    /// Holds the whole log against it. Each producer has sent so many.
    ///
    /// # Panics
    /// When an acknowledged record is missing, one was never sent or is there twice, or those of a producer
    /// are not in the order it sent them in.
    pub fn check(&self, log: &[Sent], sent: &[u64]) {
        for &(offset, sent) in self.records.lock().unwrap().iter() {
            assert_eq!(
                log.get(offset as usize),
                Some(&sent),
                "{offset} was acknowledged"
            );
        }
        let mut next = vec![0; sent.len()];
        for (offset, record) in log.iter().enumerate() {
            let next = &mut next[record.producer as usize];
            assert!(
                *next <= record.number,
                "record {offset} is there twice, or too late"
            );
            assert!(
                record.number < sent[record.producer as usize],
                "nobody sent {record:?}"
            );
            *next = record.number + 1;
        }
    }
}

/// Spreads a number over all bits (splitmix64).
pub fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
