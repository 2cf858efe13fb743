//! Generates the broker's service. Records leave as ranges of segment files, so replies are composed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    kettle_build::configure()
        .composed([".broker.v1.Broker.Fetch", ".broker.v1.Broker.Tail"])
        .compile_protos(&["proto/broker.proto"], &["proto"])?;
    Ok(())
}
