fn main() {
    println!("cargo:rerun-if-changed=../proto/echo.thrift");
    volo_build::Builder::thrift()
        .add_service("../proto/echo.thrift")
        .write()
        .unwrap();
}
