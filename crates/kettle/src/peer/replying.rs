//! Where the reply of a server's call goes: into the machine.

use crate::stats::LoopStats;
use crate::{Outbound, Reply, Response, Status};
use kettle_buf::Encode;
use kettle_proto::{CallId, Closing, Machine};

/// A call that is to be answered.
pub(super) struct Replying<'a> {
    pub(super) call: CallId,
    machine: &'a mut dyn Machine,
    stats: &'a LoopStats,
}

impl<'a> Replying<'a> {
    pub(super) fn new(call: CallId, machine: &'a mut dyn Machine, stats: &'a LoopStats) -> Self {
        Self {
            call,
            machine,
            stats,
        }
    }
}

impl Reply for Replying<'_> {
    fn reply(&mut self, response: Response<&dyn Encode>) {
        let plain = response.metadata().is_empty() && response.trailers().is_empty();
        let message = *response.get_ref();
        if !plain || !self.machine.encode_message(self.call, message, true) {
            self.finish(Ok(response.map(Outbound::of)));
        }
    }

    fn finish(&mut self, outcome: Result<Response<Outbound>, Status>) {
        let closing = match outcome {
            Ok(response) => {
                let (message, headers, trailers) = response.into_parts();
                Closing {
                    headers,
                    message: Some(message.into_payload()),
                    status: Status::default().with_metadata(trailers),
                }
            }
            Err(status) => {
                LoopStats::add(&self.stats.calls_failed, 1);
                Closing {
                    status,
                    ..Closing::default()
                }
            }
        };
        self.machine.finish(self.call, closing);
    }
}
