//! Waiting for a future on this thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::Duration;

/// How often it is asked whether to stop while nothing comes.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls the future on this thread until it is done, or `stop` says so: then it is dropped. Calls in it are made
/// on kettle's own loop, so that it may block.
pub fn wait<T>(future: impl Future<Output = T>, stop: impl Fn() -> bool) -> Option<T> {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    while !stop() {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(done);
        }
        thread::park_timeout(STOP_INTERVAL);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_the_future_is_done_or_when_told() {
        assert_eq!(wait(async { 5 }, || false), Some(5));
        assert_eq!(wait(std::future::pending::<()>(), || true), None);
        let sleep = kettle::sleep(Duration::from_millis(1));
        assert_eq!(wait(sleep, || false), Some(()));
    }
}
