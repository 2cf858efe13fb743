//! One call as a person makes it: JSON in, JSON out.
//!
//! `input.rs` reads the requests of a stream, `trace.rs` tells what happens for `-v`. Messages and methods
//! are described by `schema.rs`.

mod input;
mod trace;

use crate::args::{CallArgs, Data, Header};
use crate::failure::Failure;
use crate::interrupt::Interrupted;
use crate::schema::{self, Kind, Messages, Method};
use bytes::Bytes;
use futures_core::Stream;
use input::{Input, Wrong};
use kettle::{
    Channel, Code, Endpoint, Inbound, LocalLoop, Metadata, Model, Outbound, Request, Status,
    Streaming,
};
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, BufReader, Cursor, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
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

    /// Makes the call with these messages, and prints what comes back, each reply as it comes. Ctrl-C
    /// cancels it.
    ///
    /// # Errors
    /// [`Failure::Status`] when the call ends with another status than OK, which is also how a server
    /// that cannot be reached is told; [`Failure::Interrupted`]; else what is wrong with the messages.
    pub fn make(mut self, messages: Messages, out: &mut dyn Write) -> Result<(), Failure> {
        let begun = Instant::now();
        let kind = self.method.kind();
        let (content, wrong) = match kind {
            Kind::Unary | Kind::ServerStream => {
                let message = only(messages, &self.method)?;
                self.trace.sent().add(message.len());
                (Outbound::from_bytes(message), Wrong::default())
            }
            Kind::ClientStream | Kind::Bidi => {
                let input = Input::read(messages, Arc::clone(self.trace.sent()))?;
                let wrong = input.wrong();
                (Outbound::from_stream(input), wrong)
            }
        };
        let mut local = Local {
            turns: LocalLoop::new(Model::Epoll)?,
            // From here on: reading one message from a terminal ends with Ctrl-C as it always does.
            interrupted: Interrupted::install()?,
        };
        let made = match kind {
            Kind::Unary | Kind::ClientStream => self.one(content, begun, &mut local, out),
            Kind::ServerStream | Kind::Bidi => self.many(content, begun, &mut local, out),
        };
        if let Err(Failure::Interrupted) = made {
            self.failed(Status::cancelled("interrupted"));
        }
        wrong.take().map_or(made, Err)
    }

    /// A call with one reply.
    fn one(
        &mut self,
        content: Outbound,
        begun: Instant,
        local: &mut Local,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let channel = self.connect(local)?;
        let (path, request) = self.request(content, begun);
        let reply = local.run(async move { channel.call(path, request).await })?;
        let reply = reply.map_err(|status| self.failed(status))?;
        self.trace.headers(reply.metadata());
        let (took, trailers) = (self.trace.elapsed(), reply.trailers().clone());
        self.print(reply.into_inner(), out)?;
        self.trace.ended(&Status::ok(""), &trailers, took);
        Ok(())
    }

    /// A call with a stream of replies.
    fn many(
        &mut self,
        content: Outbound,
        begun: Instant,
        local: &mut Local,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let channel = self.connect(local)?;
        let (path, request) = self.request(content, begun);
        let replies = local.run(async move { channel.call_streaming(path, request).await })?;
        let replies = replies.map_err(|status| self.failed(status))?;
        self.trace.headers(replies.metadata());
        let mut replies = replies.into_inner().into_stream();
        loop {
            let next;
            (next, replies) = local.next(replies)?;
            let Some(reply) = next else { break };
            self.print(reply.map_err(|status| self.failed(status))?, out)?;
        }
        let took = self.trace.elapsed();
        let trailers = local.run(async move { replies.trailers().await })?;
        let trailers = trailers.map_err(|status| self.failed(status))?;
        self.trace
            .ended(&Status::ok(""), &trailers.unwrap_or_default(), took);
        Ok(())
    }

    fn connect(&self, local: &mut Local) -> Result<Channel, Failure> {
        let begun = Instant::now();
        let deadline = self.deadline.filter(|&deadline| deadline < CONNECT_TIMEOUT);
        let builder = Channel::builder(self.endpoint.to_string())
            .connect_timeout(deadline.unwrap_or(CONNECT_TIMEOUT));
        let channel = local.run(builder.connect())?.map_err(|error| {
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

    /// The path and the request. The time since `begun` is taken from its deadline.
    fn request(&mut self, content: Outbound, begun: Instant) -> (String, Request<Outbound>) {
        let mut request = Request::new(content);
        *request.metadata_mut() = self.metadata.clone();
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline.saturating_sub(begun.elapsed()));
        }
        let path = self.method.path();
        self.trace.request(&path, &self.metadata);
        (path, request)
    }

    fn print(&self, reply: Inbound, out: &mut dyn Write) -> Result<(), Failure> {
        // One message of a call that has one or of a stream: never a stream in itself.
        let encoded = reply.into_bytes().map_err(|status| self.failed(status))?;
        self.trace.received().add(encoded.len());
        let json = schema::to_json(&self.method.output(), encoded)?;
        writeln!(out, "{json}")?;
        Ok(out.flush()?)
    }

    fn failed(&self, status: Status) -> Failure {
        let took = self.trace.elapsed();
        self.trace.ended(&status, status.metadata(), took);
        Failure::Status(Box::new(status))
    }
}

/// The next of a stream of replies, or its end.
type Next = Option<Result<Inbound, Status>>;

/// The loop that a call is made on, and Ctrl-C.
struct Local {
    turns: LocalLoop,
    interrupted: Interrupted,
}

impl Local {
    /// Runs until the future is done. When somebody interrupts it is dropped, and the server told.
    fn run<T: Send + 'static>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut interrupted = self.interrupted.clone();
        let unless = async move {
            let mut future = Box::pin(future);
            let done = poll_fn(|cx| match Pin::new(&mut interrupted).poll(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => future.as_mut().poll(cx).map(Some),
            });
            done.await
        };
        let done = self.turns.block_on(unless)?;
        match done {
            Some(done) => Ok(done),
            None => {
                // One turn, in which the end of the call is sent.
                self.turns.block_on(std::future::ready(()))?;
                Err(Failure::Interrupted)
            }
        }
    }

    /// The next reply. Those that have come are given before the loop runs again, so that no more wait
    /// than it takes in at a time: who prints them slowly slows the server down.
    fn next(
        &mut self,
        mut replies: Streaming<Inbound>,
    ) -> Result<(Next, Streaming<Inbound>), Failure> {
        let mut nobody = Context::from_waker(Waker::noop());
        if !self.interrupted.is_set()
            && let Poll::Ready(next) = Pin::new(&mut replies).poll_next(&mut nobody)
        {
            return Ok((next, replies));
        }
        self.run(async move {
            let next = poll_fn(|cx| Pin::new(&mut replies).poll_next(cx)).await;
            (next, replies)
        })
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
