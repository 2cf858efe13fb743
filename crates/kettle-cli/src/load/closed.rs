//! The closed loop: a call follows the answer of the one before.

use super::call::Call;
use super::record::Recorder;
use super::streak::Streak;
use kettle::{Channel, LocalLoop};
use std::sync::Arc;
use std::time::Instant;

/// Starts so many callers on each connection.
pub fn start(
    local: &mut LocalLoop,
    channels: &[Channel],
    in_flight: usize,
    call: &Call,
    recorder: &Arc<Recorder>,
) {
    for channel in channels {
        for _ in 0..in_flight {
            recorder.caller_begins();
            local.spawn(caller(channel.clone(), call.clone(), Arc::clone(recorder)));
        }
    }
}

async fn caller(channel: Channel, call: Call, recorder: Arc<Recorder>) {
    let book = Arc::clone(&recorder);
    let (mut streak, mut begun) = (Streak::default(), Instant::now());
    let observe = move |outcome| {
        begun = streak.note(outcome, begun, &book, Recorder::succeeded);
        streak.goes_on(&book)
    };
    call.repeat(&channel, observe).await;
    recorder.caller_ends();
}
