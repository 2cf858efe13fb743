//! Unix-domain sockets that listen at a path, and the files that they leave there.
//!
//! A server that was killed leaves its file. Whoever comes next asks it by connect(2): a socket that
//! refuses has nobody behind it, and is removed. Between a server's bind(2) and its listen(2) it would
//! refuse too, so servers that start take turns, by flock(2) on the folder.

use super::BACKLOG;
use crate::{Address, sys};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How often a server asks for its turn in a folder before it starts without. Turns last for some
/// microseconds, but anybody who may read the folder could hold one for ever.
const TURN_TRIES: u32 = 100;

/// How long it waits between.
const TURN_PAUSE: Duration = Duration::from_millis(10);

/// The file of a listening Unix-domain socket. Dropping it removes the file, unless another has taken its
/// place.
#[derive(Debug)]
pub struct SocketFile {
    path: Arc<Path>,
    inode: Inode,
}

/// A listening Unix-domain socket, close-on-exec, at a path; see [`Address::unix`]. A socket that is there
/// already and refuses a connection is removed first. Nothing else ever is.
///
/// `mode` is the file's: whoever may write it may connect, and see unix(7) for the folder. Without it the
/// process's umask decides, as for any file. The mode is set before the socket listens, so that at no
/// moment anybody connects whom it shuts out.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when somebody listens there, [`io::ErrorKind::AlreadyExists`] when there
/// is something that is not a socket, [`io::ErrorKind::InvalidInput`] as [`Address::unix`], and whatever
/// the kernel refuses, such as [`io::ErrorKind::PermissionDenied`].
///
/// # Source
/// unix(7).
pub fn listen_unix(path: &Arc<Path>, mode: Option<u32>) -> io::Result<(OwnedFd, SocketFile)> {
    Address::unix(path)?;
    let (_turn, address) = (take_turn(path), SockAddr::unix(path)?);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        remove_stale(path)?;
        socket.bind(&address)?;
    }
    let file = SocketFile::of(path)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

impl SocketFile {
    fn of(path: &Arc<Path>) -> io::Result<Self> {
        Ok(Self {
            path: Arc::clone(path),
            inode: Inode::of(&fs::symlink_metadata(path)?),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A folder that may not be written any more keeps the file, and the next start removes it.
        let _ = self.inode.remove_from(&self.path);
    }
}

/// Tells a file from others that are at its path later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            number: found.ino(),
        }
    }

    /// Removes the file at the path, if it still is this one.
    fn remove_from(self, path: &Path) -> io::Result<()> {
        match Self::of(&fs::symlink_metadata(path)?) == self {
            true => fs::remove_file(path),
            false => Ok(()),
        }
    }
}

/// Removes the file of a socket that nobody listens on.
fn remove_stale(path: &Arc<Path>) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        let text = "there is a file that is not a socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    let address = Address::Unix(Arc::clone(path));
    match sys::connect(probe.as_fd(), &address, &mut Default::default()) {
        Err(Errno::CONNREFUSED) => Inode::of(&found).remove_from(path),
        // Its backlog may be full, or it may be another kind of socket: somebody has it.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
            let text = "address in use: somebody listens there";
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits until no other server starts in the same folder. Best effort: a folder that cannot be read gives
/// no turns. The turn ends when the file is dropped.
fn take_turn(path: &Path) -> Option<File> {
    let folder = File::open(path.parent()?).ok()?;
    for _ in 0..TURN_TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(TURN_PAUSE),
            Err(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::path::PathBuf;

    /// A folder of one's own for each test, and a path in it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            let name = format!("kettle-io-{}-{test}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn path(&self) -> Arc<Path> {
            self.0.join("x.sock").into()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_socket_is_gone_with_its_file() {
        let scratch = Scratch::new("gone");
        let path = scratch.path();
        let listening = listen_unix(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(listening);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_file_is_taken_over() {
        let scratch = Scratch::new("stale");
        let path = scratch.path();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listening = listen_unix(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn whoever_listens_is_left_alone() {
        let scratch = Scratch::new("live");
        let path = scratch.path();
        let first = listen_unix(&path, None).unwrap();
        let error = listen_unix(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        UnixStream::connect(&path).unwrap();
        drop(first);
        let _other = UnixDatagram::bind(&path).unwrap();
        let error = listen_unix(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        assert!(path.exists());
    }

    #[test]
    fn whoever_listens_with_a_full_backlog_is_left_alone() {
        let scratch = Scratch::new("full");
        let path = scratch.path();
        let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        busy.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        busy.listen(0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        let error = listen_unix(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let scratch = Scratch::new("file");
        let path = scratch.path();
        fs::write(&path, "letters").unwrap();
        let error = listen_unix(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"letters");
    }

    #[test]
    fn another_file_at_the_path_is_left_alone() {
        let scratch = Scratch::new("other");
        let path = scratch.path();
        let (_listener, file) = listen_unix(&path, None).unwrap();
        // Beside the first, so that it cannot get the same number.
        let beside = scratch.0.join("beside");
        fs::write(&beside, "letters").unwrap();
        fs::rename(&beside, &path).unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"letters");
    }

    #[test]
    fn a_mode_is_set_whatever_the_umask() {
        let scratch = Scratch::new("mode");
        let path = scratch.path();
        for mode in [0o600, 0o666] {
            let _listening = listen_unix(&path, Some(mode)).unwrap();
            let found = fs::symlink_metadata(&path).unwrap().mode();
            assert_eq!(found & 0o7777, mode);
        }
    }

    /// Each thread finds the stale file, one gets the path, and it is there for its clients.
    #[test]
    fn of_many_that_start_at_once_one_listens() {
        let scratch = Scratch::new("race");
        let path = scratch.path();
        for _ in 0..20 {
            drop(UnixListener::bind(&path).unwrap());
            let start = std::sync::Barrier::new(8);
            let listening: Vec<_> = thread::scope(|scope| {
                let listen = || {
                    start.wait();
                    listen_unix(&path, None)
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(listen)).collect();
                let results = threads.into_iter().map(|it| it.join().unwrap());
                results.filter_map(Result::ok).collect()
            });
            assert_eq!(listening.len(), 1);
            UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn the_peer_is_known() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = super::super::peer_credentials(&ours).unwrap();
        assert_eq!(peer.pid, Some(std::process::id()));
        let own = fs::metadata("/proc/self").unwrap();
        assert_eq!((peer.uid, peer.gid), (own.uid(), own.gid()));
    }
}
