//! A scratch directory with a layer's root, and what the tests look at in it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use imaged::layer::{self, Rebuilt, UnpackOptions, Unpacked};
use imaged::sys::Cancel;
use tempfile::TempDir;

/// Trees have owners and devices, so nobody else can make them.
fn need_root() {
    assert!(rustix::process::geteuid().is_root(), "these tests must run as root");
}

/// An unpacked layer.
pub(crate) struct Unpack {
    pub(crate) dir: TempDir,
    pub(crate) result: layer::Result<Unpacked>,
}

impl Unpack {
    pub(crate) fn of(input: impl Read + Send) -> Self {
        Self::with(input, &UnpackOptions::default())
    }

    pub(crate) fn with(input: impl Read + Send, options: &UnpackOptions) -> Self {
        need_root();
        Self::new(input, options, &Cancel::new())
    }

    pub(crate) fn canceled_by(input: impl Read + Send, cancel: &Cancel) -> Self {
        Self::new(input, &UnpackOptions::default(), cancel)
    }

    fn new(input: impl Read + Send, options: &UnpackOptions, cancel: &Cancel) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("diff")).unwrap();
        let split = File::create(dir.path().join("split")).unwrap();
        let root = OwnedFd::from(File::open(dir.path().join("diff")).unwrap());
        let result = layer::unpack(input, &root, split, options, cancel);
        Self { dir, result }
    }

    pub(crate) fn error(&self) -> String {
        let error = self.result.as_ref().unwrap_err();
        match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    }

    pub(crate) fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("diff")
    }

    pub(crate) fn rebuild(&self) -> (Vec<u8>, layer::Result<Rebuilt>) {
        rebuild(File::open(self.dir.path().join("split")).unwrap(), &[&self.root()])
    }

    pub(crate) fn tree(&self) -> String {
        tree(&self.root())
    }
}

pub(crate) fn rebuild(
    tar_split: impl Read + Send,
    roots: &[&Path],
) -> (Vec<u8>, layer::Result<Rebuilt>) {
    let roots: Vec<OwnedFd> = roots.iter().map(|root| File::open(root).unwrap().into()).collect();
    let mut out = Vec::new();
    let result = layer::rebuild_hashed(tar_split, &roots, &mut out, &Cancel::new());
    (out, result)
}

/// One line for each file: path, type and mode, owner, size or device, modification time, links,
/// attributes, target. Times of the last minutes are `now`.
pub(crate) fn tree(root: &Path) -> String {
    let mut text = String::new();
    list(root, "", &mut text);
    text
}

fn list(dir: &Path, prefix: &str, text: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = format!("{prefix}{}", entry.file_name().as_bytes().escape_ascii());
        let kind = meta.file_type();
        write!(text, "{name} {:06o} {}:{}", meta.mode(), meta.uid(), meta.gid()).unwrap();
        if kind.is_char_device() || kind.is_block_device() {
            let rdev = meta.rdev();
            write!(text, " {}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev)).unwrap();
        } else if kind.is_file() {
            write!(text, " {} bytes", meta.len()).unwrap();
        }
        if is_recent(meta.mtime()) {
            text.push_str(" now");
        } else {
            write!(text, " {}.{:09}", meta.mtime(), meta.mtime_nsec()).unwrap();
        }
        if !kind.is_dir() && meta.nlink() > 1 {
            write!(text, " links={}", meta.nlink()).unwrap();
        }
        for (key, value) in xattrs(&path) {
            write!(text, " {key}={}", value.escape_ascii()).unwrap();
        }
        if kind.is_symlink() {
            write!(text, " -> {}", fs::read_link(&path).unwrap().display()).unwrap();
        }
        text.push('\n');
        if kind.is_dir() {
            list(&path, &format!("{name}/"), text);
        }
    }
}

fn is_recent(seconds: i64) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (i64::try_from(now.as_secs()).unwrap() - seconds).abs() < 300
}

/// Sorted; SELinux labels of the test machine left out.
pub(crate) fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut xattrs: Vec<_> = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && *name != b"security.selinux")
        .map(|name| {
            let mut value = vec![0; 65536];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(len);
            (String::from_utf8(name.to_vec()).unwrap(), value)
        })
        .collect();
    xattrs.sort();
    xattrs
}
