//! Sending a file.

use super::WRITE_PATH;
use super::error::Error;
use crate::checksum::{Checksum, Summing};
use crate::service::CHUNK_BYTES;
use crate::v1::{WriteReply, WriteRequest, WriteStart};
use futures_core::Stream;
use kettle::{Channel, Composed, FileRegion, Request};
use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// How a file is sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UploadOptions {
    /// Replaces a file of this name. Default: no, and the call ends with ALREADY_EXISTS.
    pub overwrite: bool,
    /// Puts the file on the server's disk before the reply. Default: no.
    pub fsync: bool,
    /// The permissions, at most 0o777. Default: the server's, 0o644.
    pub mode: Option<u32>,
    /// Reads the file before, so that the server can compare its checksum before the file gets its name.
    /// Default: yes.
    pub verify: bool,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            overwrite: false,
            fsync: false,
            mode: None,
            verify: true,
        }
    }
}

/// Sends a file of this machine, and gives what the server says of it. `each` gets the length of what is handed
/// over to be sent, on the loop of the channel, and must not block.
///
/// The bytes go from the file to the socket. Before, all of it is read for its checksum, which blocks the thread
/// that polls this. Dropping the future ends the call, and the server keeps nothing.
///
/// # Errors
/// [`Error::Local`] when it is not a regular file that can be read; [`Error::Call`], with DATA_LOSS when the file
/// was changed meanwhile. After UNAVAILABLE it is not known whether the file was written.
pub async fn upload(
    channel: &Channel,
    source: &Path,
    path: &str,
    options: &UploadOptions,
    each: impl FnMut(u64) + Send + Unpin + 'static,
) -> Result<WriteReply, Error> {
    let tried = |error| Error::local(format!("read {}", source.display()), error);
    let file = File::open(source).map_err(tried)?;
    let metadata = file.metadata().map_err(tried)?;
    if !metadata.is_file() {
        return Err(tried(io::Error::other("it is not a regular file")));
    }
    let size = metadata.len();
    let checksum = match options.verify {
        true => Some(Summing::new(0, size).finish(&file).map_err(tried)?),
        false => None,
    };
    let start = WriteStart {
        path: path.to_owned(),
        size: Some(size),
        mode: options.mode,
        fsync: options.fsync,
        overwrite: options.overwrite,
    };
    let messages = Messages {
        file: Arc::new(file),
        start: Some(start),
        checksum,
        at: 0,
        size,
        each,
    };
    let reply = channel.client_streaming(WRITE_PATH, Request::new(messages));
    Ok(reply.await?.into_inner())
}

/// The messages of a `Write`; the last one has the checksum.
struct Messages<E> {
    file: Arc<File>,
    start: Option<WriteStart>,
    checksum: Option<Checksum>,
    at: u64,
    size: u64,
    each: E,
}

impl<E: FnMut(u64) + Unpin> Stream for Messages<E> {
    type Item = Composed<WriteRequest>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (at, start) = (self.at, self.start.take());
        if start.is_none() && at == self.size {
            return Poll::Ready(None);
        }
        let length = u64::from(CHUNK_BYTES).min(self.size - at);
        self.at += length;
        let is_last = self.at == self.size;
        let message = WriteRequest {
            start,
            crc32c: self.checksum.filter(|_| is_last).map(Checksum::crc32c),
            ..WriteRequest::default()
        };
        let region = FileRegion::new(Arc::clone(&self.file), at, length);
        (self.each)(length);
        Poll::Ready(Some(
            Composed::new(message).with(WriteRequest::DATA, region),
        ))
    }
}
