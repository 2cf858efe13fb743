//! Which process listens on a port or a path, read from /proc.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The flags of a listening Unix-domain socket in /proc/PID/net/unix: __SO_ACCEPTCON.
const UNIX_LISTEN: &str = "00010000";

/// The state of a listening socket in /proc/PID/net/tcp: TCP_LISTEN.
const LISTEN: &str = "0A";

/// Whether one of the process's descriptors is a socket that listens on this TCP port.
///
/// # Source
/// proc_pid_net(5), proc_pid_fd(5).
pub fn listens(pid: u32, port: u16) -> io::Result<bool> {
    has_one_of(pid, &inodes(&pid.to_string(), port))
}

/// A process that listens on this TCP port. `None` when there is none, or it is not ours to look at.
pub fn listener(port: u16) -> Option<u32> {
    owner(&inodes("self", port))
}

/// The same of a Unix-domain socket.
pub fn unix_listener(path: &Path) -> Option<u32> {
    let text = fs::read("/proc/self/net/unix").ok()?;
    let lines = text.split(|&byte| byte == b'\n');
    owner(&lines.filter_map(|line| unix_inode(line, path)).collect())
}

/// A process that has one of these sockets.
fn owner(inodes: &HashSet<String>) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?;
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.into_iter()
        .find(|&pid| has_one_of(pid, inodes).unwrap_or(false))
}

/// The sockets that listen on the port, in the network that the process sees.
fn inodes(process: &str, port: u16) -> HashSet<String> {
    let mut inodes = HashSet::new();
    for table in ["tcp", "tcp6"] {
        // A kernel without IPv6 has only one of them.
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        inodes.extend(text.lines().filter_map(|line| inode(line, port)));
    }
    inodes
}

fn has_one_of(pid: u32, inodes: &HashSet<String>) -> io::Result<bool> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor that is closed while it is looked at has no link any more.
        let Ok(target) = fs::read_link(entry?.path()) else {
            continue;
        };
        let target = target.to_string_lossy();
        let socket = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        if socket.is_some_and(|inode| inodes.contains(inode)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The inode of the socket in this line, if it listens on the port. The fields are: number, local
/// address and port, remote ones, state, queues, timer, retransmits, user, time-out, inode.
fn inode(line: &str, port: u16) -> Option<String> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let listens = fields.get(3) == Some(&LISTEN);
    let own = u16::from_str_radix(local_port, 16) == Ok(port);
    (listens && own).then(|| fields.get(9).copied().map(str::to_owned))?
}

/// The inode of the Unix-domain socket in this line, if it listens at the path. The fields are: number,
/// references, protocol, flags, type, state, inode, path.
fn unix_inode(line: &[u8], path: &Path) -> Option<String> {
    let rest = line.strip_suffix(path.as_os_str().as_bytes())?;
    let fields: Vec<_> = str::from_utf8(rest).ok()?.split_whitespace().collect();
    let listens = fields.get(3) == Some(&UNIX_LISTEN) && fields.len() == 7;
    listens.then(|| fields[6].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn this_process_listens_at_a_path() {
        let name = format!("kettle-cli-{} x.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        assert_eq!(unix_listener(&path), Some(std::process::id()));
        drop(listener);
        fs::remove_file(&path).unwrap();
        assert_eq!(unix_listener(&path), None);
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let line = |port: &str, state: &str| {
            format!(
                "   0: 0100007F:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 34567 1 x 100 0 0 10 0"
            )
        };
        assert_eq!(inode(&line("C383", "0A"), 50051), Some("34567".to_owned()));
        assert_eq!(inode(&line("C383", "01"), 50051), None);
        assert_eq!(inode(&line("C384", "0A"), 50051), None);
        assert_eq!(inode("  sl  local_address rem_address   st", 1), None);
    }

    #[test]
    fn this_process_listens_while_it_does() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                println!("{address} is not there: not tried");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            assert!(listens(std::process::id(), port).unwrap());
            assert_eq!(super::listener(port), Some(std::process::id()));
            assert!(!listens(std::process::id(), port.wrapping_add(1)).unwrap());
        }
    }

    #[test]
    fn another_process_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut other = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert!(!listens(other.id(), port).unwrap());
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    }
}
