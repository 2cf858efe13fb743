//! What the fuzzer found worth keeping, and what once broke a promise, run again.

use kettle_testkit::fuzz::TARGETS;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Most files of one target, and most bytes of one file: a corpus is read by people too.
const FILES_MAX: usize = 100;
const FILE_BYTES_MAX: usize = 4096;

#[test]
fn inputs_that_were_found_break_nothing() {
    for target in TARGETS {
        let files = files(&corpora().join(target.name));
        assert!(!files.is_empty(), "{} has no corpus", target.name);
        assert!(files.len() <= FILES_MAX, "{} is too large", target.name);
        for path in files {
            let input = fs::read(&path).expect("a readable file");
            assert!(input.len() <= FILE_BYTES_MAX, "{path:?} is too long");
            let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
            assert!(outcome.is_ok(), "{path:?} breaks {}", target.name);
        }
    }
}

#[test]
fn every_corpus_has_a_target() {
    for path in files(&corpora()) {
        let name = path.file_name().expect("a name").to_string_lossy();
        let known = TARGETS.iter().any(|target| target.name == name);
        assert!(known, "{path:?} is read by no target");
    }
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let mut paths: Vec<_> = paths.collect();
    paths.sort();
    paths
}
