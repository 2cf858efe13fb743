//! `epoll-edge`: epoll(7) that reports whoever *becomes* ready (EPOLLET).
//!
//! An edge is told once, so the adapter remembers it until a read comes back short, and reads on to
//! the end of the stream once the peer has closed. Each descriptor is registered once, for both ways.

use super::epoll::Epoll;
use rustix::event::epoll::EventFlags;
use std::io;

/// Edge-triggered epoll(7).
pub(crate) fn selector() -> io::Result<Epoll> {
    Epoll::new(EventFlags::ET)
}
