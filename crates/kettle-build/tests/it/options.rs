//! Each setting changes what it says and nothing else.

use crate::{empty_directory, generate, protos};
use kettle_build::configure;
use prost::Message;
use prost_types::FileDescriptorSet;

const SERVICE: &str = "message M {}\nservice S { rpc One(M) returns (M); }";
const BYTES: &str = "message A { bytes a = 1; }\nmessage B { bytes b = 1; }";

#[test]
fn client_and_server_can_be_left_out() {
    let code = generate(SERVICE, configure().build_client(false));
    assert!(
        code.contains("pub mod s_server") && !code.contains("pub mod s_client"),
        "{code}"
    );
    let code = generate(SERVICE, configure().build_server(false));
    assert!(
        !code.contains("pub mod s_server") && code.contains("pub mod s_client"),
        "{code}"
    );
    assert!(code.contains("pub mod blocking"), "{code}");
    let code = generate(SERVICE, configure().build_blocking_client(false));
    assert!(
        code.contains("pub mod s_client") && !code.contains("blocking"),
        "{code}"
    );
}

#[test]
fn bytes_fields_have_the_type_that_is_asked_for() {
    let shared = |code: &str, field: &str| {
        let line = code
            .lines()
            .find(|line| line.contains(&format!("pub {field}:")))
            .unwrap();
        let is_shared = line.ends_with("::bytes::Bytes,");
        assert!(is_shared || line.ends_with("::vec::Vec<u8>,"), "{line}");
        is_shared
    };
    for (builder, a, b) in [
        (configure(), true, true),
        (configure().bytes_as_vec(), false, false),
        (configure().bytes([".p.A"]), true, false),
        (configure().bytes([".p.B.b"]), false, true),
    ] {
        let code = generate(BYTES, builder);
        assert_eq!((shared(&code, "a"), shared(&code, "b")), (a, b), "{code}");
    }
}

const REPLIES: &str = "message M { bytes data = 2; bytes more_data = 16; oneof o { bytes one = 3; } }\n\
    service S { rpc One(M) returns (M); rpc Many(M) returns (stream M); }";

#[test]
fn methods_may_reply_with_composed_messages() {
    let composed = "::kettle::Composed<super::M>";
    let count = |code: &str, text: &str| code.matches(text).count();
    for (paths, methods) in [(".p.S.One", 1), ("p.S", 2), (".", 2)] {
        let code = generate(REPLIES, configure().composed([paths]));
        assert_eq!(count(&code, composed), methods, "{paths}: {code}");
        assert_eq!(count(&code, "::kettle::BytesField<Self>"), 2, "{code}");
        let constant = "MORE_DATA:::kettle::BytesField<Self>=::kettle::BytesField::new(16";
        let dense: String = code.split_whitespace().collect();
        assert!(dense.contains(constant), "{code}");
    }
    let code = generate(REPLIES, configure());
    assert_eq!(
        count(&code, "kettle::Composed") + count(&code, "BytesField"),
        0
    );
}

const REQUESTS: &str = "message M { bytes data = 2; } message N {}\n\
    service S { rpc One(M) returns (N); rpc Many(stream M) returns (N); }";

#[test]
fn methods_may_get_their_requests_undecoded() {
    for (path, one, many) in [(".p.S.One", 1, 0), (".p.S.Many", 0, 1), (".p", 1, 1)] {
        let code = generate(REQUESTS, configure().undecoded([path]));
        let count = |text: &str| code.matches(text).count();
        let streams = count("kettle::Request<::kettle::Streaming<::kettle::Inbound>>");
        assert_eq!(streams, many, "{path}: {code}");
        // Each method is called with an inbound message too.
        let messages = count("kettle::Request<::kettle::Inbound>");
        assert_eq!(messages, one, "{path}: {code}");
        assert_eq!(count("BytesField<Self>"), 1, "{path}: {code}");
    }
}

#[test]
fn attributes_are_added() {
    let builder = configure()
        .type_attribute(".p.A", "#[one]")
        .field_attribute(".p.B.b", "#[other]");
    let code = generate(BYTES, builder);
    assert_eq!(
        (
            code.matches("#[one]").count(),
            code.matches("#[other]").count()
        ),
        (1, 1)
    );
    let place = |text: &str| {
        code.find(text)
            .unwrap_or_else(|| panic!("{text} is not in {code}"))
    };
    assert!(place("#[one]") < place("pub struct A") && place("pub struct B") < place("#[other]"));
}

#[test]
fn extern_types_are_used() {
    let builder = configure().extern_path(".p.M", "crate::elsewhere::M");
    let code = generate(SERVICE, builder);
    assert!(
        !code.contains("pub struct M") && !code.contains("super::crate"),
        "{code}"
    );
    assert!(
        code.contains("::kettle::Request<crate::elsewhere::M>"),
        "{code}"
    );
}

#[test]
fn the_descriptor_set_has_the_imports() {
    let directory = empty_directory();
    let path = directory.path().join("set");
    configure()
        .out_dir(directory.path())
        .file_descriptor_set_path(&path)
        .compile_protos(&["shop/orders.proto"], &[protos()])
        .unwrap();
    let set = FileDescriptorSet::decode(&*std::fs::read(path).unwrap()).unwrap();
    let names: Vec<_> = set.file.iter().map(|file| file.name()).collect();
    assert_eq!(names[3..], ["shop/goods.proto", "shop/orders.proto"]);
    assert!(
        names[..3]
            .iter()
            .all(|name| name.starts_with("google/protobuf/")),
        "{names:?}"
    );
}
