//! Layers, unpacked and put together again.

use std::fs;
use std::io::Write;

use imaged::layer::{GzipWriter, UnpackOptions, rebuild, rebuild_hashed, unpack};
use imaged::sys::Cancel;

use crate::{scratch, tar};

fn options() -> UnpackOptions {
    let mut options = UnpackOptions::default();
    // No devices are made, and any user may run this.
    options.user_namespace = true;
    options.ignore_chown_errors = true;
    options.limits.unpacked = 16 << 20;
    options.limits.entries = 2000;
    options
}

/// Nothing appears beside the root. What is accepted can be given out again, to the byte.
pub fn layer(input: &[u8]) {
    let input = tar::with_checksums(input);
    let directory = scratch::directory();
    let root = directory.path().join("root");
    fs::create_dir(&root).expect("an empty directory");
    let opened = scratch::open(&root);
    let mut split = Vec::new();
    let unpacked = unpack(&input[..], &opened, &mut split, &options(), &Cancel::new());
    let beside = fs::read_dir(directory.path()).expect("the directory").count();
    assert_eq!(beside, 1, "something is beside the root");
    if let Ok(unpacked) = unpacked {
        let mut out = Vec::new();
        let rebuilt = rebuild_hashed(&split[..], &[opened], &mut out, &Cancel::new());
        // Then this is how it is found out.
        if unpacked.is_doubtful && rebuilt.is_err() {
            return;
        }
        let rebuilt = rebuilt.expect("what was unpacked can be put together");
        assert_eq!(rebuilt.diff_id, unpacked.diff_id);
        assert_eq!(rebuilt.size, unpacked.diff_size);
        assert_eq!(rebuilt.size, out.len() as u64);
    }
}

/// Whatever a tar-split names, only files below the root are read.
pub fn tarsplit(input: &[u8]) {
    const SECRET: &[u8] = b"this is beside the root";
    let directory = scratch::directory();
    fs::write(directory.path().join("secret"), SECRET).expect("a file");
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("etc")).expect("a directory");
    fs::write(root.join("etc/hostname"), "host").expect("a file");
    std::os::unix::fs::symlink("../secret", root.join("out")).expect("a link");
    std::os::unix::fs::symlink("..", root.join("up")).expect("a link");
    let mut gzip = GzipWriter::new(Vec::new());
    gzip.write_all(input).expect("into memory");
    let split = gzip.finish().expect("into memory");
    let mut out = Vec::new();
    let _ = rebuild(&split[..], &[scratch::open(&root)], &mut out, &Cancel::new());
    let leaked = out.windows(SECRET.len()).any(|window| window == SECRET);
    let given = input.windows(8).any(|window| window == b"dGhpcyBp");
    assert!(!leaked || given, "a file outside was read");
}
