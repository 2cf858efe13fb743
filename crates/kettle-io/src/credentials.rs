//! Who is at the other end of a Unix-domain socket.

/// The process at the other end of a Unix-domain socket, as the kernel noted it when it connected. A
/// process cannot choose what stands here, but may hand its connection to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerCredentials {
    /// Its number. `None` when it is not to be seen from here, as out of another container. A number is
    /// given to another process some time after the first has ended: do not decide by it.
    pub pid: Option<u32>,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}
