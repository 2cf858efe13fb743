//! The order of events that every machine keeps to.

use crate::pair::Side;
use kettle_proto::{CallId, Event};
use std::collections::BTreeMap;

/// Holds one end's events to the rules of [`Event`]: a call is reported, answered and ended in order, once
/// each, and nothing follows the end of the connection.
#[derive(Debug)]
pub(super) struct Watch {
    side: Side,
    ready: bool,
    draining: bool,
    closed: bool,
    last_stream: u32,
    open: BTreeMap<CallId, Call>,
}

#[derive(Debug, Default)]
struct Call {
    /// Headers came, or a message.
    replied: bool,
    /// The client's side ended.
    ended: bool,
    /// Server: it was finished, and may wait for credit.
    answered: bool,
}

impl Watch {
    pub fn new(side: Side) -> Self {
        Self {
            side,
            ready: false,
            draining: false,
            closed: false,
            last_stream: 0,
            open: BTreeMap::new(),
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Calls that the layer above knows to be open: reported or opened, and neither ended nor answered.
    pub fn open(&self) -> Vec<CallId> {
        let open = self.open.iter().filter(|(_, call)| !call.answered);
        open.map(|(id, _)| *id).collect()
    }

    /// Client: a call was opened.
    pub fn opened(&mut self, call: CallId) {
        self.add(call);
    }

    /// The layer above gave a call up.
    pub fn given_up(&mut self, call: CallId) {
        self.open.remove(&call);
    }

    /// Server: the layer above finished a call.
    pub fn answered(&mut self, call: CallId) {
        if let Some(call) = self.open.get_mut(&call) {
            call.answered = true;
        }
    }

    /// Panics when this event may not come now.
    pub fn event(&mut self, event: &Event) {
        assert!(!self.closed, "{event:?} behind the end");
        let server = self.side == Side::Server;
        match event {
            Event::Ready => assert!(!std::mem::replace(&mut self.ready, true), "ready twice"),
            Event::Call { call, message, .. } => {
                assert!(server && self.ready, "{event:?}");
                self.add(*call);
                self.known(event, *call).ended = message.is_some();
            }
            Event::Headers { call, .. } => {
                let call = self.known(event, *call);
                assert!(!server && !call.replied, "{event:?}");
                call.replied = true;
            }
            Event::Message { call, end, .. } => {
                let call = self.known(event, *call);
                assert!(!call.ended && (server || !end), "{event:?}");
                call.replied = true;
                call.ended = *end;
            }
            Event::End { call } => {
                let call = self.known(event, *call);
                assert!(server && !call.ended, "{event:?}");
                call.ended = true;
            }
            Event::Finished { call, .. } => {
                self.known(event, *call);
                assert!(!server, "{event:?}");
                self.open.remove(call);
            }
            Event::Reset { call, .. } => {
                assert!(server && !self.known(event, *call).answered, "{event:?}");
                self.open.remove(call);
            }
            Event::Draining => {
                assert!(!server && !std::mem::replace(&mut self.draining, true));
            }
            Event::Closed { .. } => {
                assert_eq!(self.open(), [], "calls are open at the end");
                self.closed = true;
            }
            _ => {}
        }
    }

    fn add(&mut self, call: CallId) {
        assert!(self.last_stream < call.stream, "{call:?} is not new");
        self.last_stream = call.stream;
        // A call that was finished frees its slot some time later, without an event.
        self.open
            .retain(|id, other| id.slot != call.slot || !other.answered);
        let slots = self.open.keys().map(|id| id.slot);
        assert!(
            !slots.into_iter().any(|slot| slot == call.slot),
            "{call:?} in a slot in use"
        );
        self.open.insert(call, Call::default());
    }

    fn known(&mut self, event: &Event, call: CallId) -> &mut Call {
        let known = self.open.get_mut(&call);
        known.unwrap_or_else(|| panic!("{event:?} of a call that is not open"))
    }
}
