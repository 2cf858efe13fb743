//! Connections that come and go: each is made, makes one call, and is closed.

use super::call::{Call, CallFailure};
use super::record::Recorder;
use super::streak::Streak;
use kettle::{Channel, LocalLoop};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is counted of connections that could not be made.
const UNCONNECTED: &str = "UNCONNECTED";

/// Starts so many callers, each of which makes connection after connection.
pub fn start(
    local: &mut LocalLoop,
    url: &str,
    callers: usize,
    call: &Call,
    recorder: &Arc<Recorder>,
) {
    let url: Arc<str> = url.into();
    for _ in 0..callers {
        recorder.caller_begins();
        let (url, call, recorder) = (Arc::clone(&url), call.clone(), Arc::clone(recorder));
        local.spawn(async move {
            caller(&url, &call, &recorder).await;
            recorder.caller_ends();
        });
    }
}

/// The latency of a call has that of its connection in it.
async fn caller(url: &str, call: &Call, recorder: &Recorder) {
    let mut streak = Streak::default();
    while streak.goes_on(recorder) {
        let begun = Instant::now();
        let outcome = call_once(url, call).await;
        streak.note(outcome, begun, recorder, Recorder::succeeded);
    }
}

async fn call_once(url: &str, call: &Call) -> Result<(), CallFailure> {
    let connecting = Channel::builder(url).connect_timeout(CONNECT_TIMEOUT);
    let channel = connecting.connect().await.map_err(|error| CallFailure {
        kind: UNCONNECTED.to_owned(),
        text: error.to_string(),
    })?;
    call.make(&channel).await
}
