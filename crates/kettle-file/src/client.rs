//! The client's side: fetching, sending and listing files over a [`Channel`].
//!
//! `client/download.rs` fetches a file, `part_file.rs` is what it has of it on the disk, `pieces.rs` which
//! bytes these are, `retry.rs` how long broken connections are put up with. `upload.rs` sends a file.

mod download;
mod error;
mod part_file;
mod pieces;
mod retry;
mod upload;

pub use download::{Download, DownloadOptions, Fetched};
pub use error::Error;
pub use part_file::Resumed;
pub use upload::{UploadOptions, upload};

use crate::v1::files_client::FilesClient;
use crate::v1::{Entry, ListRequest, ReadRequest, StatReply, StatRequest};
use kettle::{Channel, Inbound, Outbound, Request, Status, Streaming};

const READ_PATH: &str = "/kettle.file.v1.Files/Read";
const WRITE_PATH: &str = "/kettle.file.v1.Files/Write";

/// Asks what a file is, and on request for its checksum, for which the server may have to read all of it.
///
/// # Errors
/// The status of the call.
pub async fn stat(channel: &Channel, path: &str, checksum: bool) -> Result<StatReply, Status> {
    let path = path.to_owned();
    let request = StatRequest { path, checksum };
    let reply = FilesClient::new(channel.clone()).stat(request).await?;
    Ok(reply.into_inner())
}

/// Lists a directory. The entries come in pages, in no order, and `each` gets them as they come.
///
/// # Errors
/// The status of the call.
pub async fn list(
    channel: &Channel,
    path: &str,
    mut each: impl FnMut(Entry),
) -> Result<(), Status> {
    let path = path.to_owned();
    let request = ListRequest { path };
    let replies = FilesClient::new(channel.clone()).list(request).await?;
    let mut replies = replies.into_inner();
    while let Some(page) = replies.message().await? {
        page.entries.into_iter().for_each(&mut each);
    }
    Ok(())
}

/// Reads a file; the messages are [`crate::v1::ReadReply`], not decoded yet: [`Inbound::decode_apart`] gives their
/// bytes without a copy.
///
/// # Errors
/// The status of the call, when it ended before the first message.
pub async fn read_raw(
    channel: &Channel,
    request: &ReadRequest,
) -> Result<Streaming<Inbound>, Status> {
    let request = Request::new(Outbound::encode(request));
    let replies = channel.call_streaming(READ_PATH, request).await?;
    Ok(replies.into_inner().into_stream())
}
