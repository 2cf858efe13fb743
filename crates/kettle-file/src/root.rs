//! A directory that no path leads out of.

use crate::path::RelativePath;
use crate::refusal::refusal;
use kettle::Status;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// How often an opening is tried that the kernel could not vouch for, because a directory on its way was
/// moved meanwhile.
const OPEN_TRIES_MAX: usize = 16;

/// A directory, held open, and what lies beneath it.
///
/// Each opening is one openat2(2) with RESOLVE_BENEATH: the kernel itself follows the path and refuses what
/// leads out, by `..`, an absolute path or a symbolic link, also when a part of it is swapped meanwhile.
/// RESOLVE_NO_MAGICLINKS refuses the links of /proc that lead anywhere. Directories that are mounted inside
/// belong to it.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
}

impl Root {
    /// # Errors
    /// When it is not a directory that can be read, and on kernels without openat2(2), older than Linux 5.6.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())?;
        let root = Self { directory };
        match root.open_once(".", OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(_) => Ok(root),
            Err(Errno::NOSYS) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel has no openat2(2), which keeps paths inside the directory: Linux 5.6 has",
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what a path leads to.
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) fn open_beneath(
        &self,
        path: RelativePath<'_>,
        flags: OFlags,
    ) -> Result<OwnedFd, Status> {
        let mut opened = Err(Errno::AGAIN);
        for _ in 0..OPEN_TRIES_MAX {
            opened = self.open_once(path.for_kernel(), flags);
            if !matches!(opened, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        opened.map_err(|error| refusal(&format!("open {:?}", path.as_str()), error))
    }

    fn open_once(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.directory, path, flags, Mode::empty(), resolve)
    }
}
