//! The client of `raw_file`: asks for `--bytes` of the file `--times` times, and throws them away. Prints how many
//! seconds it took.

use harness::Args;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const ROOM_BYTES: usize = 256 * 1024;

fn main() {
    let args = Args::parse();
    let mut stream = TcpStream::connect(("127.0.0.1", args.port())).expect("the server listens");
    let (bytes, mut room) = (args.num("bytes", 1 << 30), vec![0; ROOM_BYTES]);
    let begin = Instant::now();
    for _ in 0..args.num("times", 1) {
        stream.write_all(&(bytes as u64).to_be_bytes()).unwrap();
        let mut left = bytes;
        while 0 < left {
            let read = stream.read(&mut room).unwrap();
            assert_ne!(read, 0, "the server ended early");
            left -= read;
        }
    }
    println!("{:.6}", begin.elapsed().as_secs_f64());
}
