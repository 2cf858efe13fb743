//! The closed loop: a call follows the answer of the one before.

use super::call::Call;
use super::record::Recorder;
use kettle::{Channel, LocalLoop};
use std::sync::Arc;
use std::time::Instant;

/// A caller whose calls fail so often in a row makes no more: a server that is gone would have it
/// count failures as fast as it can.
pub const FAILURES_IN_A_ROW_MAX: u32 = 100;

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
    let mut failures = 0;
    let mut begun = Instant::now();
    let observe = move |outcome| {
        // The end of one call is the beginning of the next: one look at the clock for each.
        let now = Instant::now();
        match outcome {
            Ok(()) => {
                failures = 0;
                if book.measuring() {
                    book.succeeded(now - begun, now);
                }
            }
            Err(failure) => {
                failures += 1;
                book.failed(failure);
            }
        }
        begun = now;
        !book.stopping() && failures < FAILURES_IN_A_ROW_MAX
    };
    call.repeat(&channel, observe).await;
    recorder.caller_ends();
}
