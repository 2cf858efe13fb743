//! The process's limit on open files, each of which may be a connection.

use crate::failure::Failure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a process needs beside its connections: standard streams, pollers, pipes.
const OTHERS: u64 = 64;

/// Raises the soft limit on open files to the hard one: shells commonly start with 1,024.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Refused in some sandboxes; `need` then tells what is missing.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Connections that one process holds at most, after [`raise_limit`]; another process on this machine
/// has the same limit.
pub fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(OTHERS)).unwrap_or(usize::MAX)
}

/// Whether this process may open so many connections, after [`raise_limit`].
pub fn need(connections: usize) -> Result<(), Failure> {
    check(connections as u64, getrlimit(Resource::Nofile).current)
}

/// `None` is no limit.
fn check(connections: u64, limit: Option<u64>) -> Result<(), Failure> {
    match limit {
        Some(limit) if limit < connections + OTHERS => Err(Failure::Text(format!(
            "{connections} connections need {} open files, and this process may have {limit}: \
             raise `ulimit -n`, or ask for fewer",
            connections + OTHERS
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_up_to_the_limit() {
        assert!(check(1000, Some(1064)).is_ok());
        assert!(check(u64::MAX - OTHERS, None).is_ok());
        let failure = check(1001, Some(1064)).unwrap_err().to_string();
        assert!(
            failure.contains("1065 open files") && failure.contains("1064"),
            "{failure}"
        );
    }
}
