//! Reads `--bytes` of the file of `tonic_file_server`, `--times` times, in messages of `--chunk`, and throws them
//! away. Prints how many seconds it took.

use grpc_tonic::file::ReadRequest;
use grpc_tonic::file::file_client::FileClient;
use harness::Args;
use std::time::Instant;
use tonic::transport::Endpoint;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args = Args::parse();
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", args.port())).unwrap();
    let channel = endpoint
        .tcp_nodelay(true)
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(16 << 20)
        .connect()
        .await
        .unwrap();
    let mut client = FileClient::new(channel).max_decoding_message_size(64 << 20);
    let (bytes, chunk) = (
        args.num("bytes", 1 << 30) as u64,
        args.num("chunk", 1 << 20) as u64,
    );
    let begin = Instant::now();
    for _ in 0..args.num("times", 1) {
        let request = ReadRequest { bytes, chunk };
        let mut replies = client.read(request).await.unwrap().into_inner();
        let mut read = 0;
        while let Some(reply) = replies.message().await.unwrap() {
            read += reply.data.len() as u64;
        }
        assert_eq!(read, bytes, "the server ended early");
    }
    println!("{:.6}", begin.elapsed().as_secs_f64());
}
