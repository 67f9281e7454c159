//! Tars written by GNU tar: we make the same tree of them as GNU tar does, and give them out again.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::support::{Unpack, tree};

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with one of everything.
fn populate(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("usr/share/long")).unwrap();
    fs::create_dir(at("tmp")).unwrap();
    fs::set_permissions(at("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(at("usr/a"), "a").unwrap();
    fs::hard_link(at("usr/a"), at("usr/b")).unwrap();
    fs::hard_link(at("usr/a"), at("tmp/c")).unwrap();
    fs::write(at("usr/suid"), vec![3; 100_000]).unwrap();
    chown(at("usr/suid"), Some(3_000_000), Some(70_000)).unwrap();
    fs::set_permissions(at("usr/suid"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::write(at("usr/large"), vec![9; 3_000_000]).unwrap();
    fs::write(at("usr/empty"), "").unwrap();
    symlink("../usr/a", at("tmp/link")).unwrap();
    symlink("x".repeat(300), at("tmp/long-target")).unwrap();
    rustix::fs::mknodat(
        CWD,
        at("null"),
        FileType::CharacterDevice,
        Mode::from(0o666),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from(0o622), 0).unwrap();
    let mut long = at("usr/share/long");
    for _ in 0..4 {
        long.push("n".repeat(90));
    }
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("m".repeat(120)), "long").unwrap();
    fs::hard_link(long.join("m".repeat(120)), long.join("o".repeat(200))).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"not \xff\xfe text")), "raw").unwrap();
    fs::write(at("new\nline \"quoted\" \\ \u{e4}\u{2028}"), "odd").unwrap();
    set_time(&at("usr/a"), 1_500_000_000, 123_456_789);
    set_time(&at("tmp/link"), 1_400_000_000, 5);
    set_time(&at("usr/share"), 1_300_000_000, 7);
}

fn add_attributes(root: &Path) {
    let set = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(root.join(name), key, value, XattrFlags::empty()).unwrap();
    };
    set("usr/a", "user.one", b"1\n2=\xff");
    set("usr/suid", "trusted.two", b"\0");
    set("tmp", "user.dir", &[b'x'; 3000]);
    // cap_net_raw+ep
    set("usr/empty", "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
}

fn check(options: &[&str], attributes: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (source, copy, tar) = (dir.path().join("in"), dir.path().join("out"), dir.path().join("t"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&copy).unwrap();
    populate(&source);
    if attributes {
        add_attributes(&source);
    }
    run(Command::new("tar").args(options).arg("-C").arg(&source).arg("-cf").arg(&tar).arg("."));
    run(Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-p"])
        .arg("-C")
        .arg(&copy)
        .arg("-xf")
        .arg(&tar));
    let unpack = Unpack::of(File::open(&tar).unwrap());
    unpack.result.as_ref().unwrap();
    assert_eq!(unpack.tree(), tree(&copy), "{options:?}");
    assert!(unpack.rebuild().0 == fs::read(&tar).unwrap(), "{options:?}");
}

#[test]
fn posix_format_with_attributes() {
    check(&["--format=posix", "--xattrs", "--xattrs-include=*"], true);
}

#[test]
fn posix_format_with_sparse_files_of_each_version() {
    for version in ["0.0", "0.1", "1.0"] {
        let version = format!("--sparse-version={version}");
        check_sparse(&["--format=posix", "--sparse", &version]);
    }
}

fn check_sparse(options: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let (source, tar) = (dir.path().join("in"), dir.path().join("t"));
    fs::create_dir(&source).unwrap();
    let holes = File::create(source.join("holes")).unwrap();
    for n in 0..100u8 {
        holes.write_all_at(&[n + 1; 5000], u64::from(n) * 1_000_000).unwrap();
    }
    holes.set_len(200_000_000).unwrap();
    File::create(source.join("hole")).unwrap().set_len(10_000_000).unwrap();
    fs::write(source.join("plain"), "plain").unwrap();
    run(Command::new("tar").args(options).arg("-C").arg(&source).arg("-cf").arg(&tar).arg("."));
    assert!(fs::metadata(&tar).unwrap().len() < 2_000_000, "tar did not notice the holes");
    let unpack = Unpack::of(File::open(&tar).unwrap());
    unpack.result.as_ref().unwrap();
    for name in ["holes", "hole", "plain"] {
        run(Command::new("cmp").arg(source.join(name)).arg(unpack.root().join(name)));
    }
    assert!(unpack.rebuild().0 == fs::read(&tar).unwrap(), "{options:?}");
}

#[test]
fn gnu_format() {
    check(&["--format=gnu"], false);
    check(&["--format=oldgnu"], false);
}

#[test]
fn ustar_format_where_it_can() {
    // It has no room for the long names and large owners.
    check(&["--format=ustar", "--exclude=long", "--exclude=suid", "--exclude=long-target"], false);
    check(
        &[
            "--format=v7",
            "--exclude=long",
            "--exclude=suid",
            "--exclude=long-target",
            "--exclude=null",
            "--exclude=fifo",
        ],
        false,
    );
}

#[test]
fn old_sparse_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("t");
    File::create(dir.path().join("hole")).unwrap().set_len(10_000_000).unwrap();
    run(Command::new("tar")
        .args(["--format=gnu", "-S", "-C"])
        .arg(dir.path())
        .arg("-cf")
        .arg(&tar)
        .arg("hole"));
    assert_eq!(Unpack::of(File::open(&tar).unwrap()).error(), "unhandled tar header type 83");
}
