//! A service whose replies are pieces of a file and of memory.

use bytes::Bytes;
use futures_core::Stream;
use kettle::{Composed, FileRegion, MessageField, Payload, Request, Response, Segment, Status};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

#[allow(missing_docs)] // generated
mod generated {
    kettle::include_proto!("kettle.cutter.v1");
}

pub use generated::*;

/// `Cutting.inner`.
const INNER: MessageField<Cutting, Cutting> = MessageField::new(3);

/// The service: it cuts a file, and memory with the same bytes.
#[derive(Clone, Debug)]
pub struct CutterService {
    file: Arc<File>,
    /// What the file's first bytes are.
    memory: Bytes,
}

impl CutterService {
    /// Cuts this file. Pieces of memory come from its first `memory` bytes.
    ///
    /// # Errors
    /// When these cannot be read.
    pub fn new(file: File, memory: usize) -> io::Result<Self> {
        let mut bytes = vec![0; memory];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Self {
            file: Arc::new(file),
            memory: bytes.into(),
        })
    }

    fn piece(&self, piece: &Piece) -> Payload {
        if piece.memory {
            let end = piece.offset + piece.length;
            let bytes = self.memory.slice(piece.offset as usize..end as usize);
            return Segment::from(bytes).into();
        }
        FileRegion::new(Arc::clone(&self.file), piece.offset, piece.length).into()
    }

    /// A message with one piece.
    fn single(&self, piece: &Piece) -> Composed<Cutting> {
        let cutting = Cutting {
            length: piece.length,
            ..Cutting::default()
        };
        Composed::new(cutting).with(Cutting::PARTS, self.piece(piece))
    }
}

impl cutter_server::Cutter for CutterService {
    async fn cut(&self, request: Request<Order>) -> Result<Response<Composed<Cutting>>, Status> {
        let Order { pieces, shrink_to } = request.into_inner();
        let length = pieces.iter().map(|piece| piece.length).sum();
        let mut reply = Composed::new(Cutting {
            length,
            ..Cutting::default()
        });
        for piece in &pieces {
            reply = reply.with(Cutting::PARTS, self.piece(piece));
        }
        if let Some(last) = pieces.last() {
            reply = reply.with_message(INNER, self.single(last));
        }
        if let Some(length) = shrink_to {
            self.file
                .set_len(length)
                .map_err(|error| cannot_shrink(&error))?;
        }
        Ok(Response::new(reply))
    }

    type SliceStream = Slices;

    async fn slice(&self, request: Request<Order>) -> Result<Response<Slices>, Status> {
        Ok(Response::new(Slices {
            service: self.clone(),
            order: request.into_inner(),
            next: 0,
        }))
    }
}

fn cannot_shrink(error: &io::Error) -> Status {
    Status::internal(format!("cannot shrink the file: {error}"))
}

/// A message for each piece of an order.
#[derive(Debug)]
pub struct Slices {
    service: CutterService,
    order: Order,
    next: usize,
}

impl Stream for Slices {
    type Item = Result<Composed<Cutting>, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (next, last) = (self.next, self.next + 1 == self.order.pieces.len());
        let Some(piece) = self.order.pieces.get(next) else {
            return Poll::Ready(None);
        };
        let reply = self.service.single(piece);
        if let Some(length) = self.order.shrink_to.filter(|_| last)
            && let Err(error) = self.service.file.set_len(length)
        {
            return Poll::Ready(Some(Err(cannot_shrink(&error))));
        }
        self.next += 1;
        Poll::Ready(Some(Ok(reply)))
    }
}
