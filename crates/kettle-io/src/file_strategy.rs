//! The ways in which file regions are sent, by name.

use std::fmt;
use std::str::FromStr;

/// How the bytes of a file get into a socket. Its [`fmt::Display`] and [`FromStr`] are the names of
/// [`FileStrategy::name`].
///
/// Files that a strategy cannot read are copied. The first three pass the pages of the page cache on: what is
/// written to a part of the file that is on its way may reach the peer instead of what was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileStrategy {
    /// splice(2) from the file into a pipe and from there into the socket. The default: for a file in the page
    /// cache, over loopback, it took from half to all of the sender's CPU time that `sendfile` took, whose own
    /// pipe has 64 KiB. Without a free pipe it is `sendfile`.
    #[default]
    Splice,
    /// sendfile(2).
    Sendfile,
    /// mmap(2) of up to 1 MiB at a time, and send(2) from there. A file that is truncated in the moment between
    /// the check of its length and the send may add zeros up to the end of its last page; the send then fails.
    /// Mapping costs page faults, and on all threads of a process flushes of the address cache.
    Mmap,
    /// pread(2) into a buffer and send(2). The only one that copies in user space; works for every file.
    Copy,
}

impl FileStrategy {
    /// All strategies.
    pub const ALL: [FileStrategy; 4] = [
        FileStrategy::Splice,
        FileStrategy::Sendfile,
        FileStrategy::Mmap,
        FileStrategy::Copy,
    ];

    /// The name in code, on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            FileStrategy::Splice => "splice",
            FileStrategy::Sendfile => "sendfile",
            FileStrategy::Mmap => "mmap",
            FileStrategy::Copy => "copy",
        }
    }
}

impl fmt::Display for FileStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FileStrategy {
    type Err = UnknownFileStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownFileStrategy> {
        let found = FileStrategy::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or_else(|| UnknownFileStrategy {
            name: name.to_owned(),
        })
    }
}

/// A name that no strategy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFileStrategy {
    name: String,
}

impl fmt::Display for UnknownFileStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = FileStrategy::ALL.map(FileStrategy::name).join(", ");
        write!(
            f,
            "no way to send files is called '{}': it is one of {names}",
            self.name
        )
    }
}

impl std::error::Error for UnknownFileStrategy {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for strategy in FileStrategy::ALL {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        let error = "tee".parse::<FileStrategy>().unwrap_err().to_string();
        assert!(
            error.contains("'tee'") && error.ends_with("splice, sendfile, mmap, copy"),
            "{error}"
        );
    }
}
