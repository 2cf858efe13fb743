//! `log-broker append`.

use crate::cmd::Failure;
use bytes::Bytes;

use kettle::{Channel, Code, Status};
use log_broker::proto::AppendRequest;
use log_broker::proto::broker_client::blocking::BrokerClient;
use std::io::{BufRead, Write};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The broker
    #[arg(default_value = "kettle://127.0.0.1:50051")]
    url: String,
    /// How many lines are sent at a time; the last may be fewer
    #[arg(long, default_value_t = 1, value_name = "LINES")]
    batch: usize,
    /// Sends again what was not acknowledged when the broker went away. It may have been added all the
    /// same: then it is in the log twice
    #[arg(long)]
    retry: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let channel = Channel::builder(&args.url).wait_for_ready(args.retry);
    let channel = channel.connect_lazy_blocking()?;
    let broker = BrokerClient::new(channel);
    let mut lines = std::io::stdin().lock().lines();
    loop {
        let batch = lines.by_ref().take(args.batch.max(1));
        let batch = batch.collect::<Result<Vec<_>, _>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        let first_offset = append(&broker, &batch, args.retry)?;
        let mut stdout = std::io::stdout().lock();
        for (offset, line) in (first_offset..).zip(&batch) {
            writeln!(stdout, "{offset}\t{line}")?;
        }
    }
}

/// The offset of the first line.
fn append(broker: &BrokerClient, lines: &[String], retry: bool) -> Result<u64, Status> {
    let payloads = lines.iter().map(|line| Bytes::from(line.clone()));
    let payloads: Vec<_> = payloads.collect();
    loop {
        let request = AppendRequest {
            payloads: payloads.clone(),
        };
        match broker.append(request) {
            Ok(reply) => return Ok(reply.into_inner().first_offset),
            Err(status) if retry && status.code() == Code::Unavailable => {}
            Err(status) => return Err(status),
        }
    }
}
