//! Listings of directory trees: one comparable line per path with everything an image carries.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Escaped path → type, mode, owner, times, content, extended attributes, first name of a link.
pub(crate) type Tree = BTreeMap<String, String>;

/// Lists everything below `root`, which is usually a mounted image. The root's own times are
/// left out: they belong to the mount, not to the image.
pub(crate) fn list(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut links = HashMap::new();
    walk(root, root, &mut tree, &mut links);
    tree
}

/// Names and sizes below `root`, without the content: what a refused request must not change.
pub(crate) fn outline(root: &Path) -> Tree {
    let mut tree = Tree::new();
    outline_below(root, root, &mut tree);
    tree
}

/// Panics with the differing lines, which a plain `assert_eq!` of thousands would hide.
#[track_caller]
pub(crate) fn assert_same(actual: &Tree, expected: &Tree) {
    let mut differences = Vec::new();
    for path in actual.keys().chain(expected.keys().filter(|path| !actual.contains_key(*path))) {
        let (left, right) = (actual.get(path), expected.get(path));
        if left != right {
            differences.push(format!("{path}\n  actual:   {left:?}\n  expected: {right:?}"));
        }
    }
    let count = differences.len();
    differences.truncate(20);
    assert_eq!(count, 0, "{count} paths differ:\n{}", differences.join("\n"));
}

fn walk(root: &Path, path: &Path, tree: &mut Tree, links: &mut HashMap<(u64, u64), String>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let name = escape(path.strip_prefix(root).unwrap().as_os_str());
    let mut line = describe(path, &metadata);
    if path != root {
        line.push_str(&format!(" mtime={}.{:09}", metadata.mtime(), metadata.mtime_nsec()));
    }
    if !metadata.is_dir() && metadata.nlink() > 1 {
        let key = (metadata.dev(), metadata.ino());
        let first = links.entry(key).or_insert_with(|| name.clone());
        line.push_str(&format!(" link={first}"));
    }
    tree.insert(name, line);
    if metadata.is_dir() {
        for entry in sorted(path) {
            walk(root, &entry, tree, links);
        }
    }
}

fn describe(path: &Path, metadata: &Metadata) -> String {
    let kind = metadata.file_type();
    let mut line = if kind.is_dir() {
        "dir".to_owned()
    } else if kind.is_symlink() {
        format!("symlink to={}", escape(fs::read_link(path).unwrap().as_os_str()))
    } else if kind.is_file() {
        format!("file size={} sha256={}", metadata.len(), digest(path))
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else if kind.is_char_device() {
        format!("char {:x}", metadata.rdev())
    } else if kind.is_block_device() {
        format!("block {:x}", metadata.rdev())
    } else {
        "socket".to_owned()
    };
    let owner = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    line.push_str(&format!(" mode={:04o} owner={}:{}", owner.0, owner.1, owner.2));
    for (name, value) in xattrs(path) {
        line.push_str(&format!(" {name}={}", escape(OsStr::from_bytes(&value))));
    }
    line
}

/// Extended attributes by name, without those of the mount itself.
fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 * 1024];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        if name.contains(".overlay.") || name == "security.selinux" {
            continue;
        }
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]).unwrap();
        value.truncate(length);
        found.insert(name, value);
    }
    found
}

fn outline_below(root: &Path, path: &Path, tree: &mut Tree) {
    // Lock files carry only the mark of the last writer, which any tool may refresh.
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    let name = escape(path.strip_prefix(root).unwrap().as_os_str());
    if metadata.is_dir() {
        for entry in sorted(path) {
            outline_below(root, &entry, tree);
        }
        tree.insert(name, format!("dir {:o}", metadata.mode()));
    } else if !name.ends_with(".lock") {
        tree.insert(name, format!("{:o} {}", metadata.mode(), metadata.len()));
    }
}

fn sorted(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// Hex SHA-256 of a file.
pub(crate) fn digest(path: &Path) -> String {
    let mut file = fs::File::open(path).unwrap();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hex(&hasher.finalize()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path as text without loss: what is not printable ASCII as `\xNN`.
fn escape(path: &OsStr) -> String {
    path.as_bytes().escape_ascii().to_string()
}
