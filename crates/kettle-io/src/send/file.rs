//! The ways of a file region into a socket.
//!
//! Each sends a part of the region and tells how much; nothing at the end of the file. A file, or a socket,
//! that one cannot handle is answered by an error that [`is_refusal`] knows, and the part is copied.

use super::pipe::FilledPipe;
use super::{Outlet, Progress, SEND_BYTES_MAX};
use crate::transfer::Transfer;
use crate::{FileStrategy, sys};
use kettle_buf::FileRegion;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// The buffer that files are copied through, in bytes. A driver has it from the first such file on. 256 KiB took a
/// tenth less CPU time, but what a slow reader leaves of it is read again.
const COPY_BYTES: usize = 64 * 1024;

/// The part of a region that one step sends at most.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    file: &'a Arc<File>,
    offset: u64,
    bytes: u64,
    /// Bytes of the payload from here on, this part included.
    payload_bytes: u64,
}

impl<'a> Part<'a> {
    fn of(region: &'a FileRegion, payload_bytes: u64) -> Self {
        Self {
            file: region.file(),
            offset: region.offset(),
            bytes: region.len().min(SEND_BYTES_MAX),
            payload_bytes,
        }
    }

    /// Whether there is more of the payload behind the first `bytes` bytes.
    fn has_more_than(&self, bytes: usize) -> bool {
        (bytes as u64) < self.payload_bytes
    }
}

/// The file is at its end.
const ENDED: Progress = Progress {
    bytes: 0,
    full: false,
    lent: false,
};

impl Transfer {
    /// Sends some of a region, which begins a payload of `payload_bytes` bytes.
    pub(super) fn send_region(
        &mut self,
        outlet: &mut Outlet<'_>,
        region: &FileRegion,
        payload_bytes: u64,
    ) -> io::Result<Progress> {
        let part = Part::of(region, payload_bytes);
        let sent = match self.sender.strategy {
            FileStrategy::Splice => self.splice(outlet, part),
            FileStrategy::Sendfile => self.send_file(outlet, part),
            FileStrategy::Mmap => self.send_mapped(outlet, part),
            FileStrategy::Copy => self.copy(outlet, part),
        };
        let sent = match sent {
            Err(error) if is_refusal(error) && self.sender.strategy != FileStrategy::Copy => {
                self.sender.stats.strategy_fallbacks += 1;
                self.copy(outlet, part)
            }
            sent => sent,
        };
        match sent? {
            Progress { bytes: 0, .. } => Err(file_ended(region)),
            progress => Ok(progress),
        }
    }

    fn splice(&mut self, outlet: &mut Outlet<'_>, part: Part<'_>) -> Result<Progress, Errno> {
        let kept = outlet.take_pipe();
        let kept = kept.filter(|pipe| pipe.continues(part.file, part.offset, &mut self.calls));
        let filled = match kept {
            Some(pipe) => Some(pipe),
            None => self.fill_pipe(part)?,
        };
        let Some(mut pipe) = filled else {
            self.sender.stats.pipe_fallbacks += 1;
            return self.send_file(outlet, part);
        };
        let bytes = pipe.len().min(part.bytes as usize);
        if bytes == 0 {
            self.put_pipe(outlet, pipe);
            return Ok(ENDED);
        }
        outlet.leave_blocking(&mut self.calls)?;
        let more = part.has_more_than(bytes);
        let sent = pipe.send(outlet.stream, bytes, more, &mut self.calls);
        // After any other error it is closed.
        if matches!(sent, Ok(_) | Err(Errno::WOULDBLOCK | Errno::INTR)) {
            self.put_pipe(outlet, pipe);
        }
        let sent = sent?;
        self.sender.stats.splice_bytes += sent as u64;
        Ok(not_full(sent))
    }

    /// A pipe with bytes of the part, when there is a pipe.
    fn fill_pipe(&mut self, part: Part<'_>) -> Result<Option<FilledPipe>, Errno> {
        let Some(pipe) = self.sender.pipes.take(&mut self.calls) else {
            return Ok(None);
        };
        let bytes_max = part.bytes as usize;
        match pipe.fill(part.file, part.offset, bytes_max, &mut self.calls) {
            Ok(bytes) => {
                let file = Arc::clone(part.file);
                Ok(Some(FilledPipe::new(pipe, file, part.offset, bytes)))
            }
            Err(error) => {
                self.sender.pipes.put(pipe);
                Err(of_file(error))
            }
        }
    }

