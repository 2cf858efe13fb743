use connectrpc::{RequestContext, Response, Router, Server, ServiceRequest, ServiceResult};
use harness::{Args, run_server};
use proto::echo::v1::{Echo, EchoReply, EchoRequest};
use std::sync::Arc;

pub mod proto {
    connectrpc::include_generated!();
}

struct Service;

impl Echo for Service {
    async fn unary(
        &self,
        _: RequestContext,
        req: ServiceRequest<'_, EchoRequest>,
    ) -> ServiceResult<EchoReply> {
        Response::ok(EchoReply {
            payload: req.payload.to_vec(),
            ..Default::default()
        })
    }
}

fn main() {
    let args = Args::parse();
    let addr = ([127, 0, 0, 1], args.port()).into();
    run_server(args.threads(), async move {
        let router = Router::new().add_service(Arc::new(Service));
        Server::new(router).serve(addr).await.unwrap();
    });
}
