//! Reading the records of a segment one after the other, to the first that is not whole.

use crate::index::Point;
use crate::record::{Flaw, HEAD_BYTES, Head};
use std::io::{self, BufReader, Read};

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Goes through records.
#[derive(Debug)]
pub(crate) struct Scan<R> {
    reader: BufReader<R>,
    at: Point,
    /// The record that was read last; kept for its memory.
    record: Vec<u8>,
}

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A whole record, which it has passed.
    Record,
    /// The end, with nothing behind the last record.
    End,
    /// Something else. The scan stays before it.
    Flaw(Flaw),
}

impl<R: Read> Scan<R> {
    /// Reads from a record on.
    pub(crate) fn new(reader: R, at: Point) -> Self {
        Self {
            reader: BufReader::with_capacity(READ_BYTES, reader),
            at,
            record: Vec::new(),
        }
    }

    /// Reads the next record. Not to be called again after anything but a record.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        self.record.clear();
        self.read(HEAD_BYTES)?;
        if self.record.is_empty() {
            return Ok(Step::End);
        }
        let head = match Head::parse(&self.record, self.at.offset) {
            Ok(head) => head,
            Err(flaw) => return Ok(Step::Flaw(flaw)),
        };
        self.read(head.length())?;
        let (bytes, payload) = self.record.split_at(HEAD_BYTES);
        if payload.len() < head.length() {
            return Ok(Step::Flaw(Flaw::Cut));
        }
        if let Err(flaw) = head.check(bytes, payload) {
            return Ok(Step::Flaw(flaw));
        }
        self.at = Point {
            offset: self.at.offset + 1,
            byte: self.at.byte + self.record.len() as u64,
        };
        Ok(Step::Record)
    }

    /// Reads all records, and tells where each begins. Gives where the last ends, and what is wrong there
    /// unless it is the end.
    pub(crate) fn run(mut self, mut tell: impl FnMut(Point)) -> io::Result<(Point, Option<Flaw>)> {
        loop {
            let at = self.at;
            match self.step()? {
                Step::Record => tell(at),
                Step::End => return Ok((at, None)),
                Step::Flaw(flaw) => return Ok((at, Some(flaw))),
            }
        }
    }

    /// As many bytes more, or fewer at the end.
    fn read(&mut self, bytes: usize) -> io::Result<()> {
        let reader = self.reader.by_ref();
        reader.take(bytes as u64).read_to_end(&mut self.record)?;
        Ok(())
    }
}
