//! The requests of a call that sends a stream: read on a thread of their own, because reading blocks.

use super::trace::Traffic;
use crate::bell::Bell;
use crate::failure::Failure;
use crate::schema::Messages;
use bytes::Bytes;
use futures_core::Stream;
use kettle::{Outbound, Status};
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// Requests that are read ahead while the server takes no more.
const AHEAD_MAX: usize = 64;

/// The messages of a source as they come, each as soon as its JSON is complete.
///
/// It ends at the end of the source, and with an error, which ends the call, at what is no message. When
/// it is dropped the thread goes on to its next message, and ends there.
#[derive(Debug)]
pub struct Input {
    messages: Receiver<Result<Bytes, Failure>>,
    bell: Arc<Bell>,
    sent: Arc<Traffic>,
    wrong: Wrong,
}

/// What was wrong with the source, for those who see the call end because of it.
#[derive(Clone, Debug, Default)]
pub struct Wrong(Arc<Mutex<Option<Failure>>>);

impl Input {
    /// Begins to read. Messages that are sent are counted.
    pub fn read(messages: Messages, sent: Arc<Traffic>) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(AHEAD_MAX);
        let bell = Arc::<Bell>::default();
        let reader = Reader {
            sender: Some(sender),
            bell: Arc::clone(&bell),
        };
        std::thread::Builder::new()
            .name("kettle-input".into())
            .spawn(move || reader.run(messages))?;
        Ok(Self {
            messages: receiver,
            bell,
            sent,
            wrong: Wrong::default(),
        })
    }

    /// Where what is wrong with the source will stand.
    pub fn wrong(&self) -> Wrong {
        self.wrong.clone()
    }

    /// The next message that has come; an error when none has.
    fn next(&mut self) -> Result<Option<Result<Outbound, Status>>, Waiting> {
        match self.messages.try_recv() {
            Ok(Ok(message)) => {
                self.sent.add(message.len());
                Ok(Some(Ok(Outbound::from_bytes(message))))
            }
            Ok(Err(failure)) => {
                *self.wrong.lock() = Some(failure);
                let status = Status::cancelled("the next request cannot be read");
                Ok(Some(Err(status)))
            }
            Err(TryRecvError::Disconnected) => Ok(None),
            Err(TryRecvError::Empty) => Err(Waiting),
        }
    }
}

/// No message has come yet.
struct Waiting;

impl Stream for Input {
    type Item = Result<Outbound, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Ok(next) = this.next() {
            return Poll::Ready(next);
        }
        this.bell.leave(cx.waker());
        // One may have come before the waker stood there.
        this.next().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Wrong {
    /// What was wrong, if anything; the first time.
    pub fn take(&self) -> Option<Failure> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's end.
struct Reader {
    /// Taken only by the drop.
    sender: Option<SyncSender<Result<Bytes, Failure>>>,
    bell: Arc<Bell>,
}

impl Reader {
    fn run(self, messages: Messages) {
        for message in messages {
            let sent = self.sender.as_ref().map(|sender| sender.send(message));
            if !matches!(sent, Some(Ok(()))) {
                return;
            }
            self.bell.ring();
        }
    }
}

/// Says that no more come, in whatever way it ended.
impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.sender.take());
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ProtoArgs;
    use crate::schema::Schema;
    use std::io::Read;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A message again and again, without end.
    struct Endless(Arc<AtomicUsize>);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.fetch_add(1, Ordering::SeqCst);
            buffer[..2].copy_from_slice(b"{}");
            Ok(2)
        }
    }

    fn input(source: impl Read + Send + 'static) -> Input {
        let schema = Schema::load(&ProtoArgs::default()).unwrap();
        let descriptor = schema.method("echo.v1.Echo/Bidi").unwrap().input();
        let source = Box::new(io::BufReader::with_capacity(2, source));
        let messages = Messages::new(descriptor, source, "test".to_owned());
        Input::read(messages, Arc::default()).unwrap()
    }

    /// Polls until there is something, for a bounded time.
    fn next(input: &mut Input) -> Option<Result<Outbound, Status>> {
        let begun = std::time::Instant::now();
        let mut input = pin!(input);
        while begun.elapsed().as_secs() < 20 {
            let mut nobody = Context::from_waker(std::task::Waker::noop());
            if let Poll::Ready(next) = input.as_mut().poll_next(&mut nobody) {
                return next;
            }
            std::thread::yield_now();
        }
        panic!("nothing came within 20 s");
    }

    #[test]
    fn messages_that_nobody_takes_are_not_read() {
        let read = Arc::new(AtomicUsize::new(0));
        let mut input = input(Endless(Arc::clone(&read)));
        for taken in 1..1000 {
            assert!(matches!(next(&mut input), Some(Ok(_))));
            // One waits for a place, and whether one follows it is looked at.
            let most = taken + AHEAD_MAX + 2;
            for _ in 0..100 {
                assert!(read.load(Ordering::SeqCst) <= most);
                std::thread::yield_now();
            }
        }
        assert_eq!(input.sent.to_string(), "999 messages of 0 B");
    }

    #[test]
    fn what_is_no_message_ends_the_stream_and_is_kept() {
        let mut input = input("{} {\"x\":1} {}".as_bytes());
        let wrong = input.wrong();
        assert!(matches!(next(&mut input), Some(Ok(_))));
        assert!(wrong.take().is_none());
        let status = next(&mut input).unwrap().unwrap_err();
        assert_eq!(status.code(), kettle::Code::Cancelled);
        let text = wrong.take().unwrap().to_string();
        assert!(
            text.starts_with("test: unrecognized field name 'x'"),
            "{text}"
        );
        assert!(next(&mut input).is_none());
    }
}
