//! Arguments of the commands for files.

use super::count;
use clap::{Args as ClapArgs, ValueHint};
use std::ops::Range;
use std::path::PathBuf;

/// Most connections of one `get`.
const PARALLEL_MAX: u64 = 64;

/// Fetch a file from `kettle serve --files`.
///
/// Bytes go to FILE.part, and FILE.part.notes tells which have come; at the end the checksum is compared
/// with the server's (CRC-32C), and FILE gets its name, replacing another. A connection that breaks is made
/// again, for a minute without a byte at most, and the transfer goes on where it stopped. What an interrupted
/// command leaves is used by --continue. A file that is changed on the server meanwhile is fetched anew.
///
/// Exit codes: 0 the file is here; 1 it could not be written, or the checksum differs; 2 wrong arguments;
/// 130 interrupted; else 64 + the status code of the call, as with `kettle call`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kettle get kettle://127.0.0.1:50051/images/disk.img
  kettle get kettle://127.0.0.1:50051/images/disk.img -o /tmp/disk.img --parallel 4
  kettle get kettle://127.0.0.1:50051/images/disk.img --continue
  kettle get unix:///run/files.sock/images/disk.img --range 0-1048575 -o head")]
pub struct GetArgs {
    /// The file, as kettle://HOST:PORT/PATH or unix:///SOCKET/PATH.
    #[arg(value_name = "URL/PATH", value_hint = ValueHint::Url)]
    pub url: String,
    /// Where it goes; a directory takes it under its own name [default: its name, here].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Fetch so many ranges at a time, each on a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1, PARALLEL_MAX))]
    pub parallel: usize,
    /// Only the bytes from A to B, both counted from 0 and included; without B to the end. They are not
    /// verified: the checksum is that of the whole file.
    #[arg(long, value_name = "A-[B]", value_parser = byte_range)]
    pub range: Option<Range<u64>>,
    /// Go on with the FILE.part of an earlier command, if it is of the same file as it is now.
    #[arg(long = "continue")]
    pub resume: bool,
    /// Do not compare checksums, for which the server reads the whole file unless it has done so before.
    #[arg(long)]
    pub no_verify: bool,
}

/// Send a file to `kettle serve --files --writable`.
///
/// It appears under its name when all of it has come and its checksum fits; a transfer that breaks off
/// leaves nothing. It is not repeated by itself, because it may have succeeded.
///
/// Exit codes: 0 the file is there; 1 it could not be read; 2 wrong arguments; 130 interrupted; else 64 + the
/// status code of the call, as with `kettle call`: 70 ALREADY_EXISTS, 71 PERMISSION_DENIED.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kettle put disk.img kettle://127.0.0.1:50051/images/disk.img
  kettle put disk.img kettle://127.0.0.1:50051/images/ --overwrite --fsync")]
pub struct PutArgs {
    /// The file to send.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Where it goes, as kettle://HOST:PORT/PATH or unix:///SOCKET/PATH; with / at the end, a directory that takes it
    /// under its own name.
    #[arg(value_name = "URL/PATH", value_hint = ValueHint::Url)]
    pub url: String,
    /// Replace a file of this name.
    #[arg(long)]
    pub overwrite: bool,
    /// Reply only when the file is on the server's disk.
    #[arg(long)]
    pub fsync: bool,
    /// The permissions, in octal [default: 644].
    #[arg(long, value_name = "MODE", value_parser = super::file_mode)]
    pub mode: Option<u32>,
    /// Do not read the file for its checksum before.
    #[arg(long)]
    pub no_verify: bool,
}

/// List a directory of `kettle serve --files`.
///
/// A line for each entry, as they come and not sorted: size in bytes, then the name, with / behind directories,
/// @ behind symbolic links and ? behind devices, pipes and sockets. Names with control characters are escaped.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kettle ls kettle://127.0.0.1:50051
  kettle ls kettle://127.0.0.1:50051/images | sort -n")]
pub struct LsArgs {
    /// The directory, as kettle://HOST:PORT/PATH or unix:///SOCKET/PATH.
    #[arg(value_name = "URL[/PATH]", value_hint = ValueHint::Url)]
    pub url: String,
}

/// Bytes from the first to the last, which is included.
fn byte_range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().ok();
    let range = text.split_once('-').and_then(|(first, last)| {
        let end = match last {
            "" => u64::MAX,
            last => number(last)?.checked_add(1)?,
        };
        Some(number(first)?..end)
    });
    let range = range.ok_or("it is not FIRST-LAST or FIRST-, in bytes")?;
    match range.is_empty() {
        true => Err("its last byte stands before its first".to_owned()),
        false => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_their_last_byte() {
        assert_eq!(byte_range("0-0"), Ok(0..1));
        assert_eq!(byte_range("5-9"), Ok(5..10));
        assert_eq!(byte_range("5-"), Ok(5..u64::MAX));
        for text in ["", "5", "-5", "9-5", "a-b", "0-18446744073709551615"] {
            assert!(byte_range(text).is_err(), "{text}");
        }
    }
}
