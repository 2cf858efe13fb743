use harness::{Args, run_client};
use rpc_tarpc::{EchoClient, Payload};
use tarpc::serde_transport::Transport;
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context};

fn main() {
    let args = Args::parse();
    let payload = Payload(vec![b'x'; args.num("payload", 128)]);
    let port = args.port();
    run_client(
        move || async move {
            let sock = tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .unwrap();
            sock.set_nodelay(true).unwrap();
            EchoClient::new(
                client::Config::default(),
                Transport::from((sock, Bincode::default())),
            )
            .spawn()
        },
        move |client| {
            let payload = payload.clone();
            async move {
                client
                    .unary(context::current(), payload)
                    .await
                    .unwrap()
                    .0
                    .len()
            }
        },
    );
}
