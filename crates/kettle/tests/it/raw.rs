//! A client without a loop: a protocol machine and a plain blocking socket, for what a well-behaved
//! client would not do.

use crate::harness::stream_to;
use kettle::Address;
use kettle_proto::limits::Limits;
use kettle_proto::{CallId, Event, Head, Instant, Machine, Metadata, native};
use kettle_testkit::trial::Task;
use prost::Message;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// A connection that does exactly what it is told.
pub struct RawClient {
    pub stream: TcpStream,
    machine: native::Connection,
}

impl RawClient {
    pub fn connect(address: &Address) -> Self {
        Self::with_limits(address, |_| {})
    }

    pub fn with_limits(address: &Address, change: impl FnOnce(&mut Limits)) -> Self {
        let mut config = native::Config::default();
        change(Arc::make_mut(&mut config.limits));
        let stream = stream_to(address).unwrap();
        if let Address::Tcp(_) = address {
            stream.set_nodelay(true).unwrap();
        }
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let machine = native::Connection::client(config, NOW);
        Self { stream, machine }
    }

    /// Opens a call; nothing is sent before [`RawClient::flush`].
    pub fn open(&mut self, task: &Task) -> CallId {
        self.open_at("Run", task, true)
    }

    /// Opens a call of this method, whose request goes on unless this is its end.
    pub fn open_at(&mut self, method: &str, task: &Task, end: bool) -> CallId {
        let head = Head {
            path: &format!("/kettle.trial.v1.Trial/{method}"),
            metadata: Metadata::new(),
            timeout: None,
        };
        let message = task.encode_to_vec().into();
        self.machine.open(NOW, head, Some(message), end).unwrap()
    }

    /// Gives credit to a call.
    pub fn consumed(&mut self, call: CallId, bytes: u64) {
        self.machine.consumed(call, bytes);
    }

    /// Reads until a message has come; gives its length. Gives no credit.
    pub fn message(&mut self) -> Option<usize> {
        loop {
            match self.event()? {
                Event::Message { message, .. } => return Some(message.len()),
                Event::Finished { .. } | Event::Closed { .. } => return None,
                _ => {}
            }
        }
    }

    /// All bytes that are to be sent.
    pub fn output(&mut self) -> Vec<u8> {
        self.output_in_parts(u64::MAX)
    }

    /// The same, with messages in frames of so many bytes.
    pub fn output_in_parts(&mut self, frame_bytes: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(payload) = self.machine.poll_transmit(NOW, frame_bytes) {
            bytes.extend(payload.into_chain().unwrap().to_vec());
        }
        bytes
    }

    /// Sends what is to be sent.
    pub fn flush(&mut self) {
        let bytes = self.output();
        self.stream.write_all(&bytes).unwrap();
    }

    /// Sends a ping, whether the last one was answered or not.
    pub fn ping(&mut self) {
        let ping = kettle_testkit::frames::frame(0x05, 0, 0, 0, &[7; 8]);
        self.stream.write_all(&ping).unwrap();
    }

    /// Waits for a ping, and answers it.
    pub fn answer_ping(&mut self) {
        loop {
            let mut buffer = vec![0; 65_536];
            let n = self.stream.read(&mut buffer).unwrap();
            assert!(0 < n, "the server has closed");
            buffer.truncate(n);
            self.machine.handle_bytes(NOW, buffer.into());
            let pong = self.output();
            if !pong.is_empty() {
                return self.stream.write_all(&pong).unwrap();
            }
        }
    }

    /// Reads until the next event; `None` when the server has closed.
    pub fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.machine.poll_event() {
                return Some(event);
            }
            let mut buffer = vec![0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(n) => {
                    buffer.truncate(n);
                    self.machine.handle_bytes(NOW, buffer.into());
                }
            }
        }
    }

    /// Reads until a call has finished; whether it finished well.
    pub fn finished(&mut self) -> Option<bool> {
        loop {
            if let Event::Finished { status, .. } = self.event()? {
                return Some(status.is_ok());
            }
        }
    }
}

/// The machine's time stands still: nothing here waits for a time-out of the client.
const NOW: Instant = Instant::from_nanos(0);
