use harness::{Args, run_client};
use pilota::Bytes;
use std::net::SocketAddr;
use thrift_volo::volo_gen::echo::EchoClientBuilder;

fn main() {
    let args = Args::parse();
    let addr = SocketAddr::from(([127, 0, 0, 1], args.port()));
    let payload = Bytes::from(vec![b'x'; args.num("payload", 128)]);
    let multiplex = args.num("multiplex", 0) == 1;
    run_client(
        move || async move {
            EchoClientBuilder::new("echo")
                .address(volo::net::Address::from(addr))
                .multiplex(multiplex)
                .build()
        },
        move |client| {
            let payload = payload.clone();
            async move { client.unary(payload).await.unwrap().len() }
        },
    );
}
