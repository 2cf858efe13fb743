//! tokio baselines on the same wire. `--mode 0`: LengthDelimitedCodec stream forwarded to its sink
//! (how one writes it); `--mode 1`: read_buf, parse by hand, one write_all (tokio's own cost only).

use bytes::{Buf, BytesMut};
use futures_util::StreamExt;
use harness::{Args, run_server};
use raw::echo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

fn main() {
    let args = Args::parse();
    let (port, by_hand) = (args.port(), args.num("mode", 0) == 1);
    run_server(args.threads(), async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        loop {
            let (sock, _) = listener.accept().await.unwrap();
            sock.set_nodelay(true).unwrap();
            if by_hand {
                tokio::spawn(hand(sock));
            } else {
                tokio::spawn(framed(sock));
            }
        }
    });
}

async fn framed(sock: TcpStream) {
    let codec = LengthDelimitedCodec::builder()
        .max_frame_length(64 << 20)
        .new_codec();
    let (sink, stream) = Framed::new(sock, codec).split();
    let _ = stream
        .map(|frame| frame.map(BytesMut::freeze))
        .forward(sink)
        .await;
}

async fn hand(mut sock: TcpStream) {
    let mut input = BytesMut::with_capacity(256 * 1024);
    let mut out = Vec::new();
    loop {
        input.reserve(64 * 1024);
        match sock.read_buf(&mut input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let eaten = echo(&input, &mut out);
        input.advance(eaten);
        if sock.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}
