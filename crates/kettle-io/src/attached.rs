//! An attached socket and its operations in flight: what all models do once they know that a socket
//! is worth a try.

use crate::queue::Queue;
use crate::send::{Kept, Outlet};
use crate::transfer::{Gather, Incoming, Transfer};
use crate::{Address, Completion, Interest, OpKind, Outcome, Token, sys};
use kettle_buf::{Payload, Segment};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::os::fd::{AsFd, OwnedFd};

/// A socket and its operations in flight. What few sockets need at a time is boxed.
#[derive(Debug)]
pub(crate) struct Attached<F = OwnedFd> {
    pub(crate) fd: F,
    pub(crate) token: Token,
    /// The operation that goes on until it is cancelled: Accept or Receive.
    pub(crate) standing: Option<OpKind>,
    /// Where to, while a connect is under way.
    pub(crate) connecting: Option<Box<Address>>,
    /// A send that waits for room.
    pub(crate) sending: Option<Box<Payload>>,
    /// What the last send has left for the next one.
    pub(crate) kept: Option<Box<Kept>>,
    pub(crate) gather: Option<Box<Gather>>,
    /// There was no room left, or the connect is under way: do not try before it is writable.
    pub(crate) full: bool,
    /// Trying to accept or receive may bring something.
    pub(crate) readable: bool,
    /// The peer has closed or failed, so that a short read is not the end of what there is.
    pub(crate) ended: bool,
}

impl<F: AsFd> Attached<F> {
    pub(crate) fn new(fd: F, token: Token) -> Self {
        Self {
            fd,
            token,
            standing: None,
            connecting: None,
            sending: None,
            kept: None,
            gather: None,
            full: false,
            readable: false,
            ended: false,
        }
    }

    /// What the operations in flight wait for.
    pub(crate) fn wanted(&self) -> Interest {
        Interest {
            readable: self.standing.is_some(),
            writable: self.connecting.is_some() || self.sending.is_some(),
        }
    }

    pub(crate) fn last(&self, kind: OpKind, outcome: Outcome) -> Completion {
        Completion {
            token: self.token,
            kind,
            outcome,
            last: true,
        }
    }

    /// Starts a connect, or asks what became of it: a completion, or `None` while it is under way. The
    /// socket must be in non-blocking mode. A Unix-domain socket's is never under way: where the server's
    /// backlog is full, it fails with EAGAIN.
    pub(crate) fn connect(
        &mut self,
        address: Address,
        transfer: &mut Transfer,
    ) -> Option<Completion> {
        let outcome = match sys::connect(self.fd.as_fd(), &address, &mut transfer.calls) {
            Ok(()) | Err(Errno::ISCONN) => Outcome::Connected,
            Err(Errno::INPROGRESS | Errno::ALREADY | Errno::INTR) => {
                (self.connecting, self.full) = (Some(Box::new(address)), true);
                return None;
            }
            Err(error) => Outcome::Failed(error.into()),
        };
        Some(self.last(OpKind::Connect, outcome))
    }

    /// The same with a socket in blocking mode, which is left for this moment.
    pub(crate) fn connect_nonblocking(
        &mut self,
        address: Address,
        transfer: &mut Transfer,
    ) -> Option<Completion> {
        let result = sys::set_nonblocking(self.fd.as_fd(), true, &mut transfer.calls);
        let completion = self.connect(address, transfer);
        let result = result.and(sys::set_nonblocking(
            self.fd.as_fd(),
            false,
            &mut transfer.calls,
        ));
        match result {
            Ok(()) => completion,
            Err(error) => {
                self.stop(OpKind::Connect);
                Some(self.last(OpKind::Connect, Outcome::Failed(error.into())))
            }
        }
    }

    /// Sends what there is room for; with no room at all the payload waits in `sending`. With
    /// `blocking` the socket is in blocking mode.
    pub(crate) fn send(
        &mut self,
        mut payload: Payload,
        blocking: bool,
        transfer: &mut Transfer,
    ) -> Option<Completion> {
        let mut lent = false;
        let outlet = Outlet::new(self.fd.as_fd(), blocking, &mut self.kept);
        let outcome = match transfer.send(outlet, &mut payload) {
            Ok(progress) => {
                (self.full, lent) = (progress.full, progress.lent);
                if progress.bytes == 0 && !payload.is_empty() {
                    self.sending = Some(Box::new(payload));
                    return None;
                }
                payload.recycle();
                Outcome::Sent {
                    bytes: progress.bytes,
                    rest: payload,
                }
            }
            Err(error) => {
                Kept::forget_pipe(&mut self.kept);
                Outcome::Failed(error)
            }
        };
        Some(Completion {
            last: !lent,
            ..self.last(OpKind::Send, outcome)
        })
    }

