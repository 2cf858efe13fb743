//! Blocking sockets, one connection after the other: recv, answer every frame in it, send.

use harness::Args;
use raw::echo;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

const CHUNK_BYTES: usize = 64 * 1024;

fn main() {
    let listener = TcpListener::bind(("127.0.0.1", Args::parse().port())).unwrap();
    for stream in listener.incoming() {
        // A client that breaks off ends its own connection only.
        let _ = serve(stream.unwrap());
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut chunk, mut input, mut out) = (vec![0; CHUNK_BYTES], Vec::new(), Vec::new());
    loop {
        let len = stream.read(&mut chunk)?;
        if len == 0 {
            return Ok(());
        }
        // Most often whole frames come, and nothing has to be put together.
        if input.is_empty() {
            let eaten = echo(&chunk[..len], &mut out);
            input.extend_from_slice(&chunk[eaten..len]);
        } else {
            input.extend_from_slice(&chunk[..len]);
            let eaten = echo(&input, &mut out);
            input.drain(..eaten);
        }
        stream.write_all(&out)?;
        out.clear();
    }
}
