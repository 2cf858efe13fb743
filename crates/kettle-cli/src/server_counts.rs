//! What a server tells of itself to whoever started it, as one line of JSON.

use kettle::Stats;
use serde::{Deserialize, Serialize};

/// Counts of a server since its start. `kettle serve --stats` prints one object for each line that it
/// reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerCounts {
    /// Connections that are open.
    pub connections: u64,
    /// Connections that were taken.
    pub connections_accepted: u64,
    /// Connections that were refused for a limit.
    pub connections_refused: u64,
    /// Calls that were started.
    pub calls: u64,
    /// Calls that ended with a status other than OK.
    pub calls_failed: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Memory of receive pools, in bytes.
    pub pool_bytes: u64,
    /// Bytes of messages that were copied in memory.
    pub copied_bytes: u64,
    /// How files were sent.
    pub files: FileCounts,
    /// System calls on sockets and pollers, by kind.
    pub system_calls: SystemCallCounts,
}

/// Bytes of files by the way in which they were sent, and how often not in the way that was asked for; see
/// [`kettle::SendStats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileCounts {
    pub splice_bytes: u64,
    pub sendfile_bytes: u64,
    pub mmap_bytes: u64,
    pub copy_bytes: u64,
    pub pipe_fallbacks: u64,
    pub strategy_fallbacks: u64,
}

/// System calls by kind; the kinds are those of [`kettle::SystemCalls`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SystemCallCounts {
    pub total: u64,
    pub accept: u64,
    pub connect: u64,
    pub receive: u64,
    pub send: u64,
    pub file: u64,
    pub wait: u64,
    pub enter: u64,
    pub control: u64,
    pub wake: u64,
    pub close: u64,
}

impl From<&Stats> for ServerCounts {
    fn from(stats: &Stats) -> Self {
        let (calls, sends) = (&stats.system_calls, &stats.sends);
        Self {
            connections: stats.connections,
            connections_accepted: stats.connections_accepted,
            connections_refused: stats.connections_refused,
            calls: stats.calls,
            calls_failed: stats.calls_failed,
            received_bytes: stats.received_bytes,
            sent_bytes: stats.sent_bytes,
            pool_bytes: stats.pool_bytes,
            copied_bytes: stats.copied_bytes,
            files: FileCounts {
                splice_bytes: sends.splice_bytes,
                sendfile_bytes: sends.sendfile_bytes,
                mmap_bytes: sends.mmap_bytes,
                copy_bytes: sends.copy_bytes,
                pipe_fallbacks: sends.pipe_fallbacks,
                strategy_fallbacks: sends.strategy_fallbacks,
            },
            system_calls: SystemCallCounts {
                total: calls.total(),
                accept: calls.accept,
                connect: calls.connect,
                receive: calls.receive,
                send: calls.send,
                file: calls.file,
                wait: calls.wait,
                enter: calls.enter,
                control: calls.control,
                wake: calls.wake,
                close: calls.close,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_the_way_from_server_to_lab() {
        let mut stats = Stats::default();
        stats.calls = 7;
        stats.system_calls.send = 5;
        stats.system_calls.wait = 2;
        stats.system_calls.file = 3;
        let counts = ServerCounts::from(&stats);
        let line = serde_json::to_string(&counts).unwrap();
        assert_eq!(serde_json::from_str::<ServerCounts>(&line).unwrap(), counts);
        assert_eq!((counts.calls, counts.system_calls.total), (7, 10));
    }
}
