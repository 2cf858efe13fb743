//! `log-broker serve`.

use crate::cmd::Failure;
use kettle::Server;
use log_broker::proto::broker_server::BrokerServer;
use log_broker::{BrokerService, Fsync, Log, Options, Recovery};
use std::path::PathBuf;
use std::time::Duration;

/// How long open calls may go on when the broker stops. A Tail never ends by itself.
const STOP_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the log is; made when it is not there
    directory: PathBuf,
    /// HOST:PORT or unix:///PATH; KETTLE_LISTEN counts more
    #[arg(long, default_value = "127.0.0.1:50051")]
    listen: String,
    /// When records are on the disk: `always` before they are acknowledged, with `interval` 1 s later,
    /// with `never` when the kernel wants to. Only a power failure makes a difference
    #[arg(long, default_value = "always", value_name = "WHEN")]
    fsync: Fsync,
    /// Length of a segment
    #[arg(long, default_value_t = 64 << 20, value_name = "BYTES")]
    segment_bytes: u64,
    /// Length of the log from which on its oldest segment is removed
    #[arg(long, default_value_t = 1 << 30, value_name = "BYTES")]
    retention_bytes: u64,
    /// Reads every record first, and does not start when one is damaged
    #[arg(long)]
    check: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let options = Options {
        fsync: args.fsync,
        segment_bytes: args.segment_bytes,
        retention_bytes: args.retention_bytes,
        ..Options::default()
    };
    let (log, recovery) = Log::open(&args.directory, options)?;
    println!("{}", describe(&recovery));
    if args.check {
        log_broker::check(&args.directory)?;
    }
    let server = Server::builder()
        .from_env() // KETTLE_MODEL, KETTLE_LOOPS, KETTLE_LISTEN
        .stop_grace(STOP_GRACE)
        .add_service(BrokerServer::new(BrokerService::new(log)))
        .spawn(args.listen)?;
    println!("listening on {}", server.address());
    server.stop_on_signals()?;
    server.wait()?;
    Ok(())
}

fn describe(recovery: &Recovery) -> String {
    let Recovery {
        segments,
        offsets,
        cut_bytes,
    } = recovery;
    let log = format!(
        "offsets {} to {} in {segments} segments",
        offsets.start, offsets.end
    );
    match cut_bytes {
        0 => log,
        _ => format!("{log}; cut off {cut_bytes} bytes of a write that was broken off"),
    }
}
