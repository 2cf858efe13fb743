//! Constants for `bytes` fields that messages have apart: ranges of files, and what is not copied.

use crate::methods::join;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use std::collections::{HashMap, HashSet};

/// The `bytes` fields of all messages.
#[derive(Debug)]
pub(crate) struct BytesFields {
    /// Their names and numbers, by the message's path.
    fields: HashMap<String, Vec<(String, i32)>>,
    /// Paths of the messages that have their constants.
    written: HashSet<String>,
}

impl BytesFields {
    pub(crate) fn new(set: &FileDescriptorSet) -> Self {
        Self {
            fields: set.file.iter().flat_map(bytes_fields).collect(),
            written: HashSet::new(),
        }
    }

    /// Writes the constants for a message, once. Types of other packages have none here.
    pub(crate) fn write(&mut self, rust: &str, proto: &str, code: &mut String) {
        let fields = self.fields.get(proto);
        let fields = fields.filter(|fields| !fields.is_empty() && !rust.contains("::"));
        if let Some(fields) = fields
            && self.written.insert(proto.to_owned())
        {
            code.push_str(&constants(rust, fields));
        }
    }
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

fn constants(message: &str, fields: &[(String, i32)]) -> String {
    let constants: String = fields
        .iter()
        .map(|(name, number)| {
            let constant = shouted(name);
            format!(
                r#"
    /// The field `{name}`, for what a message has apart.
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
    fn constants_are_shouted() {
        assert_eq!(shouted("file_data"), "FILE_DATA");
        assert_eq!(shouted("fileData"), "FILE_DATA");
        assert_eq!(shouted("data"), "DATA");
    }
}
