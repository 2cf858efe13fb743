//! The generated text is what stands in `tests/it/golden`; the integration tests compile and run it.
//!
//! With `UPDATE_GOLDEN` set the files are written anew: look at the difference then.

use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn file_names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[track_caller]
fn check(proto: &str, packages: &[&str]) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let out = tempfile::tempdir().expect("a temporary directory can be made");
    crate::configure()
        .out_dir(out.path())
        .compile_protos(&[proto], &[tests.join("protos")])
        .expect("the .proto is correct");

    let expected: BTreeSet<_> = packages
        .iter()
        .map(|package| format!("{package}.rs"))
        .collect();
    assert_eq!(file_names(out.path()), expected);
    for name in expected {
        let (generated, golden) = (out.path().join(&name), tests.join("golden").join(&name));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::copy(&generated, &golden).expect("the golden file is writable");
        }
        assert!(
            read(&generated) == read(&golden),
            "{name} differs from its golden file"
        );
    }
}

#[test]
fn a_service() {
    check("echo.proto", &["echo.v1"]);
}

#[test]
fn no_package_and_names_that_clash() {
    check("names.proto", &["_"]);
}

#[test]
fn packages_that_import_packages() {
    check("shop/orders.proto", &["shop.goods", "shop.orders.v1"]);
}
