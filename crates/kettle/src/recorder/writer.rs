//! The thread that writes a recording.

use super::Shared;
use super::line::{self, Head};
use super::watched::Ended;
use crate::remote::Remote;
use kettle_io::PeerCredentials;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes at the end of the file that calls do not take: the last lines need them.
const LAST_LINES_BYTES: u64 = 512;

/// How much is gathered for one write(2).
const WRITE_BYTES: usize = 256 * 1024;

/// Connections that have a number at a time; beyond that all get new ones.
const CONNECTIONS_MAX: usize = 65_536;

/// The file, on its way to its end.
pub(super) struct Writer {
    file: File,
    shared: Arc<Shared>,
    bytes_max: u64,
    /// Bytes of whole lines in the file.
    written: u64,
    /// Whole lines that are not in the file yet, and how many calls are among them.
    out: Vec<u8>,
    out_calls: u64,
    connections: Connections,
}

impl Writer {
    pub(super) fn new(file: File, shared: Arc<Shared>, bytes_max: u64) -> Self {
        Self {
            file,
            shared,
            bytes_max,
            written: 0,
            out: Vec::new(),
            out_calls: 0,
            connections: Connections::default(),
        }
    }

    /// Writes the first line.
    pub(super) fn head(&mut self, head: &Head) -> io::Result<()> {
        line::head(&mut self.out, head);
        self.try_write()
    }

    /// Writes what comes, until nothing more comes.
    pub(super) fn run(mut self) {
        let mut calls = Vec::new();
        loop {
            let batch = self.shared.queue.take(&mut calls);
            self.batch(&mut calls, batch.missed);
            if batch.last {
                return self.end();
            }
        }
    }

    fn batch(&mut self, calls: &mut Vec<Ended>, missed: u64) {
        for call in calls.drain(..) {
            self.call(&call);
            if WRITE_BYTES <= self.out.len() {
                self.write();
            }
        }
        if 0 < missed && self.shared.is_open() {
            self.line(|out| line::missed(out, missed));
        }
        self.write();
    }

    fn call(&mut self, call: &Ended) {
        if !self.shared.is_open() {
            return self.shared.count_unrecorded(1);
        }
        let connection = self.connections.number(call.remote);
        if self.line(|out| line::call(out, call, connection)) {
            self.out_calls += 1;
        } else {
            self.shared.count_unrecorded(1);
            self.become_full();
        }
    }

    /// Adds a line, unless the file has no room for it.
    fn line(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> bool {
        let before = self.out.len();
        put(&mut self.out);
        let room = self.bytes_max - LAST_LINES_BYTES;
        let fits = self.written + self.out.len() as u64 <= room;
        if !fits {
            self.out.truncate(before);
        }
        fits
    }

    fn become_full(&mut self) {
        self.shared.open.store(false, Ordering::Relaxed);
        self.shared.full.store(true, Ordering::Relaxed);
        let at_us = self.elapsed_us();
        line::full(&mut self.out, at_us);
        self.write();
        tracing::warn!(
            target: "kettle::recorder",
            bytes_max = self.bytes_max,
            calls = self.shared.calls.load(Ordering::Relaxed),
            "the recording is full: further calls are counted, not recorded"
        );
    }

    fn end(&mut self) {
        self.shared.open.store(false, Ordering::Relaxed);
        if self.shared.failure.get().is_none() {
            let calls = self.shared.calls.load(Ordering::Relaxed);
            let unrecorded = self.shared.unrecorded.load(Ordering::Relaxed);
            let at_us = self.elapsed_us();
            line::end(&mut self.out, at_us, calls, unrecorded);
            self.write();
        }
    }

    fn write(&mut self) {
        if let Err(error) = self.try_write() {
            self.fail(&error);
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        self.file.write_all(&self.out)?;
        self.written += self.out.len() as u64;
        self.out.clear();
        let calls = std::mem::take(&mut self.out_calls);
        self.shared.calls.fetch_add(calls, Ordering::Relaxed);
        self.shared.bytes.store(self.written, Ordering::Relaxed);
        Ok(())
    }

    /// Says once that nothing more is written. Half a line is taken back, where that can be done: the file stays
    /// whole up to its last line either way.
    fn fail(&mut self, error: &io::Error) {
        self.shared.open.store(false, Ordering::Relaxed);
        let calls = std::mem::take(&mut self.out_calls);
        self.shared.count_unrecorded(calls);
        self.out.clear();
        let _ = self.file.set_len(self.written);
        if self.shared.failure.set(error.to_string()).is_ok() {
            tracing::warn!(
                target: "kettle::recorder",
                %error,
                calls = self.shared.calls.load(Ordering::Relaxed),
                "the recording cannot be written: further calls are counted, not recorded"
            );
        }
    }

    fn elapsed_us(&self) -> u128 {
        self.shared.begun.elapsed().as_micros()
    }
}

/// Numbers for connections, so that no address stands in the file.
#[derive(Debug, Default)]
struct Connections {
    numbers: HashMap<Client, u64>,
    given: u64,
}

/// What tells the connections of a server apart. Those of one process over a Unix-domain socket count as one.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Client {
    Tcp(SocketAddr),
    Unix(u32),
}

impl Connections {
    /// The number of a connection; `None` of one that is not known.
    fn number(&mut self, remote: Remote) -> Option<u64> {
        let client = match remote {
            Remote::Tcp(address) => Client::Tcp(address),
            Remote::Unix(Some(PeerCredentials { pid: Some(pid), .. })) => Client::Unix(pid),
            Remote::Unix(_) | Remote::Nobody => return None,
        };
        if CONNECTIONS_MAX <= self.numbers.len() && !self.numbers.contains_key(&client) {
            self.numbers.clear();
        }
        Some(*self.numbers.entry(client).or_insert_with(|| {
            self.given += 1;
            self.given
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::line::tests::call;

    #[test]
    fn connections_have_numbers() {
        let mut connections = Connections::default();
        let tcp = |port| Remote::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(connections.number(tcp(1)), Some(1));
        assert_eq!(connections.number(tcp(2)), Some(2));
        assert_eq!(connections.number(tcp(1)), Some(1));
        assert_eq!(connections.number(Remote::Nobody), None);
        for number in 3..=CONNECTIONS_MAX as u64 {
            let address = SocketAddr::from((std::net::Ipv4Addr::from(number as u32), 9));
            assert_eq!(connections.number(Remote::Tcp(address)), Some(number));
        }
        assert_eq!(connections.numbers.len(), CONNECTIONS_MAX);
        assert_eq!(connections.number(tcp(3)), Some(CONNECTIONS_MAX as u64 + 1));
        assert_eq!(connections.numbers.len(), 1, "they are bounded");
    }

    #[test]
    fn a_device_without_room_ends_the_recording_and_nothing_else() {
        let shared = Arc::new(Shared::new(false));
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut writer = Writer::new(full, Arc::clone(&shared), 1 << 20);
        writer.batch(&mut vec![call("/a/B"), call("/a/B")], 0);
        assert!(!shared.is_open());
        assert_eq!(shared.unrecorded.load(Ordering::Relaxed), 2);
        assert_eq!(shared.calls.load(Ordering::Relaxed), 0);
        let failure = shared.failure.get().unwrap();
        assert!(failure.contains("No space left"), "{failure}");
        // What comes later is counted, and nothing is written.
        writer.batch(&mut vec![call("/a/B")], 0);
        assert_eq!(shared.unrecorded.load(Ordering::Relaxed), 3);
        writer.end();
    }
}
