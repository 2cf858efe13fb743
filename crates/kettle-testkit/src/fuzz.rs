//! What the fuzz targets do with an input: every decoder that reads bytes of a peer or a user, and the
//! whole connection.
//!
//! A target panics when a promise is broken, and returns when all hold. `fuzz/` gives them to a fuzzer, the
//! test `corpora` of this crate replays what that found; docs/fuzzing.md says how to run them. Each target
//! stands with its model in a file below `fuzz/`.

mod connection;
mod end;
mod endpoint;
mod hello;
mod input;
mod message;
mod sections;
mod transcript;
mod watch;

use kettle_proto::detect::{Detected, LOOK_AHEAD_BYTES_MAX, detect, refusal};

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Runs it on one input. Panics when a promise is broken.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 9] = [
    Target {
        name: "detect",
        run: detection,
    },
    Target {
        name: "hello",
        run: hello::run,
    },
    Target {
        name: "server",
        run: end::server,
    },
    Target {
        name: "client",
        run: end::client,
    },
    Target {
        name: "metadata",
        run: sections::metadata,
    },
    Target {
        name: "status",
        run: sections::status,
    },
    Target {
        name: "message",
        run: message::run,
    },
    Target {
        name: "endpoint",
        run: endpoint::run,
    },
    Target {
        name: "connection",
        run: connection::run,
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// Which protocol it is, told once and for all after a few bytes.
fn detection(input: &[u8]) {
    let mut told = Detected::NeedMore;
    for n in 0..=input.len().min(2 * LOOK_AHEAD_BYTES_MAX) {
        let now = detect(&input[..n]);
        assert!(
            told == Detected::NeedMore || told == now,
            "{told:?} became {now:?}"
        );
        assert!(
            now != Detected::NeedMore || n < LOOK_AHEAD_BYTES_MAX,
            "{n} bytes do not tell"
        );
        told = now;
    }
    assert_eq!(detect(input), told, "the rest of the bytes told");
    let silent = matches!(
        told,
        Detected::NeedMore | Detected::Native | Detected::Unknown
    );
    assert_eq!(refusal(told).is_none(), silent);
}
