//! A layer recorded from Podman, in both directions.

use std::fs;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use imaged::layer::{Compression, UnpackOptions, Whiteouts};
use std::io::Read;

use crate::support::{Unpack, rebuild};

const DIGEST: &str = "sha256:bfdf2f259dfa08c869f0b94304f9094f487668608c48e31429066029580e31f4";

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/storage").join(name)
}

fn gunzip(path: &Path) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn unpacks_to_the_same_tree_and_tar_split() {
    let tar = fs::read(sample("layer-with-whiteouts.tar")).unwrap();
    let unpack = Unpack::of(&tar[..]);
    let info = unpack.result.as_ref().unwrap();
    assert_eq!(info.compression, Compression::None);
    assert_eq!(info.diff_id.to_string(), DIGEST);
    assert_eq!(info.compressed_digest.to_string(), DIGEST);
    assert_eq!((info.diff_size, info.compressed_size), (tar.len() as u64, tar.len() as u64));
    assert_eq!((&info.uids[..], &info.gids[..]), (&[0][..], &[0][..]));
    assert_eq!(
        unpack.tree(),
        "data 040755 0:0 1795420783.000000000 trusted.overlay.opaque=y\n\
         data/new 100644 0:0 4 bytes 1795420783.000000000\n\
         etc 040755 0:0 1795420783.000000000\n\
         etc/passwd 020000 0:0 0:0 now\n\
         opt 040755 0:0 1795420783.000000000\n\
         opt/o 040755 0:0 1795420783.000000000\n"
    );
    let ours = gunzip(&unpack.dir.path().join("split"));
    assert_eq!(ours, gunzip(&sample("layer-with-whiteouts.podman-6.0.tar-split.gz")));
    let (out, rebuilt) = unpack.rebuild();
    assert!(out == tar);
    let rebuilt = rebuilt.unwrap();
    assert_eq!((rebuilt.diff_id.to_string(), rebuilt.size), (DIGEST.to_owned(), tar.len() as u64));
}

#[test]
fn keeps_whiteouts_as_files_for_mount_programs() {
    let tar = fs::read(sample("layer-with-whiteouts.tar")).unwrap();
    let mut options = UnpackOptions::default();
    options.whiteouts = Whiteouts::Files;
    let unpack = Unpack::with(&tar[..], &options);
    assert_eq!(
        unpack.tree(),
        "data 040755 0:0 1795420783.000000000\n\
         data/.wh..wh..opq 100755 0:0 0 bytes 0.000000000\n\
         data/new 100644 0:0 4 bytes 1795420783.000000000\n\
         etc 040755 0:0 1795420783.000000000\n\
         etc/.wh.passwd 100000 0:0 0 bytes 1795420783.000000000\n\
         opt 040755 0:0 1795420783.000000000\n\
         opt/o 040755 0:0 1795420783.000000000\n"
    );
    assert!(unpack.rebuild().0 == tar);
}

#[test]
fn rebuilds_from_the_tar_splits_of_others() {
    let tar = fs::read(sample("layer-with-whiteouts.tar")).unwrap();
    let (upper, lower) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(lower.path().join("data")).unwrap();
    fs::write(lower.path().join("data/new"), "new\n").unwrap();
    for version in ["4.3.1", "6.0"] {
        let split = sample(&format!("layer-with-whiteouts.podman-{version}.tar-split.gz"));
        let (out, rebuilt) = rebuild(fs::File::open(split).unwrap(), &[upper.path(), lower.path()]);
        assert_eq!(rebuilt.unwrap().diff_id.to_string(), DIGEST);
        assert!(out == tar);
    }
}
