//! The log as a service.
//!
//! No handler reads or writes a file: the writer's thread writes, and what is read leaves as ranges of files.

use crate::contents::Batch;
use crate::error::{Error, OutOfRange};
use crate::log::Log;
use crate::proto::broker_server::Broker;
use crate::proto::{
    AppendReply, AppendRequest, BoundsReply, BoundsRequest, FetchRequest, Records, TailRequest,
};
use crate::tail::Tail;
use crate::writer::AppendError;
use futures::Stream;
use kettle::{Composed, Request, Response, Status};
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Longest answer to a Fetch, in bytes, unless one record is longer: 1 MiB, a quarter of what a client takes
/// by default.
pub const FETCH_BYTES_MAX: u32 = 1024 * 1024;

/// The service.
#[derive(Clone, Debug)]
pub struct BrokerService {
    log: Log,
}

impl BrokerService {
    /// Serves this log.
    pub fn new(log: Log) -> Self {
        Self { log }
    }
}

impl Broker for BrokerService {
    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendReply>, Status> {
        let payloads = request.into_inner().payloads;
        let offsets = self.log.append(payloads).await?;
        Ok(Response::new(AppendReply {
            first_offset: offsets.start,
            next_offset: offsets.end,
        }))
    }

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<Composed<Records>>, Status> {
        let FetchRequest { offset, max_bytes } = request.into_inner();
        let max_bytes = match max_bytes {
            0 => FETCH_BYTES_MAX,
            some => some.min(FETCH_BYTES_MAX),
        };
        let batch = self.log.fetch(offset, max_bytes.into())?;
        let nothing = Records {
            first_offset: offset,
            next_offset: offset,
            end_offset: offset,
            ..Records::default()
        };
        Ok(Response::new(batch.map_or(nothing.into(), compose)))
    }

    type TailStream = TailStream;

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<TailStream>, Status> {
        let tail = self.log.tail(request.into_inner().offset)?;
        Ok(Response::new(TailStream(tail)))
    }

    async fn bounds(&self, _: Request<BoundsRequest>) -> Result<Response<BoundsReply>, Status> {
        let (first_offset, end_offset) = self.log.bounds();
        Ok(Response::new(BoundsReply {
            first_offset,
            end_offset,
        }))
    }
}

/// The replies of a Tail.
#[derive(Debug)]
pub struct TailStream(Tail);

impl Stream for TailStream {
    type Item = Result<Composed<Records>, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let batch = ready!(Pin::new(&mut self.0).poll_next(cx));
        Poll::Ready(batch.map(|batch| Ok(compose(batch?))))
    }
}

/// The reply with these records, which stay where they are until they are sent.
fn compose(batch: Batch) -> Composed<Records> {
    let records = Records {
        first_offset: batch.first_offset,
        next_offset: batch.next_offset,
        end_offset: batch.end_offset,
        ..Records::default()
    };
    Composed::new(records).with(Records::RECORDS, batch.region)
}

impl From<OutOfRange> for Status {
    fn from(error: OutOfRange) -> Self {
        Self::out_of_range(error.to_string())
    }
}

impl From<AppendError> for Status {
    fn from(error: AppendError) -> Self {
        let text = error.to_string();
        match error {
            AppendError::Invalid(_) => Self::invalid_argument(text),
            AppendError::Busy => Self::resource_exhausted(text),
            AppendError::Failed(error) if is_full(&error) => Self::resource_exhausted(text),
            AppendError::Failed(_) | AppendError::Ended => Self::internal(text),
            AppendError::Broken(_) => Self::failed_precondition(text),
        }
    }
}

/// Whether room would help.
fn is_full(error: &Error) -> bool {
    let Error::Io { source, .. } = error else {
        return false;
    };
    let kinds = [
        ErrorKind::StorageFull,
        ErrorKind::QuotaExceeded,
        ErrorKind::FileTooLarge,
    ];
    kinds.contains(&source.kind())
}
