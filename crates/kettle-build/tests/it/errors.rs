//! A broken `.proto` gives one line that says where and what.

use crate::{compile_text, empty_directory, protos};
use kettle_build::configure;

#[track_caller]
fn check(text: &str, error: &str) {
    assert_eq!(compile_text(text, configure()).unwrap_err(), error);
}

#[test]
fn syntax() {
    check(
        "syntax = 'proto3';\nmessage M {\n  string = 1;\n}\n",
        "test.proto:3:10: expected an identifier, but found '='",
    );
}

#[test]
fn unknown_type() {
    check(
        "syntax = 'proto3';\nmessage M {\n  Missing it = 1;\n}\n",
        "test.proto:3:3: name 'Missing' is not defined",
    );
}

#[test]
fn unknown_import() {
    let directory = empty_directory();
    let proto = directory.path().join("test.proto");
    std::fs::write(&proto, "syntax = 'proto3';\nimport 'missing.proto';\n").unwrap();
    let error = configure()
        .compile_protos(&[&proto], &[directory.path()])
        .unwrap_err();
    let place = directory.path().display();
    assert_eq!(
        error.to_string(),
        format!("test.proto:2:1: import 'missing.proto' not found (include directories: {place})")
    );
}

#[test]
fn missing_file() {
    let error = kettle_build::compile_protos(&["missing.proto"], &[protos()]).unwrap_err();
    let place = protos().display().to_string();
    assert_eq!(
        error.to_string(),
        format!("file 'missing.proto' is not in any include path (include directories: {place})")
    );
}

#[test]
fn a_directory_that_cannot_be_written() {
    let directory = empty_directory();
    let missing = directory.path().join("missing");
    let error = configure()
        .out_dir(&missing)
        .compile_protos(&["echo.proto"], &[protos()])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("cannot write to {}: ", missing.display())),
        "{error}"
    );

    let set = missing.join("set");
    let error = configure()
        .file_descriptor_set_path(&set)
        .compile_protos(&["echo.proto"], &[protos()])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("cannot write to {}: ", set.display())),
        "{error}"
    );
}

#[test]
fn a_wrong_path_in_a_setting() {
    let error = compile_text("syntax = 'proto3';", configure().extern_path("a", "::b"));
    assert!(error.unwrap_err().contains("must be fully qualified"));
}

#[test]
fn methods_of_a_setting_that_are_not_there() {
    let text =
        "syntax = 'proto3';\npackage p;\nmessage M {}\nservice S { rpc One(M) returns (M); }\n";
    assert_eq!(
        compile_text(text, configure().composed([".p.S.Two"])).unwrap_err(),
        "Builder::composed: no method has the path \".p.S.Two\" or lies in it",
    );
    assert_eq!(
        compile_text(text, configure().undecoded([".q"])).unwrap_err(),
        "Builder::undecoded: no method has the path \".q\" or lies in it",
    );
}
