//! A file that gets its name when it is whole.

use crate::checksum::Checksum;
use crate::info::{info, kind_name};
use crate::path::RelativePath;
use crate::refusal::{io_refusal, refusal};
use crate::root::Root;
use crate::v1::{FileKind, WriteReply, WriteStart};
use crate::vectored::write_all_at;
use kettle::{Chain, Status};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, fstat, fsync, linkat, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The permissions of a file unless its writer says otherwise.
const MODE: u32 = 0o644;

/// The permissions that a writer may ask for: neither set-user-ID nor its kin.
const MODE_MAX: u32 = 0o777;

/// How many names are tried for a file that is not whole yet.
const NAME_TRIES_MAX: usize = 16;

/// A file in its directory, under no name or under one that is not its own. Dropping it before
/// [`NewFile::finish`] leaves nothing behind.
///
/// ```text
///   O_TMPFILE ──▶ no name ──link──▶ NAME                    does not overwrite
///                    │ ────link──▶ .kettle-… ──rename──▶ NAME   overwrites
///   without it:  .kettle-… ──────────────────────rename──▶ NAME
/// ```
#[derive(Debug)]
pub(super) struct NewFile {
    start: WriteStart,
    directory: OwnedFd,
    name: String,
    file: File,
    /// Its name until it is whole, where the file system has no files without one.
    temporary: Option<String>,
    bytes_max: u64,
    written: u64,
    checksum: Checksum,
}

impl NewFile {
    /// # Errors
    /// What the client is told: for the path, the mode, a name that is taken, a size beyond `bytes_max`.
    pub(super) fn create(root: &Root, start: WriteStart, bytes_max: u64) -> Result<Self, Status> {
        let (parent, name) = RelativePath::new(&start.path)?.split()?;
        if MODE_MAX < start.mode.unwrap_or(MODE) {
            let mode = start.mode.unwrap_or(MODE);
            let text = format!("mode is 0o{mode:o}, and may be 0o{MODE_MAX:o} at most");
            return Err(Status::invalid_argument(text));
        }
        check_length(&start.path, start.size.unwrap_or(0), bytes_max)?;
        let directory = root.open_beneath(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
        check_name(&directory, name, &start)?;
        let created = create_nameless(&directory).or_else(|error| match error {
            // What file systems and kernels say that have no O_TMPFILE.
            Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT => {
                create_temporary(&directory)
            }
            error => Err(error),
        });
        let (file, temporary) =
            created.map_err(|error| refusal(&format!("create {:?}", start.path), error))?;
        Ok(Self {
            name: name.to_owned(),
            directory,
            file: file.into(),
            temporary,
            bytes_max,
            written: 0,
            checksum: Checksum::default(),
            start,
        })
    }

    /// Writes what has come, as it lies.
    pub(super) fn append(&mut self, data: Chain) -> Result<(), Status> {
        let (path, end) = (&self.start.path, self.written + data.len() as u64);
        check_length(path, end, self.bytes_max)?;
        if let Some(size) = self.start.size.filter(|size| *size < end) {
            return Err(wrong_size(path, size, &format!("{end} or more")));
        }
        self.checksum.add_chain(&data);
        write_all_at(&self.file, data, self.written)
            .map_err(|error| refusal(&format!("write {path:?}"), error))?;
        self.written = end;
        Ok(())
    }

    /// Gives the file its name. `crc32c` is what its writer says.
    ///
    /// # Errors
    /// What the client is told; no file has got the name then, but for one that could not be put on the disk
    /// for sure.
    pub(super) fn finish(mut self, crc32c: Option<u32>) -> Result<WriteReply, Status> {
        let (path, checksum) = (self.start.path.clone(), self.checksum.crc32c());
        if let Some(size) = self.start.size.filter(|size| *size != self.written) {
            return Err(wrong_size(&path, size, &self.written.to_string()));
        }
        if let Some(crc32c) = crc32c.filter(|crc32c| *crc32c != checksum) {
            let text = format!(
                "{path:?} has come with the checksum {checksum:08x}, and its writer says {crc32c:08x}"
            );
            return Err(Status::data_loss(text));
        }
        let failed = |error| refusal(&format!("write {path:?}"), error);
        let mode = Mode::from_raw_mode(self.start.mode.unwrap_or(MODE));
        fchmod(&self.file, mode).map_err(failed)?;
        if self.start.fsync {
            let synced = self.file.sync_all();
            synced.map_err(|error| io_refusal(&format!("write {path:?}"), &error))?;
        }
        check_name(&self.directory, &self.name, &self.start)?;
        self.give_name().map_err(failed)?;
        if self.start.fsync {
            fsync(&self.directory).map_err(failed)?;
        }
        let stat = fstat(&self.file).map_err(failed)?;
        Ok(WriteReply {
            info: Some(info(&stat)),
            crc32c: checksum,
        })
    }

    fn give_name(&mut self) -> Result<(), Errno> {
        let directory = &self.directory;
        if self.temporary.is_none() && !self.start.overwrite {
            return link(&self.file, directory, &self.name);
        }
        if self.temporary.is_none() {
            let file = &self.file;
            let (_, name) = with_temporary_name(|name| link(file, directory, name))?;
            self.temporary = Some(name);
        }
        let Some(temporary) = &self.temporary else {
            return Ok(());
        };
        match self.start.overwrite {
            true => renameat(directory, temporary, directory, &self.name)?,
            false => renameat_with(
                directory,
                temporary,
                directory,
                &self.name,
                RenameFlags::NOREPLACE,
            )?,
        }
        self.temporary = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            // Whoever has taken it away already did what is to be done here.
            let _ = unlinkat(&self.directory, name, AtFlags::empty());
        }
    }
}

