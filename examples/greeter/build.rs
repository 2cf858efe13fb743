fn main() -> Result<(), Box<dyn std::error::Error>> {
    kettle_build::compile_protos(&["proto/greeter.proto"], &["proto"])
}
