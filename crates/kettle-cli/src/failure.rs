//! Why a command cannot go on.

use crate::interrupt;
use kettle::{Code, Status};
use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// What clap ends with when arguments are wrong.
const ARGUMENTS_EXIT_CODE: u8 = 2;

/// What the exit code of a failed call is above its status code: out of the way of a command's own
/// codes, and below those that shells give for signals.
const STATUS_EXIT_CODES: u8 = 64;

/// The first exit code that is taken for a signal.
const SIGNAL_EXIT_CODES: u8 = 128;

/// Why a command cannot go on; what its reader sees after `kettle: `.
#[derive(Debug)]
pub enum Failure {
    /// Said in full.
    Text(String),
    /// Output that could not be written, or a file of the system that could not be read.
    Io(io::Error),
    /// A call ended with this status. Boxed, because it is large and seldom.
    Status(Box<Status>),
    /// Arguments that do not fit together.
    Arguments(String),
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

impl Failure {
    /// Whether the reader of the output has closed it.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Failure::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What the command ends with: 1, 2 for arguments, 130 after Ctrl-C, or 64 and the code of a call's
    /// status. Codes that gRPC does not know end like UNKNOWN.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Status(status) => ExitCode::from(status_exit_code(status.code())),
            Failure::Arguments(_) => ExitCode::from(ARGUMENTS_EXIT_CODE),
            Failure::Interrupted => ExitCode::from(interrupt::EXIT_CODE),
            Failure::Text(_) | Failure::Io(_) => ExitCode::FAILURE,
        }
    }

    /// What was tried, and the error with all its causes.
    pub fn because(tried: impl fmt::Display, error: &(dyn Error + 'static)) -> Self {
        Failure::Text(format!("{tried}: {}", with_causes(error)))
    }
}

fn status_exit_code(code: Code) -> u8 {
    let own = u8::try_from(code.as_u32())
        .ok()
        .and_then(|code| code.checked_add(STATUS_EXIT_CODES))
        .filter(|&code| code < SIGNAL_EXIT_CODES);
    own.unwrap_or(STATUS_EXIT_CODES + Code::Unknown.as_u32() as u8)
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
            Failure::Text(text) | Failure::Arguments(text) => f.write_str(text),
            Failure::Io(error) => error.fmt(f),
            Failure::Status(status) => status.fmt(f),
            Failure::Interrupted => f.write_str("interrupted"),
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

impl From<kettle_file::Error> for Failure {
    fn from(error: kettle_file::Error) -> Self {
        match error {
            kettle_file::Error::Call(status) => Failure::Status(Box::new(status)),
            error => Failure::Text(error.to_string()),
        }
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
    fn a_status_has_an_exit_code_of_its_own() {
        for (code, wanted) in [
            (1, 65),
            (2, 66),
            (16, 80),
            (63, 127),
            (64, 66),
            (u32::MAX, 66),
        ] {
            assert_eq!(status_exit_code(Code::from_u32(code)), wanted, "{code}");
        }
    }

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
