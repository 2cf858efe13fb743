//! Fetching a file.

use super::error::Error;
use super::part_file::{self, PartFile, Resumed};
use super::retry::Retry;
use super::{read_raw, stat};
use crate::checksum::Checksum;
use crate::info::kind_name;
use crate::v1::{FileInfo, FileKind, ReadReply, ReadRequest};
use kettle::{Chain, Channel, Inbound, Status};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a download puts up with a server that cannot be reached, unless set otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// A range is not divided among connections below so many bytes.
const SHARE_BYTES_MIN: u64 = 1 << 20;

/// How a file is fetched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DownloadOptions {
    /// Only these bytes of the file; beyond its end there are none. Default: all. A part of a file is not
    /// verified.
    pub range: Option<Range<u64>>,
    /// Uses what an earlier download has left in `FILE.part`, when it is of the same file. Default: no.
    pub resume: bool,
    /// Compares checksums at the end. Default: yes.
    pub verify: bool,
    /// Into how many ranges the file is divided, for as many connections. Default 1.
    pub ranges: usize,
    /// How long nothing may come, while the connection is made again and again. Default 60 s.
    pub patience: Duration,
    /// See [`ReadRequest::chunk_bytes`]. Default 0: the server's choice.
    pub chunk_bytes: u32,
}

impl Default for DownloadOptions {
    fn default() -> Self {
        Self {
            range: None,
            resume: false,
            verify: true,
            ranges: 1,
            patience: PATIENCE,
            chunk_bytes: 0,
        }
    }
}

/// What came of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// The CRC-32C of what has come.
    pub crc32c: u32,
    /// Whether it is the server's.
    pub verified: bool,
}

/// A file that is being fetched.
///
/// Bytes go to `FILE.part`, and notes of what is there to `FILE.part.notes`; the file gets its name at the end,
/// replacing another of that name. Both stay when it is dropped before, for [`DownloadOptions::resume`].
///
/// ```no_run
/// # async fn get(channel: kettle::Channel) -> Result<(), kettle_file::Error> {
/// use kettle_file::{Download, DownloadOptions};
/// let target = std::path::Path::new("image.iso");
/// let options = DownloadOptions::default();
/// let (download, _) = Download::begin(&channel, "image.iso", target, options).await?;
/// download.fetch(&channel, |bytes| println!("{bytes} more")).await?;
/// download.finish(&channel).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Download {
    path: String,
    info: FileInfo,
    options: DownloadOptions,
    range: Range<u64>,
    /// The same file as in `part`, to be written without its lock.
    file: File,
    part: Mutex<PartFile>,
    /// What nobody fetches yet.
    ranges: Mutex<VecDeque<Range<u64>>>,
}

impl Download {
    /// Asks the server for the file's size and opens `FILE.part`. Also tells what became of an earlier attempt,
    /// whose bytes are read again for their checksum. Blocks while it reads and opens files here.
    ///
    /// # Errors
    /// [`Error::Call`], also when it is not a regular file, and [`Error::Local`].
    pub async fn begin(
        channel: &Channel,
        path: &str,
        target: &Path,
        options: DownloadOptions,
    ) -> Result<(Self, Resumed), Error> {
        check_target(target)?;
        let info = info(channel, path).await?;
        let range = match &options.range {
            None => 0..info.size,
            Some(range) if range.start <= info.size => range.start..range.end.min(info.size),
            Some(range) => {
                let (size, start) = (info.size, range.start);
                let text = format!("{path:?} has {size} bytes, and byte {start} is asked for");
                return Err(Status::out_of_range(text).into());
            }
        };
        let (part, resumed) = PartFile::open(target, &info.version, range.clone(), options.resume)?;
        let gaps = part.pieces().gaps();
        let file = part.file().try_clone();
        let file = file.map_err(|error| Error::local("open FILE.part once more", error))?;
        let download = Self {
            path: path.to_owned(),
            ranges: Mutex::new(divide(gaps, options.ranges).into()),
            info,
            options,
            range,
            file,
            part: Mutex::new(part),
        };
        Ok((download, resumed))
    }

