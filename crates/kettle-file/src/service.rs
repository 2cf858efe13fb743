//! The service: a directory, and what may be done in it.
//!
//! `service/read.rs` gives regions of files, `list.rs` pages of entries, `write.rs` takes an upload,
//! `new_file.rs` is the file that it becomes, `places.rs` bounds how many there are of each.

mod list;
mod new_file;
mod places;
mod read;
mod write;

use crate::checksum::{KnownChecksums, Summing};
use crate::info::{self, info, kind_name};
use crate::path::RelativePath;
use crate::refusal::{io_refusal, refusal};
use crate::root::Root;
use crate::v1::files_server::{Files, FilesServer};
use crate::v1::{FileInfo, FileKind, ListRequest, ReadRequest, StatReply, StatRequest, WriteReply};
use kettle::{Hosting, Inbound, Request, Response, Service, Status, Streaming};
use list::Pages;
use places::Places;
use read::Regions;
use rustix::fs::{OFlags, Stat, fstat};
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::task::Poll;

pub use read::CHUNK_BYTES;

/// Longest file that is written, in bytes, unless set otherwise: 64 GiB.
pub const FILE_BYTES_MAX: u64 = 64 << 30;

/// Uploads at a time, unless set otherwise: each may fill the disk with a file of its own.
const UPLOADS_MAX: usize = 64;

/// Files that are read at a time: each is an open descriptor, of which a process often has 1,024 by custom.
const READS_MAX: usize = 512;

/// How much of a file is read for its checksum before another call has its turn, and this one may be
/// cancelled: some 10 ms.
const SUMMING_BYTES: u64 = 64 << 20;

/// Serves the files of a directory: `kettle.file.v1.Files`.
///
/// Paths cannot lead out of it: not by `..` or an absolute path, by a symbolic link that leads out, or by a
/// link or directory that is swapped while it is opened. What leads out is refused, links that stay
/// inside are followed. Only regular files are read and written. What is mounted inside belongs to it.
///
/// Nothing but the methods that wait for a disk runs on the server's pool: `List`, `Stat`, `Write`, and the
/// opening in `Read`. What `Read` sends goes from the page cache to the socket (`kettle::FileRegion`); a file
/// that is not in memory is read by whoever sends it, and its loop waits for the disk.
///
/// At most 512 files are read at a time; more calls end with RESOURCE_EXHAUSTED.
///
/// ```no_run
/// use kettle::Server;
/// use kettle_file::FilesService;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let files = FilesService::new("/srv/files")?.writable(true);
/// Server::builder().add_service(files.host()).serve("127.0.0.1:50051")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FilesService {
    root: Root,
    writable: bool,
    file_bytes_max: u64,
    reads: Places,
    uploads: Places,
    checksums: KnownChecksums,
}

