//! Ctrl-C: the first asks a measurement or a call to end early, the second ends the process.

use crate::bell::Bell;
use crate::failure::Failure;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// The exit code of a command that was interrupted, as shells give it: 128 + SIGINT.
pub const EXIT_CODE: u8 = 130;

/// Whether somebody wants the command to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens to SIGINT and SIGTERM from now on; a second one ends the process at once.
    pub fn install() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&flag))?;
            flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Whether a signal has come.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A future that is done when a signal has come. Of several clones that are polled, the last is woken.
#[derive(Clone, Debug)]
pub struct Interrupted {
    interrupt: Interrupt,
    bell: Arc<Bell>,
}

impl Interrupted {
    /// As [`Interrupt::install`], with a thread that wakes whoever waits.
    pub fn install() -> Result<Self, Failure> {
        let interrupted = Self {
            interrupt: Interrupt::install()?,
            bell: Arc::default(),
        };
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let bell = Arc::clone(&interrupted.bell);
        let watch = move || signals.forever().for_each(|_| bell.ring());
        std::thread::Builder::new()
            .name("kettle-signals".into())
            .spawn(watch)?;
        Ok(interrupted)
    }

    /// Whether a signal has come.
    pub fn is_set(&self) -> bool {
        self.interrupt.is_set()
    }
}

impl Future for Interrupted {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.bell.leave(cx.waker());
        match self.interrupt.is_set() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}
