//! A stream of a task: what is received from it, and what is on its way into it.

use kettle_buf::{FileRegion, Payload, Pool, PoolConfig, Segment, count_copied};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Pieces of memory that one write takes, as the loops' drivers have it.
const SLICES_MAX: usize = 64;

/// Bytes of a file that are read at a time.
const FILE_BYTES: usize = 64 * 1024;

thread_local! {
    /// What the tasks of this thread receive into. Not here while one receives.
    static POOL: Cell<Option<Box<Pool>>> = const { Cell::new(None) };
}

/// A stream, and what is on its way into it.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: Pin<Box<S>>,
    sending: Option<Payload>,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

impl<S: AsyncRead + AsyncWrite> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream: Box::pin(stream),
            sending: None,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    /// Receives once; nothing is the end of the stream.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Segment>> {
        let mut pool = POOL
            .take()
            .unwrap_or_else(|| Box::new(Pool::new(PoolConfig::default())));
        let received = pin!(self.stream.read_buf(pool.room())).poll(cx);
        let received = received.map_ok(|bytes| {
            self.received_bytes += bytes as u64;
            pool.take()
        });
        POOL.set(Some(pool));
        received
    }

    /// Whether something is on its way.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Sends this, once nothing else is on its way.
    pub(super) fn send(&mut self, payload: Payload) {
        self.sending = Some(payload);
    }

    /// Sends on. Gives back what was sent, without its bytes.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Payload>> {
        let Some(payload) = &mut self.sending else {
            return Poll::Ready(Ok(Payload::new()));
        };
        while !payload.is_empty() {
            if let Some(region) = payload.front_region() {
                load(region)?.put_before(payload);
            }
            let bytes = ready!(write(self.stream.as_mut(), payload, cx))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent_bytes += bytes as u64;
            payload.advance(bytes as u64);
        }
        ready!(self.stream.as_mut().poll_flush(cx))?;
        let mut sent = self.sending.take().unwrap_or_default();
        sent.recycle();
        Poll::Ready(Ok(sent))
    }

    /// Forgets what is on its way: the stream is broken.
    pub(super) fn give_up(&mut self) {
        self.sending = None;
    }

    /// Says that nothing more will be sent.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

fn write(
    stream: Pin<&mut impl AsyncWrite>,
    payload: &Payload,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if let Some(bytes) = payload.as_slice() {
        return stream.poll_write(cx, bytes);
    }
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = payload.io_slices(&mut slices);
    stream.poll_write_vectored(cx, &slices[..count])
}

/// The first bytes of a file region, in memory.
struct Loaded(Vec<u8>);

/// Reads them, in place: files have no readiness.
fn load(region: &FileRegion) -> io::Result<Loaded> {
    let mut bytes = vec![0; FILE_BYTES.min(usize::try_from(region.len()).unwrap_or(FILE_BYTES))];
    let read = region.file().read_at(&mut bytes, region.offset())?;
    count_copied(read);
    if read == 0 {
        let text = "a file is shorter than the region of it that is sent";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    bytes.truncate(read);
    Ok(Loaded(bytes))
}

impl Loaded {
    /// Puts them in the place of the region's.
    fn put_before(self, payload: &mut Payload) {
        payload.advance(self.0.len() as u64);
        let mut loaded = Payload::from(self.0);
        loaded.append_payload(std::mem::take(payload));
        *payload = loaded;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::sync::Arc;
    use std::task::Waker;
    use tokio::io::AsyncReadExt;

    fn file(bytes: &[u8], name: &str) -> Arc<File> {
        let path = std::env::temp_dir().join(format!("kettle-wire-{name}-{}", std::process::id()));
        File::create(&path).unwrap().write_all(bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        Arc::new(file)
    }

    /// Memory, a file of several reads, and memory again, through a stream that takes little at a time.
    #[test]
    fn pieces_and_files_leave_in_order() {
        let inside: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let mut payload = Payload::from(vec![1; 20_000]);
        payload.append_region(FileRegion::new(file(&inside, "order"), 7, 199_990));
        payload.append(vec![2; 20_000].into());
        let mut want = vec![1; 20_000];
        want.extend(&inside[7..199_997]);
        want.extend([2; 20_000]);
        let (near, mut far) = tokio::io::duplex(1000);
        let mut wire = Wire::new(near);
        wire.send(payload);
        let (mut cx, mut got) = (Context::from_waker(Waker::noop()), Vec::new());
        while got.len() < want.len() {
            let sent = wire.poll_sent(&mut cx);
            assert!(!matches!(sent, Poll::Ready(Err(_))), "{sent:?}");
            let read = pin!(far.read_buf(&mut got)).poll(&mut cx);
            assert!(!matches!(read, Poll::Ready(Err(_))), "{read:?}");
        }
        assert!(wire.poll_sent(&mut cx).is_ready() && !wire.is_sending());
        assert!(got == want, "other bytes arrived");
        assert_eq!(wire.sent_bytes, want.len() as u64);
    }

    #[test]
    fn a_file_that_is_too_short_breaks_the_stream() {
        let (near, _far) = tokio::io::duplex(1000);
        let mut wire = Wire::new(near);
        let mut payload = Payload::new();
        payload.append_region(FileRegion::new(file(b"short", "short"), 0, 6));
        wire.send(payload);
        let sent = wire.poll_sent(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(error)) = sent else {
            panic!("{sent:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
