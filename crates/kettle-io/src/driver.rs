//! The trait that every I/O model is behind, and its promises.

use crate::{
    Completion, FileStrategy, Op, OpKind, Role, SendStats, SocketId, SystemCalls, Token,
    UringFeatures, Waker,
};
use kettle_buf::{PoolConfig, PoolStats};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// An I/O model: operations in, completions out. Used by one thread at a time.
///
/// Dropping a driver closes its sockets without any completion. An operation on a socket that is not
/// attached, or a second one of a kind that is in flight, is a mistake of the caller; the former panics.
///
/// # Promises
/// Every model keeps these; the driver suite tests them by number.
///
/// 1. Accept and Receive are *standing*: submitted once, they complete again and again until a
///    completion says `last`.
/// 2. Every operation has exactly one last completion, also after [`Driver::cancel`] and
///    [`Driver::detach`].
/// 3. A cancelled Receive may still deliver bytes before its last completion, never after it. It can
///    be submitted again afterwards and goes on where it stopped: no byte is lost or delivered twice.
/// 4. A Send takes as much as the kernel has room for now and waits when there is none. It completes
///    with [`crate::Outcome::Sent`] and returns what is left. With zero copy
///    [`crate::Outcome::Released`] follows, with the next Receive or Send when none is in flight; the next
///    Send may start after `Sent`.
/// 5. The end of the peer's stream is an empty Received, which is last. Sending is still possible.
/// 6. A send to a peer that is gone fails with an error; it raises no signal. (splice(2) and sendfile(2)
///    have no flag for that: file regions rely on SIGPIPE being ignored, as Rust programs have it from
///    the start.)
/// 7. Completions produced inside `submit`, `cancel` or `detach` make the next [`Driver::wait`]
///    return without sleeping, unless [`Driver::take_done`] has taken them.
/// 8. [`Waker::wake`] from any thread ends the current wait or else the next one (on the blocking
///    models only when it is `wakeable`); many wakes before a wait end one wait.
///    [`Waker::interrupt`] does so whatever the patience; it is for stopping.
/// 9. `wait` returns without completions when the time-out has passed, not before, and soon after.
/// 10. The buffer of a receive is taken when bytes are there: an idle connection pins none (but for
///     the 8 KiB of a blocking model's thread, [`crate::model::BLOCK_BYTES_MAX`], and the block of a
///     blocking client that sleeps in its only connection).
/// 11. Other connections are served while one floods: a wait receives at most one buffer per
///     connection.
/// 12. After `detach` the descriptor is closed, and nothing is delivered for its token but the last
///     completions of what was in flight. With zero copy it is closed when the kernel has released the
///     memory; our side ends at once. Dropping the driver resets such a connection.
///
/// A *blocking* model keeps 1 and 11 for the one stream that it serves at a time, a blocking client for
/// its streams: while a stream is attached, Accept rests and other connections wait in the backlog.
pub trait Driver: Send {
    /// Takes a socket over. Its completions will carry `token`.
    ///
    /// # Errors
    /// When the model has a limit on descriptors that is reached ([`io::ErrorKind::QuotaExceeded`],
    /// the text names the limit), or the kernel refuses. The socket is closed then.
    fn attach(&mut self, socket: OwnedFd, role: Role, token: Token) -> io::Result<SocketId>;

    /// Starts an operation. Errors come as completions.
    fn submit(&mut self, op: Op);

    /// Ends an operation early; it still has its last completion. Does nothing when none is in flight.
    fn cancel(&mut self, socket: SocketId, kind: OpKind);

    /// Ends our side of a stream (shutdown(2), SHUT_WR): the peer reads its end once it has read what
    /// was sent. Receiving goes on. No send may be in flight or follow.
    fn shutdown(&mut self, socket: SocketId);

    /// Ends all operations of a socket and closes it.
    fn detach(&mut self, socket: SocketId);

    /// A hint: the next `bytes` of this socket, counted from the last that was delivered, belong
    /// together. The driver may gather them into one buffer of that size and deliver it when it is
    /// full; a hint that says too much makes it wait for bytes that may never come. At the end of the
    /// stream, on failure and on cancel it delivers what it has, so after a cancel the last completion
    /// must be seen before the next hint. Ignored while an earlier message is being gathered, and when
    /// the pool has no room for it.
    fn expect(&mut self, socket: SocketId, bytes: usize);

    /// Appends the completions that `submit`, `cancel` and `detach` have produced, without a system call:
    /// what the next [`Driver::wait`] would begin with. A loop that asks after its sends needs no turn of
    /// its own for those that the kernel took at once. By default there are none.
    fn take_done(&mut self, done: &mut Vec<Completion>) {
        let _ = done;
    }

    /// Appends completions to `done`; sleeps until there is one, the patience ends, or a wake comes.
    ///
    /// # Errors
    /// Only when the model itself fails; the loop cannot go on then.
    fn wait(&mut self, patience: Patience, done: &mut Vec<Completion>) -> io::Result<()>;

    /// A handle that ends a wait from any thread.
    fn waker(&self) -> Waker;

    /// What this driver has done and holds.
    fn stats(&self) -> DriverStats;
}

/// How long a wait may last, and what may end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The longest time; `None` is for ever, zero looks and does not sleep.
    pub timeout: Option<Duration>,
    /// Whether [`Waker::wake`] must end the wait. False when nobody has a reason to wake: a blocking
    /// model may then sleep in recv(2) instead of poll(2), and saves a system call.
    pub wakeable: bool,
}

/// Settings of a driver. Each model uses those that concern it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverConfig {
    /// The receive pool.
    pub pool: PoolConfig,
    /// `scan`: how long to sleep after a pass that found nothing. Default `None`: spin.
    pub scan_nap: Option<Duration>,
    /// `uring`: which features it may use where the kernel has them. Default: all but multishot
    /// receives.
    pub uring: UringFeatures,
    /// How file regions are sent. Default: splice.
    pub file_strategy: FileStrategy,
    /// `splice`: pipes that the driver has open at a time, two descriptors each. A connection whose
    /// socket is full keeps its pipe until there is room again. Default [`PIPES_MAX`]; without a free
    /// one, files are sent by sendfile(2).
    pub pipes_max: usize,
    /// Memory is sent without copying it (MSG_ZEROCOPY, SEND_ZC) when so many bytes of it are to be sent at once.
    /// Default `None`: never. To a peer on the same machine the kernel copies all the same, and the notices
    /// cost more than they save; on a network card it may pay from some 10 KiB on (msg_zerocopy of the kernel's
    /// documentation). A connection for which the kernel tells that it has copied does without from then on. The
    /// blocking models always copy.
    pub zero_copy_bytes_min: Option<usize>,
}

/// Default of [`DriverConfig::pipes_max`]: two are enough while sockets have room, the others are for
/// connections whose readers are slow.
pub const PIPES_MAX: usize = 16;

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            pool: PoolConfig::default(),
            scan_nap: None,
            uring: UringFeatures::default(),
            file_strategy: FileStrategy::default(),
            pipes_max: PIPES_MAX,
            zero_copy_bytes_min: None,
        }
    }
}

/// What a driver has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverStats {
    /// System calls that this driver made, by kind.
    pub system_calls: SystemCalls,
    /// The receive pool.
    pub pool: PoolStats,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// How they left.
    pub sends: SendStats,
}
