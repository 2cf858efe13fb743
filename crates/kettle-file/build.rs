//! Generates the service: what it reads is sent from files, and what it writes is not copied on the way.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    kettle_build::configure()
        .composed([".kettle.file.v1.Files.Read"])
        .undecoded([".kettle.file.v1.Files.Write"])
        .compile_protos(&["proto/kettle/file/v1/files.proto"], &["proto"])
}
