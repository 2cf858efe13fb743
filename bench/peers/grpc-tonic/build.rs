fn main() {
    // `bytes` fields as bytes::Bytes: tonic's cheapest form (no copy out of the receive buffer).
    tonic_prost_build::configure()
        .bytes(".")
        .compile_protos(
            &["../proto/echo.proto", "../proto/file.proto"],
            &["../proto"],
        )
        .unwrap();
}
