//! The lock of a log: one process at a time may write it.

use crate::error::Error;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;

/// Holds the lock until it is dropped, or the process ends, however it does.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Locks the file `lock` in this directory.
    pub(crate) fn take(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("lock");
        let file = File::create(&path).map_err(Error::io(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => Err(Error::InUse(directory.to_owned())),
            Err(error) => Err(Error::io(&path)(error.into())),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough while a child of this process has not come to its exec(2).
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
