use harness::{Args, run_server};
use pilota::Bytes;
use std::net::SocketAddr;
use thrift_volo::volo_gen::echo::{Echo, EchoServer};

struct Service;

impl Echo for Service {
    async fn unary(&self, payload: Bytes) -> Result<Bytes, volo_thrift::ServerError> {
        Ok(payload)
    }
}

fn main() {
    let args = Args::parse();
    let addr = SocketAddr::from(([127, 0, 0, 1], args.port()));
    let multiplex = args.num("multiplex", 0) == 1; // one call at a time per connection without it
    run_server(args.threads(), async move {
        EchoServer::new(Service)
            .multiplex(multiplex)
            .run(volo::net::Address::from(addr))
            .await
            .unwrap();
    });
}