    /// An empty pipe is anybody's again, another one stays with its socket.
    fn put_pipe(&mut self, outlet: &mut Outlet<'_>, pipe: FilledPipe) {
        match pipe.into_empty() {
            Ok(empty) => self.sender.pipes.put(empty),
            Err(filled) => outlet.keep_pipe(filled),
        }
    }

    fn send_file(&mut self, outlet: &mut Outlet<'_>, part: Part<'_>) -> Result<Progress, Errno> {
        outlet.leave_blocking(&mut self.calls)?;
        let (file, bytes_max) = (part.file, part.bytes as usize);
        let sent = sys::send_file(outlet.stream, file, part.offset, bytes_max, &mut self.calls)?;
        self.sender.stats.sendfile_bytes += sent as u64;
        Ok(not_full(sent))
    }

    /// The size of the file is looked at before, so that the mapping ends with it, and after: what lies
    /// behind the end in the last page is zeros, which must not pass for bytes of the file.
    fn send_mapped(&mut self, outlet: &mut Outlet<'_>, part: Part<'_>) -> Result<Progress, Errno> {
        let skip = part.offset % rustix::param::page_size() as u64;
        let size = sys::file_size(part.file, &mut self.calls)?.unwrap_or(0);
        let bytes = size.saturating_sub(part.offset).min(part.bytes);
        let bytes = bytes.min(SEND_BYTES_MAX - skip) as usize;
        if bytes == 0 {
            // Some files have no size, such as those in /proc: reading tells.
            return Err(Errno::NODEV);
        }
        let (start, len) = (part.offset - skip, skip as usize + bytes);
        let mapping = sys::Mapping::new(part.file, start, len, &mut self.calls)?;
        let more = part.has_more_than(bytes);
        let sent = mapping.send(outlet.stream, skip as usize, more, &mut self.calls);
        drop(mapping);
        let size = sys::file_size(part.file, &mut self.calls)?.unwrap_or(0);
        let whole = part.offset + bytes as u64 <= size;
        match sent {
            Ok(sent) if part.offset + sent as u64 <= size => {
                self.sender.stats.mmap_bytes += sent as u64;
                Ok(Progress {
                    bytes: sent as u64,
                    full: whole && sent < bytes,
                    lent: false,
                })
            }
            Ok(_) => Ok(ENDED),
            // What is left of the file is tried again.
            Err(Errno::FAULT) if !whole => Err(Errno::INTR),
            // The disk cannot be read.
            Err(Errno::FAULT) => Err(Errno::IO),
            Err(error) => Err(error),
        }
    }

    /// What the socket does not take is read again the next time.
    fn copy(&mut self, outlet: &mut Outlet<'_>, part: Part<'_>) -> Result<Progress, Errno> {
        self.sender.buffer.resize(COPY_BYTES, 0);
        let bytes = part.bytes.min(COPY_BYTES as u64) as usize;
        let buffer = &mut self.sender.buffer[..bytes];
        let read = sys::read_file(part.file, buffer, part.offset, &mut self.calls);
        let read = read.map_err(of_file)?;
        if read == 0 {
            return Ok(ENDED);
        }
        let (bytes, more) = (&buffer[..read], part.has_more_than(read));
        let sent = sys::send(outlet.stream, bytes, more, &mut self.calls)?;
        self.sender.stats.copy_bytes += sent as u64;
        Ok(Progress {
            bytes: sent as u64,
            full: sent < read,
            lent: false,
        })
    }
}

/// A short splice(2) or sendfile(2) does not prove the socket full; the next attempt will tell.
fn not_full(sent: usize) -> Progress {
    Progress {
        bytes: sent as u64,
        full: false,
        lent: false,
    }
}

/// An error of reading a file. One without bytes at hand, such as a terminal, would else pass for a socket
/// that has no room.
fn of_file(error: Errno) -> Errno {
    match error {
        Errno::WOULDBLOCK => Errno::NODATA,
        error => error,
    }
}

/// Whether an error says that a file or a socket cannot be used in this way, as some file systems cannot.
fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::INVAL
            | Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::NODEV
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NOMEM
            | Errno::NODATA
    )
}

fn file_ended(region: &FileRegion) -> io::Error {
    let (bytes, offset) = (region.len(), region.offset());
    let text =
        format!("the file ends at byte {offset} or before, {bytes} bytes short of its region");
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}