/// What has the name already must be something that may be replaced.
fn check_name(directory: &OwnedFd, name: &str, start: &WriteStart) -> Result<(), Status> {
    let path = &start.path;
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(refusal(&format!("write {path:?}"), error)),
    };
    match info(&stat).kind() {
        FileKind::Regular | FileKind::Symlink if start.overwrite => Ok(()),
        FileKind::Regular | FileKind::Symlink => {
            Err(refusal(&format!("write {path:?}"), Errno::EXIST))
        }
        other => Err(Status::failed_precondition(format!(
            "cannot write {path:?}: it is {}, which is not replaced",
            kind_name(other)
        ))),
    }
}

fn check_length(path: &str, length: u64, bytes_max: u64) -> Result<(), Status> {
    if length <= bytes_max {
        return Ok(());
    }
    let text =
        format!("{path:?} has {length} bytes or more, and this server takes {bytes_max} at most");
    Err(Status::resource_exhausted(text))
}

fn wrong_size(path: &str, told: u64, came: &str) -> Status {
    let text = format!("{told} bytes were announced for {path:?}, and {came} came");
    Status::invalid_argument(text)
}

fn create_nameless(directory: &OwnedFd) -> Result<(OwnedFd, Option<String>), Errno> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(directory, ".", flags, Mode::RUSR | Mode::WUSR)?;
    Ok((file, None))
}

fn create_temporary(directory: &OwnedFd) -> Result<(OwnedFd, Option<String>), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let create = |name: &str| openat(directory, name, flags, Mode::RUSR | Mode::WUSR);
    let (file, name) = with_temporary_name(create)?;
    Ok((file, Some(name)))
}

/// Gives a file without a name one that is free.
///
/// # Source
/// open(2), O_TMPFILE: the link in /proc serves those who may not link by descriptor.
fn link(file: &File, directory: &OwnedFd, name: &str) -> Result<(), Errno> {
    match linkat(file, "", directory, name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM) => {
            let file = format!("/proc/self/fd/{}", file.as_raw_fd());
            let follow = AtFlags::SYMLINK_FOLLOW;
            linkat(rustix::fs::CWD, file, directory, name, follow)
        }
        linked => linked,
    }
}

/// Does something with a name that is free: it is tried with others while it says that one is taken.
fn with_temporary_name<T>(
    mut make: impl FnMut(&str) -> Result<T, Errno>,
) -> Result<(T, String), Errno> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    for _ in 0..NAME_TRIES_MAX {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = now.unwrap_or_default().subsec_nanos();
        let name = format!(".kettle-{:x}-{number:x}-{nanos:x}", std::process::id());
        match make(&name) {
            Ok(made) => return Ok((made, name)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EXIST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// As on a file system without O_TMPFILE.
    fn with_name(directory: &Path, overwrite: bool) -> NewFile {
        let root = Root::open(directory).unwrap();
        let start = WriteStart {
            path: "x".to_owned(),
            overwrite,
            ..WriteStart::default()
        };
        let mut new = NewFile::create(&root, start, 100).unwrap();
        let (file, temporary) = create_temporary(&new.directory).unwrap();
        (new.file, new.temporary) = (file.into(), temporary);
        new
    }

    #[test]
    fn a_temporary_name_goes_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let new = with_name(directory.path(), false);
        let names_meanwhile = names(directory.path());
        assert_eq!(names_meanwhile.len(), 1);
        assert!(names_meanwhile[0].starts_with(".kettle-"));
        drop(new);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn a_temporary_name_becomes_the_files_own() {
        let directory = tempfile::tempdir().unwrap();
        for (overwrite, content) in [(false, "one"), (true, "two")] {
            let mut new = with_name(directory.path(), overwrite);
            new.append(kettle::Segment::from(content).into()).unwrap();
            new.finish(None).unwrap();
            assert_eq!(names(directory.path()), ["x"]);
            let read = std::fs::read_to_string(directory.path().join("x")).unwrap();
            assert_eq!(read, content);
        }
    }

    /// Looked at by the kernel, in the moment of the renaming.
    #[test]
    fn a_name_that_was_taken_meanwhile_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        for named in [true, false] {
            let mut new = with_name(directory.path(), false);
            if !named {
                new = NewFile::create(
                    &Root::open(directory.path()).unwrap(),
                    new.start.clone(),
                    100,
                )
                .unwrap();
            }
            std::fs::write(directory.path().join("x"), "first").unwrap();
            assert_eq!(new.give_name(), Err(Errno::EXIST));
            drop(new);
            assert_eq!(names(directory.path()), ["x"]);
            std::fs::remove_file(directory.path().join("x")).unwrap();
        }
    }
}
