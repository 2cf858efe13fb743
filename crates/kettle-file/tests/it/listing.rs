//! Lists of entries.

use crate::harness::{block_on, code, host};
use kettle::{Code, Model};
use kettle_file::v1::{Entry, FileKind, ListRequest};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

#[test]
fn entries_are_told_with_what_they_are() {
    let host = host(Model::Epoll);
    std::fs::create_dir(host.at("d")).unwrap();
    host.write("d/f", "12345");
    host.write("x", "123");
    symlink("x", host.at("link")).unwrap();
    File::create(host.at("").join(OsStr::from_bytes(b"a\xffb"))).unwrap();
    let mut entries = BTreeMap::new();
    let each = |entry: Entry| {
        entries.insert(entry.name.clone(), entry);
    };
    block_on(kettle_file::list(&host.channel(), "", each)).unwrap();
    let told = entries.values().map(|entry| {
        let info = entry.info.as_ref().unwrap();
        let size = (info.kind() == FileKind::Regular).then_some(info.size);
        (&*entry.name, entry.name_is_lossy, info.kind(), size)
    });
    let wanted = [
        ("a\u{fffd}b", true, FileKind::Regular, Some(0)),
        ("d", false, FileKind::Directory, None),
        ("link", false, FileKind::Symlink, None),
        ("x", false, FileKind::Regular, Some(3)),
    ];
    assert!(told.eq(wanted), "{entries:?}");
}

#[test]
fn a_large_directory_comes_in_pages() {
    let host = host(Model::Epoll);
    std::fs::create_dir(host.at("d")).unwrap();
    for number in 0..1000 {
        host.write(&format!("d/{number}"), "");
    }
    let path = "d".to_owned();
    let (pages, mut names) = block_on(async {
        let mut pages = host
            .client()
            .list(ListRequest { path })
            .await
            .unwrap()
            .into_inner();
        let (mut count, mut names) = (0, Vec::new());
        while let Some(page) = pages.message().await.unwrap() {
            count += 1;
            assert!((1..=256).contains(&page.entries.len()));
            names.extend(page.entries.into_iter().map(|entry| entry.name));
        }
        (count, names)
    });
    names.sort();
    names.dedup();
    assert_eq!((pages, names.len()), (4, 1000));
}

#[test]
fn what_is_no_directory_is_not_listed() {
    let host = host(Model::Epoll);
    host.write("x", "");
    for (path, wanted) in [("x", Code::FailedPrecondition), ("missing", Code::NotFound)] {
        let listed = block_on(kettle_file::list(&host.channel(), path, |_| {}));
        assert_eq!(code(listed), wanted);
    }
}
