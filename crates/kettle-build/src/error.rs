//! What can go wrong, as a person who runs `cargo build` reads it.

use std::fmt;

/// An error of one line, with file and line first where they are known.
///
/// Cargo shows what a build script's `main` returns with `Debug`, so `Debug` is the same as `Display`.
pub(crate) struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
