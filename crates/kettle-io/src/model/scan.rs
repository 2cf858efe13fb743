//! `scan`: nobody tells who is ready. The thread walks round and round and tries every socket, in
//! non-blocking mode; the sockets that brought something lately on every pass, the others slowly.
//!
//! Without a nap it never sleeps: it burns a core, time-outs and wakes included. With one
//! ([`crate::DriverConfig::scan_nap`]) it sleeps after each pass that found nothing.

use crate::ready::WAKER_KEY;
use crate::{Interest, Readiness, Selector, SystemCalls, Waker, sys};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Cold sockets that are tried per pass.
const COLD_PER_PASS: usize = 16;

/// A socket is cold after this many tries in a row that brought nothing.
const HOT_TRIES: u16 = 1000;

/// Trying everybody in turn.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The hot sockets, then the cold ones.
    walk: Vec<Walked>,
    hot: usize,
    /// Where each key stands in `walk`; of no meaning for a key that is not watched.
    places: Vec<u32>,
    /// The next cold socket to be tried, counted from the first cold one.
    cold_next: usize,
    /// Whether a try of the last pass brought something.
    progress: bool,
    nap: Option<Duration>,
    waker: Waker,
    calls: SystemCalls,
}

#[derive(Clone, Copy, Debug)]
struct Walked {
    key: u32,
    interest: Interest,
    /// Tries in a row that brought nothing.
    misses: u16,
}

impl Scan {
    /// Looks at `waker` on every pass, in memory.
    pub(crate) fn new(waker: Waker, nap: Option<Duration>) -> Self {
        Self {
            walk: Vec::new(),
            hot: 0,
            places: Vec::new(),
            cold_next: 0,
            progress: true,
            nap,
            waker,
            calls: SystemCalls::default(),
        }
    }

    fn place(&self, key: u32) -> usize {
        self.places[key as usize] as usize
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.walk.swap(a, b);
        for place in [a, b] {
            self.places[self.walk[place].key as usize] = place as u32;
        }
    }

    fn heat(&mut self, place: usize) {
        self.walk[place].misses = 0;
        if self.hot <= place {
            self.swap(place, self.hot);
            self.hot += 1;
        }
    }

    fn cool(&mut self, place: usize) {
        if place < self.hot {
            self.hot -= 1;
            self.swap(place, self.hot);
        }
    }

    /// Sleeps for a nap unless woken. True when the waker's eventfd has an event.
    fn take_nap(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let Some(nap) = self.nap else {
            return Ok(false);
        };
        let nap = timeout.map_or(nap, |timeout| timeout.min(nap));
        let mut event = [PollFd::from_borrowed_fd(self.waker.event()?, PollFlags::IN)];
        match sys::poll(&mut event, Some(nap), &mut self.calls) {
            Ok(_) | Err(Errno::INTR) => Ok(!event[0].revents().is_empty()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Selector for Scan {
    fn add(&mut self, key: u32, _fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        if key != WAKER_KEY {
            if self.places.len() <= key as usize {
                self.places.resize(key as usize + 1, 0);
            }
            self.places[key as usize] = self.walk.len() as u32;
            self.walk.push(Walked {
                key,
                interest,
                misses: 0,
            });
        }
        Ok(())
    }

    fn modify(&mut self, key: u32, _fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        let place = self.place(key);
        self.walk[place].interest = interest;
        // Whoever has just got something to do is likely to have it done soon.
        self.heat(place);
        Ok(())
    }

    fn remove(&mut self, key: u32, _fd: BorrowedFd<'_>) {
        // To the end of the hot ones, then to the end of all: both parts stay whole.
        self.cool(self.place(key));
        self.swap(self.place(key), self.walk.len() - 1);
        self.walk.pop();
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let rest = !std::mem::take(&mut self.progress) && timeout != Some(Duration::ZERO);
        let rung = rest && self.take_nap(timeout)?;
        if rung || self.waker.is_woken() {
            let (readable, writable, ended) = (true, false, false);
            ready.push(Readiness {
                key: WAKER_KEY,
                readable,
                writable,
                ended,
            });
        }
        let (hot, cold) = self.walk.split_at(self.hot);
        ready.extend(hot.iter().filter_map(hint));
        let count = cold.len().min(COLD_PER_PASS);
        let first = self.cold_next % cold.len().max(1);
        let turn = cold[first..].iter().chain(&cold[..first]).take(count);
        ready.extend(turn.filter_map(hint));
        self.cold_next = first + count;
        Ok(())
    }

    fn tried(&mut self, key: u32, progress: bool) {
        let place = self.place(key);
        if progress {
            self.progress = true;
            self.heat(place);
        } else {
            let misses = self.walk[place].misses.saturating_add(1);
            self.walk[place].misses = misses;
            if HOT_TRIES < misses {
                self.cool(place);
            }
        }
    }

    fn system_calls(&self) -> SystemCalls {
        self.calls
    }
}

/// Everything that is wanted may be ready: trying will tell.
fn hint(walked: &Walked) -> Option<Readiness> {
    let Walked {
        key,
        interest: Interest { readable, writable },
        ..
    } = *walked;
    (readable || writable).then_some(Readiness {
        key,
        readable,
        writable,
        ended: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::os::fd::AsFd;

    const READABLE: Interest = Interest {
        readable: true,
        writable: false,
    };

    fn pass(scan: &mut Scan) -> Vec<u32> {
        let mut ready = Vec::new();
        scan.wait(None, &mut ready).unwrap();
        ready.iter().map(|readiness| readiness.key).collect()
    }

    #[test]
    fn hot_sockets_are_tried_on_every_pass_and_cold_ones_in_turn() {
        let any = std::io::stdin();
        let mut scan = Scan::new(Waker::new(), None);
        for key in 0..40 {
            scan.add(key, any.as_fd(), Interest::default()).unwrap();
            scan.modify(key, any.as_fd(), READABLE).unwrap();
        }
        assert_eq!(
            pass(&mut scan).len(),
            40,
            "whoever has just got an interest is hot"
        );
        for key in (0..40).filter(|key| *key != 5) {
            for _ in 0..=HOT_TRIES {
                scan.tried(key, false);
            }
        }
        let mut seen = HashSet::new();
        for _ in 0..3 {
            let keys = pass(&mut scan);
            assert_eq!(keys[0], 5);
            assert_eq!(keys.len(), 1 + COLD_PER_PASS);
            seen.extend(keys);
        }
        assert_eq!(seen.len(), 40, "three passes walk all the cold ones");
        scan.tried(17, true);
        assert_eq!(
            HashSet::from([5, 17]),
            pass(&mut scan)[..2].iter().copied().collect()
        );
        scan.remove(5, any.as_fd());
        assert_eq!(pass(&mut scan)[0], 17);
        scan.remove(17, any.as_fd());
        assert!(pass(&mut scan).iter().all(|key| *key != 5 && *key != 17));
    }
}
