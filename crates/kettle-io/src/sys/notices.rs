//! Zero-copy sends of memory, and the notices by which the kernel says that it is done with it.

use crate::SystemCalls;
use rustix::io::Result;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Room for one control message with the error and the address that may follow it, in 8 bytes each.
const CONTROL_WORDS: usize = 16;

/// SO_EE_ORIGIN_ZEROCOPY and SO_EE_CODE_ZEROCOPY_COPIED of `linux/errqueue.h`.
const ORIGIN_ZERO_COPY: u8 = 5;
const CODE_COPIED: u8 = 1;

/// The kernel is done with the memory of these sends. A socket's zero-copy sends are counted from 0 on, in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) first: u32,
    /// The last one; not before the first, but for the overflow.
    pub(crate) last: u32,
    /// It has copied the bytes all the same.
    pub(crate) copied: bool,
}

/// setsockopt(SO_ZEROCOPY), without which MSG_ZEROCOPY has no meaning.
pub(crate) fn allow_zero_copy(stream: BorrowedFd<'_>, calls: &mut SystemCalls) -> Result<()> {
    calls.control += 1;
    let on: libc::c_int = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ZEROCOPY);
    // SAFETY: the kernel reads the `len` bytes of `on`.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            len,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(super::last_error())
    }
}

/// recvmsg(MSG_ERRQUEUE): the next notice; `None` for a message of another kind. WOULDBLOCK when there is none.
pub(crate) fn notice(stream: BorrowedFd<'_>, calls: &mut SystemCalls) -> Result<Option<Notice>> {
    calls.receive += 1;
    let mut control = [0u64; CONTROL_WORDS];
    // SAFETY: a plain C structure of numbers and pointers, for which zero is valid.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the kernel writes to `header` and, within its length, to `control`.
    let received = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut header, flags) };
    if received < 0 {
        return Err(super::last_error());
    }
    // SAFETY: the kernel has filled the header in; `control` is aligned for what it holds.
    let message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    if message.is_null() {
        return Ok(None);
    }
    // SAFETY: it is not null, so it points to a whole header within `control`.
    let message: libc::cmsghdr = unsafe { ptr::read(message) };
    let kind = (message.cmsg_level, message.cmsg_type);
    let is_error =
        kind == (libc::SOL_IP, libc::IP_RECVERR) || kind == (libc::SOL_IPV6, libc::IPV6_RECVERR);
    let header_bytes = size_of::<libc::cmsghdr>();
    if !is_error
        || (message.cmsg_len as usize) < header_bytes + size_of::<libc::sock_extended_err>()
    {
        return Ok(None);
    }
    let data = control.as_ptr().wrapping_byte_add(header_bytes);
    // SAFETY: the message is long enough for this, asserted above, and any bytes make a valid value.
    let error: libc::sock_extended_err = unsafe { ptr::read_unaligned(data.cast()) };
    let notice = Notice {
        first: error.ee_info,
        last: error.ee_data,
        copied: error.ee_code & CODE_COPIED != 0,
    };
    Ok((error.ee_origin == ORIGIN_ZERO_COPY).then_some(notice))
}
