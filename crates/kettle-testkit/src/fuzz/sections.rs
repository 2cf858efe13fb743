//! Metadata and statuses: what one end writes and the other reads, and what neither should.

use super::input::Input;
use super::transcript::output;
use crate::frames::{frame, hello, path};
use kettle_buf::Segment;
use kettle_proto::native::{Config, Connection};
use kettle_proto::{Closing, Code, Event, Head, Instant, Machine, Metadata, Status};

const PATH: &str = "/a.B/C";

/// Longest metadata that the ends of these targets read, and send, in bytes: kettle's default.
const METADATA_BYTES_MAX: usize = 16 * 1024;

/// Metadata is read as the document says; what was read can be sent, and arrives the same.
pub(super) fn metadata(input: &[u8]) {
    let mut server = greeted(Connection::server(Config::default(), now()));
    let section = with_length(input);
    let open = [&path(PATH)[..], &section].concat();
    feed(&mut server, &frame(0x01, 0x85, 0, 1, &open));
    let read = match server.poll_event() {
        Some(Event::Call { metadata, .. }) => metadata,
        Some(Event::Closed { error }) => {
            assert!(entries(input).is_none(), "{input:?}: {error:?}");
            return;
        }
        other => {
            // It is over the limit, and the call alone was refused.
            assert!(
                METADATA_BYTES_MAX < input.len() && other.is_none(),
                "{other:?}"
            );
            return;
        }
    };
    let meant = entries(input).expect("the document does not allow what was read");
    assert!(read.iter().map(owned).eq(meant.iter().cloned()));
    check_map(&read, &meant);
    assert!(arrives(&sent_metadata(read), &section, input.is_empty()));
}

/// A status is read as the document says; what was read can be sent, and arrives the same.
pub(super) fn status(input: &[u8]) {
    let (mut client, _) = calling(Metadata::new());
    feed(&mut client, &frame(0x02, 0x88, 0, 1, input));
    let meant = meant_status(input);
    match client.poll_event() {
        Some(Event::Finished { status, .. }) if !is_closed(&mut client) => {
            assert_eq!(Some(&status), meant.as_ref());
            assert_eq!(resent(status), meant.expect("it was read"));
        }
        // The connection broke with it.
        Some(Event::Finished { .. }) => assert_eq!(meant, None),
        other => panic!("{other:?}"),
    }
}

fn now() -> Instant {
    Instant::default()
}

/// An end that has read the other's hello.
fn greeted(mut machine: Connection) -> Connection {
    feed(&mut machine, &hello(&[(6, 1), (7, 1)]));
    assert!(matches!(machine.poll_event(), Some(Event::Ready)));
    machine
}

fn feed(machine: &mut Connection, bytes: &[u8]) {
    machine.handle_bytes(now(), Segment::copy_from_slice(bytes));
}

fn is_closed(machine: &mut Connection) -> bool {
    matches!(machine.poll_event(), Some(Event::Closed { .. }))
}

/// A client that has opened a call, and its output.
fn calling(metadata: Metadata) -> (Connection, Vec<u8>) {
    let mut client = greeted(Connection::client(Config::default(), now()));
    let head = Head {
        path: PATH,
        metadata,
        timeout: None,
    };
    client
        .open(now(), head, None, true)
        .expect("what was read can be sent");
    let output = output(&mut client, now(), u64::MAX);
    (client, output)
}

/// What a client puts into its OPEN behind the path.
fn sent_metadata(metadata: Metadata) -> Vec<u8> {
    let (_, output) = calling(metadata);
    let path = path(PATH);
    let place = output.windows(path.len()).position(|part| part == path);
    output[place.expect("a path") + path.len()..].to_vec()
}

