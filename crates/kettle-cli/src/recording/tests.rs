//! Tests of the reader.

use super::*;

const HEAD: &str =
    r#"{"kettle_recording":1,"kettle":"0.1.0","started_unix_ms":5,"payloads":true,"bytes_max":9}"#;
const UNARY: &str = r#"{"at_us":1500,"connection":3,"method":"/a.B/C","kind":"unary","requests":1,"request_bytes":3,"replies":1,"reply_bytes":20,"took_us":7,"status":"OK","payloads":["Zm9v"]}"#;
const BIDI: &str = r#"{"at_us":700,"method":"/a.B/D\"","kind":"bidi","requests":2,"request_bytes":10,"replies":0,"reply_bytes":0,"took_us":9000,"status":"NOT_FOUND"}"#;
const MISSED: &str = r#"{"missed":4}"#;
const FULL: &str = r#"{"full_us":9}"#;
const END: &str = r#"{"end_us":9999,"calls":2,"unrecorded":0}"#;

fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn read(text: impl AsRef<[u8]>) -> Result<Recording, String> {
    Reader::default()
        .read(text.as_ref())
        .map_err(|why| match why {
            Unreadable::Content(why) => why,
            Unreadable::Io(error) => error.to_string(),
        })
}

#[test]
fn calls_come_by_their_arrival() {
    let recording = read(lines(&[HEAD, UNARY, BIDI, END])).unwrap();
    assert!(recording.payloads);
    assert_eq!(recording.warnings, [""; 0]);
    let [bidi, unary] = recording.calls.as_slice() else {
        panic!("{recording:?}")
    };
    let wanted = RecordedCall {
        at: Duration::from_micros(1500),
        connection: Some(3),
        method: "/a.B/C".into(),
        kind: Kind::Unary,
        requests: Flow {
            messages: 1,
            bytes: 3,
        },
        replies: Flow {
            messages: 1,
            bytes: 20,
        },
        took: Duration::from_micros(7),
        status: "OK".into(),
        payloads: Some(vec![Bytes::from("foo")]),
    };
    assert_eq!(unary, &wanted);
    assert_eq!(
        (&*bidi.method, bidi.kind, bidi.connection),
        ("/a.B/D\"", Kind::Bidi, None)
    );
    assert_eq!((&*bidi.status, &bidi.payloads), ("NOT_FOUND", &None));
}

#[test]
fn a_file_that_is_cut_anywhere_has_the_whole_calls_before() {
    let whole = lines(&[HEAD, UNARY, BIDI, MISSED, UNARY, &END.replace(":2,", ":3,")]);
    for cut in 0..whole.len() {
        let text = &whole[..cut];
        let before = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let calls = before.matches("at_us").count();
        match read(text) {
            Ok(recording) => {
                assert_eq!(recording.calls.len(), calls, "cut at {cut}");
                assert!(
                    recording.warnings[0].contains(&counted(calls, "whole call")),
                    "{recording:?}"
                );
            }
            Err(why) => {
                assert_eq!(calls, 0, "cut at {cut}: {why}");
                let wanted = match text.find('\n') {
                    _ if cut == 0 => "is empty",
                    None => "is no recording",
                    Some(_) => "has no calls",
                };
                assert!(why.starts_with(wanted), "cut at {cut}: {why}");
            }
        }
    }
    assert_eq!(read(whole).unwrap().calls.len(), 3);
}

#[test]
fn any_byte_may_be_wrong() {
    let whole = lines(&[HEAD, UNARY, BIDI, END]);
    let bytes = [0, b'\n', b'"', b'{', b'9', 0xff];
    for (at, byte) in (0..whole.len()).flat_map(|at| bytes.map(|byte| (at, byte))) {
        let mut text = whole.clone().into_bytes();
        text[at] = byte;
        if let Ok(recording) = read(&text) {
            assert!(
                (1..=2).contains(&recording.calls.len()),
                "{at} {byte}: {recording:?}"
            );
        }
    }
}

#[test]
fn what_is_missing_is_told() {
    for (text, wanted) in [
        (
            lines(&[HEAD, UNARY]),
            "it was not completed, because its server was killed or the file was cut; used: its 1 whole call",
        ),
        (
            lines(&[HEAD, UNARY, "{\"what\":1}", BIDI, END]),
            "line 3 does not belong into a recording; used: the 1 whole call before it",
        ),
        (
            lines(&[HEAD, UNARY, &UNARY.replace("Zm9v", "Zm9"), END]),
            "line 3 does not",
        ),
        (
            lines(&[HEAD, UNARY, &UNARY.replace("unary", "duplex"), END]),
            "line 3 does not",
        ),
        (lines(&[HEAD, UNARY, END]), "line 3 does not"),
        (
            lines(&[
                HEAD,
                UNARY,
                MISSED,
                &END.replace(":2,", ":1,").replace(":0}", ":4}"),
            ]),
            "not recorded: 4 further calls, because they came faster than they could be written",
        ),
        (
            lines(&[
                HEAD,
                UNARY,
                FULL,
                &END.replace(":2,", ":1,").replace(":0}", ":70}"),
            ]),
            "not recorded: 70 further calls, because the file had reached its limit after 9.0",
        ),
        (
            lines(&[HEAD, UNARY, FULL]),
            "not recorded: further calls, because the file had reached its limit",
        ),
    ] {
        let recording = read(text).unwrap();
        assert!(
            recording.warnings.iter().any(|it| it.starts_with(wanted)),
            "{:?}",
            recording.warnings
        );
        assert_eq!(recording.calls.len(), 1);
    }
}

#[test]
fn a_file_that_is_something_else_is_refused() {
    for (text, wanted) in [
        ("", "is empty"),
        ("hello\n", "is no recording"),
        ("{\"kettle_recording\":\"1\"}\n", "is no recording"),
        ("{}\n", "is no recording"),
        ("\n", "is no recording"),
        (&lines(&[HEAD, END]), "has no calls"),
        (
            &lines(&[
                &HEAD.replace(":1,", ":2,").replace("0.1.0", "0.9.0"),
                "{\"new\":0}",
            ]),
            "is a recording of version 2, written by kettle 0.9.0; this program reads version 1",
        ),
        (
            "{\"kettle_recording\":0}\n",
            "is a recording of version 0; this program reads version 1",
        ),
    ] {
        let why = read(text).unwrap_err();
        assert!(why.starts_with(wanted), "{text:?}: {why}");
    }
}

#[test]
fn a_line_without_end_is_bounded() {
    let endless = io::Cursor::new(lines(&[HEAD, UNARY])).chain(io::repeat(b'x'));
    let recording = Reader::default().read(BufReader::new(endless)).unwrap();
    assert!(
        recording.warnings[0].starts_with("its last line is cut"),
        "{recording:?}"
    );
    let noise = BufReader::new(io::repeat(0));
    assert!(matches!(
        Reader::default().read(noise),
        Err(Unreadable::Content(_))
    ));
}
