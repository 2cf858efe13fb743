//! The trait of protocol machines, and how to drive one.

use crate::{CallId, Event, Instant, Metadata, Method, Status};
use alloc::string::String;
use core::fmt;
use core::time::Duration;
use kettle_buf::{Encode, Payload, Segment};

/// One end of one connection, without I/O.
///
/// ```text
///   in    handle_bytes(segment) · handle_end · handle_timeout(now)
///   do    open · send_message · consumed · finish · reset · ping · drain
///   out   poll_event · poll_transmit · poll_timeout · expect
/// ```
///
/// After every input and every batch of commands: take events until there are none, send what
/// [`Machine::poll_transmit`] gives for as long as the socket takes it, take the events that followed
/// from that (a connection that drains is over with its last frame), and arrange for
/// [`Machine::handle_timeout`] at [`Machine::poll_timeout`].
///
/// Any cut of the same input gives the same events. "Not enough bytes" is not an error. Nothing that
/// a peer sends can panic; a broken rule ends in [`Event::Closed`] with the error, and the goodbye
/// to the peer in the last transmits. Messages are cut by length only: a [`Payload`] may hold file regions.
///
/// The machine does not bound what waits for [`Machine::poll_transmit`] as answers to the peer's
/// own frames (pongs, resets): who drives it stops feeding bytes while that much waits to be sent.
pub trait Machine: Send + fmt::Debug {
    /// Takes bytes that came from the peer, in order. Bytes after the end are ignored. They may be looked
    /// at as late as in [`Machine::poll_event`], with which this is followed until it gives nothing.
    fn handle_bytes(&mut self, now: Instant, bytes: Segment);

    /// The peer closed its side: nothing more will come. Server: calls that came whole are still answered.
    fn handle_end(&mut self, now: Instant);

    /// Time has passed: call it at or after [`Machine::poll_timeout`].
    fn handle_timeout(&mut self, now: Instant);

    /// The path of a method that an event named; `None` when no event of this machine did.
    fn method_path<'a>(&'a self, method: &'a Method) -> Option<&'a str>;

    /// The next event, oldest first.
    fn poll_event(&mut self) -> Option<Event>;

    /// The next bytes to send, or `None` when there is nothing to send now. Gives at most about
    /// `max` bytes, so that what is sent first can be decided late; small replies are packed together.
    fn poll_transmit(&mut self, now: Instant, max: u64) -> Option<Payload>;

    /// When [`Machine::handle_timeout`] wants to be called next.
    fn poll_timeout(&self) -> Option<Instant>;

    /// How many bytes of one large frame are known to come next, when all events were polled; 0 when
    /// that is not known. The next
    /// receives may then go into one buffer of this size.
    fn expect(&self) -> usize;

    /// Client: opens a call. With `message` and `end` a unary request leaves as one frame.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was sent.
    fn open(
        &mut self,
        now: Instant,
        head: Head<'_>,
        message: Option<Payload>,
        end: bool,
    ) -> Result<CallId, OpenError>;

    /// Client: opens a call with its only message, which is copied to where it is sent from. `None`: it is
    /// too long for that, or may not go at once; nothing was done, and [`Machine::open`] takes it.
    ///
    /// # Errors
    /// As [`Machine::open`].
    fn open_unary(
        &mut self,
        now: Instant,
        head: &Head<'_>,
        message: &[u8],
    ) -> Result<Option<CallId>, OpenError>;

    /// Server: sends the reply's metadata ahead of any message. At most once, before the first message.
    /// Empty metadata is sent too: it says that the reply has begun.
    fn send_headers(&mut self, call: CallId, metadata: Metadata);

    /// Sends one message; `end` also ends our side of the call (client only).
    fn send_message(&mut self, call: CallId, message: Payload, end: bool);

    /// As [`Machine::send_message`], encoding the message straight into the output. On a server, `end`
    /// finishes the call with status OK. Gives the message's length in bytes; 0 for a call that is over.
    ///
    /// `None` when that cannot be done, and nothing was: the message has to wait, is over a limit, or is
    /// longer than what is copied. It goes as a [`Payload`] then.
    fn encode_message(&mut self, call: CallId, message: &dyn Encode, end: bool) -> Option<usize>;

    /// Whether the next message of a call would be the first that its credit does not cover: one such
    /// message may wait here, more should not be made. After a false [`Event::Room`] follows, unless
    /// the call ends before. False for a call that is over.
    fn has_room(&mut self, call: CallId) -> bool;

    /// The layer above is done with so many bytes of a call's messages: the peer may send as many more.
    /// They count from when they are told here, not from when their event was taken.
    fn consumed(&mut self, call: CallId, bytes: u64);

    /// Client: ends our side of the call.
    fn end(&mut self, call: CallId);

    /// Server: ends the call, with the last message when there is one, and with the status. The
    /// call's slot is free afterwards. A unary reply leaves as one frame.
    fn finish(&mut self, call: CallId, closing: Closing);

    /// Gives the call up: the peer is told, the slot is free, no more events of this call come.
    fn reset(&mut self, call: CallId, status: &Status);

    /// Asks the peer for a sign of life; [`Event::Pong`] follows. At most one is open at a time.
    fn ping(&mut self, now: Instant);

    /// Whether a ping is open. Its answer has to be read, whatever else is not wanted now.
    fn awaits_pong(&self) -> bool;

    /// Server: tells the peer to open no more calls; those open go on. Client: says that it will
    /// open none. When both sides have said so and no call is open, [`Event::Closed`] follows.
    fn drain(&mut self, now: Instant);

    /// Ends the connection at once with a goodbye to the peer; [`Event::Closed`] follows.
    fn close(&mut self, status: &Status);

    /// How many calls are open.
    fn open_calls(&self) -> usize;

    /// How many events wait for [`Machine::poll_event`].
    fn waiting_events(&self) -> usize;

    /// Bytes inside of messages that have not come whole.
    fn incomplete_bytes(&self) -> u64;

    /// Bytes of messages that wait inside for credit or for [`Machine::poll_transmit`].
    fn pending_bytes(&self) -> u64;

    /// How many of the [`Machine::pending_bytes`] belong to streams that go on and wait for credit of
    /// their own call: they stand in nobody's way.
    fn stalled_bytes(&self) -> u64;
}

/// What opens a call.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// The method's path, such as `/echo.v1.Echo/Unary`.
    pub path: &'a str,
    /// Metadata of the request.
    pub metadata: Metadata,
    /// How long the call may take, from now; `None`: for ever. The machine ends the call at that
    /// time with DEADLINE_EXCEEDED, and the peer is told the time that is left.
    pub timeout: Option<Duration>,
}

/// What ends a call from the server's side.
#[derive(Debug, Default)]
pub struct Closing {
    /// Metadata of the reply, when it was not sent before; left out on the wire when empty.
    pub headers: Metadata,
    /// The last message.
    pub message: Option<Payload>,
    /// The status, with trailing metadata.
    pub status: Status,
}

/// Why a call could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// As many calls are open as the peer allows; try again when one has ended.
    TooManyCalls {
        /// The peer's limit.
        max: u32,
    },
    /// The connection is ending: use another one.
    Closed,
    /// The request breaks a limit that the message names; it would on any connection.
    Refused(Status),
    /// The path is not of the form `/package.Service/Method`.
    Path(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyCalls { max } => write!(f, "the peer allows {max} calls at a time"),
            Self::Closed => f.write_str("the connection is ending"),
            Self::Refused(status) => status.fmt(f),
            Self::Path(path) => write!(f, "{path:?} is not of the form /package.Service/Method"),
        }
    }
}

impl core::error::Error for OpenError {}
