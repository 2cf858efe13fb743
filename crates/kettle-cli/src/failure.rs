//! Why a command cannot go on.

use std::error::Error;
use std::fmt;
use std::io;

/// Why a command cannot go on; what its reader sees after `kettle: `.
#[derive(Debug)]
pub enum Failure {
    /// Said in full.
    Text(String),
    /// Output that could not be written, or a file of the system that could not be read.
    Io(io::Error),
}

impl Failure {
    /// Whether the reader of the output has closed it.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Failure::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What was tried, and the error with all its causes.
    pub fn because(tried: impl fmt::Display, error: &(dyn Error + 'static)) -> Self {
        Failure::Text(format!("{tried}: {}", with_causes(error)))
    }
}

/// An error and all its causes in one line.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Text(text) => f.write_str(text),
            Failure::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Failure::Io(error.into())
    }
}

impl From<kettle::Error> for Failure {
    fn from(error: kettle::Error) -> Self {
        Failure::Text(with_causes(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told() {
        let cause = io::Error::new(io::ErrorKind::AddrInUse, "taken");
        let failure = Failure::because("cannot listen", &cause);
        assert_eq!(failure.to_string(), "cannot listen: taken");
    }

    #[test]
    fn a_broken_pipe_is_known_by_itself_and_from_json() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::from(broken()).is_broken_pipe());
        assert!(Failure::from(serde_json::Error::io(broken())).is_broken_pipe());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::NotFound)).is_broken_pipe());
    }
}
