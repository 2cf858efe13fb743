//! The end of what a process prints.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How much is kept.
const BYTES_MAX: usize = 4096;

/// How much of it is shown.
const LINES_MAX: usize = 10;

/// How long to wait for the last words of a process that has ended.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads all that comes, on a thread of its own, so that nobody has to wait with printing; keeps the end.
#[derive(Debug)]
pub struct Tail {
    bytes: Arc<Mutex<VecDeque<u8>>>,
    /// Closed when nothing more can come.
    ended: Receiver<()>,
}

impl Tail {
    /// Begins to read.
    pub fn of(output: PipeReader) -> io::Result<Self> {
        let bytes = Arc::new(Mutex::new(VecDeque::new()));
        let (end, ended) = mpsc::channel();
        let kept = Arc::clone(&bytes);
        thread::Builder::new()
            .name("kettle-tail".into())
            .spawn(move || {
                keep(output, &kept);
                drop(end);
            })?;
        Ok(Self { bytes, ended })
    }

    /// Waits for the last words of a process that has ended, for a bounded time: one that it started may
    /// live on.
    pub fn wait_for_end(&self) {
        // Closed or timed out: either way there is no more to wait for.
        let _ = self.ended.recv_timeout(END_TIMEOUT);
    }

    /// The last lines, each indented.
    pub fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let shown = &lines[lines.len().saturating_sub(LINES_MAX)..];
        let shown: Vec<_> = shown.iter().map(|line| format!("  {line}")).collect();
        shown.join("\n")
    }
}

fn keep(mut output: PipeReader, kept: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; BYTES_MAX];
    // An error ends it as the end does: there is nobody to tell, and only the last words are lost.
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&buffer[..count]);
        let excess = kept.len().saturating_sub(BYTES_MAX);
        kept.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tail(text: &str) -> Tail {
        let (reader, mut writer) = io::pipe().unwrap();
        let tail = Tail::of(reader).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        drop(writer);
        tail.wait_for_end();
        tail
    }

    #[test]
    fn it_keeps_the_last_lines() {
        assert_eq!(tail("").text(), "");
        assert_eq!(tail("a\n\n b\n").text(), "  a\n   b");
        let many: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
        let text = tail(&many).text();
        assert!(text.starts_with("  line 99990\n"), "{text}");
        assert!(text.ends_with("\n  line 99999"), "{text}");
    }

    #[test]
    fn it_is_bounded_without_line_ends() {
        let kept = tail(&"x".repeat(100_000)).text();
        assert_eq!(kept.len(), BYTES_MAX + 2);
    }
}
