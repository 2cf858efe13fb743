//! What is told of a file.

use crate::v1::{FileInfo, FileKind};
use rustix::fs::{FileType, Stat};

/// What a stat(2) says.
pub(crate) fn info(stat: &Stat) -> FileInfo {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    };
    FileInfo {
        kind: kind.into(),
        size: size(stat),
        modified_ns: modified_ns(stat),
        mode: stat.st_mode & 0o7777,
        version: version(stat),
    }
}

/// In bytes. The kernel's type is signed, and no file has fewer than none.
pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Nanoseconds since 1970; what does not fit is the nearest that does.
#[allow(clippy::useless_conversion)] // the fields' types differ between architectures
pub(crate) fn modified_ns(stat: &Stat) -> i64 {
    let seconds = i64::try_from(stat.st_mtime).unwrap_or(i64::MAX);
    let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// The same as long as the file is, and its content as far as its time of modification tells.
pub(crate) fn version(stat: &Stat) -> String {
    let (inode, size, modified) = (stat.st_ino, size(stat), modified_ns(stat));
    format!("{inode:x}-{size:x}-{modified:x}")
}

/// What a kind of file is called, behind "it is".
pub(crate) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "a regular file",
        FileKind::Directory => "a directory",
        FileKind::Symlink => "a symbolic link",
        FileKind::Other | FileKind::Unknown => "a device, a pipe or a socket",
    }
}
