//! The broker as a process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A broker; dropping it kills it.
pub struct Broker {
    process: Child,
    /// Where it listens.
    pub address: String,
    /// What it said about the log when it started.
    pub recovery: String,
    /// Kept, so that the process may print.
    _stdout: BufReader<ChildStdout>,
}

impl Broker {
    /// Starts one, and waits until it listens.
    pub fn start(directory: &Path, address: &str, args: &[&str]) -> Self {
        Self::spawn(Command::new(PROGRAM), directory, address, args)
    }

    /// The same, in a process that cannot make files longer than so many blocks of 512 bytes.
    pub fn start_with_short_files(directory: &Path, blocks: u32) -> Self {
        let script = format!(r#"trap "" XFSZ; ulimit -f {blocks}; exec "$0" "$@""#);
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(PROGRAM);
        Self::spawn(command, directory, "127.0.0.1:0", &[])
    }

    fn spawn(mut command: Command, directory: &Path, address: &str, args: &[&str]) -> Self {
        let mut process = command
            .arg("serve")
            .arg(directory)
            .args(["--listen", address])
            .args(args)
            .env_remove("KETTLE_LISTEN")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let (recovery, listening) = (line(), line());
        let address = listening.strip_prefix("listening on ");
        Self {
            address: address.expect("it listens").to_owned(),
            process,
            recovery,
            _stdout: stdout,
        }
    }

    pub fn url(&self) -> String {
        format!("kettle://{}", self.address)
    }

    /// SIGKILL: nothing of the process runs after it.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have been killed; either way it is waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_log-broker");
