//! How metadata is written and read by people: bytes as base64, everything else as it is.

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use kettle::Metadata;

/// Written with padding, read with and without, as gRPC has it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether values of this name are bytes.
pub fn is_binary(name: &str) -> bool {
    name.ends_with("-bin")
}

/// The bytes that a text stands for.
pub fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|error| {
        format!("{text:?} is not base64, as names that end in -bin have it: {error}")
    })
}

/// A text that stands for bytes.
pub fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// A line for each entry: `name: value`.
pub fn lines(metadata: &Metadata) -> Vec<String> {
    let line = |(name, value): (&str, &[u8])| match is_binary(name) {
        true => format!("{name}: {}", to_base64(value)),
        // Values of other names are checked to be ASCII before they get here.
        false => format!("{name}: {}", String::from_utf8_lossy(value)),
    };
    metadata.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_base64() {
        let mut metadata = Metadata::new();
        metadata.append("trace", "a b").unwrap();
        metadata.append("key-bin", vec![0, 255]).unwrap();
        assert_eq!(lines(&metadata), ["trace: a b", "key-bin: AP8="]);
    }
}
