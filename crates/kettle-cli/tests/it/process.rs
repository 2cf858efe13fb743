//! Running the command.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The command's file.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_kettle");

/// The command with these arguments, separated by spaces.
pub fn kettle(arguments: &str) -> Command {
    kettle_with(arguments.split_whitespace())
}

/// The command with arguments that may have spaces.
pub fn kettle_with<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("KETTLE_MODEL")
        .env_remove("KETTLE_LOOPS")
        .env_remove("KETTLE_LISTEN")
        .env_remove("KETTLE_FILE_STRATEGY")
        .stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub fn run(arguments: &str) -> Run {
    end(kettle(arguments).output().unwrap())
}

/// As [`run`], with a limit on open files for the command and all that it starts.
pub fn run_with_files(limit: u32, arguments: &str) -> Run {
    let script = format!("ulimit -n {limit} && exec {PROGRAM} {arguments}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::null());
    end(command.output().unwrap())
}

/// As [`run`], with arguments that may have spaces.
pub fn run_with<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    end(kettle_with(arguments).output().unwrap())
}

/// As [`run_with`], with something on stdin.
pub fn run_on<'a>(stdin: &str, arguments: impl IntoIterator<Item = &'a str>) -> Run {
    let mut command = kettle_with(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(stdin.as_bytes()).unwrap();
    drop(pipe);
    end(child.wait_with_output().unwrap())
}

fn end(output: Output) -> Run {
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// Looks again and again until there is something, for 20 s.
pub fn until<T>(look: impl FnMut() -> Option<T>) -> T {
    until_within(Duration::from_secs(20), look)
}

/// Looks again and again until there is something, for a bounded time.
pub fn until_within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < time {
        if let Some(found) = look() {
            return found;
        }
        std::thread::yield_now();
    }
    panic!("it did not happen within {time:?}");
}

/// What a command did.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// The one line of JSON on stdout.
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A command that runs on. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts the command.
    pub fn start(arguments: &str) -> Self {
        Self::start_with(arguments.split_whitespace())
    }

    /// Starts the command with arguments that may have spaces.
    pub fn start_with<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::of(&mut kettle_with(arguments))
    }

    /// Starts this command.
    pub fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Self { child, stdout }
    }

    /// Starts a server on a free port; also its URL.
    pub fn serve(arguments: &str) -> (Self, String) {
        let mut server = Self::start(&format!("serve --listen 127.0.0.1:0 {arguments}"));
        let line = server.line();
        let address = line
            .strip_prefix("listening on ")
            .and_then(|line| line.split(' ').next());
        let url = format!("kettle://{}", address.unwrap_or_else(|| panic!("{line:?}")));
        (server, url)
    }

    /// The next line that it prints; empty when it prints no more.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().unwrap();
        stdout.read_line(&mut line).unwrap();
        line
    }

    /// What a server that was started with `--stats` has counted.
    pub fn counts(&mut self) -> Value {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Writes a line to its stdin.
    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Closes its stdin.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it had so far, in bytes.
    ///
    /// # Source
    /// proc_pid_status(5).
    pub fn memory_peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Its heap and stacks, in bytes, as far as they were touched.
    ///
    /// # Source
    /// proc_pid_status(5).
    pub fn memory(&self) -> u64 {
        self.status("RssAnon:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    /// Closes the pipe that it prints to.
    pub fn close_stdout(&mut self) {
        drop(self.stdout.take());
    }

    /// What it says on stderr until it closes it, when it was started with a pipe there.
    pub fn errors(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        text
    }

    /// What it prints until its end, and how it ended.
    pub fn finish(mut self) -> (ExitStatus, String) {
        let stdout = self.stdout.take().into_iter();
        let rest: Result<Vec<_>, _> = stdout.flat_map(BufRead::lines).collect();
        (self.child.wait().unwrap(), rest.unwrap().join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
