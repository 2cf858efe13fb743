//! Frames of the native protocol written by hand, and bytes read from its document.

/// A frame, its length filled in.
pub fn frame(kind: u8, flags: u8, method: u16, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(method.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A hello of version 1 with these settings.
pub fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = b"\xCEKTL\x01\x01".to_vec();
    bytes.extend((settings.len() as u16 * 6).to_be_bytes());
    for (id, value) in settings {
        bytes.extend(id.to_be_bytes());
        bytes.extend(value.to_be_bytes());
    }
    bytes
}

/// A path section.
pub fn path(path: &str) -> Vec<u8> {
    [&(path.len() as u16).to_be_bytes()[..], path.as_bytes()].concat()
}

/// A text or code section: u32 numbers, then a text with its u16 length.
pub fn numbers_and_text(numbers: &[u32], text: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect();
    bytes.extend(path(text));
    bytes
}

/// Hex digits with blanks between them; what stands behind `#` on a line is a comment.
pub fn unhex(text: &str) -> Vec<u8> {
    let code = |line: &str| line.split('#').next().unwrap_or("").to_owned();
    let digits: String = text.lines().map(code).collect::<Vec<_>>().join(" ");
    let byte = |two: &str| u8::from_str_radix(two, 16).unwrap_or_else(|_| panic!("{two:?}"));
    digits.split_whitespace().map(byte).collect()
}

/// Bytes as hex digits, for a readable difference.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X} ")).collect()
}
