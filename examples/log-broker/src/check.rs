//! Reading a whole log to see that every record is as it was written.

use crate::error::Error;
use crate::index::Point;
use crate::log::bases;
use crate::record::Flaw;
use crate::scan::Scan;
use crate::segment::records_path;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

/// What a whole log is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How many segments there are.
    pub segments: usize,
    /// The offsets of their records, which are all whole.
    pub offsets: Range<u64>,
    /// What follows the last of them in the newest segment; the next [`crate::Log::open`] cuts it off. On a
    /// log that is open it may be a record that is being written.
    pub torn: Option<Flaw>,
}

/// Reads all records of the log in this directory. Nothing is changed. It may be open elsewhere.
///
/// # Errors
/// As [`crate::Log::open`], wherever the damage is, and when there is no log.
pub fn check(directory: impl AsRef<Path>) -> Result<Checked, Error> {
    let directory = directory.as_ref();
    let bases = bases(directory)?;
    let Some(&first) = bases.first() else {
        let nothing = io::Error::new(io::ErrorKind::NotFound, "there is no log here");
        return Err(Error::io(directory)(nothing));
    };
    let (mut end, mut torn) = (first, None);
    for (n, &base) in bases.iter().enumerate() {
        let path = records_path(directory, base);
        let (last, flaw) = scan(&path, base).map_err(Error::io(&path))?;
        (end, torn) = (last.offset, flaw);
        let Some(&next) = bases.get(n + 1) else {
            break;
        };
        if let Some(flaw) = flaw {
            return Err(Error::damaged(path, last, flaw));
        }
        if end != next {
            return Err(Error::Gap { path, end, next });
        }
    }
    Ok(Checked {
        segments: bases.len(),
        offsets: first..end,
        torn,
    })
}

fn scan(path: &Path, base: u64) -> io::Result<(Point, Option<Flaw>)> {
    let begin = Point {
        offset: base,
        byte: 0,
    };
    let scan = Scan::new(File::open(path)?, begin);
    scan.run(|_| ())
}
