//! Why a file could not be fetched or sent.

use kettle::{Code, Status};
use std::fmt;
use std::io;

/// Why a file could not be fetched or sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The call ended with this status.
    Call(Status),
    /// A file of this machine could not be read or written.
    Local {
        /// What was tried, with the file's name.
        tried: String,
        /// The kernel's error.
        error: io::Error,
    },
    /// The file was changed on the server while it was fetched: what has come is of no use.
    Changed,
    /// What has come has another checksum than the server's file.
    Corrupt {
        /// The server's CRC-32C.
        wanted: u32,
        /// That of what has come.
        got: u32,
    },
}

impl Error {
    pub(super) fn local(tried: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self::Local {
            tried: tried.into(),
            error: error.into(),
        }
    }

    /// Of a call that reads: a file that has changed shows in its status.
    pub(super) fn of_read(status: Status) -> Self {
        match status.code() {
            Code::Aborted | Code::DataLoss | Code::OutOfRange => Self::Changed,
            _ => Self::Call(status),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(status) => status.fmt(f),
            Self::Local { tried, error } => write!(f, "cannot {tried}: {error}"),
            Self::Changed => f.write_str("the file was changed on the server meanwhile"),
            Self::Corrupt { wanted, got } => write!(
                f,
                "what has come has the checksum {got:08x}, and the server's file {wanted:08x}"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Local { error, .. } => Some(error),
            Self::Call(status) => Some(status),
            Self::Changed | Self::Corrupt { .. } => None,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Call(status)
    }
}
