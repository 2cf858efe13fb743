//! Ranges of files.

use crate::harness::{block_on, code, content, host, read, whole};
use crate::on_models;
use kettle::{Code, Model};
use kettle_file::CHUNK_BYTES;
use kettle_file::v1::{FileKind, ReadRequest, StatRequest};
use std::fs::File;

on_models! {
    ranges_are_read
    a_file_beyond_four_gibibytes_is_read
    a_file_that_shrinks_ends_its_call
}

fn ranges_are_read(model: Model) {
    let host = host(model);
    let client = host.client();
    let chunk = CHUNK_BYTES as usize;
    for size in [
        0,
        1,
        4095,
        4096,
        4097,
        chunk - 1,
        chunk,
        chunk + 1,
        3 * chunk + 7,
    ] {
        let bytes = content(size);
        host.write("x", &bytes);
        for offset in [0, 1, 31, 4095, 4096, size.saturating_sub(1), size] {
            let lengths = [None, Some(0), Some(1), Some(4097), Some(u64::MAX)];
            for length in lengths.into_iter().filter(|_| offset <= size) {
                let request = ReadRequest {
                    offset: offset as u64,
                    length,
                    ..whole("x")
                };
                let wanted = length.map_or(usize::MAX, |length| length as usize);
                let end = size.min(offset.saturating_add(wanted));
                let got = read(&client, request).unwrap();
                assert!(got == bytes[offset..end], "{size} {offset} {length:?}");
            }
        }
        let beyond = ReadRequest {
            offset: size as u64 + 1,
            ..whole("x")
        };
        assert_eq!(code(read(&client, beyond)), Code::OutOfRange);
    }
}

fn a_file_beyond_four_gibibytes_is_read(model: Model) {
    use std::os::unix::fs::FileExt;
    let host = host(model);
    let (file, far) = (File::create(host.at("x")).unwrap(), 5u64 << 30);
    let bytes = content(100_000);
    file.write_all_at(&bytes, far).unwrap();
    let request = ReadRequest {
        offset: far + 5,
        ..whole("x")
    };
    assert!(read(&host.client(), request).unwrap() == bytes[5..]);
}

/// What was announced and cannot be had breaks the connection; what was not ends the call. It never looks as if it
/// were all.
fn a_file_that_shrinks_ends_its_call(model: Model) {
    let host = host(model);
    let file = File::create(host.at("x")).unwrap();
    file.set_len(1 << 30).unwrap();
    host.write("other", "still here");
    let status = block_on(async {
        let mut replies = host.client().read(whole("x")).await.unwrap().into_inner();
        replies.message().await.unwrap().expect("it is long");
        file.set_len(4096).unwrap();
        loop {
            match replies.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("all that was left passed for the whole"),
                Err(status) => break status,
            }
        }
    });
    assert!(
        matches!(status.code(), Code::DataLoss | Code::Unavailable),
        "{status:?}"
    );
    assert_eq!(read(&host.client(), whole("other")).unwrap(), b"still here");
}

#[test]
fn another_version_is_not_read() {
    let host = host(Model::Epoll);
    let client = host.client();
    host.write("x", "first");
    let stat = |checksum| {
        let path = "x".to_owned();
        block_on(client.stat(StatRequest { path, checksum }))
            .unwrap()
            .into_inner()
    };
    let version = || stat(false).info.unwrap().version;
    let first = ReadRequest {
        version: version(),
        ..whole("x")
    };
    assert_eq!(read(&client, first.clone()).unwrap(), b"first");
    assert_eq!(version(), first.version);
    host.write("x", "second");
    assert_eq!(code(read(&client, first)), Code::Aborted);
}

#[test]
fn a_stat_tells_what_a_file_is() {
    let host = host(Model::Epoll);
    host.write("x", content(100_000));
    std::fs::create_dir(host.at("d")).unwrap();
    let stat = |path: &str, checksum| {
        let path = path.to_owned();
        block_on(host.client().stat(StatRequest { path, checksum }))
    };
    let reply = stat("x", true).unwrap().into_inner();
    let info = reply.info.unwrap();
    assert_eq!((info.kind(), info.size), (FileKind::Regular, 100_000));
    let wanted = crc32c::crc32c(&content(100_000));
    assert_eq!(reply.crc32c, Some(wanted));
    let reply = stat("x", false).unwrap().into_inner();
    assert_eq!((reply.info.unwrap(), reply.crc32c), (info, None));
    for path in ["d", "", "."] {
        let kind = stat(path, false).unwrap().into_inner().info.unwrap().kind();
        assert_eq!(kind, FileKind::Directory, "{path:?}");
    }
    assert_eq!(code(stat("d", true)), Code::FailedPrecondition);
    assert_eq!(code(stat("missing", true)), Code::NotFound);
}

#[test]
fn chunks_are_as_long_as_asked_for() {
    let host = host(Model::Epoll);
    host.write("x", content(100_000));
    for (chunk_bytes, messages) in [(4096, 25), (0, 1), (3 << 20, 1)] {
        let request = ReadRequest {
            chunk_bytes,
            ..whole("x")
        };
        let count = block_on(async {
            let mut replies = host.client().read(request).await.unwrap().into_inner();
            let mut count = 0;
            while replies.message().await.unwrap().is_some() {
                count += 1;
            }
            count
        });
        assert_eq!(count, messages, "{chunk_bytes}");
    }
    for chunk_bytes in [1, 4095, (3 << 20) + 1, u32::MAX] {
        let request = ReadRequest {
            chunk_bytes,
            ..whole("x")
        };
        assert_eq!(code(read(&host.client(), request)), Code::InvalidArgument);
    }
}

#[test]
fn so_many_files_are_read_at_a_time() {
    let host = host(Model::Epoll);
    let file = File::create(host.at("x")).unwrap();
    file.set_len(1 << 30).unwrap();
    let client = host.client();
    let read_some = || block_on(client.read(whole("x")));
    let mut open: Vec<_> = (0..512).map(|_| read_some().unwrap()).collect();
    assert_eq!(code(read_some()), Code::ResourceExhausted);
    open.pop();
    crate::harness::until("a free place", || read_some().is_ok());
}
