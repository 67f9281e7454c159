//! What each kind of entry becomes on disk.

use std::fs;

use imaged::layer::UnpackOptions;

use crate::builder::{Item, dir, file, hard_link, symlink, tar};
use crate::support::Unpack;

/// A capability as `setcap cap_net_raw+ep` stores it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Unpacks, compares the tree, and requires the tar to come back.
fn check(items: impl IntoIterator<Item = Item>, expected: &[&str]) {
    check_with(items, &UnpackOptions::default(), expected);
}

fn check_with(items: impl IntoIterator<Item = Item>, options: &UnpackOptions, expected: &[&str]) {
    let tar = tar(items);
    let unpack = Unpack::with(&tar[..], options);
    unpack.result.as_ref().unwrap();
    assert_eq!(unpack.tree().lines().collect::<Vec<_>>(), expected);
    let (out, rebuilt) = unpack.rebuild();
    let rebuilt = rebuilt.unwrap();
    assert!(out == tar);
    assert_eq!(rebuilt.diff_id, unpack.result.as_ref().unwrap().diff_id);
}

#[test]
fn every_kind_of_file() {
    check(
        [
            dir("./").mode(0o700).owner(9, 9),
            dir("d/").mode(0o1777).owner(1, 2),
            file("d/suid", "x").mode(0o6755).owner(1000, 1001),
            file("d/empty", "").mode(0o400),
            symlink("d/link", "/../nowhere").owner(3, 4),
            hard_link("d/hard", "./d/suid").mode(0o6755).owner(1000, 1001),
            Item::new(b'3', "d/null").device(1, 3).mode(0o666),
            Item::new(b'4', "d/disk").device(259, 65536).mode(0o660).owner(0, 6),
            Item::new(b'6', "d/fifo").mode(0o600),
        ],
        &[
            "d 041777 1:2 1600000000.000000000",
            "d/disk 060660 0:6 259:65536 1600000000.000000000",
            "d/empty 100400 0:0 0 bytes 1600000000.000000000",
            "d/fifo 010600 0:0 1600000000.000000000",
            "d/hard 106755 1000:1001 1 bytes 1600000000.000000000 links=2",
            "d/link 120777 3:4 1600000000.000000000 -> /../nowhere",
            "d/null 020666 0:0 1:3 1600000000.000000000",
            "d/suid 106755 1000:1001 1 bytes 1600000000.000000000 links=2",
        ],
    );
}

#[test]
fn missing_parents_and_merged_directories() {
    check(
        [
            file("a/b/f", "x"),
            dir("a/").mode(0o700).owner(5, 5),
            file("/abs/./f", ""),
            dir("setgid/").mode(0o2755).owner(0, 7),
            file("setgid/sub/f", ""),
        ],
        &[
            "a 040700 5:5 1600000000.000000000",
            "a/b 040755 0:0 now",
            "a/b/f 100644 0:0 1 bytes 1600000000.000000000",
            "abs 040755 0:0 now",
            "abs/f 100644 0:0 0 bytes 1600000000.000000000",
            "setgid 042755 0:7 1600000000.000000000",
            "setgid/sub 040755 0:0 now",
            "setgid/sub/f 100644 0:0 0 bytes 1600000000.000000000",
        ],
    );
}

#[test]
fn times() {
    check(
        [
            file("old", "").header(|header| {
                // Binary: before the epoch, which Go clamps, except for symbolic links.
                header.as_old_mut().mtime = [0xff; 12];
            }),
            file("fine", "").pax("mtime", "1500000000.000000001").pax("atime", "1400000000"),
            symlink("link", "x").pax("mtime", "-1.5"),
        ],
        &[
            "fine 100644 0:0 0 bytes 1500000000.000000001",
            "link 120777 0:0 -2.500000000 -> x",
            "old 100644 0:0 0 bytes 0.000000000",
        ],
    );
}

