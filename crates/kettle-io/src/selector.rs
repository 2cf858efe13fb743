//! The trait of readiness models: who says which sockets can be read or written.

use crate::SystemCalls;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What a socket waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Bytes, a connection, or the end of the stream.
    pub readable: bool,
    /// Room to send, or the end of a connect.
    pub writable: bool,
}

/// What a selector found. A hint: trying may still find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The key that the socket was added with.
    pub key: u32,
    /// Receive or accept should be tried. Set on errors and hang-ups too: trying tells which.
    pub readable: bool,
    /// Send should be tried. Set on errors and hang-ups too.
    pub writable: bool,
    /// The peer has closed its side or the connection is broken, so that only the end of the stream
    /// or an error is the end of what can be read. Edge-triggered selectors must say it.
    pub ended: bool,
}

/// A readiness model. [`crate::Ready`] makes a driver of it.
pub trait Selector: Send {
    /// Starts watching a descriptor. Keys are small numbers, each used once at a time.
    ///
    /// # Errors
    /// [`io::ErrorKind::QuotaExceeded`] when the model's limit is reached; the text names it.
    fn add(&mut self, key: u32, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()>;

    /// Changes what is watched for. An interest of nothing keeps the descriptor known.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn modify(&mut self, key: u32, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()>;

    /// Stops watching. Must be called before the descriptor is closed.
    fn remove(&mut self, key: u32, fd: BorrowedFd<'_>);

    /// Appends what is ready; sleeps at most `timeout` (`None`: for ever) when nothing is.
    ///
    /// # Errors
    /// Only when the model itself fails. An interrupting signal is not an error: it returns early.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()>;

    /// Tells what trying a readable key brought: scanning learns from it whom to try more often.
    fn tried(&mut self, _key: u32, _progress: bool) {}

    /// Tells that a send waits for room: for a model whose kernel may miss telling of it.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    fn full(&mut self, _key: u32, _fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Whether readiness is reported only when it changes (edge-triggered), so that whoever has not
    /// emptied a socket must try it again without being told.
    fn edge_triggered(&self) -> bool {
        false
    }

    /// The system calls that this selector has made.
    fn system_calls(&self) -> SystemCalls;
}
