//! Generates the services of the call suite.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    kettle_build::configure()
        .composed([".kettle.cutter.v1"])
        .compile_protos(&["proto/trial.proto", "proto/cutter.proto"], &["proto"])?;
    Ok(())
}
