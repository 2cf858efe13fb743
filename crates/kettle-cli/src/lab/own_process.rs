//! A process of this very program that talks by lines.

use crate::failure::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// This very program, also when its file was replaced by a newer build meanwhile.
///
/// # Source
/// proc_pid_exe(5).
const OWN_PROGRAM: &str = "/proc/self/exe";

/// A running process. Dropping it ends it. Should this process end in another way, it sees the end of its
/// stdin and ends itself.
#[derive(Debug)]
pub struct OwnProcess {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl OwnProcess {
    /// Starts a command of this program in the way that is given.
    pub fn start(
        arguments: &[&str],
        spawn: impl FnOnce(&mut Command) -> Result<Child, Failure>,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(OWN_PROGRAM);
        command
            .arg0("kettle")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the lab, which then ends its processes.
            .process_group(0);
        let mut child = spawn(&mut command)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.expect("both were asked to be pipes");
        Ok(Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks for a line.
    pub fn ask(&mut self) -> io::Result<()> {
        self.stdin.write_all(b"\n")
    }

    /// Whether there is a line to read, or the end, within this time. An error when a signal ends the wait.
    pub fn has_said(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut ready = [PollFd::new(self.stdout.get_ref(), PollFlags::IN)];
        Ok(0 < poll(&mut ready, Some(&timeout))?)
    }

    /// One line, which comes whole: it is written in one piece. `None` at the end.
    pub fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let bytes = self.stdout.read_line(&mut line)?;
        Ok((0 < bytes).then_some(line))
    }
}

impl Drop for OwnProcess {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
