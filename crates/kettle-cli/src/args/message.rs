//! Arguments about services and messages: `.proto` files, JSON, metadata.

use crate::metadata;
use clap::Args as ClapArgs;
use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

/// Which services there are.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct ProtoArgs {
    /// A .proto file with the service; may be given several times. Without it only echo.v1.Echo is
    /// known, which `kettle serve` hosts.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub proto: Vec<PathBuf>,
    /// A folder that imports are looked up in; may be given several times [default: the folder of
    /// each --proto].
    #[arg(short = 'I', long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    #[arg(requires = "proto")]
    pub include: Vec<PathBuf>,
}

/// Where the JSON of messages comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// The argument itself.
    Text(String),
    /// `@FILE`.
    File(PathBuf),
    /// `-`.
    Stdin,
}

/// A name and value of metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// In lower case.
    pub name: String,
    /// Decoded, when the name ends in `-bin`.
    pub value: Vec<u8>,
}

impl FromStr for Data {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match (text, text.strip_prefix('@')) {
            ("-", _) => Data::Stdin,
            (_, Some(path)) => Data::File(path.into()),
            (_, None) => Data::Text(text.to_owned()),
        })
    }
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| "it has no colon: write 'NAME: VALUE'".to_owned())?;
        let (name, value) = (name.trim().to_lowercase(), value.trim());
        let value = match metadata::is_binary(&name) {
            true => metadata::from_base64(value)?,
            false => value.as_bytes().to_vec(),
        };
        let header = Header { name, value };
        // Tried out here, so that what cannot be sent is a wrong argument.
        match header.append_to(&mut kettle::Metadata::new()) {
            Ok(()) => Ok(header),
            Err(invalid) => Err(invalid.to_string()),
        }
    }
}

impl Header {
    /// Adds it behind what is there.
    pub fn append_to(
        &self,
        metadata: &mut kettle::Metadata,
    ) -> Result<(), kettle::InvalidMetadata> {
        metadata.append(self.name.clone().into_bytes(), self.value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_text_a_file_or_stdin() {
        assert_eq!("{}".parse(), Ok(Data::Text("{}".to_owned())));
        assert_eq!("@a.json".parse(), Ok(Data::File("a.json".into())));
        assert_eq!("-".parse(), Ok(Data::Stdin));
    }

    #[test]
    fn headers_are_names_and_values() {
        let header = |text: &str| text.parse::<Header>().map(|h| (h.name, h.value));
        let wanted = |name: &str, value: &[u8]| Ok((name.to_owned(), value.to_vec()));
        assert_eq!(header("X-Trace: a: b "), wanted("x-trace", b"a: b"));
        assert_eq!(header("empty:"), wanted("empty", b""));
        assert_eq!(header("key-bin: AP8="), wanted("key-bin", b"\x00\xff"));
        assert_eq!(header("key-bin: AP8"), wanted("key-bin", b"\x00\xff"));
    }

    #[test]
    fn what_is_no_header_says_why() {
        for (text, reason) in [
            ("x-trace", "it has no colon: write 'NAME: VALUE'"),
            (": x", "metadata key \"\" is not"),
            ("a b: x", "metadata key \"a b\" is not"),
            ("x: ü", "a key ending in -bin takes any bytes"),
            ("x-bin: ?", "is not base64"),
        ] {
            let error = text.parse::<Header>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
