//! A client that reads a log, and goes on where it was when the broker comes back.

use crate::proto::broker_client::BrokerClient;
use crate::proto::{Records, TailRequest};
use crate::record::{self, Flaw, Record};
use bytes::Bytes;
use kettle::{Channel, Code, Request, Status, Streaming};
use std::fmt;

/// Reads all records from an offset on, each once and in order, and waits for new ones.
#[derive(Debug)]
pub struct Consumer {
    broker: BrokerClient,
    /// The record that is wanted next.
    next_offset: u64,
    stream: Option<Streaming<Records>>,
    /// What has come and was not taken, from the record `at` on.
    records: Bytes,
    at: u64,
}

/// Why a consumer does not go on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The broker says so: OUT_OF_RANGE when the log begins behind the next record, or ends before it.
    Status(Status),
    /// A record came damaged.
    Damaged {
        /// Its offset.
        offset: u64,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

impl Consumer {
    /// Reads from this offset on.
    pub fn new(channel: Channel, offset: u64) -> Self {
        Self {
            broker: BrokerClient::new(channel),
            next_offset: offset,
            stream: None,
            records: Bytes::new(),
            at: offset,
        }
    }

    /// The next record. Waits for it, and for a broker that is away. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the broker does not have the record, or it is damaged. Asking again asks for the same record.
    pub async fn next(&mut self) -> Result<Record, ConsumeError> {
        loop {
            while self.records.is_empty() {
                self.receive().await?;
            }
            let record = self.take()?;
            if self.next_offset <= record.offset {
                self.next_offset = record.offset + 1;
                return Ok(record);
            }
        }
    }

    /// Takes the first record that has come.
    fn take(&mut self) -> Result<Record, ConsumeError> {
        let offset = self.at;
        match record::take(&mut self.records, offset) {
            Ok(record) => {
                self.at += 1;
                Ok(record)
            }
            Err(flaw) => {
                self.forget();
                Err(ConsumeError::Damaged { offset, flaw })
            }
        }
    }

    /// Waits for more records, in a new call when there is none or when it breaks off.
    async fn receive(&mut self) -> Result<(), ConsumeError> {
        match self.receive_once().await {
            Ok(Some(records)) => {
                self.at = records.first_offset;
                self.records = records.records;
                Ok(())
            }
            // The broker is on its way down.
            Ok(None) => {
                self.forget();
                Ok(())
            }
            Err(status) => {
                self.forget();
                match status.code() {
                    Code::Unavailable => Ok(()),
                    _ => Err(ConsumeError::Status(status)),
                }
            }
        }
    }

    async fn receive_once(&mut self) -> Result<Option<Records>, Status> {
        if self.stream.is_none() {
            let mut request = Request::new(TailRequest {
                offset: self.next_offset,
            });
            request.set_wait_for_ready(true);
            self.stream = Some(self.broker.tail(request).await?.into_inner());
        }
        match &mut self.stream {
            Some(stream) => stream.message().await,
            None => Ok(None),
        }
    }

    fn forget(&mut self) {
        self.stream = None;
        self.records = Bytes::new();
    }
}

impl fmt::Display for ConsumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Damaged { offset, flaw } => write!(f, "record {offset} is damaged: {flaw}"),
        }
    }
}

impl std::error::Error for ConsumeError {}
