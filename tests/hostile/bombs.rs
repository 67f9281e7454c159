//! Little that becomes much.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::builder::{file, tar};
use crate::scene::Scene;
use crate::support::archive::sha256;
use crate::support::soak::soaking;
use crate::support::{DockerArchive, Layer, OciArchive};

const MIB: u64 = 1 << 20;

/// How much would come out of a bomb.
fn length() -> u64 {
    if soaking() { 64 << 30 } else { 2 << 30 }
}

/// What is free in these tests; the ratio counts beyond.
const FREE: &str = "--expansion-free=64m";
const TEXT: &str = "compressed data is more than 200 times as large when unpacked";

/// A tar of one file of zeros, as it is read.
fn zeros(length: u64) -> impl Read {
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_size(length);
    header.set_mode(0o644);
    header.set_cksum();
    io::Cursor::new(header.as_bytes().to_vec()).chain(io::repeat(0).take(length + 1024))
}

fn gzip(mut content: impl Read) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    io::copy(&mut content, &mut out).unwrap();
    out.finish().unwrap()
}

fn zstd(mut content: impl Read) -> Vec<u8> {
    let mut out = zstd::Encoder::new(Vec::new(), 1).unwrap();
    io::copy(&mut content, &mut out).unwrap();
    out.finish().unwrap()
}

fn xz(mut content: impl Read) -> Vec<u8> {
    let mut out = liblzma::write::XzEncoder::new(Vec::new(), 0);
    io::copy(&mut content, &mut out).unwrap();
    out.finish().unwrap()
}

fn bzip2(mut content: impl Read) -> Vec<u8> {
    let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    io::copy(&mut content, &mut out).unwrap();
    out.finish().unwrap()
}

/// A bomb as the layer of an archive, as the tar of an import, as a layer in a registry, and
/// as an archive that is packed itself.
#[track_caller]
fn is_defused(what: &str, bomb: &[u8], memory: u64) {
    let scene = Scene::with(&[FREE]);
    println!("{what}: {} bytes", bomb.len());
    scene.forget_peak();
    let client = scene.server.client();
    // The digest of what is in it does not matter: nobody gets there.
    let docker = DockerArchive::new(&["localhost/bomb:1"], &[Layer { tar: bomb.to_vec() }]);
    scene.refuses_archive(&format!("{what} in an archive"), docker.build(), 413, TEXT);
    scene.refuses_archive(&format!("{what} as an archive"), bomb.to_vec(), 413, TEXT);
    let answer = client.import("", bomb.to_vec());
    scene.assert_refused(&format!("{what} imported"), &answer, 413, TEXT);
    let image = OciArchive::new("bomb:1", &[Layer::files(&[("f", b"")])]);
    scene.registry.put_blob("bomb", bomb);
    scene.registry.put_edited("bomb", "1", &image, |manifest| {
        manifest["layers"][0]["digest"] = sha256(bomb).into();
        manifest["layers"][0]["size"] = bomb.len().into();
    });
    let answer = scene.pull("bomb:1");
    scene.assert_refused(&format!("{what} pulled"), &answer, 413, TEXT);
    scene.assert_peak(what, memory);
}

#[test]
fn a_gzip_bomb_is_refused_in_little_memory() {
    is_defused("a gzip bomb", &gzip(zeros(length() / 16)), 64 * MIB);
}

#[test]
fn a_zstd_bomb_is_refused_in_little_memory() {
    is_defused("a zstd bomb", &zstd(zeros(length())), 64 * MIB);
}

#[test]
fn an_xz_bomb_is_refused_in_little_memory() {
    is_defused("an xz bomb", &xz(zeros(length() / 16)), 64 * MIB);
}

#[test]
fn a_bzip2_bomb_is_refused_in_little_memory() {
    is_defused("a bzip2 bomb", &bzip2(zeros(length() / 16)), 64 * MIB);
}

