//! Every limit of the protocols: unit, default and reason.

use core::time::Duration;

/// Limits of one end of a connection, announced to the peer where the protocol has a setting for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// `message_bytes_max`: longest message that is received. Default 4 MiB, as gRPC's.
    pub message_bytes_max: u32,
    /// `frame_bytes_max`: longest frame payload that is received. Default 1 MiB: a cancel takes
    /// effect between frames, and 1 MiB costs the wire a fraction of a millisecond. At least 64 KiB.
    pub frame_bytes_max: u32,
    /// `metadata_bytes_max`: longest metadata of one call and direction, encoded. Default 16 KiB.
    pub metadata_bytes_max: u32,
    /// `calls_max`: calls that the peer may have open at once. Default 1,024.
    pub calls_max: u32,
    /// `methods_max`: paths in the method table of a connection. Default 1,024; more paths are sent
    /// in full with each call.
    pub methods_max: u16,
    /// `call_credit_bytes`: bytes of messages that the peer may send ahead on one call. Default 1 MiB,
    /// at least 64 KiB.
    pub call_credit_bytes: u32,
    /// `connection_credit_bytes`: the same for all calls together. Default 16 MiB, at least 64 KiB.
    /// Messages that have not come whole hold at most this, and one message more.
    pub connection_credit_bytes: u32,
    /// `handshake_timeout`: from the first moment of the connection to the end of the peer's
    /// greeting. Default 10 s.
    pub handshake_timeout: Duration,
    /// `idle_timeout`: how long a connection without calls and without bytes stays open, from the last bytes or
    /// the end of the last call, whichever is later. Default 10 min on a server; `None`, for ever, on a client.
    pub idle_timeout: Option<Duration>,
    /// `ping_timeout`: how long after a ping nothing at all may come. Default 20 s, as gRPC's.
    pub ping_timeout: Duration,
    /// `keepalive_interval`: how long nothing may come while calls are open before a ping asks for a
    /// sign of life. Default `None`: never. Without calls nothing is lost with the connection, and
    /// `idle_timeout` counts.
    pub keepalive_interval: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 4 * 1024 * 1024,
            frame_bytes_max: 1024 * 1024,
            metadata_bytes_max: 16 * 1024,
            calls_max: 1024,
            methods_max: 1024,
            call_credit_bytes: 1024 * 1024,
            connection_credit_bytes: 16 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(600)),
            ping_timeout: Duration::from_secs(20),
            keepalive_interval: None,
        }
    }
}

/// A received rest of a frame shorter than this, in bytes, is copied out at the end of a read, so
/// that half a frame does not keep a 64 KiB block.
pub const REST_COPY_BYTES_MAX: usize = 4 * 1024;

/// From this many missing bytes of a frame on the machine hints [`crate::Machine::expect`]: below,
/// the frame fits into what a socket read brings anyway.
pub const EXPECT_BYTES_MIN: usize = 64 * 1024;

/// Pings whose answers wait to be sent; a peer that sends more without reading is cut off. One read
/// of 64 KiB brings at most 3,276 of them.
pub const PINGS_WAITING_MAX: u32 = 4096;
