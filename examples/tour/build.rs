//! Generates the services of the examples.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["hello", "routeguide", "chat"].map(|name| format!("proto/{name}.proto"));
    kettle_build::compile_protos(&protos, &["proto"])
}
