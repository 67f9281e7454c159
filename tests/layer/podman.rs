//! The same tars imported by Podman give the same trees.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::builder::{Item, dir, file, hard_link, symlink, tar};
use crate::support::{Unpack, tree};

/// A store of Podman's own.
struct Store(tempfile::TempDir);

impl Store {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn podman(&self) -> Command {
        let at = |name: &str| self.0.path().join(name);
        let mut command = Command::new("podman");
        command.arg("--root").arg(at("root")).arg("--runroot").arg(at("run"));
        command.arg("--tmpdir").arg(at("tmp")).args(["--storage-driver", "overlay"]);
        command
    }

    /// The tree of the one layer, and the tar-split; or Podman's error.
    fn import(&self, tar: &[u8]) -> Result<(PathBuf, PathBuf), String> {
        let input = self.0.path().join("in.tar");
        fs::write(&input, tar).unwrap();
        let output = self.podman().args(["import", "-q"]).arg(&input).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8(output.stderr).unwrap());
        }
        let root = self.0.path().join("root");
        let is_layer = |entry: &fs::DirEntry| entry.file_name().len() == 64;
        let find = |dir: &Path| fs::read_dir(dir).unwrap().map(Result::unwrap).find(is_layer);
        let layer = find(&root.join("overlay")).unwrap();
        let split = format!("{}.tar-split.gz", layer.file_name().to_str().unwrap());
        Ok((layer.path().join("diff"), root.join("overlay-layers").join(split)))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Podman leaves a bind mount of the driver's directory behind.
        let _ = Command::new("umount").arg(self.0.path().join("root/overlay")).output();
    }
}

fn same(items: impl IntoIterator<Item = Item>) {
    let tar = tar(items);
    let store = Store::new();
    let (podman, split) = store.import(&tar).unwrap();
    let ours = Unpack::of(&tar[..]);
    ours.result.as_ref().unwrap();
    assert_eq!(ours.tree(), tree(&podman));
    // Each tar-split goes with each tree.
    for (split, root) in [(split, ours.root()), (ours.dir.path().join("split"), podman)] {
        let (out, rebuilt) = crate::support::rebuild(fs::File::open(split).unwrap(), &[&root]);
        rebuilt.unwrap();
        assert!(out == tar);
    }
}

#[test]
fn trees() {
    same([
        dir("./").mode(0o700).owner(9, 9),
        dir("d/").mode(0o1777).owner(1, 2),
        file("d/suid", "x").mode(0o6755).owner(1000, 1001),
        symlink("d/link", "/../nowhere").owner(3, 4),
        hard_link("d/hard", "./d/suid").mode(0o4711).owner(1000, 1002),
        Item::new(b'3', "d/null").device(1, 3).mode(0o666),
        Item::new(b'4', "d/disk").device(259, 65536).mode(0o660).owner(0, 6),
        Item::new(b'6', "d/fifo").mode(0o600),
        file("missing/parents/f", "").pax("mtime", "1500000000.123456789"),
        dir("missing").mode(0o500),
        file("cap", "x").mode(0o755).pax(
            "SCHILY.xattr.security.capability",
            b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
        file("attr", "x").pax("SCHILY.xattr.user.any", b"v").pax("SCHILY.xattr.trusted.t", b"t"),
        dir("\u{e4}").owner(2_000_000, 2_000_000),
        file(b"raw\xff", "raw"),
        file(b"\xfe/empty", ""),
        Item::new(0, "v7dir/"),
        Item::new(0, "v7file").content("1"),
        Item::new(b'0', "slash/").content("2"),
        symlink("slink", "d"),
        file("slink/through", "3"),
    ]);
}

#[test]
fn whiteouts() {
    same([
        file(".wh.gone", "").owner(1, 2).mode(0),
        file("gone/.wh.child", ""),
        file("gone/deep/.wh.child", ""),
        file(".wh.back", ""),
        file("back", "x"),
        file(".wh.dir", ""),
        dir("dir"),
        file("dir/f", "y"),
        file("new/.wh..wh..opq", ""),
        file("new/f", ""),
        file(".wh..wh.plnk", ""),
    ]);
}

#[test]
fn times() {
    same([
        file("old", "").header(|header| header.as_old_mut().mtime = [0xff; 12]),
        dir("epoch").header(|header| header.set_mtime(0)),
        dir("old-dir").header(|header| header.as_old_mut().mtime = [0xff; 12]),
        symlink("old-link", "x").pax("mtime", "-1.5"),
        file("far", "").pax("mtime", "4102444800.5"),
    ]);
}

#[test]
fn refusals() {
    let cases: [(&str, Vec<Item>); 6] = [
        ("duplicates of file paths", vec![file("a", ""), file("./a", "")]),
        ("duplicates of file paths", vec![dir("a"), dir("a/")]),
        ("unhandled tar header type 55", vec![Item::new(b'7', "a")]),
        ("file exists", vec![file("a", ""), file(".wh.a", "")]),
        ("not a directory", vec![file("a", ""), file("a/b", "")]),
        ("no such file or directory", vec![hard_link("l", "missing")]),
    ];
    for (message, items) in cases {
        let tar = tar(items);
        let podman = Store::new().import(&tar).unwrap_err();
        assert!(podman.contains(message), "{podman}");
        let ours = Unpack::of(&tar[..]).error().to_lowercase();
        assert!(ours.contains(message), "{ours}");
    }
}
