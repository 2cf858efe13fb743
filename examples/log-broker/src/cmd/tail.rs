//! `log-broker tail`.

use crate::cmd::Failure;
use kettle::{Channel, LocalLoop, Model};
use log_broker::Consumer;
use log_broker::proto::BoundsRequest;
use log_broker::proto::broker_client::BrokerClient;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

/// A broker that is silent for this long is asked for a sign of life, and given up after as long again.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The broker; when it goes away, its return is waited for
    #[arg(default_value = "kettle://127.0.0.1:50051")]
    url: String,
    /// The first record: an offset, `first` for the oldest, or `end` for the next that is added
    #[arg(long, default_value = "first", value_name = "OFFSET")]
    from: Start,
    /// Ends after this many records. Default: never
    #[arg(long, value_name = "RECORDS")]
    count: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    First,
    End,
    Offset(u64),
}

pub fn run(args: Args) -> Result<(), Failure> {
    LocalLoop::new(Model::Epoll)?.block_on(print(args))??;
    Ok(())
}

async fn print(args: Args) -> Result<(), Failure> {
    let channel = Channel::builder(&args.url).keepalive(SILENCE_MAX, SILENCE_MAX);
    let channel = channel.connect().await?;
    let offset = first_offset(args.from, &channel).await?;
    let mut consumer = Consumer::new(channel, offset);
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        let record = consumer.next().await?;
        let mut stdout = std::io::stdout().lock();
        write!(stdout, "{}\t", record.offset)?;
        stdout.write_all(&record.payload)?;
        writeln!(stdout)?;
    }
    Ok(())
}

async fn first_offset(from: Start, channel: &Channel) -> Result<u64, Failure> {
    if let Start::Offset(offset) = from {
        return Ok(offset);
    }
    let broker = BrokerClient::new(channel.clone());
    let bounds = broker.bounds(BoundsRequest {}).await?.into_inner();
    match from {
        Start::End => Ok(bounds.end_offset),
        _ => Ok(bounds.first_offset),
    }
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("first", _) => Ok(Self::First),
            ("end", _) => Ok(Self::End),
            (_, Ok(offset)) => Ok(Self::Offset(offset)),
            _ => Err("it is a number, `first` or `end`".to_owned()),
        }
    }
}
