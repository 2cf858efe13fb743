//! Messages from JSON and to JSON, in protobuf's canonical mapping.
//!
//! # Source
//! protobuf.dev, "ProtoJSON Format".

use crate::failure::Failure;
use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde::de::DeserializeSeed;
use serde_json::de::IoRead;
use serde_path_to_error::{Path, Segment, Track};
use std::fmt;
use std::io::Read;

/// Messages of one type, from JSON values that stand one behind the other, by custom a line each. An
/// iterator over their encodings, which ends at its first error.
///
/// A message is given as soon as its JSON is complete: nothing behind it is read before.
pub struct Messages {
    json: serde_json::Deserializer<IoRead<Box<dyn Read + Send>>>,
    descriptor: MessageDescriptor,
    /// What errors call the source.
    origin: String,
    failed: bool,
}

impl Messages {
    /// Reads messages of this type.
    pub fn new(
        descriptor: MessageDescriptor,
        source: Box<dyn Read + Send>,
        origin: String,
    ) -> Self {
        Self {
            json: serde_json::Deserializer::from_reader(source),
            descriptor,
            origin,
            failed: false,
        }
    }

    fn read(&mut self) -> Option<Result<Bytes, Failure>> {
        // It fails also when something stands there, and leaves that to the next read.
        if self.json.end().is_ok() {
            return None;
        }
        let mut track = Track::new();
        let json = serde_path_to_error::Deserializer::new(&mut self.json, &mut track);
        let message = self.descriptor.clone().deserialize(json);
        Some(match message {
            Ok(message) => Ok(message.encode_to_vec().into()),
            Err(error) => Err(self.explain(&error, &track.path())),
        })
    }

    fn explain(&self, error: &serde_json::Error, path: &Path) -> Failure {
        let origin = &self.origin;
        if error.is_io() {
            return Failure::because(format!("cannot read {origin}"), error);
        }
        // Where the JSON itself breaks off the path may lead nowhere.
        let known = |segment: &Segment| !matches!(segment, Segment::Unknown);
        let at = match path.iter().len() {
            1.. if path.iter().all(known) => format!("field {path}: "),
            _ => String::new(),
        };
        let container = innermost(&self.descriptor, path);
        Failure::Text(format!("{origin}: {at}{error}{}", Fields(&container)))
    }
}

impl Iterator for Messages {
    type Item = Result<Bytes, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Messages({} from {})",
            self.descriptor.full_name(),
            self.origin
        )
    }
}

/// A message in one line of JSON. Fields at their defaults are left out.
///
/// # Errors
/// When the bytes are no such message.
pub fn to_json(descriptor: &MessageDescriptor, encoded: Bytes) -> Result<String, Failure> {
    let name = descriptor.full_name();
    let message = DynamicMessage::decode(descriptor.clone(), encoded).map_err(|error| {
        let text = format!("the reply is no {name}: {error}; has the server another .proto file?");
        Failure::Text(text)
    })?;
    Ok(serde_json::to_string(&message)?)
}

/// The innermost message that a path leads into.
fn innermost(descriptor: &MessageDescriptor, path: &Path) -> MessageDescriptor {
    let mut container = descriptor.clone();
    for segment in path.iter() {
        let Segment::Map { key } = segment else {
            continue;
        };
        let field = container
            .get_field_by_json_name(key)
            .or_else(|| container.get_field_by_name(key));
        match field.map(|field| field.kind()) {
            Some(Kind::Message(inner)) => container = inner,
            Some(_) => break,
            // The key of a map, which is a message of a key and a value to protobuf.
            None => {
                let value = container
                    .is_map_entry()
                    .then(|| container.map_entry_value_field().kind());
                let Some(Kind::Message(inner)) = value else {
                    break;
                };
                container = inner;
            }
        }
    }
    container
}

/// What a message has, for the end of an error text. Types that JSON writes in a way of its own, such as
/// a time stamp, do not tell: their fields are not what is wanted.
struct Fields<'a>(&'a MessageDescriptor);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, name) = (self.0, self.0.full_name());
        if name.starts_with("google.protobuf.") || message.is_map_entry() {
            return Ok(());
        }
        let fields: Vec<_> = message.fields().map(|field| shown(&field)).collect();
        match fields.is_empty() {
            true => write!(f, "; {name} has no fields"),
            false => write!(f, "; {name} has: {}", fields.join(", ")),
        }
    }
}

