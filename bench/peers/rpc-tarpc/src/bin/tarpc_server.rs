use futures::StreamExt;
use harness::{Args, run_server};
use rpc_tarpc::{Echo, Payload};
use tarpc::context::Context;
use tarpc::serde_transport::Transport;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;

#[derive(Clone)]
struct Service;

impl Echo for Service {
    async fn unary(self, _: Context, payload: Payload) -> Payload {
        payload
    }
}

fn main() {
    let args = Args::parse();
    let port = args.port();
    run_server(args.threads(), async move {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
            .await
            .unwrap();
        loop {
            let (sock, _) = listener.accept().await.unwrap();
            sock.set_nodelay(true).unwrap();
            let channel = BaseChannel::with_defaults(Transport::from((sock, Bincode::default())));
            tokio::spawn(
                channel
                    .execute(Service.serve())
                    .for_each(|reply| async move {
                        tokio::spawn(reply);
                    }),
            );
        }
    });
}
