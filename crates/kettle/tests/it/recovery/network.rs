//! A network of its own for a server process, joined to ours by a cable that can be pulled out.

use super::process::ServerProcess;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::process::{self, Command};
use std::time::Duration;

/// A server behind a virtual cable. Network and cable are gone when the process has ended, however
/// that comes.
pub struct Remote {
    server: ServerProcess,
    ours: String,
    theirs: String,
    address: Ipv4Addr,
}

impl Remote {
    /// Starts the server and plugs the cable in. Needs to be root, or sudo without a password.
    pub fn start(keepalive: Duration) -> Self {
        let mut apart = as_root("unshare");
        apart.arg("--net");
        let server = ServerProcess::start_apart(apart, keepalive);
        let names = ["a", "b"].map(|end| format!("ktl{}{end}", process::id()));
        let [ours, theirs] = names;
        // Four addresses of 198.18.0.0/15, which are for measuring networks (RFC 2544).
        let network = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + process::id() % 32_768 * 4;
        let host = |n: u32| Ipv4Addr::from(network + n);
        let remote = Self {
            server,
            ours,
            theirs,
            address: host(2),
        };
        let (ours, theirs) = (remote.ours.as_str(), remote.theirs.as_str());
        let id = remote.server.id.to_string();
        run(as_root("ip")
            .args(["link", "add", ours, "type", "veth"])
            .args(["peer", "name", theirs, "netns", &id]));
        run(as_root("ip").args(["address", "add", &format!("{}/30", host(1)), "dev", ours]));
        run(as_root("ip").args(["link", "set", ours, "up"]));
        run(remote
            .ip_there()
            .args(["address", "add", &format!("{}/30", host(2)), "dev", theirs]));
        remote.plug();
        remote
    }

    pub fn url(&self) -> String {
        format!("kettle://{}:{}", self.address, self.server.address.port())
    }

    /// The far end goes down: what is sent is lost, and no end of a connection is told.
    pub fn unplug(&self) {
        run(self.ip_there().args(["link", "set", &self.theirs, "down"]));
    }

    pub fn plug(&self) {
        run(self.ip_there().args(["link", "set", &self.theirs, "up"]));
    }

    fn ip_there(&self) -> Command {
        let mut command = as_root("nsenter");
        command.args(["--target", &self.server.id.to_string(), "--net", "ip"]);
        command
    }
}

fn as_root(program: &str) -> Command {
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", "--preserve-env", program]);
    command
}

fn run(command: &mut Command) {
    let status = command.status().expect("iproute2 and util-linux are there");
    assert!(status.success(), "{command:?}: {status}");
}
