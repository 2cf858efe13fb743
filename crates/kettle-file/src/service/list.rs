//! The entries of a directory, page by page.

use crate::info::info;
use crate::path::RelativePath;
use crate::refusal::refusal;
use crate::root::Root;
use crate::v1::{Entry, ListReply};
use futures_core::Stream;
use kettle::Status;
use rustix::fs::{AtFlags, Dir, DirEntry, OFlags, statat};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Most entries of a page: with names of 255 bytes some 100 KiB.
const PAGE_ENTRIES_MAX: usize = 256;

/// The pages of a `List`. Making one reads the directory and looks at each entry, which may block.
#[derive(Debug)]
pub struct Pages {
    directory: Dir,
    path: String,
}

impl Pages {
    pub(super) fn open(root: &Root, path: RelativePath<'_>) -> Result<Self, Status> {
        let opened = root.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let path = path.as_str().to_owned();
        let directory = Dir::new(opened).map_err(|error| unreadable(&path, error))?;
        Ok(Self { directory, path })
    }

    fn page(&mut self) -> Result<Vec<Entry>, Status> {
        let mut entries = Vec::new();
        while entries.len() < PAGE_ENTRIES_MAX {
            let Some(entry) = self.directory.read() else {
                break;
            };
            let entry = entry.map_err(|error| unreadable(&self.path, error))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                entries.push(self.entry(&entry));
            }
        }
        Ok(entries)
    }

    /// One that went away since it was read has no info.
    fn entry(&self, entry: &DirEntry) -> Entry {
        let name = entry.file_name();
        let directory = self.directory.fd().ok();
        let stat =
            directory.and_then(|directory| statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok());
        let lossy = name.to_string_lossy();
        Entry {
            name_is_lossy: lossy.as_bytes() != name.to_bytes(),
            name: lossy.into_owned(),
            info: stat.as_ref().map(info),
        }
    }
}

fn unreadable(path: &str, error: rustix::io::Errno) -> Status {
    refusal(&format!("list {path:?}"), error)
}

impl Stream for Pages {
    type Item = Result<ListReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match self.page() {
            Ok(entries) if entries.is_empty() => None,
            Ok(entries) => Some(Ok(ListReply { entries })),
            Err(status) => Some(Err(status)),
        })
    }
}