    /// How many bytes there are to be in the end.
    pub fn total_bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// How many of them are there.
    pub fn bytes(&self) -> u64 {
        lock(&self.part).pieces().bytes()
    }

    /// Whether [`Download::finish`] compares checksums.
    pub fn is_verified(&self) -> bool {
        self.options.verify && self.range == (0..self.info.size)
    }

    /// Fetches ranges that nobody fetches yet, one after the other, until there are none; `each` gets the length of
    /// what has come. Several may run at the same time, each on a channel of its own. A broken connection is made
    /// again, and goes on where it stopped.
    ///
    /// The file is written on the thread that polls this, and that blocks: poll it where it may, not on a loop of
    /// kettle's with other work. Dropping it leaves its range unfetched.
    ///
    /// # Errors
    /// [`Error::Call`], with UNAVAILABLE when the server has not been reached for [`DownloadOptions::patience`];
    /// [`Error::Changed`]; [`Error::Local`]. What has come is noted.
    pub async fn fetch(&self, channel: &Channel, each: impl Fn(u64)) -> Result<(), Error> {
        let mut fetched = Ok(());
        loop {
            // Not in the condition of a loop: the lock would be held in its body.
            let next = lock(&self.ranges).pop_front();
            let Some(range) = next else { break };
            fetched = self.fetch_range(channel, range, &each).await;
            if fetched.is_err() {
                break;
            }
        }
        fetched.and(self.note())
    }

    /// Notes what has come, for [`DownloadOptions::resume`]. [`Download::fetch`] does so when it ends, and now and then
    /// before; this is for those that drop it.
    ///
    /// # Errors
    /// [`Error::Local`].
    pub fn note(&self) -> Result<(), Error> {
        lock(&self.part).note()
    }