fn arrives(sent: &[u8], section: &[u8], empty: bool) -> bool {
    // No metadata is no section.
    if empty {
        sent.is_empty()
    } else {
        sent == section
    }
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

type Entry = (String, Vec<u8>);

fn owned((key, value): (&str, &[u8])) -> Entry {
    (key.to_owned(), value.to_owned())
}

/// The entries of a metadata section, when it is one: docs/protocol.md, section 2.
fn entries(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (mut entries, mut input) = (Vec::new(), Input::new(bytes));
    while !input.is_empty() {
        let length = input.byte().into();
        let key = std::str::from_utf8(exactly(&mut input, length)?).ok()?;
        let length = u16::from_be_bytes(exactly(&mut input, 2)?.try_into().ok()?);
        let value = exactly(&mut input, length.into())?;
        let key_char = |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
        let printable = value.iter().all(|byte| (32..127).contains(byte));
        let right = key.chars().all(key_char) && (printable || key.ends_with("-bin"));
        if key.is_empty() || !right {
            return None;
        }
        entries.push((key.to_owned(), value.to_owned()));
    }
    Some(entries)
}

/// The status of a section that is whole and nothing else.
fn meant_status(bytes: &[u8]) -> Option<Status> {
    let mut input = Input::new(bytes);
    let code = Code::from_u32(number(&mut input)? as u32);
    let length = u16::from_be_bytes(exactly(&mut input, 2)?.try_into().ok()?);
    let message = std::str::from_utf8(exactly(&mut input, length.into())?).ok()?;
    let length = number(&mut input)?;
    let details = exactly(&mut input, length)?;
    let length = number(&mut input)?;
    let section = exactly(&mut input, length)?;
    let over = METADATA_BYTES_MAX < message.len() + details.len() + section.len();
    if over || !input.is_empty() {
        return None;
    }
    let mut metadata = Metadata::new();
    for (key, value) in entries(section)? {
        metadata.append(key, value).expect("it was checked");
    }
    let status = Status::new(code, message.to_owned()).with_details(details.to_vec());
    Some(status.with_metadata(metadata))
}

fn number(input: &mut Input<'_>) -> Option<usize> {
    let bytes = exactly(input, 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes) as usize)
}

fn exactly<'a>(input: &mut Input<'a>, n: usize) -> Option<&'a [u8]> {
    Some(input.take(n)).filter(|bytes| bytes.len() == n)
}

/// The status as a client gets it from a server.
fn resent(status: Status) -> Status {
    let (mut client, request) = calling(Metadata::new());
    let mut server = Connection::server(Config::default(), now());
    feed(&mut server, &request);
    assert!(matches!(server.poll_event(), Some(Event::Ready)));
    let Some(Event::Call { call, .. }) = server.poll_event() else {
        panic!("no call came");
    };
    let closing = Closing {
        status,
        ..Closing::default()
    };
    server.finish(call, closing);
    let reply = output(&mut server, now(), u64::MAX);
    // The client has read a hello already.
    let settings = usize::from(u16::from_be_bytes([reply[6], reply[7]]));
    feed(&mut client, &reply[8 + settings..]);
    match client.poll_event() {
        Some(Event::Finished { status, .. }) => status,
        other => panic!("{other:?}"),
    }
}

/// A map of entries does what a list of them does.
fn check_map(metadata: &Metadata, entries: &[Entry]) {
    assert_eq!(
        (metadata.len(), metadata.is_empty()),
        (entries.len(), entries.is_empty())
    );
    let Some((key, _)) = entries.last() else {
        return;
    };
    let first = entries.iter().find(|(have, _)| have == key);
    let value = first.map(|(_, value)| &**value);
    assert_eq!(metadata.get_bin(key), value);
    let text = value.filter(|_| !key.ends_with("-bin"));
    assert_eq!(metadata.get(key).map(str::as_bytes), text);

    let mut left: Vec<Entry> = entries.to_vec();
    left.retain(|(have, _)| have != key);
    let mut changed = metadata.clone();
    assert!(changed.remove(key) && !changed.remove(key));
    assert!(changed.iter().map(owned).eq(left.iter().cloned()));
    let mut changed = metadata.clone();
    changed.insert(key.clone(), "new").expect("a right key");
    left.push((key.clone(), b"new".to_vec()));
    assert!(changed.iter().map(owned).eq(left.iter().cloned()));
}
