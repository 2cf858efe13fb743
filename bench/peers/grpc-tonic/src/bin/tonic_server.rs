use bytes::Bytes;
use grpc_tonic::echo_server::{Echo, EchoServer};
use grpc_tonic::{EchoReply, EchoRequest};
use harness::{Args, run_server};
use tonic::{Request, Response, Status};

struct Service {
    large: Bytes, // what replies to `want` are sliced from
}

#[tonic::async_trait]
impl Echo for Service {
    async fn unary(&self, req: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let req = req.into_inner();
        let payload = if req.want > 0 {
            self.large.slice(..req.want as usize)
        } else {
            req.payload
        };
        Ok(Response::new(EchoReply { payload }))
    }
}

fn main() {
    let args = Args::parse();
    let addr = ([127, 0, 0, 1], args.port()).into();
    run_server(args.threads(), async move {
        let service = Service {
            large: Bytes::from(vec![0u8; 16 << 20]),
        };
        let service = EchoServer::new(service)
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20);
        tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .add_service(service)
            .serve(addr)
            .await
            .unwrap();
    });
}