    /// Verifies the file when all has come, and gives it its name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Changed`], which remove what has come; [`Error::Call`] and [`Error::Local`],
    /// also when not all has come.
    pub async fn finish(self, channel: &Channel) -> Result<Fetched, Error> {
        let checksum = lock(&self.part).pieces().checksum();
        let Some(checksum) = checksum else {
            let error = io::Error::other("not all of it has come");
            return Err(Error::local("complete FILE.part", error));
        };
        let fetched = Fetched {
            crc32c: checksum.crc32c(),
            verified: self.is_verified(),
        };
        let verified = match fetched.verified {
            true => self.verify(channel, checksum).await,
            false => Ok(()),
        };
        let mut part = self
            .part
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match verified {
            Ok(()) => part.complete().map(|()| fetched),
            Err(error @ (Error::Changed | Error::Corrupt { .. })) => {
                let removed = part.discard();
                removed.map_err(|error| Error::local("remove FILE.part", error))?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn fetch_range(
        &self,
        channel: &Channel,
        range: Range<u64>,
        each: &impl Fn(u64),
    ) -> Result<(), Error> {
        let mut retry = Retry::new(self.options.patience);
        let mut rest = range;
        while !rest.is_empty() {
            let before = rest.start;
            let read = self.read(channel, &mut rest, each).await;
            if before < rest.start {
                retry.progressed();
            }
            match read {
                Err(Error::Call(status)) => retry.after(status).await?,
                // A stream that ends too early is one of a file that became shorter.
                Ok(()) if !rest.is_empty() => return Err(Error::Changed),
                read => read?,
            }
        }
        Ok(())
    }

    /// Makes one call, and takes what has come off the front of `rest`.
    async fn read(
        &self,
        channel: &Channel,
        rest: &mut Range<u64>,
        each: &impl Fn(u64),
    ) -> Result<(), Error> {
        let request = ReadRequest {
            path: self.path.clone(),
            offset: rest.start,
            length: Some(rest.end - rest.start),
            version: self.info.version.clone(),
            chunk_bytes: self.options.chunk_bytes,
        };
        let mut replies = read_raw(channel, &request).await.map_err(Error::of_read)?;
        while let Some(reply) = replies.message().await.map_err(Error::of_read)? {
            let (at, data) = decode(reply, rest)?;
            let (length, checksum) = (data.len() as u64, Checksum::of(&data));
            part_file::write(&self.file, data, at, self.range.start)?;
            lock(&self.part).add(at..at + length, checksum)?;
            rest.start = at + length;
            each(length);
        }
        Ok(())
    }

    async fn verify(&self, channel: &Channel, checksum: Checksum) -> Result<(), Error> {
        let mut retry = Retry::new(self.options.patience);
        let reply = loop {
            match stat(channel, &self.path, true).await {
                Ok(reply) => break reply,
                Err(status) => retry.after(status).await.map_err(Error::of_read)?,
            }
        };
        let info = reply.info.unwrap_or_default();
        if info.version != self.info.version {
            return Err(Error::Changed);
        }
        let (wanted, got) = (reply.crc32c.unwrap_or_default(), checksum.crc32c());
        match wanted == got {
            true => Ok(()),
            false => Err(Error::Corrupt { wanted, got }),
        }
    }
}

/// What the file will replace must be a file.
fn check_target(target: &Path) -> Result<(), Error> {
    let tried = || format!("write {}", target.display());
    match std::fs::metadata(target) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(Error::local(
            tried(),
            io::Error::other("it is not a regular file"),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::local(tried(), error)),
    }
}

async fn info(channel: &Channel, path: &str) -> Result<FileInfo, Error> {
    let info = stat(channel, path, false).await?.info.unwrap_or_default();
    match info.kind() {
        FileKind::Regular => Ok(info),
        other => {
            let text = format!(
                "{path:?} is {}, and only regular files are read",
                kind_name(other)
            );
            Err(Status::failed_precondition(text).into())
        }
    }
}

/// Where in the file these bytes are, and the bytes as they were received.
fn decode(reply: Inbound, rest: &Range<u64>) -> Result<(u64, Chain), Error> {
    let (reply, data) = reply.decode_apart(ReadReply::DATA)?;
    let fits = reply.offset == rest.start && data.len() as u64 <= rest.end - rest.start;
    match fits && !data.is_empty() {
        true => Ok((reply.offset, data)),
        false => Err(Status::internal("the server has sent other bytes than asked for").into()),
    }
}

/// Divides these ranges into at least so many, as far as they are long enough.
fn divide(gaps: Vec<Range<u64>>, ranges: usize) -> Vec<Range<u64>> {
    let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
    let share = missing.div_ceil(ranges.max(1) as u64).max(SHARE_BYTES_MIN);
    let mut divided = Vec::new();
    for mut gap in gaps {
        while !gap.is_empty() {
            let end = gap.end.min(gap.start + share);
            divided.push(gap.start..end);
            gap.start = end;
        }
    }
    divided
}

/// Nothing panics under these locks, so a poisoned one is as good as new.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // one range is meant, not its numbers
mod tests {
    use super::*;

    #[test]
    fn ranges_are_divided_evenly() {
        const MIB: u64 = 1 << 20;
        assert_eq!(divide(vec![0..4 * MIB], 4).len(), 4);
        assert_eq!(divide(vec![0..MIB], 4), [0..MIB]);
        assert_eq!(
            divide(vec![0..4 * MIB + 1], 2),
            [0..2 * MIB + 1, 2 * MIB + 1..4 * MIB + 1]
        );
        assert_eq!(divide(vec![], 4), []);
        let gaps = vec![0..10, 5 * MIB..9 * MIB];
        assert_eq!(divide(gaps, 1), [0..10, 5 * MIB..9 * MIB]);
    }
}
