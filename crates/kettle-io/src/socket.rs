//! Sockets before they are attached: listening, creating streams, options, addresses.

mod unix;

pub use unix::{SocketFile, listen_unix};

use crate::{Address, PeerCredentials, sys};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

/// Connections that the kernel holds ready for accept(2); the kernel cuts it to
/// `net.core.somaxconn`, 4096 by default.
pub const BACKLOG: i32 = 1024;

/// A listening TCP socket, close-on-exec, with SO_REUSEADDR, so that a server can start again while
/// old connections linger. Port 0 takes a free port.
///
/// With `reuse_port` (SO_REUSEPORT) several sockets may listen on one address, and the kernel spreads
/// the connections over them.
///
/// # Errors
/// When the kernel refuses: above all [`io::ErrorKind::AddrInUse`] and
/// [`io::ErrorKind::PermissionDenied`].
///
/// # Source
/// socket(7), tcp(7).
pub fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<OwnedFd> {
    let socket = tcp(&address)?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket for [`crate::Op::Connect`] to `address`, close-on-exec, not connected yet. TCP will connect
/// from `local`, when that is given, and from a port that the kernel chooses when it connects: one that is
/// free for this destination, where others may have taken it for theirs.
///
/// # Errors
/// When the kernel refuses, for example at the limit of descriptors, or because `local` is not an address
/// of this machine or of another family.
pub fn stream(address: &Address, local: Option<IpAddr>) -> io::Result<OwnedFd> {
    let Address::Tcp(address) = address else {
        return Ok(Socket::new(Domain::UNIX, Type::STREAM, None)?.into());
    };
    let socket = tcp(address)?;
    if let Some(local) = local {
        sys::bind_address_only(socket.as_fd())?;
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    Ok(socket.into())
}

/// Whether small segments are sent at once (TCP_NODELAY) instead of waiting for an acknowledgement.
/// Off by the kernel's default; an RPC connection wants it on.
///
/// # Errors
/// When the socket is not TCP.
pub fn set_nodelay(stream: impl AsFd, nodelay: bool) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(stream, nodelay)?)
}

/// Sends a last word on a stream that is about to be closed, as far as that goes without waiting.
/// What came in is read and dropped first: closing a socket with unread bytes resets it, and the
/// reset could overtake the last word.
///
/// # Errors
/// When the kernel refuses, for example because the peer is gone.
pub fn send_last(stream: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let mut unread = [0; 4096];
    while let Ok((1.., _)) = recv(&stream, &mut unread, RecvFlags::DONTWAIT) {}
    send(&stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(shutdown(&stream, Shutdown::Write)?)
}

/// The address of this end.
///
/// # Errors
/// When the socket has no internet address.
pub fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    Ok(rustix::net::getsockname(socket)?.try_into()?)
}

/// The address of the other end.
///
/// # Errors
/// When the socket is not connected, or has no internet address.
pub fn peer_address(stream: impl AsFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getpeername(stream)?.ok_or(io::ErrorKind::NotConnected)?;
    Ok(address.try_into()?)
}

/// Who is at the other end of a Unix-domain socket, as the kernel noted it when that end connected.
///
/// # Errors
/// When it is not a connected Unix-domain socket.
///
/// # Source
/// SO_PEERCRED in unix(7).
pub fn peer_credentials(stream: impl AsFd) -> io::Result<PeerCredentials> {
    Ok(sys::peer_credentials(stream.as_fd())?)
}

fn tcp(address: &SocketAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(*address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_port_is_shared_only_by_choice() {
        let first = listen("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = local_address(&first).unwrap();
        assert_eq!(
            listen(address, false).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        listen(address, true).unwrap();
    }

    #[test]
    fn a_port_is_chosen_when_the_destination_is_known() {
        for (server, local) in [("127.0.0.1:0", "127.0.0.2"), ("[::1]:0", "::1")] {
            let listener = listen(server.parse().unwrap(), false).unwrap();
            let address = local_address(&listener).unwrap();
            let local: IpAddr = local.parse().unwrap();
            let stream = stream(&Address::Tcp(address), Some(local)).unwrap();
            assert_eq!(local_address(&stream).unwrap(), SocketAddr::new(local, 0));
            rustix::net::connect(&stream, &address).unwrap();
            let bound = local_address(&stream).unwrap();
            assert_eq!(bound.ip(), local);
            assert_ne!(bound.port(), 0);
        }
    }

    #[test]
    fn both_ends_know_their_addresses() {
        let listener = TcpListener::from(listen("[::1]:0".parse().unwrap(), false).unwrap());
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(
            peer_address(&stream).unwrap(),
            listener.local_addr().unwrap()
        );
        assert_eq!(
            local_address(&stream).unwrap(),
            listener.accept().unwrap().1
        );
        set_nodelay(&stream, true).unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
