//! Two ends of a connection without a wire: what one gives out goes into the other at once.

use kettle_buf::{Chain, Payload, Piece, Segment};
use kettle_proto::limits::Limits;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{CallId, Closing, Event, Head, Instant, Machine, Metadata, Method, Status};
use std::sync::Arc;
use std::time::Duration;

pub const PATH: &str = "/echo.v1.Echo/Unary";

pub struct Ends {
    pub client: Connection,
    pub server: Connection,
    pub now: Instant,
}

pub fn config(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = Config::default();
    change(Arc::make_mut(&mut config.limits));
    config
}

pub fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

impl Ends {
    /// Two ends whose handshake is done.
    pub fn ready(client: Config, server: Config) -> Self {
        let mut ends = Self::new(client, server);
        ends.pump();
        assert!(matches!(ends.client.poll_event(), Some(Event::Ready)));
        assert!(matches!(ends.server.poll_event(), Some(Event::Ready)));
        ends
    }

    /// Two ends that have not spoken.
    pub fn new(client: Config, server: Config) -> Self {
        let now = at(1000);
        let (client, server) = (
            Connection::client(client, now),
            Connection::server(server, now),
        );
        Self {
            client,
            server,
            now,
        }
    }

    /// Carries all output over until both are silent.
    pub fn pump(&mut self) {
        loop {
            let up = to_server(self);
            let down = to_client(self);
            if up + down == 0 {
                return;
            }
        }
    }

    pub fn open(&mut self, message: impl Into<Payload>) -> CallId {
        let head = head(PATH);
        self.client
            .open(self.now, head, Some(message.into()), true)
            .expect("the call opens")
    }

    pub fn later(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
    }

    pub fn client_events(&mut self) -> Vec<String> {
        drain(&mut self.client)
    }

    pub fn server_events(&mut self) -> Vec<String> {
        drain(&mut self.server)
    }

    /// The call in the server's next events, which must begin with it.
    pub fn accept(&mut self) -> (CallId, Option<Vec<u8>>) {
        let Some(Event::Call { call, message, .. }) = self.server.poll_event() else {
            panic!("no call came");
        };
        if let Some(message) = message {
            return (call, Some(message.to_vec()));
        }
        match self.server.poll_event() {
            Some(Event::Message {
                call: of,
                message,
                end: true,
            }) if of == call => (call, Some(message.to_vec())),
            _ => (call, None),
        }
    }
}

pub fn head(path: &str) -> Head<'_> {
    Head {
        path,
        metadata: Metadata::new(),
        timeout: None,
    }
}

pub fn reply(message: impl Into<Payload>) -> Closing {
    Closing {
        message: Some(message.into()),
        ..Closing::default()
    }
}

pub fn status(status: Status) -> Closing {
    Closing {
        status,
        ..Closing::default()
    }
}

pub fn to_server(ends: &mut Ends) -> usize {
    let bytes = output(&mut ends.client, ends.now);
    ends.server
        .handle_bytes(ends.now, Segment::from(bytes.clone()));
    bytes.len()
}

pub fn to_client(ends: &mut Ends) -> usize {
    let bytes = output(&mut ends.server, ends.now);
    ends.client
        .handle_bytes(ends.now, Segment::from(bytes.clone()));
    bytes.len()
}

/// All output that can be had now.
pub fn output(machine: &mut Connection, now: Instant) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(payload) = machine.poll_transmit(now, 64 * 1024) {
        for piece in payload.into_pieces() {
            match piece {
                Piece::Memory(segment) => bytes.extend_from_slice(&segment),
                Piece::File(_) => panic!("no file was sent"),
            }
        }
    }
    bytes
}

/// Takes all events as text that two runs can be compared by, and all messages.
pub fn drain(machine: &mut Connection) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(event) = machine.poll_event() {
        lines.push(line(machine, &event));
        if let Event::Message { call, message, .. } = event {
            machine.consumed(call, message.len() as u64);
        }
    }
    lines
}

/// An event as one line: the message's bytes and not how they lie in memory.
fn line(machine: &Connection, event: &Event) -> String {
    match event {
        Event::Message { call, message, end } => {
            format!("Message {} {:?} end={end}", call.stream, text(message))
        }
        Event::Call {
            call,
            method,
            metadata,
            deadline,
            message,
        } => {
            let entries: Vec<_> = metadata.iter().collect();
            let path = machine.method_path(method).expect("it was named");
            let memo = match method {
                Method::Known(number) => Some(number),
                Method::Path(_) => None,
            };
            let call = call.stream;
            let line = format!("Call {call} {path} memo={memo:?} {entries:?} {deadline:?}");
            match message {
                Some(message) => format!("{line} Message {call} {:?} end=true", text(message)),
                None => line,
            }
        }
        Event::Headers { call, metadata } => {
            format!(
                "Headers {} {:?}",
                call.stream,
                metadata.iter().collect::<Vec<_>>()
            )
        }
        Event::End { call } => format!("End {}", call.stream),
        Event::Reset { call, status } => format!("Reset {} {status}", call.stream),
        Event::Finished {
            call,
            status,
            unprocessed,
        } => {
            let mut line = format!("Finished {} {status}", call.stream);
            if !status.details().is_empty() || !status.metadata().is_empty() {
                let entries: Vec<_> = status.metadata().iter().collect();
                line += &format!(" {:?} {entries:?}", status.details());
            }
            line + if *unprocessed { " unprocessed" } else { "" }
        }
        other => format!("{other:?}"),
    }
}

fn text(message: &Chain) -> String {
    let bytes = message.to_vec();
    match bytes.len() {
        0..=64 => String::from_utf8_lossy(&bytes).into_owned(),
        n => format!(
            "{n} bytes, sum {}",
            bytes.iter().map(|b| u64::from(*b)).sum::<u64>()
        ),
    }
}
