//! A log that many read: records are added at its end, kept in files, and sent from them without a copy.
//!
//! It is an example of kettle, with one log, one broker, and no replicas. To see it:
//!
//! ```text
//! cargo run -p log-broker -- serve /tmp/log           # the broker
//! cargo run -p log-broker -- tail                     # a consumer; start as many as you like
//! seq 1000 | cargo run -p log-broker -- append        # a producer
//! cargo run -p log-broker -- check /tmp/log           # reads every record of the files
//! ```
//!
//! Kill the broker in the middle (`kill -9`) and start it again: the consumers go on by themselves, and every
//! record that `append --retry` printed is there. `KETTLE_MODEL=uring` and its like choose the I/O model.
//!
//! # Files
//!
//! A log is a directory with two files for each segment, named by the offset of its first record, and a
//! file `lock`. A segment's records lie behind each other:
//!
//! ```text
//!   00000000000000000000.log       offsets 0 to 1,203
//!   00000000000000000000.index     a point for every 4 KiB: offset 8, byte 8
//!   00000000000000001204.log       the newest segment: records are added here
//!   00000000000000001204.index
//!
//!   one record                                                             little-endian
//!   ┌───────┬──────────┬──────────┬────────┬─────────────────┐
//!   │ CRC 4 │ length 4 │ offset 8 │ time 8 │ payload: length │
//!   └───────┴──────────┴──────────┴────────┴─────────────────┘
//!           └──────────────── the CRC is of these ───────────┘
//! ```
//!
//! The CRC is CRC-32 (ISO-HDLC, as in zlib). The broker never looks at it but when it starts: consumers check
//! every record that they get ([`Consumer`]).
//!
//! # The life of a record
//!
//! An Append's payloads are slices of what the socket received. They wait for the writer's thread, which takes
//! all that wait and writes them, heads between payloads, with one system call; syncs once ([`Fsync`]); moves
//! the end of the log; and acknowledges each. A Fetch or a Tail is answered by a range of the segment's file
//! between two points of the index, so the broker reads no record to find it, and sendfile(2) carries it to the
//! socket. So a hundred consumers cost no copy in user space, and a slow one no memory: it reads on from the
//! file. A Tail at the end of the log has a waker there, and nothing else.
//!
//! A file that is not in the page cache is read from the disk by sendfile(2), on the loop: others wait meanwhile.
//!
//! # What is lost when
//!
//! | | killed | power failure |
//! |---|---|---|
//! | `--fsync always` | nothing that was acknowledged | nothing that was acknowledged |
//! | `--fsync interval` | nothing that was acknowledged | what is newer than a second |
//! | `--fsync never` | nothing that was acknowledged | what is newer than the segment |
//!
//! What was not acknowledged may be there or not, but never a part of a record, and never in another order. A
//! start reads the newest segment from the index's last point on, which is written only when all before it is on
//! the disk, and cuts off what is no whole record, before it serves anybody. In older segments, which were whole
//! and synced before the next began, that is damage: the start is refused with the place. What lies before an
//! index's last point is not read at the start, unless with `serve --check`; a consumer that gets a damaged record
//! ends with its offset. An index can be removed while the broker is down: it is made again.
//!
//! Old segments are removed when the log is too long ([`Options::retention_bytes`]). What is being sent of one
//! is sent to its end; who asks for its offsets later gets OUT_OF_RANGE and the offset that the log begins at.
//!
//! # Limits
//!
//! | | |
//! |---|---|
//! | a record | 1 MiB ([`record::RECORD_BYTES_MAX`]) |
//! | an append | 10,000 records ([`BATCH_RECORDS_MAX`]), 3 MiB with heads ([`BATCH_BYTES_MAX`]) |
//! | appends that wait | 16 MiB ([`WAITING_BYTES_MAX`]), then RESOURCE_EXHAUSTED |
//! | a Fetch | 1 MiB ([`FETCH_BYTES_MAX`]), or one record if that is longer |
//!
//! # Reading on
//!
//! `record`, `scan` and `index` are the formats; `segment` and `contents` are what readers see, `tip` and
//! `writer` what writes; `recovery` and `log` open it all; `service` is the broker, `consumer` the client.
#![forbid(unsafe_code)]

mod check;
mod consumer;
mod contents;
mod error;
mod index;
mod lock;
mod log;
pub mod record;
mod recovery;
mod scan;
mod segment;
mod service;
mod tail;
mod tip;
mod writer;

pub use check::{Checked, check};
pub use consumer::{ConsumeError, Consumer};
pub use contents::Batch;
pub use error::{Error, OutOfRange};
pub use index::Point;
pub use log::{Log, Options, Recovery};
pub use service::{BrokerService, FETCH_BYTES_MAX, TailStream};
pub use tail::Tail;
pub use writer::{
    AppendError, BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Fsync, SYNC_INTERVAL, WAITING_BYTES_MAX,
};

/// What the service speaks, generated from `proto/broker.proto`.
#[allow(missing_docs)] // generated
pub mod proto {
    kettle::include_proto!("broker.v1");
}