fn shown(field: &FieldDescriptor) -> String {
    let name = field.json_name();
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            format!("{name} (map<{:?}, {:?}>)", key.kind(), value.kind())
        }
        kind if field.is_list() => format!("{name} (repeated {kind:?})"),
        Kind::Bytes => format!("{name} (bytes, as base64)"),
        kind => format!("{name} ({kind:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ProtoArgs;
    use crate::schema::Schema;
    use std::fs;

    const SOURCE: &str = r#"
        syntax = "proto3";
        package t;
        import "google/protobuf/timestamp.proto";
        service S { rpc M(Outer) returns (Outer); }
        message Outer {
          string name = 1;
          Inner inner = 2;
          repeated Inner many = 3;
          map<string, Inner> by_name = 4;
          google.protobuf.Timestamp at = 5;
          Colour colour = 6;
        }
        message Inner { uint32 count = 1; bytes data = 2; }
        enum Colour { RED = 0; BLUE = 1; }
    "#;

    fn outer() -> MessageDescriptor {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.proto");
        fs::write(&file, SOURCE).unwrap();
        let args = ProtoArgs {
            proto: vec![file],
            include: Vec::new(),
        };
        Schema::load(&args)
            .unwrap()
            .method("t.S/M")
            .unwrap()
            .input()
    }

    fn read(json: &str) -> Vec<Result<Bytes, Failure>> {
        let source = Box::new(std::io::Cursor::new(json.to_owned()));
        Messages::new(outer(), source, "-d".to_owned()).collect()
    }

    /// The one error of what is no message.
    fn error(json: &str) -> String {
        read(json).pop().unwrap().unwrap_err().to_string()
    }

    #[test]
    fn there_and_back() {
        for json in [
            "{}",
            r#"{"name":"x","inner":{"count":7,"data":"AP8="},"colour":"BLUE"}"#,
            r#"{"many":[{"count":1},{}],"byName":{"a":{"count":2}}}"#,
            r#"{"at":"2026-01-02T03:04:05Z"}"#,
        ] {
            let mut messages = read(json);
            assert_eq!(messages.len(), 1, "{json}");
            let encoded = messages.pop().unwrap().unwrap();
            assert_eq!(to_json(&outer(), encoded).unwrap(), json);
        }
    }

    #[test]
    fn fields_have_two_names() {
        let by_either = [r#"{"byName":{"a":{}}}"#, r#"{"by_name":{"a":{}}}"#];
        let [a, b] = by_either.map(|json| read(json).remove(0).unwrap());
        assert_eq!(a, b);
    }

    #[test]
    fn messages_stand_one_behind_the_other() {
        for json in ["{}{}{}", "{}\n{}\n{}\n", " {\n}\n\n{} {} "] {
            let messages = read(json);
            assert!(
                messages.len() == 3 && messages.iter().all(Result::is_ok),
                "{json:?}"
            );
        }
        assert!(read(" \n").is_empty());
    }

    #[test]
    fn a_wrong_message_is_the_last() {
        let messages = read("{} {\"nam\": 1} {}");
        assert_eq!(messages.len(), 2);
        assert!(messages[0].is_ok() && messages[1].is_err());
    }

    #[test]
    fn errors_name_the_place_and_what_there_is() {
        let inner = "; t.Inner has: count (uint32), data (bytes, as base64)";
        for (json, start, end) in [
            (
                r#"{"inner": {"coun": 1}}"#,
                "-d: field inner: unrecognized field name 'coun' at line 1 column 18",
                inner,
            ),
            (
                r#"{"inner": {"count": -1}}"#,
                "-d: field inner.count: ",
                inner,
            ),
            (
                r#"{"many": [{}, {"data": "?"}]}"#,
                "-d: field many[1].data: ",
                inner,
            ),
            (
                r#"{"byName": {"x": {"z": 1}}}"#,
                "-d: field byName.x: unrecognized",
                inner,
            ),
            (
                r#"{"colour": "GREEN"}"#,
                "-d: field colour: unrecognized enum value 'GREEN'",
                "colour (t.Colour)",
            ),
            (r#"{"at": "noon"}"#, "-d: field at: ", ""),
            (
                "{\n\"name\": }",
                "-d: field name: expected value at line 2 column 9",
                "",
            ),
            ("nonsense", "-d: expected ident at line 1 column 2", ""),
            (
                "{\"name\": \"x\"",
                "-d: EOF while parsing an object at line 1 column 12",
                "",
            ),
            ("[]", "-d: invalid type: sequence, expected a map", ""),
        ] {
            let text = error(json);
            assert!(text.starts_with(start), "{json}: {text}");
            assert!(text.ends_with(end), "{json}: {text}");
        }
    }

    #[test]
    fn all_kinds_of_fields_are_listed() {
        assert!(
            error("[]").ends_with(
                "; t.Outer has: name (string), inner (t.Inner), many (repeated t.Inner), \
                 byName (map<string, t.Inner>), at (google.protobuf.Timestamp), colour (t.Colour)"
            ),
            "{}",
            error("[]")
        );
    }

    #[test]
    fn a_reply_of_another_type_is_said() {
        let failure = to_json(&outer(), Bytes::from_static(b"\x0a\xff")).unwrap_err();
        let text = failure.to_string();
        assert!(text.starts_with("the reply is no t.Outer: "), "{text}");
        assert!(
            text.ends_with("has the server another .proto file?"),
            "{text}"
        );
    }

    #[test]
    fn a_source_that_cannot_be_read_is_said() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("gone"))
            }
        }
        let mut messages = Messages::new(outer(), Box::new(Broken), "x.json".to_owned());
        let text = messages.next().unwrap().unwrap_err().to_string();
        assert_eq!(text, "cannot read x.json: gone");
        assert!(messages.next().is_none());
    }
}
