//! Which features of io_uring this kernel has, and why it refuses io_uring altogether.

use crate::Feature;
use io_uring::opcode::{Accept, AsyncCancel, Connect, PollAdd, Read, Recv, Send, SendMsg};
use io_uring::opcode::{SendMsgZc, SendZc, Socket};
use io_uring::{Parameters, register};
use rustix::io::Errno;
use std::fmt::Write;
use std::{fs, io};

/// Features of io_uring that not every kernel has. `uring` does without those that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UringFeatures {
    /// Completions are made when the driver waits and at no other time (DEFER_TASKRUN with
    /// SINGLE_ISSUER, Linux 6.1). The driver then belongs to the thread that first waits with it: on another a
    /// wait fails and says so, and a drop leaks the memory of what is in flight, 64 KiB and more.
    pub deferred: bool,
    /// Completions at least do not interrupt the thread (COOP_TASKRUN, Linux 5.19). Not looked for
    /// where the first is there.
    pub cooperative: bool,
    /// The kernel takes a buffer when bytes are there (provided buffer rings, Linux 5.19). Without
    /// them each receive is a poll by the ring and a recv(2).
    pub buffer_ring: bool,
    /// Receives share a buffer, one behind the other (IOU_PBUF_RING_INC, Linux 6.12). Without it
    /// each takes a buffer of its own.
    pub incremental: bool,
    /// One request accepts many connections (Linux 5.19).
    pub multishot_accept: bool,
    /// One request receives again and again (Linux 6.0). Needs `buffer_ring`. Cheaper by some per cent,
    /// but a receive that is cancelled may yet deliver as much as all lent blocks hold, 4 MiB: a server's
    /// bound on what it holds is exceeded by that. Off by default.
    pub multishot_receive: bool,
    /// Memory is sent without copying it (SENDMSG_ZC, Linux 6.1; used from 6.2 on, where the kernel tells whether
    /// it has copied all the same), when [`crate::DriverConfig::zero_copy_bytes_min`] asks for it.
    pub zero_copy: bool,
}

impl UringFeatures {
    /// All of them.
    pub const ALL: Self = Self {
        deferred: true,
        cooperative: true,
        buffer_ring: true,
        incremental: true,
        multishot_accept: true,
        multishot_receive: true,
        zero_copy: true,
    };

    /// None: what Linux 5.11 has.
    pub const NONE: Self = Self {
        deferred: false,
        cooperative: false,
        buffer_ring: false,
        incremental: false,
        multishot_accept: false,
        multishot_receive: false,
        zero_copy: false,
    };

    /// Each with a name and whether it is there.
    pub fn list(&self) -> Vec<Feature> {
        let features = [
            ("deferred completions", self.deferred),
            ("cooperative completions", self.cooperative),
            ("buffer ring", self.buffer_ring),
            ("incremental buffers", self.incremental),
            ("multishot accept", self.multishot_accept),
            ("multishot receive", self.multishot_receive),
            ("zero-copy send", self.zero_copy),
        ];
        features
            .map(|(name, found)| Feature { name, found })
            .to_vec()
    }
}

/// All but multishot receives, which go on bringing what nobody wants any more.
impl Default for UringFeatures {
    fn default() -> Self {
        Self {
            multishot_receive: false,
            ..Self::ALL
        }
    }
}

/// Fails when the kernel's io_uring is too old.
pub(super) fn check(params: &Parameters, probe: &register::Probe) -> io::Result<()> {
    let features = [
        ("IORING_FEAT_NODROP", params.is_feature_nodrop()),
        ("IORING_FEAT_FAST_POLL", params.is_feature_fast_poll()),
        ("IORING_FEAT_EXT_ARG", params.is_feature_ext_arg()),
    ];
    let operations = [
        ("ACCEPT", Accept::CODE),
        ("CONNECT", Connect::CODE),
        ("RECV", Recv::CODE),
        ("SEND", Send::CODE),
        ("SENDMSG", SendMsg::CODE),
        ("READ", Read::CODE),
        ("POLL_ADD", PollAdd::CODE),
        ("ASYNC_CANCEL", AsyncCancel::CODE),
    ];
    let operations = operations.map(|(name, code)| (name, probe.is_supported(code)));
    let missing = features.into_iter().chain(operations);
    match missing.filter(|(_, found)| !found).map(|it| it.0).next() {
        None => Ok(()),
        Some(name) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "this kernel's io_uring has no {name}: Linux 5.11 or newer has all that is needed"
            ),
        )),
    }
}

/// Which multishot operations there are: operations that came with the same kernel tell.
pub(super) fn multishot(probe: &register::Probe) -> (bool, bool) {
    let (accept, receive) = (Socket::CODE, SendZc::CODE);
    (probe.is_supported(accept), probe.is_supported(receive))
}

/// Whether there are sends that lend their memory.
pub(super) fn zero_copy(probe: &register::Probe) -> bool {
    probe.is_supported(SendMsgZc::CODE)
}

/// Where the administrator forbids io_uring.
const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// Says why the kernel gives no ring.
pub(super) fn refused(error: &io::Error) -> io::Error {
    let setting = fs::read_to_string(SYSCTL).ok();
    let setting = setting.as_deref().map_or("0", str::trim);
    io::Error::new(error.kind(), reason(error, setting))
}

/// The reason, with the value of the administrator's setting.
fn reason(error: &io::Error, setting: &str) -> String {
    let mut text = format!("io_uring_setup(2): {error}");
    let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM) if setting != "0" => {
            let _ = write!(text, "; sysctl kernel.io_uring_disabled is {setting}");
            return text;
        }
        Some(Errno::NOSYS) => "the kernel is built without io_uring, or a sandbox hides it",
        Some(Errno::PERM | Errno::ACCESS) => "a sandbox (seccomp) or security module forbids it",
        Some(Errno::NOMEM) => "too little memory may be locked (RLIMIT_MEMLOCK)",
        _ => return text,
    };
    let _ = write!(text, "; {hint}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_refuses() {
        let reason = |errno: Errno, setting| reason(&errno.into(), setting);
        assert!(reason(Errno::PERM, "2").ends_with("sysctl kernel.io_uring_disabled is 2"));
        assert!(reason(Errno::PERM, "0").contains("seccomp"));
        assert!(reason(Errno::NOSYS, "0").contains("built without io_uring"));
        assert!(reason(Errno::NOMEM, "0").contains("RLIMIT_MEMLOCK"));
        let other = reason(Errno::MFILE, "0");
        assert!(
            other.starts_with("io_uring_setup(2): ") && !other.contains(';'),
            "{other}"
        );
    }

    #[test]
    fn a_kernel_that_is_too_old_is_told_by_what_it_lacks() {
        let ring = io_uring::IoUring::new(2).unwrap();
        let mut probe = register::Probe::new();
        let error = check(ring.params(), &probe).unwrap_err().to_string();
        assert!(
            error.contains("ACCEPT") && error.contains("5.11"),
            "{error}"
        );
        assert_eq!(multishot(&probe), (false, false));
        assert!(!zero_copy(&probe));
        ring.submitter().register_probe(&mut probe).unwrap();
        check(ring.params(), &probe).unwrap();
    }
}
