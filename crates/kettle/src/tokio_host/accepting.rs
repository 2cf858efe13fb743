//! The task that takes connections from a TCP listener.

use super::server::TokioServer;
use crate::command::Command;
use crate::mailbox::{Mailbox, Note};
use crate::stats::LoopStats;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How long no connection is taken after the kernel ran out of descriptors or memory for one, as on a loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the server stops, each to a task of its own.
pub(super) async fn accept(server: &TokioServer, listener: TcpListener) {
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
            Some(Ok((stream, remote))) => take(server, stream, remote),
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
fn take_backlog(server: &TokioServer, listener: TcpListener) {
    let Ok(listener) = listener.into_std() else {
        return;
    };
    loop {
        let accepted = listener.accept().and_then(|(stream, remote)| {
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, remote))
        });
        match accepted {
            Ok((stream, remote)) => take(server, stream, remote),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

fn take(server: &TokioServer, stream: TcpStream, remote: SocketAddr) {
    // A connection that ended meanwhile shows when it is read.
    let _ = stream.set_nodelay(server.host().serves.nodelay);
    tokio::spawn(server.serve_connection(stream, Some(remote)));
}
