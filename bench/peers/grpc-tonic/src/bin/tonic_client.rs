//! Native closed-loop client; loads any gRPC server of this folder (--port).

use bytes::Bytes;
use grpc_tonic::EchoRequest;
use grpc_tonic::echo_client::EchoClient;
use harness::{Args, run_client};
use tonic::transport::Endpoint;

fn main() {
    let args = Args::parse();
    let payload = Bytes::from(vec![b'x'; args.num("payload", 128)]);
    let want = args.num("resp", 0) as u64;
    let url = format!("http://127.0.0.1:{}", args.port());
    run_client(
        move || {
            let endpoint = Endpoint::from_shared(url.clone())
                .unwrap()
                .tcp_nodelay(true);
            async move {
                EchoClient::new(endpoint.connect().await.unwrap())
                    .max_decoding_message_size(64 << 20)
            }
        },
        move |mut client| {
            let req = EchoRequest {
                payload: payload.clone(),
                want,
            };
            async move { client.unary(req).await.unwrap().into_inner().payload.len() }
        },
    );
}
