//! One request at a time on one blocking connection, which is all that `1x1` asks for.

use harness::{Args, Plan, Report};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

fn main() {
    let args = Args::parse();
    let plan = Plan::from_args(&args);
    assert!(
        plan.conns == 1 && plan.depth == 1,
        "a blocking client loads 1x1"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", args.port())).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut request = (plan.payload as u32).to_be_bytes().to_vec();
    request.resize(4 + plan.payload, b'x');
    let mut reply = vec![0; 4 + plan.reply];
    let (mut now, mut report) = (Instant::now(), None);
    let (warm, end) = (now + plan.warmup, now + plan.warmup + plan.window);
    while now < end {
        let began = now;
        stream.write_all(&request).unwrap();
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(
            reply[..4],
            (plan.reply as u32).to_be_bytes(),
            "wrong length of a reply"
        );
        now = Instant::now();
        if let Some(report) = &mut report {
            Report::record(report, now - began);
        } else if warm <= now {
            report = Some(Report::begin());
        }
    }
    report.expect("the warm-up ends before the window").print();
}
