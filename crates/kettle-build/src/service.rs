//! A service as the templates see it, and the hook that prost-build calls for each.

use crate::bytes_fields::BytesFields;
use crate::methods::Methods;
use crate::{client, server};
use prost_build::{Comments, Method, Service, ServiceGenerator};

/// Writes the modules of each service behind its package's messages.
pub(crate) struct Generator {
    pub(crate) client: bool,
    pub(crate) blocking_client: bool,
    pub(crate) server: bool,
    /// Those that reply with composed messages.
    pub(crate) composed: Methods,
    /// Those that get their requests undecoded.
    pub(crate) undecoded: Methods,
    pub(crate) bytes_fields: BytesFields,
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, code: &mut String) {
        if self.client {
            client::write(&service, self.blocking_client, code);
        }
        if self.server {
            server::write(&service, self, code);
            self.write_fields(&service, code);
        }
    }
}

impl Generator {
    /// Constants for the fields that messages of this service have apart.
    fn write_fields(&mut self, service: &Service, code: &mut String) {
        let name = full_name(service);
        for method in &service.methods {
            if self.composed.has(&name, method) {
                let (rust, proto) = (&method.output_type, &method.output_proto_type);
                self.bytes_fields.write(rust, proto, code);
            }
            if self.undecoded.has(&name, method) {
                let (rust, proto) = (&method.input_type, &method.input_proto_type);
                self.bytes_fields.write(rust, proto, code);
            }
        }
    }
}

/// Attributes of every generated module. What stands in a .proto can break these lints (deprecated
/// types, a service without methods, method names that Rust uses in another way), and so can a crate
/// that uses only a part of a module.
pub(crate) const MODULE_ATTRIBUTES: &str =
    "#![allow(dead_code, unused_variables, deprecated, clippy::all)]";

/// The full name, such as `echo.v1.Echo`.
pub(crate) fn full_name(service: &Service) -> String {
    match service.package.as_str() {
        "" => service.proto_name.clone(),
        package => format!("{package}.{}", service.proto_name),
    }
}

/// The name of a module of a service, as tonic forms it: each capital letter of the Rust name starts
/// a new word, so `HTTPEcho`, in Rust `HttpEcho`, gives `http_echo_client`.
pub(crate) fn module_name(service: &Service, suffix: &str) -> String {
    let mut name = String::new();
    for letter in service.name.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    format!("{name}_{suffix}")
}

/// The comment from the .proto as documentation, or `otherwise` when there is none.
pub(crate) fn docs(comments: &Comments, otherwise: &str) -> String {
    let mut docs = String::new();
    match comments.leading.is_empty() && comments.trailing.is_empty() {
        true => docs = format!("/// {otherwise}\n"),
        false => comments.append_with_indent(0, &mut docs),
    }
    docs
}

/// `#[deprecated]` where the .proto says so.
pub(crate) fn deprecation(method: &Method) -> &'static str {
    match method.options.deprecated() {
        true => "#[deprecated]\n",
        false => "",
    }
}

/// What calls a method of this kind, on a channel and in `kettle::codegen`.
pub(crate) fn kind(method: &Method) -> &'static str {
    match (method.client_streaming, method.server_streaming) {
        (false, false) => "unary",
        (true, false) => "client_streaming",
        (false, true) => "server_streaming",
        (true, true) => "streaming",
    }
}

/// A message type as seen from a module from which `package` leads to the service's package.
///
/// prost-build gives well-known types as paths (`::prost_types::Any`) or as what prost makes of them
/// (`bool`, `()`); both are the same seen from anywhere.
pub(crate) fn type_path(rust_type: &str, proto_type: &str, package: &str) -> String {
    let is_absolute = rust_type.starts_with("::")
        || rust_type.starts_with("crate::")
        || proto_type.starts_with(".google.protobuf.");
    match is_absolute {
        true => rust_type.to_owned(),
        false => format!("{package}::{rust_type}"),
    }
}