impl FilesService {
    /// Serves this directory, to be read only. It stays the same directory when another gets its name.
    ///
    /// # Errors
    /// When it is not a directory that can be read, and on Linux before 5.6, which has no openat2(2).
    pub fn new(directory: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            root: Root::open(directory.as_ref())?,
            writable: false,
            file_bytes_max: FILE_BYTES_MAX,
            reads: Places::new("files are read", READS_MAX),
            uploads: Places::new("files are written", UPLOADS_MAX),
            checksums: KnownChecksums::default(),
        })
    }

    /// Whether files may be written. Default: no, and `Write` ends with PERMISSION_DENIED.
    #[must_use]
    pub fn writable(mut self, writable: bool) -> Self {
        self.writable = writable;
        self
    }

    /// Longest file that is written, in bytes. Default 64 GiB. A longer one ends its call with
    /// RESOURCE_EXHAUSTED.
    #[must_use]
    pub fn file_bytes_max(mut self, bytes: u64) -> Self {
        self.file_bytes_max = bytes;
        self
    }

    /// Files that are written at a time. Default 64. One more ends its call with RESOURCE_EXHAUSTED.
    #[must_use]
    pub fn uploads_max(mut self, uploads: usize) -> Self {
        self.uploads = Places::new("files are written", uploads);
        self
    }

    /// The service with what belongs on the pool there, for [`kettle::ServerBuilder::add_service`].
    pub fn host(self) -> Hosting {
        FilesServer::new(self)
            .method_on_pool("List")
            .method_on_pool("Stat")
            .method_begins_on_pool("Read")
            .method_on_pool("Write")
    }

    /// Opens a regular file to read it.
    fn open_regular(&self, path: RelativePath<'_>) -> Result<(File, Stat), Status> {
        // A pipe that nobody writes to would block the opening, and a terminal become that of the process.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = self.root.open_beneath(path, flags)?;
        let stat = stat_of(&opened, path)?;
        match info(&stat).kind() {
            FileKind::Regular => Ok((File::from(opened), stat)),
            other => Err(Status::failed_precondition(format!(
                "cannot read {:?}: it is {}, and only regular files are read",
                path.as_str(),
                kind_name(other)
            ))),
        }
    }

    async fn checksum(&self, path: RelativePath<'_>) -> Result<StatReply, Status> {
        let (file, stat) = self.open_regular(path)?;
        if let Some(known) = self.checksums.find(&stat) {
            return Ok(reply(info(&stat), Some(known.crc32c())));
        }
        let mut summing = Summing::new(0, info::size(&stat));
        let checksum = loop {
            let step = summing.go_on(&file, SUMMING_BYTES);
            let step =
                step.map_err(|error| io_refusal(&format!("read {:?}", path.as_str()), &error))?;
            match step {
                Some(checksum) => break checksum,
                None => let_others_run().await,
            }
        };
        let now = stat_of(&file, path)?;
        if info::version(&now) != info::version(&stat) {
            return Err(changed(path));
        }
        self.checksums.add(&stat, checksum);
        Ok(reply(info(&stat), Some(checksum.crc32c())))
    }
}

impl Files for FilesService {
    type ListStream = Pages;

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Pages>, Status> {
        let ListRequest { path } = request.into_inner();
        let pages = Pages::open(&self.root, RelativePath::new(&path)?)?;
        Ok(Response::new(pages))
    }

    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatReply>, Status> {
        let StatRequest { path, checksum } = request.into_inner();
        let path = RelativePath::new(&path)?;
        if checksum {
            return Ok(Response::new(self.checksum(path).await?));
        }
        let opened = self.root.open_beneath(path, OFlags::PATH)?;
        let stat = stat_of(&opened, path)?;
        Ok(Response::new(reply(info(&stat), None)))
    }

    type ReadStream = Regions;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Regions>, Status> {
        let request = request.into_inner();
        let path = RelativePath::new(&request.path)?;
        let place = self.reads.take()?;
        let (file, stat) = self.open_regular(path)?;
        if !request.version.is_empty() && request.version != info::version(&stat) {
            return Err(changed(path));
        }
        let regions = Regions::new(&request, file, info::size(&stat), place)?;
        Ok(Response::new(regions))
    }

    async fn write(
        &self,
        request: Request<Streaming<Inbound>>,
    ) -> Result<Response<WriteReply>, Status> {
        if !self.writable {
            let text = "this server's files can only be read: `kettle serve --writable` lets them be written";
            return Err(Status::permission_denied(text));
        }
        let _place = self.uploads.take()?;
        let reply = write::receive(&self.root, self.file_bytes_max, request.into_inner()).await?;
        Ok(Response::new(reply))
    }
}

fn reply(info: FileInfo, crc32c: Option<u32>) -> StatReply {
    StatReply {
        info: Some(info),
        crc32c,
    }
}

fn stat_of(file: impl std::os::fd::AsFd, path: RelativePath<'_>) -> Result<Stat, Status> {
    fstat(file).map_err(|error| refusal(&format!("look at {:?}", path.as_str()), error))
}

fn changed(path: RelativePath<'_>) -> Status {
    Status::aborted(format!("{:?} has changed meanwhile", path.as_str()))
}

/// Ends this turn of a handler on the pool.
async fn let_others_run() {
    let mut had = false;
    poll_fn(|cx| {
        if had {
            return Poll::Ready(());
        }
        had = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
