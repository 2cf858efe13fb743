//! One call as a person makes it: JSON in, JSON out.
//!
//! `trace.rs` tells what happens for `-v`. Messages and methods are described by `schema.rs`.

mod trace;

use crate::args::{CallArgs, Data, Header};
use crate::failure::Failure;
use crate::schema::{self, Kind, Messages, Method};
use bytes::Bytes;
use kettle::{Channel, Code, Endpoint, LocalLoop, Metadata, Model, Outbound, Request, Status};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::time::{Duration, Instant};
use trace::Trace;

/// How long connecting may take where the deadline gives no less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A call that is about to be made.
#[derive(Debug)]
pub struct Call {
    endpoint: Endpoint,
    method: Method,
    metadata: Metadata,
    deadline: Option<Duration>,
    trace: Trace,
}

impl Call {
    /// The call that the arguments describe.
    pub fn new(args: &CallArgs, endpoint: Endpoint, method: Method) -> Result<Self, Failure> {
        Ok(Self {
            endpoint,
            method,
            metadata: metadata(&args.headers)?,
            deadline: args.deadline,
            trace: Trace::new(args.verbose),
        })
    }

    /// Makes the call with these messages, and prints what comes back.
    ///
    /// # Errors
    /// [`Failure::Status`] when the call ends with another status than OK, which is also how a server
    /// that cannot be reached is told; else what is wrong with the messages.
    pub fn make(mut self, messages: Messages, out: &mut dyn Write) -> Result<(), Failure> {
        match self.method.kind() {
            Kind::Unary => self.unary(messages, out),
            kind => Err(Failure::Text(format!(
                "{} is {kind}, and kettle makes unary calls only so far",
                self.method
            ))),
        }
    }

    fn unary(&mut self, messages: Messages, out: &mut dyn Write) -> Result<(), Failure> {
        let message = only(messages, &self.method)?;
        let mut local = LocalLoop::new(Model::Epoll)?;
        let begun = Instant::now();
        let channel = self.connect(&mut local)?;
        self.trace.sent(message.len());
        let request = self.request(Outbound::from_bytes(message), begun);
        self.trace.request(&self.method.path(), &self.metadata);
        let path = self.method.path();
        let reply = local.block_on(async move { channel.call(path, request).await })?;
        let took = self.trace.elapsed();
        let reply = reply.map_err(|status| self.failed(status, took))?;
        self.trace.headers(reply.metadata());
        let trailers = reply.trailers().clone();
        let encoded = reply.into_inner().into_bytes();
        let encoded = encoded.map_err(|status| self.failed(status, took))?;
        self.trace.received(encoded.len());
        let json = schema::to_json(&self.method.output(), encoded)?;
        writeln!(out, "{json}")?;
        out.flush()?;
        self.trace.ended(&Status::ok(""), &trailers, took);
        Ok(())
    }

    fn connect(&self, local: &mut LocalLoop) -> Result<Channel, Failure> {
        let begun = Instant::now();
        let deadline = self.deadline.filter(|&deadline| deadline < CONNECT_TIMEOUT);
        let builder = Channel::builder(self.endpoint.to_string())
            .connect_timeout(deadline.unwrap_or(CONNECT_TIMEOUT));
        let connected = local.block_on(builder.connect())?;
        let channel = connected.map_err(|error| {
            let in_time = deadline.is_none() || !error.is_timeout();
            let status = match in_time {
                true => Status::from(error),
                false => Status::new(Code::DeadlineExceeded, error.to_string()),
            };
            Failure::Status(Box::new(status))
        })?;
        self.trace.connected(&self.endpoint, begun.elapsed());
        Ok(channel)
    }

    /// A request with everything but the message set. The time since `begun` is taken from its deadline.
    fn request<T>(&self, message: T, begun: Instant) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline.saturating_sub(begun.elapsed()));
        }
        request
    }

    fn failed(&self, status: Status, took: Duration) -> Failure {
        self.trace.ended(&status, status.metadata(), took);
        Failure::Status(Box::new(status))
    }
}

/// The messages that an argument describes; the empty message when there is none.
pub fn messages(data: Option<&Data>, method: &Method) -> Result<Messages, Failure> {
    let (source, origin): (Box<dyn Read + Send>, _) = match data {
        None => (Box::new("{}".as_bytes()), "-d".to_owned()),
        Some(Data::Text(text)) => (Box::new(Cursor::new(text.clone())), "-d".to_owned()),
        Some(Data::Stdin) => (Box::new(BufReader::new(io::stdin())), "stdin".to_owned()),
        Some(Data::File(path)) => {
            let name = path.display().to_string();
            let file = File::open(path)
                .map_err(|error| Failure::because(format!("cannot read {name}"), &error))?;
            (Box::new(BufReader::new(file)), name)
        }
    };
    Ok(Messages::new(method.input(), source, origin))
}

/// The one message of a call that takes one.
pub fn only(mut messages: Messages, method: &Method) -> Result<Bytes, Failure> {
    let wrong = |text: &str| Failure::Text(format!("{method} takes one message, {text}"));
    let message = messages
        .next()
        .ok_or_else(|| wrong("and none was given: {} is the empty one"))??;
    match messages.next() {
        None => Ok(message),
        Some(Ok(_)) => Err(wrong("and more were given")),
        Some(Err(failure)) => Err(failure),
    }
}

fn metadata(headers: &[Header]) -> Result<Metadata, Failure> {
    let mut metadata = Metadata::new();
    for header in headers {
        let added = header.append_to(&mut metadata);
        added.map_err(|invalid| Failure::Text(invalid.to_string()))?;
    }
    Ok(metadata)
}
