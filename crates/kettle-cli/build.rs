//! Generates the echo service from its `.proto` file.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    kettle_build::compile_protos(&["proto/echo/v1/echo.proto"], &["proto"])
}