    /// Sends whose memory the kernel may still use.
    pub(crate) fn lent(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.lent())
    }

    /// The releases of those whose memory it does not use any more.
    pub(crate) fn released(&mut self, transfer: &mut Transfer) -> impl Iterator<Item = Completion> {
        let released = match &mut self.kept {
            Some(kept) if 0 < kept.lent() => transfer.collect(self.fd.as_fd(), kept),
            _ => 0,
        };
        self.releases(released)
    }

    fn releases(&self, count: usize) -> impl Iterator<Item = Completion> + use<F> {
        let token = self.token;
        (0..count).map(move |_| Completion {
            token,
            kind: OpKind::Send,
            outcome: Outcome::Released,
            last: true,
        })
    }

    /// Accepts up to `count` connections.
    pub(crate) fn accept(
        &mut self,
        count: usize,
        transfer: &mut Transfer,
        done: &mut Vec<Completion>,
    ) {
        for _ in 0..count {
            match transfer.accept(self.fd.as_fd()) {
                Ok(Incoming::Connection(stream, address)) => {
                    let outcome = Outcome::Accepted { stream, address };
                    let (token, kind) = (self.token, OpKind::Accept);
                    done.push(Completion {
                        token,
                        kind,
                        outcome,
                        last: false,
                    });
                }
                Ok(Incoming::Retry) => {}
                Ok(Incoming::Nothing) => {
                    self.readable = false;
                    return;
                }
                Err(error) => {
                    self.standing = None;
                    done.push(self.last(OpKind::Accept, Outcome::Failed(error)));
                    return;
                }
            }
        }
    }

    /// Receives once. With empty flags and in blocking mode it sleeps until there is something.
    pub(crate) fn receive(
        &mut self,
        flags: RecvFlags,
        transfer: &mut Transfer,
        done: &mut Vec<Completion>,
    ) {
        let outcome = match transfer.receive(self.fd.as_fd(), &mut self.gather, flags) {
            Ok(arrival) if !arrival.end => {
                self.readable = arrival.filled || self.ended;
                done.extend(arrival.segment.map(|segment| self.received(segment)));
                return;
            }
            Err(Errno::WOULDBLOCK) => {
                self.readable = false;
                return;
            }
            Err(Errno::INTR) => return,
            Ok(_) => Outcome::Received(Segment::new()),
            Err(error) => Outcome::Failed(error.into()),
        };
        self.standing = None;
        done.extend(self.gathered());
        done.push(self.last(OpKind::Receive, outcome));
    }

    /// Ends an operation early, when it is in flight.
    pub(crate) fn cancel(&mut self, kind: OpKind, queue: &mut Queue) {
        if !self.stop(kind) {
            return;
        }
        if kind == OpKind::Receive
            && let Some(part) = self.gathered()
        {
            queue.push(part);
        }
        queue.push(self.last(kind, Outcome::Cancelled));
    }

    /// Ends all operations, and takes back what must not be delivered after a detach.
    pub(crate) fn cancel_all(&mut self, queue: &mut Queue) {
        queue.forget_parts(self.token);
        self.gather = None;
        for kind in [
            OpKind::Accept,
            OpKind::Connect,
            OpKind::Receive,
            OpKind::Send,
        ] {
            self.cancel(kind, queue);
        }
        self.releases(self.lent()).for_each(|one| queue.push(one));
    }

    /// Whether an operation has not had its last completion.
    pub(crate) fn is_under_way(&self, kind: OpKind) -> bool {
        match kind {
            OpKind::Accept | OpKind::Receive => self.standing == Some(kind),
            OpKind::Connect => self.connecting.is_some(),
            OpKind::Send => self.sending.is_some(),
        }
    }

    /// Forgets an operation. True when it was in flight.
    pub(crate) fn stop(&mut self, kind: OpKind) -> bool {
        match kind {
            OpKind::Accept | OpKind::Receive => self
                .standing
                .take_if(|standing| *standing == kind)
                .is_some(),
            OpKind::Connect => self.connecting.take().is_some(),
            OpKind::Send => {
                // A rest of the payload that is sent all the same is read again.
                Kept::forget_pipe(&mut self.kept);
                self.sending.take().is_some()
            }
        }
    }

    /// The bytes of a message that will not become whole.
    pub(crate) fn gathered(&mut self) -> Option<Completion> {
        let segment = self.gather.take()?.into_segment()?;
        Some(self.received(segment))
    }

    pub(crate) fn received(&self, segment: Segment) -> Completion {
        let (kind, outcome) = (OpKind::Receive, Outcome::Received(segment));
        Completion {
            token: self.token,
            kind,
            outcome,
            last: false,
        }
    }
}