#[test]
fn a_bomb_in_a_bomb_is_refused() {
    let scene = Scene::with(&[FREE]);
    scene.forget_peak();
    // Packed once more, the bomb itself is small; and a bomb that is no layer is none less.
    let inner = gzip(zeros(length() / 16));
    let docker = DockerArchive::new(&["localhost/bomb:1"], &[Layer { tar: inner }]).build();
    scene.refuses_archive("two levels", gzip(&docker[..]), 413, TEXT);
    let member = gzip(b"[".chain(zeros(length() / 16)));
    scene.refuses_archive("no tar", member, 500, "");
    let mut unused = Vec::new();
    zeros(300 << 20).read_to_end(&mut unused).unwrap();
    unused[..3].copy_from_slice(b"{}\n");
    let archive = tar([file("readme", unused)]);
    scene.refuses_archive("a member nobody reads", gzip(&archive[..]), 413, TEXT);
    scene.assert_peak("bombs in bombs", 64 * MIB);
}

#[test]
fn what_packs_well_and_is_no_bomb_is_accepted() {
    // Whether it is on disk at once does not matter here.
    let scene = Scene::with(&["--sync=none"]);
    scene.forget_peak();
    // Hundreds of times smaller packed, as an empty disk image is.
    let layer = gzip(zeros(128 << 20));
    assert!(layer.len() < 1 << 20);
    let client = scene.server.client();
    client.import("", layer).expect(200);
    assert_eq!(std::fs::metadata(scene.added().join("zeros")).unwrap().len(), 128 << 20);
    scene.removes_all_but_the_good();
    scene.assert_peak("a file of zeros", 64 * MIB);
}

/// A frame that says that its window is so large, and then has an empty block.
fn zstd_with_window(exponent: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3];
    frame.extend([0x01, 0x00, 0x00]);
    frame
}

#[test]
fn a_window_larger_than_tools_make_is_refused_without_the_memory() {
    let scene = Scene::new();
    scene.forget_peak();
    let client = scene.server.client();
    // 2^(10 + exponent) bytes, up to 2 TiB.
    for exponent in [18, 21, 31] {
        let answer = client.import("", zstd_with_window(exponent));
        scene.assert_refused(&format!("zstd {exponent}"), &answer, 500, "reading layer");
    }
    let dictionary = "lzma2=dict=1536MiB";
    let answer = client.import("", xz_with(dictionary, &scene.store.path("tmp")));
    scene.assert_refused("xz", &answer, 500, "reading layer");
    scene.assert_peak("huge windows", 64 * MIB);
}

#[test]
fn the_largest_windows_that_are_accepted_take_no_more_than_they_need() {
    let scene = Scene::with(&["--sync=none"]);
    scene.forget_peak();
    let client = scene.server.client();
    let mut out = zstd::Encoder::new(Vec::new(), 1).unwrap();
    out.window_log(27).unwrap();
    io::copy(&mut zeros(160 << 20), &mut out).unwrap();
    client.import("", out.finish().unwrap()).expect(200);
    scene.removes_all_but_the_good();
    scene.assert_peak("a zstd window of 128 MiB", 224 * MIB);
    scene.forget_peak();
    client.import("", xz_with("lzma2=dict=64MiB", &scene.store.path("tmp"))).expect(200);
    scene.removes_all_but_the_good();
    scene.assert_peak("an xz dictionary of 64 MiB", 160 * MIB);
}

/// A small tar, packed by xz with these filters.
fn xz_with(filters: &str, directory: &Path) -> Vec<u8> {
    let path = directory.join("small.tar");
    std::fs::File::create(&path).unwrap().write_all(&tar([file("f", "x")])).unwrap();
    let output = std::process::Command::new("xz")
        .args(["--stdout", "--memlimit=8GiB", &format!("--{filters}")])
        .arg(&path)
        .output()
        .unwrap();
    std::fs::remove_file(path).unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}
