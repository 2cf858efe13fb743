//! Taking an upload.

use super::new_file::NewFile;
use crate::root::Root;
use crate::v1::{WriteReply, WriteRequest};
use kettle::{Chain, Inbound, Status, Streaming};

/// Writes the file that these messages are. A call that ends before they do drops what has come.
pub(super) async fn receive(
    root: &Root,
    bytes_max: u64,
    mut messages: Streaming<Inbound>,
) -> Result<WriteReply, Status> {
    let wrong = |text: &'static str| Err(Status::invalid_argument(text));
    let Some((first, data)) = next(&mut messages).await? else {
        return wrong("an upload begins with a message that has `start`, and none came");
    };
    let Some(start) = first.start else {
        return wrong("the first message of an upload has `start`, and this one has none");
    };
    let mut file = NewFile::create(root, start, bytes_max)?;
    file.append(data)?;
    let mut crc32c = first.crc32c;
    while let Some((message, data)) = next(&mut messages).await? {
        if message.start.is_some() {
            return wrong("only the first message of an upload has `start`");
        }
        if crc32c.is_some() {
            return wrong("only the last message of an upload has `crc32c`");
        }
        file.append(data)?;
        crc32c = message.crc32c;
    }
    file.finish(crc32c)
}

async fn next(messages: &mut Streaming<Inbound>) -> Result<Option<(WriteRequest, Chain)>, Status> {
    let message = messages.message().await?;
    message
        .map(|message| message.decode_apart(WriteRequest::DATA))
        .transpose()
}
