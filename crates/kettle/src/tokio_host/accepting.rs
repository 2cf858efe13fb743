//! The task that takes connections from a listener.

use super::server::TokioServer;
use crate::command::Command;
use crate::mailbox::{Mailbox, Note};
use crate::reactor::ACCEPT_PAUSE;
use crate::remote::Remote;
use crate::stats::LoopStats;
use kettle_io::socket;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was taken.
enum Taken {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Taken>> {
        match self {
            Self::Tcp(listener) => {
                let accepted = listener.poll_accept(cx);
                accepted.map_ok(|(stream, remote)| Taken::Tcp(stream, remote))
            }
            Self::Unix(listener) => {
                let accepted = listener.poll_accept(cx);
                accepted.map_ok(|(stream, _)| Taken::Unix(stream))
            }
        }
    }

    /// The same without the runtime, which may not have noticed yet what waits there.
    fn into_std(self) -> io::Result<Backlog> {
        Ok(match self {
            Self::Tcp(listener) => Backlog::Tcp(listener.into_std()?),
            Self::Unix(listener) => Backlog::Unix(listener.into_std()?),
        })
    }
}

/// A listening socket whose connections are taken without waiting.
enum Backlog {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Backlog {
    fn accept(&self) -> io::Result<Taken> {
        match self {
            Self::Tcp(listener) => {
                let (stream, remote) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Taken::Tcp(TcpStream::from_std(stream)?, remote))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Taken::Unix(UnixStream::from_std(stream)?))
            }
        }
    }
}

/// Takes connections until the server stops, each to a task of its own.
pub(super) async fn accept(server: &TokioServer, listener: Listener) {
    let mailbox = Arc::new(Mailbox::of_task());
    let stats = Arc::new(LoopStats::default());
    let running = &server.host().running;
    let _registered = running.register(Arc::clone(&mailbox), stats);
    let mut notes = Vec::new();
    loop {
        let accepted = poll_fn(|cx| {
            if is_stopped(&mailbox, &mut notes, cx) {
                return Poll::Ready(None);
            }
            listener.poll_accept(cx).map(Some)
        });
        match accepted.await {
            None => return take_backlog(server, listener),
            Some(Ok(taken)) => take(server, taken),
            Some(Err(error)) => {
                tracing::warn!(%error, pause = ?ACCEPT_PAUSE, "cannot take connections now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_stopped(mailbox: &Mailbox, notes: &mut Vec<Note>, cx: &Context<'_>) -> bool {
    mailbox.listen(cx.waker());
    if mailbox.doze() {
        return false;
    }
    mailbox.take(notes);
    let stop = |note: Note| matches!(note, Note::Command(Command::Stop { .. }));
    notes.drain(..).any(stop)
}

/// The server stops. Connections that the kernel has taken already are served to their end.
fn take_backlog(server: &TokioServer, listener: Listener) {
    let Ok(listener) = listener.into_std() else {
        return;
    };
    loop {
        match listener.accept() {
            Ok(taken) => take(server, taken),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

fn take(server: &TokioServer, taken: Taken) {
    match taken {
        Taken::Tcp(stream, remote) => {
            // A connection that ended meanwhile shows when it is read.
            let _ = stream.set_nodelay(server.host().serves.nodelay);
            tokio::spawn(server.serve_remote(stream, Remote::Tcp(remote)));
        }
        Taken::Unix(stream) => {
            let credentials = socket::peer_credentials(&stream).ok();
            tokio::spawn(server.serve_remote(stream, Remote::Unix(credentials)));
        }
    }
}
