//! What can go wrong on a connection as a whole.

use alloc::string::String;
use core::fmt;

/// Who caused an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// This side.
    Local,
    /// The peer.
    Remote,
}

/// Why a connection ended out of order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The peer broke a rule of the protocol; the text names the rule.
    Violation(String),
    /// The peer broke a limit of ours.
    Limit {
        /// The limit's name, as in `limits.rs`.
        name: &'static str,
        /// What the peer sent.
        got: u64,
        /// What is allowed.
        max: u64,
    },
    /// The peer speaks no version of the protocol that we speak.
    Version {
        /// What the peer offers, lowest and highest.
        theirs: (u8, u8),
        /// What we offer, lowest and highest.
        ours: (u8, u8),
    },
    /// The peer ended the connection and said why.
    Goodbye {
        /// The code it gave.
        code: crate::Code,
        /// Its text.
        message: String,
    },
    /// The peer did not finish its greeting in time.
    HandshakeTimeout,
    /// The peer did not answer a ping in time.
    PingTimeout,
    /// Nothing happened for the idle time-out.
    IdleTimeout,
    /// The peer closed in the middle of a frame or while calls were open.
    UnexpectedEnd,
}

impl ProtocolError {
    /// Who caused it.
    pub fn initiator(&self) -> Initiator {
        match self {
            Self::IdleTimeout => Initiator::Local,
            _ => Initiator::Remote,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(rule) => write!(f, "the peer broke the protocol: {rule}"),
            Self::Limit { name, got, max } => write!(f, "{got} is over the limit {name} of {max}"),
            Self::Version { theirs, ours } => write!(
                f,
                "the peer speaks protocol versions {} to {}, this side {} to {}",
                theirs.0, theirs.1, ours.0, ours.1
            ),
            Self::Goodbye { code, message } => {
                write!(f, "the peer said goodbye: {code}: {message}")
            }
            Self::HandshakeTimeout => f.write_str("the peer did not finish its greeting in time"),
            Self::PingTimeout => f.write_str("the peer did not answer a ping in time"),
            Self::IdleTimeout => f.write_str("nothing happened for the idle time-out"),
            Self::UnexpectedEnd => f.write_str("the peer closed the connection in mid-call"),
        }
    }
}

impl core::error::Error for ProtocolError {}
