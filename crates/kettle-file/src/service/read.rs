//! A range of a file as messages that hold regions of it.

use super::places::Place;
use crate::v1::{ReadReply, ReadRequest};
use futures_core::Stream;
use kettle::{Composed, FileRegion, Status};
use std::fs::File;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes of a message unless the request says otherwise: whole pages, and with its head in one frame of 1 MiB,
/// the longest of the native protocol.
pub const CHUNK_BYTES: u32 = (1024 - 4) * 1024;

/// What a request may say. The upper end leaves room in a message of 4 MiB, the default of what clients take.
const CHUNK_BYTES_RANGE: RangeInclusive<u32> = 4096..=3 * 1024 * 1024;

/// The messages of a `Read`. They are made where they are sent from: nothing here waits.
#[derive(Debug)]
pub struct Regions {
    file: Arc<File>,
    at: u64,
    end: u64,
    chunk_bytes: u64,
    _place: Place,
}

impl Regions {
    /// # Errors
    /// OUT_OF_RANGE, and INVALID_ARGUMENT.
    pub(super) fn new(
        request: &ReadRequest,
        file: File,
        size: u64,
        place: Place,
    ) -> Result<Self, Status> {
        let ReadRequest { path, offset, .. } = request;
        if size < *offset {
            let text = format!("{path:?} has {size} bytes, and byte {offset} is asked for");
            return Err(Status::out_of_range(text));
        }
        let chunk_bytes = match request.chunk_bytes {
            0 => CHUNK_BYTES,
            bytes if CHUNK_BYTES_RANGE.contains(&bytes) => bytes,
            bytes => {
                let (least, most) = CHUNK_BYTES_RANGE.into_inner();
                let text = format!("chunk_bytes is {bytes}, and must be 0 or {least} to {most}");
                return Err(Status::invalid_argument(text));
            }
        };
        let wanted = request.length.unwrap_or(u64::MAX);
        Ok(Self {
            file: Arc::new(file),
            at: *offset,
            end: size.min(offset.saturating_add(wanted)),
            chunk_bytes: u64::from(chunk_bytes),
            _place: place,
        })
    }
}

impl Stream for Regions {
    type Item = Result<Composed<ReadReply>, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (at, end) = (self.at, self.end);
        if at == end {
            return Poll::Ready(None);
        }
        // All but the first begin at a multiple of the length, and so at a page.
        let length = (self.chunk_bytes - at % self.chunk_bytes).min(end - at);
        self.at += length;
        let region = FileRegion::new(Arc::clone(&self.file), at, length);
        let reply = ReadReply {
            offset: at,
            ..ReadReply::default()
        };
        let reply = Composed::new(reply).with(ReadReply::DATA, region);
        Poll::Ready(Some(Ok(reply)))
    }
}
