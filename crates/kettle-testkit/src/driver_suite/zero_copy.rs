//! Promise 4 for memory that the kernel does not copy.

use super::files::{fill, read};
use super::rig::{LIMIT, Rig, Subject, pattern};
use kettle_buf::{Payload, Segment};
use kettle_io::{DriverConfig, OpKind, Token};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// Every send ends once, by its release, and the memory is let go. Over loopback the kernel copies all the same and
/// says so, which is the end of it for the connection.
pub fn p4_zero_copy_sends_in_two_steps(subject: &Subject) {
    let mut rig = lending(subject);
    let (socket, token, far) = rig.receiving();
    let small = vec![5; 1000];
    let (large, kept) = watched(&pattern(MIB));
    let mut payload = Payload::from(small.clone());
    payload.append(large);
    let expected = [&small[..], &pattern(MIB)].concat();
    let reader = read(far.try_clone().unwrap(), expected.len());
    let sends = rig.send_all(socket, payload);
    assert!(reader.join().unwrap() == expected, "other bytes arrived");
    until_over(&mut rig, token);
    assert!(!kept.load(Ordering::Relaxed), "the memory is still held");
    let first = rig.driver.stats();
    assert_eq!(first.sent_bytes, expected.len() as u64);
    if subject.copies || subject.unix {
        assert_eq!(first.sends.zero_copy_bytes, 0);
        assert_ne!(first.sends.zero_copy_fallbacks, 0, "after {sends} sends");
        return;
    }
    assert_ne!(first.sends.zero_copy_bytes, 0, "after {sends} sends");
    assert_ne!(first.sends.zero_copy_copied, 0, "{:?}", first.sends);
    rig.send_all(socket, vec![6; MIB].into());
    let second = rig.driver.stats().sends;
    assert_eq!(second.zero_copy_bytes, first.sends.zero_copy_bytes);
    assert!(first.sends.zero_copy_fallbacks < second.zero_copy_fallbacks);
    drop(far);
}

/// What was sent before a detach arrives as it was, and the memory is let go afterwards.
pub fn p4_lent_memory_is_kept_after_a_detach(subject: &Subject) {
    let mut rig = lending(subject);
    let (socket, token, mut far) = rig.stream();
    let content = pattern(8 * MIB);
    let (segment, kept) = watched(&content);
    let sent = fill(&mut rig, socket, segment.into()) as usize;
    rig.detach(socket);
    until_over(&mut rig, token);
    let copies = subject.copies || subject.unix;
    assert_eq!(kept.load(Ordering::Relaxed), !copies, "the memory is held");
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let started = Instant::now();
    while kept.load(Ordering::Relaxed) {
        assert!(started.elapsed() < LIMIT, "the memory is never let go");
        rig.wait(Some(Duration::from_millis(1)));
    }
    assert!(
        reader.join().unwrap() == content[..sent],
        "other bytes arrived"
    );
}

/// A driver that sends memory without copying it, from 16 KiB on.
fn lending(subject: &Subject) -> Rig {
    let config = DriverConfig {
        zero_copy_bytes_min: Some(16 * 1024),
        ..DriverConfig::default()
    };
    Rig::with(subject, config)
}

fn until_over(rig: &mut Rig, token: Token) {
    while rig.is_in_flight(token, OpKind::Send) {
        rig.next();
    }
}

/// Bytes, and whether somebody has them.
fn watched(bytes: &[u8]) -> (Segment, Arc<AtomicBool>) {
    let kept = Arc::new(AtomicBool::new(true));
    let owner = Watched {
        bytes: bytes.to_vec(),
        kept: Arc::clone(&kept),
    };
    (Segment::from_owner(owner), kept)
}

struct Watched {
    bytes: Vec<u8>,
    kept: Arc<AtomicBool>,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.bytes.fill(0xEE);
        self.kept.store(false, Ordering::Relaxed);
    }
}
