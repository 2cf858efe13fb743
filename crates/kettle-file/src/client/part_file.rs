//! What has come of a file, on the disk: `FILE.part`, and beside it what is in there.
//!
//! ```text
//!   FILE.part         the bytes, where they belong; holes where nothing has come
//!   FILE.part.notes   kettle-file 1 │ version 2a-100-17c… │ range 0 4096 │ piece 0 1024 │ piece 2048 3072
//! ```
//! The notes are written behind the bytes they tell of, so that a process that is killed loses some of its
//! progress and nothing else. What a crash of the machine loses, the checksum finds out.

use super::error::Error;
use super::pieces::Pieces;
use crate::checksum::{Checksum, Summing};
use crate::vectored::write_all_at;
use kettle::Chain;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How much may come before it is noted, in bytes.
const NOTE_BYTES: u64 = 64 << 20;

/// The first line of the notes: another one is not understood.
const HEAD: &str = "kettle-file 1";

/// What became of an earlier attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// There was none, or it was not asked for.
    Nothing,
    /// So many bytes of it are used.
    Bytes(u64),
    /// It is of no use, because of this.
    Useless(String),
}

/// The file that is being fetched.
#[derive(Debug)]
pub(super) struct PartFile {
    target: PathBuf,
    path: PathBuf,
    notes_path: PathBuf,
    file: File,
    version: String,
    pieces: Pieces,
    noted_bytes: u64,
}

impl PartFile {
    /// Opens `FILE.part` for this range of a file of this version, and with `resume` uses what is there. Reading
    /// that for its checksum blocks.
    pub(super) fn open(
        target: &Path,
        version: &str,
        range: Range<u64>,
        resume: bool,
    ) -> Result<(Self, Resumed), Error> {
        let (path, notes_path) = (
            with_ending(target, ".part"),
            with_ending(target, ".part.notes"),
        );
        let failed = |error: io::Error| Error::local(format!("write {}", path.display()), error);
        let file = open_alone(&path).map_err(failed)?;
        let mut part = Self {
            target: target.to_owned(),
            path: path.clone(),
            notes_path,
            file,
            version: version.to_owned(),
            pieces: Pieces::new(range),
            noted_bytes: 0,
        };
        let resumed = match resume {
            true => part.resume().map_err(failed)?,
            false => Resumed::Nothing,
        };
        if !matches!(resumed, Resumed::Bytes(_)) {
            part.begin_anew().map_err(failed)?;
        }
        Ok((part, resumed))
    }

    pub(super) fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// A piece has been written.
    pub(super) fn add(&mut self, piece: Range<u64>, checksum: Checksum) -> Result<(), Error> {
        if !self.pieces.add(piece, checksum) {
            let status = kettle::Status::internal("the server has sent other bytes than asked for");
            return Err(status.into());
        }
        if self.noted_bytes + NOTE_BYTES <= self.pieces.bytes() {
            self.note()?;
        }
        Ok(())
    }

    /// Writes down what has come.
    pub(super) fn note(&mut self) -> Result<(), Error> {
        let Range { start, end } = self.pieces.range();
        let mut text = format!("{HEAD}\nversion {}\nrange {start} {end}\n", self.version);
        for Range { start, end } in self.pieces.ranges() {
            text.push_str(&format!("piece {start} {end}\n"));
        }
        let new = with_ending(&self.notes_path, ".new");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.notes_path));
        written
            .map_err(|error| Error::local(format!("write {}", self.notes_path.display()), error))?;
        self.noted_bytes = self.pieces.bytes();
        Ok(())
    }

    /// Gives the file its name.
    pub(super) fn complete(self) -> Result<(), Error> {
        let tried = format!(
            "rename {} to {}",
            self.path.display(),
            self.target.display()
        );
        fs::rename(&self.path, &self.target).map_err(|error| Error::local(tried, error))?;
        remove(&self.notes_path)
            .map_err(|error| Error::local(format!("remove {}", self.notes_path.display()), error))
    }

    /// Removes what has come: it is of no use.
    pub(super) fn discard(&mut self) -> io::Result<()> {
        remove(&self.notes_path)?;
        remove(&self.path)
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        remove(&self.notes_path)?;
        self.file.set_len(0)
    }

    fn resume(&mut self) -> io::Result<Resumed> {
        let useless = |why: &str| Ok(Resumed::Useless(why.to_owned()));
        let notes = match fs::read_to_string(&self.notes_path) {
            Ok(notes) => notes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match self.file.metadata()?.len() {
                    0 => Ok(Resumed::Nothing),
                    _ => useless("there are no notes of what is in it"),
                };
            }
            Err(error) => return Err(error),
        };
        let Some(notes) = Notes::parse(&notes) else {
            return useless("its notes cannot be read");
        };
        if notes.version != self.version {
            return useless("the file was changed on the server meanwhile");
        }
        if notes.range != self.pieces.range() {
            return useless("it is another range");
        }
        let (length, start) = (self.file.metadata()?.len(), notes.range.start);
        for piece in notes.pieces {
            // Also when it is no piece at all.
            if piece.end < piece.start || piece.start < start || length < piece.end - start {
                return useless("it is shorter than its notes say");
            }
            let summing = Summing::new(piece.start - start, piece.end - start);
            let checksum = summing.finish(&self.file)?;
            if !self.pieces.add(piece, checksum) {
                self.pieces = Pieces::new(notes.range);
                return useless("its notes cannot be read");
            }
        }
        self.noted_bytes = self.pieces.bytes();
        Ok(Resumed::Bytes(self.noted_bytes))
    }
}

