//! What a client is told of a system call that failed.

use kettle::{Code, Status};
use rustix::io::Errno;
use std::io;

/// The status of a call that could not do `tried` ("open \"x\""): the path in it is the one that the client named.
pub(crate) fn refusal(tried: &str, error: Errno) -> Status {
    let (code, reason) = reason(error);
    match reason {
        Some(reason) => Status::new(code, format!("cannot {tried}: {reason}")),
        None => Status::new(code, format!("cannot {tried}: {}", io::Error::from(error))),
    }
}

/// As [`refusal`], of an error of the standard library.
pub(crate) fn io_refusal(tried: &str, error: &io::Error) -> Status {
    match Errno::from_io_error(error) {
        Some(error) => refusal(tried, error),
        None => Status::internal(format!("cannot {tried}: {error}")),
    }
}

/// The code, and a text where the kernel's own would mislead.
fn reason(error: Errno) -> (Code, Option<&'static str>) {
    match error {
        Errno::NOENT => (Code::NotFound, Some("there is no such file or directory")),
        Errno::XDEV => (
            Code::PermissionDenied,
            Some("it leads out of the directory that is served"),
        ),
        Errno::LOOP => (
            Code::PermissionDenied,
            Some("it has too many symbolic links, or one that is not followed"),
        ),
        Errno::ACCESS | Errno::PERM => (Code::PermissionDenied, Some("the server may not do that")),
        Errno::EXIST => (Code::AlreadyExists, Some("there is a file of this name")),
        Errno::NOTDIR => (
            Code::FailedPrecondition,
            Some("a part of the path is not a directory"),
        ),
        Errno::ISDIR => (Code::FailedPrecondition, Some("it is a directory")),
        Errno::NXIO | Errno::NODEV => (
            Code::FailedPrecondition,
            Some("it is a device, a pipe or a socket"),
        ),
        Errno::ROFS | Errno::TXTBSY => (Code::FailedPrecondition, None),
        Errno::NAMETOOLONG | Errno::INVAL => (Code::InvalidArgument, None),
        Errno::NOSPC | Errno::DQUOT => (
            Code::ResourceExhausted,
            Some("the server's disk, or a quota on it, is full"),
        ),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::FBIG => (Code::ResourceExhausted, None),
        Errno::AGAIN => (
            Code::Unavailable,
            Some("directories on its path are being moved, or the file is leased"),
        ),
        _ => (Code::Internal, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_tried_and_why() {
        let status = refusal("open \"a/b\"", Errno::XDEV);
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(
            status.message(),
            "cannot open \"a/b\": it leads out of the directory that is served"
        );
        let status = refusal("write \"x\"", Errno::IO);
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("Input/output"), "{status:?}");
        let full = io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error());
        assert_eq!(
            io_refusal("write \"x\"", &full).code(),
            Code::ResourceExhausted
        );
    }
}