#[test]
fn attributes() {
    let forged = |item: Item| {
        item.pax("SCHILY.xattr.trusted.overlay.redirect", "/etc")
            .pax("SCHILY.xattr.user.overlay.opaque", "y")
            .pax("SCHILY.xattr.user.containers.override_stat", "0:0:0755")
            .pax("SCHILY.xattr.user.fuseoverlayfs.opaque", "y")
            .pax("SCHILY.xattr.security.selinux", "label")
    };
    check(
        [
            forged(dir("d").pax("SCHILY.xattr.user.d", "1")),
            forged(file("cap", "x"))
                .owner(1, 1)
                .pax("SCHILY.xattr.security.capability", CAPABILITY),
            file("f", "x").mode(0o400).pax("SCHILY.xattr.user.any", b"\0\n=\xff"),
            // Only links without the attribute, and one with another owner that has it.
            hard_link("f2", "f").mode(0o400),
            hard_link("cap2", "cap").owner(1, 1),
            symlink("l", "f").pax("SCHILY.xattr.trusted.l", "2"),
            Item::new(b'6', "p").pax("SCHILY.xattr.trusted.p", ""),
        ],
        &[
            "cap 100644 1:1 1 bytes 1600000000.000000000 links=2 \
             security.capability=\\x01\\x00\\x00\\x02\\x00 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\
             \\x00\\x00\\x00\\x00\\x00\\x00",
            "cap2 100644 1:1 1 bytes 1600000000.000000000 links=2 \
             security.capability=\\x01\\x00\\x00\\x02\\x00 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\
             \\x00\\x00\\x00\\x00\\x00\\x00",
            "d 040755 0:0 1600000000.000000000 user.d=1",
            "f 100400 0:0 1 bytes 1600000000.000000000 links=2 user.any=\\x00\\n=\\xff",
            "f2 100400 0:0 1 bytes 1600000000.000000000 links=2 user.any=\\x00\\n=\\xff",
            "l 120777 0:0 1600000000.000000000 trusted.l=2 -> f",
            "p 010644 0:0 1600000000.000000000 trusted.p=",
        ],
    );
}

#[test]
fn last_entry_of_a_hard_linked_file_counts() {
    check(
        [
            file("f", "x").mode(0o4755).owner(1, 1),
            hard_link("g", "f").mode(0o600).owner(2, 3),
            symlink("s", "f").owner(1, 1),
            hard_link("t", "s").owner(4, 4),
        ],
        &[
            "f 100600 2:3 1 bytes 1600000000.000000000 links=2",
            "g 100600 2:3 1 bytes 1600000000.000000000 links=2",
            "s 120777 4:4 1600000000.000000000 links=2 -> f",
            "t 120777 4:4 1600000000.000000000 links=2 -> f",
        ],
    );
}

#[test]
fn whiteouts() {
    check(
        [
            file(".wh.gone", "").owner(1, 2).mode(0),
            // Below something deleted, and below something that never was a directory.
            file("gone/.wh.child", ""),
            file("gone/deep/.wh.child", ""),
            file("gone/.wh..wh..opq", ""),
            file(".wh.back", ""),
            file("back", "x"),
            file(".wh.dir", ""),
            dir("dir"),
            file("dir/f", "y"),
            file("new/.wh..wh..opq", "payload"),
            file(".wh..wh.plnk", ""),
        ],
        &[
            ".wh.plnk 020000 0:0 0:0 now",
            "back 100644 0:0 1 bytes 1600000000.000000000",
            "dir 040755 0:0 1600000000.000000000",
            "dir/f 100644 0:0 1 bytes 1600000000.000000000",
            "gone 020000 1:2 0:0 now",
            "new 040755 0:0 now trusted.overlay.opaque=y",
        ],
    );
}

