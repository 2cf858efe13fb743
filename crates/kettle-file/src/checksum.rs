//! Checksums of files, and those that are known from before.

use crate::info::{modified_ns, size};
use kettle::Chain;
use rustix::fs::Stat;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Most checksums that are remembered; the oldest is forgotten first. They are searched one by one, which takes
/// about a microsecond.
const KNOWN_MAX: usize = 1024;

/// A file that was modified so lately may be modified again without another time: times have the grain of
/// the kernel's clock or of the file system's format, 2 s at worst.
const SETTLED: Duration = Duration::from_secs(2);

/// How much is read at a time, in bytes: what fits into the processor's cache beside other things.
const READ_BYTES: usize = 256 * 1024;

/// The CRC-32C of what was given to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checksum(u32);

impl Checksum {
    /// Of a chain's bytes.
    pub(crate) fn of(data: &Chain) -> Self {
        let mut checksum = Self::default();
        checksum.add_chain(data);
        checksum
    }

    pub(crate) fn add_chain(&mut self, data: &Chain) {
        data.segments().for_each(|segment| self.add(segment));
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    /// Of these bytes and `length` more, whose checksum is `next`.
    pub(crate) fn join(self, next: Self, length: u64) -> Self {
        Self(crc32c::crc32c_combine(self.0, next.0, length as usize))
    }

    /// As it stands in messages.
    pub(crate) fn crc32c(self) -> u32 {
        self.0
    }
}

/// Reads a range of a file bit by bit, for its checksum.
#[derive(Debug)]
pub(crate) struct Summing {
    buffer: Vec<u8>,
    at: u64,
    end: u64,
    checksum: Checksum,
}

impl Summing {
    pub(crate) fn new(start: u64, end: u64) -> Self {
        Self {
            buffer: vec![0; READ_BYTES],
            at: start,
            end,
            checksum: Checksum::default(),
        }
    }

    /// Reads on, `bytes` at most. The checksum when the range is at its end, or the file is before.
    pub(crate) fn go_on(&mut self, file: &File, bytes: u64) -> io::Result<Option<Checksum>> {
        let stop = self.end.min(self.at.saturating_add(bytes));
        while self.at < stop {
            let length = (stop - self.at).min(READ_BYTES as u64) as usize;
            let buffer = &mut self.buffer[..length];
            match file.read_at(buffer, self.at) {
                Ok(0) => return Ok(Some(self.checksum)),
                Ok(read) => {
                    self.checksum.add(&buffer[..read]);
                    self.at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((self.at == self.end).then_some(self.checksum))
    }

    /// All of it at once.
    pub(crate) fn finish(mut self, file: &File) -> io::Result<Checksum> {
        loop {
            if let Some(checksum) = self.go_on(file, u64::MAX)? {
                return Ok(checksum);
            }
        }
    }
}

/// Checksums that were computed, by file and time of modification.
#[derive(Debug, Default)]
pub(crate) struct KnownChecksums {
    known: Mutex<VecDeque<(Identity, Checksum)>>,
}

/// A file as it was at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i64,
}

impl Identity {
    #[allow(clippy::useless_conversion)] // the fields' types differ between architectures
    fn of(stat: &Stat) -> Self {
        Self {
            device: u64::from(stat.st_dev),
            inode: u64::from(stat.st_ino),
            size: size(stat),
            modified_ns: modified_ns(stat),
        }
    }
}

impl KnownChecksums {
    /// That of this file, if it is known.
    pub(crate) fn find(&self, stat: &Stat) -> Option<Checksum> {
        let identity = Identity::of(stat);
        let known = self.lock();
        let found = known.iter().find(|(known, _)| *known == identity);
        found.map(|(_, checksum)| *checksum)
    }

    /// Remembers it, unless the file was modified too lately to know the next modification by its time.
    pub(crate) fn add(&self, stat: &Stat, checksum: Checksum) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let age = now.unwrap_or_default().as_nanos() as i128 - i128::from(modified_ns(stat));
        if age < SETTLED.as_nanos() as i128 {
            return;
        }
        let mut known = self.lock();
        if KNOWN_MAX <= known.len() {
            known.pop_front();
        }
        known.push_back((Identity::of(stat), checksum));
    }

    /// Nothing panics under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Identity, Checksum)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fstat;
    use std::io::Write;

    fn file(content: &[u8], age: Duration) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        file
    }

    /// The check value of RFC 3720, appendix B.4: 32 bytes of zeros.
    #[test]
    fn it_is_the_crc_of_iscsi() {
        let zeros = file(&[0; 32], Duration::ZERO);
        let checksum = Summing::new(0, 32).finish(&zeros).unwrap();
        assert_eq!(checksum.crc32c(), 0x8a91_36aa);
    }

    #[test]
    fn ranges_are_joined() {
        let content: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        let file = file(&content, Duration::ZERO);
        let sum = |start, end| Summing::new(start, end).finish(&file).unwrap();
        let whole = sum(0, 1_000_000);
        for middle in [0, 1, 4096, 999_999, 1_000_000] {
            let joined = sum(0, middle).join(sum(middle, 1_000_000), 1_000_000 - middle);
            assert_eq!(joined, whole, "{middle}");
        }
    }

    #[test]
    fn a_checksum_is_known_until_the_file_changes() {
        let known = KnownChecksums::default();
        let mut file = file(b"some", Duration::from_secs(60));
        let stat = fstat(&file).unwrap();
        assert_eq!(known.find(&stat), None);
        known.add(&stat, Checksum(7));
        assert_eq!(known.find(&stat), Some(Checksum(7)));
        file.write_all(b"more").unwrap();
        assert_eq!(known.find(&fstat(&file).unwrap()), None);
    }

    #[test]
    fn that_of_a_file_modified_just_now_is_not_remembered() {
        let known = KnownChecksums::default();
        let stat = fstat(file(b"some", Duration::ZERO)).unwrap();
        known.add(&stat, Checksum(7));
        assert_eq!(known.find(&stat), None);
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let known = KnownChecksums::default();
        let files: Vec<_> = (0..3)
            .map(|_| fstat(file(b"x", Duration::from_secs(60))).unwrap())
            .collect();
        known.add(&files[0], Checksum(1));
        for _ in 0..KNOWN_MAX {
            known.add(&files[1], Checksum(2));
        }
        assert_eq!(known.find(&files[0]), None);
        assert_eq!(known.find(&files[1]), Some(Checksum(2)));
        assert_eq!(known.lock().len(), KNOWN_MAX);
    }
}
