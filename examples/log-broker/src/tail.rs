//! Reading a log without an end.

use crate::contents::{Batch, Contents, Cursor};
use crate::error::OutOfRange;
use futures::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// How much is read at a time at most, in bytes: 256 KiB, which is what a connection has room for.
const READ_BYTES: u64 = 256 * 1024;

/// The records from an offset on, and those that will be added: it waits at the end of the log.
///
/// Nothing waits in memory for a slow reader: it reads on later, from the file. One that is so slow that the
/// log begins behind it gets an error, and nothing after it.
#[derive(Debug)]
pub struct Tail {
    contents: Arc<Contents>,
    cursor: Cursor,
    reader: u64,
}

impl Tail {
    pub(crate) fn new(contents: Arc<Contents>, cursor: Cursor) -> Self {
        let reader = contents.enter();
        Self {
            contents,
            cursor,
            reader,
        }
    }
}

impl Stream for Tail {
    type Item = Result<Batch, OutOfRange>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let batch = ready!(
            this.contents
                .poll_read(this.reader, &mut this.cursor, READ_BYTES, cx)
        );
        Poll::Ready(Some(batch))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.contents.leave(self.reader);
    }
}
