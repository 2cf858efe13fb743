//! Methods whose replies may hold file regions, and constants for the fields that can be regions.

use crate::error::Error;
use crate::service::full_name;
use prost_build::{Method, Service};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use std::collections::{HashMap, HashSet};

/// Which methods reply with composed messages.
#[derive(Debug)]
pub(crate) struct Composed {
    /// Of methods, services and packages, each with a dot in front.
    paths: Vec<String>,
    /// The names of the `bytes` fields of all messages and their numbers, by the message's path.
    fields: HashMap<String, Vec<(String, i32)>>,
    /// Rust types that have their constants, as paths from the root.
    written: HashSet<String>,
}

impl Composed {
    /// # Errors
    /// When nothing has one of these paths.
    pub(crate) fn new(paths: &[String], set: &FileDescriptorSet) -> Result<Self, Error> {
        let composed = Self {
            paths: paths.to_vec(),
            fields: set.file.iter().flat_map(bytes_fields).collect(),
            written: HashSet::new(),
        };
        let methods = methods(set);
        for path in paths {
            if !methods.iter().any(|method| is_in(method, path)) {
                let text =
                    format!("Builder::composed: no method has the path {path:?} or lies in it");
                return Err(Error::new(text));
            }
        }
        Ok(composed)
    }

    /// Whether this method replies with composed messages.
    pub(crate) fn has(&self, service: &str, method: &Method) -> bool {
        let method = format!(".{service}.{}", method.proto_name);
        self.paths.iter().any(|path| is_in(&method, path))
    }

    /// Writes the constants for the replies of a service. Types of other packages have none here.
    pub(crate) fn write_fields(&mut self, service: &Service, code: &mut String) {
        let name = full_name(service);
        for method in &service.methods {
            let (rust, proto) = (&method.output_type, &method.output_proto_type);
            if !self.has(&name, method) || rust.contains("::") {
                continue;
            }
            let fields = self.fields.get(proto);
            let fields = fields.filter(|fields| !fields.is_empty());
            if let Some(fields) = fields
                && self.written.insert(proto.clone())
            {
                code.push_str(&constants(rust, fields));
            }
        }
    }
}

/// Whether the first path is the second, or lies in it. Dots in front do not matter in the second.
fn is_in(path: &str, outer: &str) -> bool {
    let (path, outer) = (&path[1..], outer.trim_start_matches('.'));
    let rest = path.strip_prefix(outer);
    rest.is_some_and(|rest| outer.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

fn methods(set: &FileDescriptorSet) -> Vec<String> {
    let services = set.file.iter().flat_map(|file| {
        let package = file.package();
        file.service.iter().map(move |service| (package, service))
    });
    let methods = services.flat_map(|(package, service)| {
        let path = join(package, service.name());
        let methods = service.method.iter();
        methods.map(move |method| format!("{path}.{}", method.name()))
    });
    methods.collect()
}

fn bytes_fields(
    file: &prost_types::FileDescriptorProto,
) -> impl Iterator<Item = (String, Vec<(String, i32)>)> {
    let messages = file.message_type.iter();
    messages.map(|message| {
        (
            join(file.package(), message.name()),
            bytes_fields_of(message),
        )
    })
}

/// Those that can be added to: of a oneof only the last field counts, so it is none.
fn bytes_fields_of(message: &DescriptorProto) -> Vec<(String, i32)> {
    let fields = message.field.iter();
    let fields = fields.filter(|field| field.r#type() == Type::Bytes);
    let fields = fields.filter(|field| field.oneof_index.is_none() || field.proto3_optional());
    let fields = fields.map(|field| (field.name().to_owned(), field.number()));
    fields.collect()
}

fn join(package: &str, name: &str) -> String {
    match package {
        "" => format!(".{name}"),
        package => format!(".{package}.{name}"),
    }
}

fn constants(message: &str, fields: &[(String, i32)]) -> String {
    let constants: String = fields
        .iter()
        .map(|(name, number)| {
            let constant = shouted(name);
            format!(
                r#"
    /// The field `{name}`, for what is added to a composed message.
    pub const {constant}: ::kettle::BytesField<Self> = ::kettle::BytesField::new({number});
"#
            )
        })
        .collect();
    format!(
        r#"
#[allow(dead_code)]
impl {message} {{
    {constants}
}}
"#
    )
}

/// `file_data` and `fileData` as `FILE_DATA`.
fn shouted(name: &str) -> String {
    let mut constant = String::new();
    for letter in name.chars() {
        let begins = letter.is_ascii_uppercase() && !constant.is_empty();
        if begins && !constant.ends_with('_') {
            constant.push('_');
        }
        constant.push(letter.to_ascii_uppercase());
    }
    constant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_in_each_other() {
        for outer in [".a.B.C", "a.B.C", ".a.B", "a", "."] {
            assert!(is_in(".a.B.C", outer), "{outer}");
        }
        for outer in [".a.B.D", "a.B.C.D", "a.BB", "b"] {
            assert!(!is_in(".a.B.C", outer), "{outer}");
        }
    }

    #[test]
    fn constants_are_shouted() {
        assert_eq!(shouted("file_data"), "FILE_DATA");
        assert_eq!(shouted("fileData"), "FILE_DATA");
        assert_eq!(shouted("data"), "DATA");
    }
}
