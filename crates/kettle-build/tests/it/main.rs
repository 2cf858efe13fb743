//! What is generated, compiled and run against a stand-in for kettle. The generated text is compared
//! with the files in `golden/` by a unit test, which still runs when those do not compile.
#![forbid(unsafe_code)]

// Generated code says `::kettle`: here that is this very crate, with the stand-in.
extern crate self as kettle;

mod calls;
mod errors;
pub mod generated;
mod options;
mod stand_in;

pub use stand_in::{
    Channel, Error, IntoRequest, IntoStreamingRequest, Request, Response, Status, Streaming,
    blocking, codegen,
};

use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The directory that the tests' `.proto` files are in.
fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/protos")
}

fn empty_directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes `text` as `test.proto` and compiles it. Gives the directory, which also has the result.
fn compile_text(text: &str, builder: kettle_build::Builder) -> Result<TempDir, String> {
    let directory = empty_directory();
    let proto = directory.path().join("test.proto");
    std::fs::write(&proto, text).expect("the temporary directory is writable");
    builder
        .out_dir(directory.path())
        .compile_protos(&[&proto], &[directory.path()])
        .map_err(|error| format!("{error:?}"))?;
    Ok(directory)
}

/// What is generated for `text`, which has the package `p`.
fn generate(text: &str, builder: kettle_build::Builder) -> String {
    let text = format!("syntax = 'proto3';\npackage p;\n{text}");
    let directory = compile_text(&text, builder).expect("the .proto is correct");
    read(&directory.path().join("p.rs"))
}
