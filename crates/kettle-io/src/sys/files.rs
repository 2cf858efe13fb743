//! The system calls that take bytes from files, and pipes for them to pass through.

use crate::SystemCalls;
use rustix::fs::FileType;
use rustix::io::Result;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::ffi::c_void;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// sendfile(2); waits when the stream is in blocking mode. Returns 0 at the end of the file.
pub(crate) fn send_file(
    stream: BorrowedFd<'_>,
    file: &File,
    mut offset: u64,
    bytes_max: usize,
    calls: &mut SystemCalls,
) -> Result<usize> {
    calls.send += 1;
    rustix::fs::sendfile(stream, file, Some(&mut offset), bytes_max)
}

/// pread(2). Returns 0 at the end of the file.
pub(crate) fn read_file(
    file: &File,
    buffer: &mut [u8],
    offset: u64,
    calls: &mut SystemCalls,
) -> Result<usize> {
    calls.file += 1;
    rustix::io::pread(file, buffer, offset)
}

/// fstat(2): the length of a regular file; `None` for anything else, whose length says nothing.
pub(crate) fn file_size(file: &File, calls: &mut SystemCalls) -> Result<Option<u64>> {
    calls.file += 1;
    let stat = rustix::fs::fstat(file)?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(regular.then_some(stat.st_size as u64))
}

/// pipe2(2): the end to read from and the end to write to, close-on-exec.
pub(crate) fn pipe(calls: &mut SystemCalls) -> Result<(OwnedFd, OwnedFd)> {
    calls.control += 1;
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
}

/// fcntl(F_SETPIPE_SZ): the size that the pipe has then, in bytes.
pub(crate) fn set_pipe_size(
    pipe: BorrowedFd<'_>,
    bytes: usize,
    calls: &mut SystemCalls,
) -> Result<usize> {
    calls.control += 1;
    rustix::pipe::fcntl_setpipe_size(pipe, bytes)
}

/// splice(2) from a file into a pipe, as far as that has room. Returns 0 at the end of the file.
pub(crate) fn fill_pipe(
    pipe: BorrowedFd<'_>,
    file: &File,
    mut offset: u64,
    bytes_max: usize,
    calls: &mut SystemCalls,
) -> Result<usize> {
    calls.file += 1;
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    rustix::pipe::splice(file, Some(&mut offset), pipe, None, bytes_max, flags)
}

/// splice(2) from a pipe into a socket; waits when the stream is in blocking mode, whatever its flags say
/// (Linux 6.18). With `more` the kernel may hold a part of a packet back for what is sent next.
pub(crate) fn send_pipe(
    stream: BorrowedFd<'_>,
    pipe: BorrowedFd<'_>,
    bytes_max: usize,
    more: bool,
    calls: &mut SystemCalls,
) -> Result<usize> {
    calls.send += 1;
    let mut flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    flags.set(SpliceFlags::MORE, more);
    rustix::pipe::splice(pipe, None, stream, None, bytes_max, flags)
}

/// A part of a file in the address space. It is never looked at here, where reading behind the end of a file
/// that has become shorter would end the process: only the kernel is told of it.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut c_void,
    len: usize,
}

impl Mapping {
    /// mmap(2), with the munmap(2) that follows when this is dropped. `offset` is a multiple of the page size.
    pub(crate) fn new(
        file: &File,
        offset: u64,
        len: usize,
        calls: &mut SystemCalls,
    ) -> Result<Self> {
        calls.file += 2;
        let (protection, flags) = (ProtFlags::READ, MapFlags::SHARED);
        // SAFETY: the kernel chooses an address where nothing is mapped. The memory is given to nobody.
        let start =
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, flags, file, offset)? };
        Ok(Self { start, len })
    }

    /// send(2) of what is mapped from `skip` on; neither waits nor signals. EFAULT when the file does not
    /// reach so far any more.
    ///
    /// # Panics
    /// When `skip` is beyond the mapping.
    pub(crate) fn send(
        &self,
        stream: BorrowedFd<'_>,
        skip: usize,
        more: bool,
        calls: &mut SystemCalls,
    ) -> Result<usize> {
        calls.send += 1;
        let len = self.len.checked_sub(skip).expect("within the mapping");
        let flags = super::send_flags(more).bits() as i32;
        let from = self.start.wrapping_byte_add(skip);
        // SAFETY: only the kernel reads the memory, and answers EFAULT where it cannot.
        let sent = unsafe { libc::send(stream.as_raw_fd(), from, len, flags) };
        usize::try_from(sent).map_err(|_| super::last_error())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is what `new` has mapped, and nobody else knows of it.
        let unmapped = unsafe { rustix::mm::munmap(self.start, self.len) };
        debug_assert!(unmapped.is_ok(), "what was mapped is unmapped");
    }
}