/// Opens a file that no other process writes.
fn open_alone(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN) => return Err(io::Error::other("another process is fetching it")),
        locked => locked?,
    }
    // Whoever had the lock may have completed it since it was opened: then it has its name, and is to stay.
    let (locked, named) = (file.metadata()?, fs::metadata(path));
    match named {
        Ok(named) if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) => Ok(file),
        _ => Err(io::Error::other("another process has just completed it")),
    }
}

/// Writes received bytes where they belong: of a range from `start` on.
pub(super) fn write(file: &File, data: Chain, at: u64, start: u64) -> Result<(), Error> {
    write_all_at(file, data, at - start)
        .map_err(|error| Error::local("write what has come to FILE.part", error))
}

/// What stands in the notes.
struct Notes<'a> {
    version: &'a str,
    range: Range<u64>,
    pieces: Vec<Range<u64>>,
}

impl<'a> Notes<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != HEAD {
            return None;
        }
        let version = lines.next()?.strip_prefix("version ")?;
        let range = range_of(lines.next()?.strip_prefix("range ")?)?;
        let pieces: Option<Vec<_>> = lines
            .map(|line| range_of(line.strip_prefix("piece ")?))
            .collect();
        Some(Self {
            version,
            range,
            pieces: pieces?,
        })
    }
}

fn range_of(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.split_once(' ')?;
    Some(start.parse().ok()?..end.parse().ok()?)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // one range is meant, not its numbers
mod tests {
    use super::*;
    use kettle::Segment;
    use std::os::unix::fs::FileExt;

    const RANGE: Range<u64> = 10..30;

    fn open(target: &Path, version: &str, resume: bool) -> (PartFile, Resumed) {
        PartFile::open(target, version, RANGE, resume).unwrap()
    }

    fn put(part: &mut PartFile, at: u64, bytes: &'static [u8]) {
        let data = Chain::from(Segment::from_static(bytes));
        let checksum = Checksum::of(&data);
        write(part.file(), data, at, RANGE.start).unwrap();
        part.add(at..at + bytes.len() as u64, checksum).unwrap();
    }

    #[test]
    fn what_was_noted_is_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("x");
        let (mut part, resumed) = open(&target, "v1", true);
        assert_eq!(resumed, Resumed::Nothing);
        put(&mut part, 10, b"0123456789");
        put(&mut part, 25, b"56789");
        part.note().unwrap();
        drop(part);
        let (mut part, resumed) = open(&target, "v1", true);
        assert_eq!(resumed, Resumed::Bytes(15));
        assert_eq!(part.pieces().gaps(), [20..25]);
        put(&mut part, 20, b"01234");
        let checksum = part.pieces().checksum().unwrap();
        assert_eq!(checksum.crc32c(), crc32c::crc32c(b"01234567890123456789"));
        part.complete().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"01234567890123456789");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_does_not_fit_is_of_no_use() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("x");
        let notes = with_ending(&target, ".part.notes");
        let begin = |content: Option<&str>, length: u64| {
            let (mut part, _) = open(&target, "v1", false);
            put(&mut part, 10, b"0123456789");
            part.note().unwrap();
            part.file().set_len(length).unwrap();
            match content {
                Some("") => fs::remove_file(&notes).unwrap(),
                Some(content) => fs::write(&notes, content).unwrap(),
                None => {}
            }
        };
        for (content, length, version, why) in [
            (None, 10, "v2", "changed on the server"),
            (None, 9, "v1", "shorter than its notes"),
            (Some(""), 10, "v1", "no notes"),
            (Some("kettle-file 2\n"), 10, "v1", "cannot be read"),
            (
                Some("kettle-file 1\nversion v1\nrange 0 30\n"),
                10,
                "v1",
                "another range",
            ),
            (
                Some("kettle-file 1\nversion v1\nrange 10 30\npiece 10 15\npiece 12 16\n"),
                10,
                "v1",
                "cannot be read",
            ),
            (
                Some("kettle-file 1\nversion v1\nrange 10 30\npiece 15 12\n"),
                10,
                "v1",
                "shorter",
            ),
        ] {
            begin(content, length);
            let (part, resumed) = open(&target, version, true);
            let Resumed::Useless(text) = &resumed else {
                panic!("{content:?}: {resumed:?}")
            };
            assert!(text.contains(why), "{content:?}: {text}");
            assert_eq!(part.pieces().gaps(), [RANGE], "{content:?}");
            assert_eq!(part.file().metadata().unwrap().len(), 0, "{content:?}");
        }
    }

    #[test]
    fn two_do_not_write_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("x");
        let (_part, _) = open(&target, "v1", false);
        let error = PartFile::open(&target, "v1", RANGE, false).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
    }

    #[test]
    fn a_piece_that_was_not_asked_for_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let (mut part, _) = open(&directory.path().join("x"), "v1", false);
        part.add(10..12, Checksum::default()).unwrap();
        let error = part.add(11..13, Checksum::default()).unwrap_err();
        assert!(error.to_string().contains("other bytes"), "{error}");
        let mut byte = [0];
        assert_eq!(part.file().read_at(&mut byte, 0).unwrap(), 0);
    }
}
