//! Why a log cannot be opened, and which offsets it does not have.

use crate::index::Point;
use crate::record::Flaw;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a log cannot be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has opened the log.
    InUse(PathBuf),
    /// A record that is not in the newest segment is not whole. Nothing was changed.
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// Where the record begins in it.
        byte: u64,
        /// The record's offset.
        offset: u64,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// A segment does not begin where the one before it ends. Nothing was changed.
    Gap {
        /// The file of the segment before.
        path: PathBuf,
        /// Where it ends.
        end: u64,
        /// Where the next one begins.
        next: u64,
    },
}

/// An offset that the log does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// What was asked for.
    pub offset: u64,
    /// The oldest record's.
    pub first: u64,
    /// The next record's.
    pub end: u64,
}

impl Error {
    /// Adds the path to what the system says.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }

    /// Of the record at this point of a segment.
    pub(crate) fn damaged(path: PathBuf, at: Point, flaw: Flaw) -> Self {
        Self::Damaged {
            path,
            byte: at.byte,
            offset: at.offset,
            flaw,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::InUse(path) => write!(
                f,
                "another broker has the log in {}: one at a time may",
                path.display()
            ),
            Self::Damaged {
                path,
                byte,
                offset,
                flaw,
            } => write!(
                f,
                "{} is damaged at byte {byte}, where record {offset} should be: {flaw}. Nothing was \
                 changed. Put back a copy of the file; or move it and all older segments away, and \
                 the log begins behind it",
                path.display()
            ),
            Self::Gap { path, end, next } => write!(
                f,
                "{} ends at offset {end}, but the next segment begins at {next}. Nothing was changed. \
                 Put back the files that are missing; or move this and all older segments away, and \
                 the log begins behind them",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Damaged { flaw, .. } => Some(flaw),
            Self::InUse(_) | Self::Gap { .. } => None,
        }
    }
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, first, end } = self;
        match offset < first {
            true => write!(f, "offset {offset} is gone: the log begins at {first}"),
            false => write!(f, "offset {offset} is not there: the log ends at {end}"),
        }
    }
}

impl std::error::Error for OutOfRange {}
