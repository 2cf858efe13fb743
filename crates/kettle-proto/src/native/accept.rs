//! How a server takes calls, or refuses them.

use super::connection::Connection;
use super::frame::{self, CallFrame, flag};
use super::receive::{check_length, exhausted, violation};
use crate::{CallId, Event, Instant, Metadata, Method, ProtocolError, Status};
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::time::Duration;
use kettle_buf::Chain;

/// A call that is to be reported together with its message, which is on its way.
#[derive(Debug)]
pub(super) struct Opening {
    pub call: CallId,
    method: Method,
    metadata: Metadata,
    deadline: Option<Instant>,
}

impl Opening {
    pub fn event(self, message: Option<Chain>) -> Event {
        Event::Call {
            call: self.call,
            method: self.method,
            metadata: self.metadata,
            deadline: self.deadline,
            message,
        }
    }
}

impl Connection {
    /// Server: OPEN came. Its path enters the method table even when the call is refused.
    pub(super) fn opened(&mut self, now: Instant, frame: CallFrame) -> Result<(), ProtocolError> {
        let id = frame.header.stream;
        if id <= self.last_stream {
            return Err(violation("streams that are opened do not increase"));
        }
        if self.drain_received {
            return Err(violation("OPEN behind the client's own DRAIN"));
        }
        self.last_stream = id;
        let method = self.method(frame.header.method, frame.path())?;
        self.spend_credit(frame.message_bytes)?;
        check_first(&frame)?;
        if self.refuse(&frame) {
            self.skip(&frame);
            return Ok(());
        }
        let deadline = frame
            .timeout_nanos
            .map(|nanos| now + Duration::from_nanos(nanos));
        let (call, _) = self.open_stream(id);
        if let Some(at) = deadline {
            let deadlines = self.deadlines.get_or_insert_default();
            deadlines.push(at, call, &mut self.streams);
        }
        let CallFrame {
            header,
            message_bytes,
            total,
            sections,
            ..
        } = frame;
        let metadata = sections.map_or_else(Metadata::new, |sections| sections.metadata);
        let opening = Opening {
            call,
            method,
            metadata,
            deadline,
        };
        if header.has(flag::MESSAGE) && header.has(flag::END) {
            self.opening = Some(Box::new(opening));
        } else {
            self.events.push_back(opening.event(None));
        }
        match header.has(flag::MESSAGE) {
            true => self.begin_message(call, header.flags, message_bytes, total, None),
            false => {
                if header.has(flag::END) {
                    self.ended(call, None);
                }
                Ok(())
            }
        }
    }

    /// Looks a method up, or defines it.
    fn method(&mut self, id: u16, path: Option<&Arc<str>>) -> Result<Method, ProtocolError> {
        let memo = (id != 0).then_some(id);
        match (memo, path) {
            (None, Some(path)) => return Ok(Method::Path(Arc::clone(path))),
            (None, None) => return Err(violation("OPEN with neither method nor PATH")),
            (Some(_), None) if self.paths.len() < usize::from(id) => {
                return Err(violation("OPEN of a method that was not defined"));
            }
            (Some(_), None) => {}
            (Some(_), Some(path)) => {
                if usize::from(id) != self.paths.len() + 1 {
                    return Err(violation("methods are not defined in order"));
                }
                if self.ours.methods_max < id {
                    let (got, max) = (id.into(), self.ours.methods_max.into());
                    return Err(ProtocolError::Limit {
                        name: "methods_max",
                        got,
                        max,
                    });
                }
                self.paths.push(Arc::clone(path));
            }
        }
        Ok(Method::Known(id))
    }

    /// Answers an OPEN that a limit or a drain forbids. Whether it did.
    fn refuse(&mut self, frame: &CallFrame) -> bool {
        let id = frame.header.stream;
        if self.drain_sent {
            let status = Status::unavailable("the server takes no new calls on this connection");
            frame::put_reset(&mut self.out, id, &status, true);
            return true;
        }
        if self.ours.calls_max as usize <= self.streams.len() {
            let status = exhausted("calls_max", "a call", self.ours.calls_max);
            frame::put_reset(&mut self.out, id, &status, true);
            return true;
        }
        let size = frame.total.unwrap_or(frame.message_bytes.into());
        let status = if let Some(size) = frame.metadata_over() {
            let what = format!("metadata of {size} bytes");
            exhausted("metadata_bytes_max", &what, self.ours.metadata_bytes_max)
        } else if u64::from(self.ours.message_bytes_max) < size {
            self.message_over(size)
        } else {
            return false;
        };
        self.put_data(id, &Metadata::new(), Some(&status), None, true);
        true
    }
}

fn check_first(frame: &CallFrame) -> Result<(), ProtocolError> {
    // The LENGTH of a frame whose metadata is skipped is skipped too.
    match frame.metadata_over() {
        Some(_) => Ok(()),
        None => check_length(
            frame.header.has(flag::MORE),
            frame.total,
            frame.message_bytes.into(),
        ),
    }
}
