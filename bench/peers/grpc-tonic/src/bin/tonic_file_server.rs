//! A file by tonic's streaming: each message is read into a buffer of its own, which is sent without another copy.

use bytes::BytesMut;
use grpc_tonic::file::file_server::{File, FileServer};
use grpc_tonic::file::{ReadReply, ReadRequest};
use harness::{Args, run_server};
use std::pin::Pin;
use tokio::io::AsyncReadExt;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

/// Messages that are read ahead of the connection.
const AHEAD: usize = 4;

struct Service {
    path: String,
}

#[tonic::async_trait]
impl File for Service {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadReply, Status>> + Send>>;

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let ReadRequest { bytes, chunk } = request.into_inner();
        let mut file = tokio::fs::File::open(&self.path).await?;
        file.set_max_buf_size(chunk as usize);
        let (out, replies) = tokio::sync::mpsc::channel(AHEAD);
        tokio::spawn(async move {
            let mut left = bytes;
            while 0 < left {
                let part = left.min(chunk) as usize;
                let mut data = BytesMut::zeroed(part);
                if file.read_exact(&mut data).await.is_err() {
                    return;
                }
                left -= part as u64;
                let data = data.freeze();
                if out.send(Ok(ReadReply { data })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }
}

fn main() {
    let args = Args::parse();
    let addr = ([127, 0, 0, 1], args.port()).into();
    let path = args.text("file", "").to_owned();
    run_server(args.threads(), async move {
        tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .initial_stream_window_size(16 << 20)
            .initial_connection_window_size(16 << 20)
            .add_service(FileServer::new(Service { path }))
            .serve(addr)
            .await
            .unwrap();
    });
}