#[test]
fn in_a_user_namespace() {
    let mut options = UnpackOptions::default();
    options.user_namespace = true;
    check_with(
        [
            Item::new(b'3', "null").device(1, 3),
            Item::new(b'6', "fifo"),
            file("d/.wh..wh..opq", ""),
            file("d/.wh.x", ""),
        ],
        &options,
        &[
            "d 040755 0:0 now user.overlay.opaque=y",
            "d/x 020000 0:0 0:0 now",
            "fifo 010644 0:0 1600000000.000000000",
        ],
    );
}

#[test]
fn names_behind_symbolic_links_stay_inside() {
    check(
        [
            dir("real"),
            symlink("abs", "/real"),
            symlink("up", "../../../real"),
            symlink("real/back", "/"),
            file("abs/a", "1"),
            file("up/b", "22"),
            file("abs/back/c", "333"),
            dir("abs/sub").mode(0o700),
            hard_link("abs/d", "up/b"),
            file("up/.wh.e", ""),
        ],
        &[
            "abs 120777 0:0 1600000000.000000000 -> /real",
            "c 100644 0:0 3 bytes 1600000000.000000000",
            "real 040755 0:0 1600000000.000000000",
            "real/a 100644 0:0 1 bytes 1600000000.000000000",
            "real/b 100644 0:0 2 bytes 1600000000.000000000 links=2",
            "real/back 120777 0:0 1600000000.000000000 -> /",
            "real/d 100644 0:0 2 bytes 1600000000.000000000 links=2",
            "real/e 020000 0:0 0:0 now",
            "real/sub 040700 0:0 1600000000.000000000",
            "up 120777 0:0 1600000000.000000000 -> ../../../real",
        ],
    );
}

#[test]
fn later_names_for_the_same_path_win() {
    // Tools that overwrite cannot give such a layer out again, nor can we; but it can be used.
    for _ in 0..20 {
        let unpack = Unpack::of(
            &tar([
                dir("d"),
                symlink("l", "d"),
                file("d/f", "old"),
                file("l/f", "newer"),
                file("d/x/y", "1"),
                file("l/x", "2"),
                symlink("d/s", "x"),
                dir("l/s"),
                file("implied/f", "3"),
                file("implied", ""),
            ])[..],
        );
        unpack.result.as_ref().unwrap();
        assert_eq!(
            unpack.tree(),
            "d 040755 0:0 1600000000.000000000\n\
             d/f 100644 0:0 5 bytes 1600000000.000000000\n\
             d/s 040755 0:0 1600000000.000000000\n\
             d/x 100644 0:0 1 bytes 1600000000.000000000\n\
             implied 100644 0:0 0 bytes 1600000000.000000000\n\
             l 120777 0:0 1600000000.000000000 -> d\n"
        );
        let error = unpack.rebuild().1.unwrap_err().to_string();
        assert_eq!(error, "file \"d/f\" of the layer's tree was changed: its size differs");
    }
}

#[test]
fn many_files_of_all_sizes_arrive() {
    let sizes = [1, 511, 512, 513, 262_143, 262_144, 262_145, 3_000_000];
    let content = |n: usize| -> Vec<u8> {
        let size = sizes[n % sizes.len()] + n;
        (0..size).map(|i| u8::try_from((i * 31 + n) % 253).unwrap()).collect()
    };
    let items = (0..64).flat_map(|n| {
        let (name, link) = (format!("d{}/f{n}", n % 5), format!("d{}/l{n}", n % 5));
        [file(&name, content(n)), hard_link(&link, &name), symlink(format!("s{n}"), &name)]
    });
    let tar = tar(items);
    for input in [tar.clone(), zstd::encode_all(&tar[..], 1).unwrap()] {
        let unpack = Unpack::of(&input[..]);
        let info = unpack.result.as_ref().unwrap();
        assert_eq!((info.diff_size, info.compressed_size), (tar.len() as u64, input.len() as u64));
        for n in 0..64 {
            let read = fs::read(unpack.root().join(format!("d{}/l{n}", n % 5))).unwrap();
            assert!(read == content(n), "{n}");
        }
        assert!(unpack.rebuild().0 == tar);
    }
}
