//! What machines tell the layer above, the same for every protocol.

use crate::{Instant, Metadata, ProtocolError, Status};
use alloc::sync::Arc;
use kettle_buf::Chain;

/// One call on one connection.
///
/// `slot` is a small number that the machine uses again after the call is over, so a table indexed
/// by it stays small; `stream` tells the calls of one slot apart. Every command with a call that is
/// over does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    /// Index into tables of open calls: less than the greatest number of calls ever open at once.
    pub slot: u32,
    /// The stream's number on the wire, never used twice on a connection.
    pub stream: u32,
}

/// The method that a call names. [`crate::Machine::method_path`] gives its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// A small number that stands for one path for as long as the connection lives, so that a route
    /// needs looking up once.
    Known(u16),
    /// The path itself, such as `/echo.v1.Echo/Unary`: it came without a number.
    Path(Arc<str>),
}

/// What happened on a connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The connection's handshake is done.
    Ready,
    /// Server: the client opened a call.
    Call {
        /// The new call.
        call: CallId,
        /// What it calls.
        method: Method,
        /// Metadata of the request.
        metadata: Metadata,
        /// When the machine will end the call by itself.
        deadline: Option<Instant>,
        /// The request of a client that sent its only message together with the opening: nothing
        /// more comes from it. `None`: messages and the end follow as events of their own.
        message: Option<Chain>,
    },
    /// Client: the reply has begun, with this metadata. Comes before the first message; a reply without
    /// metadata may leave it out.
    Headers {
        /// The call.
        call: CallId,
        /// Metadata of the reply.
        metadata: Metadata,
    },
    /// A whole message arrived. Its credit goes back by [`crate::Machine::consumed`].
    Message {
        /// The call.
        call: CallId,
        /// The message, as it lies in the received segments.
        message: Chain,
        /// Server: nothing more comes from the client. Always false for a client, which gets
        /// [`Event::Finished`].
        end: bool,
    },
    /// Server: the client ended its side without a further message.
    End {
        /// The call.
        call: CallId,
    },
    /// Client: the call is over, this is how it ended. Its slot is free.
    Finished {
        /// The call.
        call: CallId,
        /// The status, with trailing metadata.
        status: Status,
        /// The server vouches that it did nothing for this call: it is safe to try again elsewhere.
        unprocessed: bool,
    },
    /// Server: the call is over before it was answered. Its slot is free; its handler must stop.
    Reset {
        /// The call.
        call: CallId,
        /// Why: cancelled by the client, deadline passed, connection lost.
        status: Status,
    },
    /// A call for which [`crate::Machine::has_room`] said no has room now.
    Room {
        /// The call.
        call: CallId,
    },
    /// Client: the server takes no new calls on this connection; those open go on.
    Draining,
    /// The answer to [`crate::Machine::ping`].
    Pong {
        /// Time since the ping was sent.
        round_trip: core::time::Duration,
    },
    /// The connection is over: all calls were reported as ended before. What
    /// [`crate::Machine::poll_transmit`] still gives should be sent before closing.
    Closed {
        /// What went wrong; `None` when it ended in order.
        error: Option<ProtocolError>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Closing;

    /// These are moved several times with every call, and each move costs by its size.
    #[test]
    fn what_moves_with_every_call_is_small() {
        assert!(size_of::<Event>() <= 96, "{}", size_of::<Event>());
        assert!(size_of::<Closing>() <= 96, "{}", size_of::<Closing>());
    }
}
