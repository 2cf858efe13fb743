//! Generates the trial service.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    kettle_build::compile_protos(&["proto/trial.proto"], &["proto"])?;
    Ok(())
}
