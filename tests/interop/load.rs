//! We load archives of Podman, Skopeo and others; Podman uses what we stored.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::archive::sha256;
use crate::support::check::assert_sound;
use crate::support::debian::{BASE, DOCKER, Debian, FULL, Facts};
use crate::support::http::escape;
use crate::support::tool::{command, run};
use crate::support::{DockerArchive, Layer, OciArchive, Server, Store, saved, tree};

#[test]
fn podman_uses_a_loaded_image() {
    let image = Debian::get();
    let store = Store::new();
    let server = Server::start(&store);
    assert_eq!(server.client().load(&image.docker_archive()), [FULL]);
    assert_eq!(store.image_ids(), [image.full.id.as_str()]);
    assert_eq!(store.diff_ids(FULL), image.full.diff_ids);

    let mounted = store.podman(["image", "mount", FULL]);
    tree::assert_same(&tree::list(Path::new(&mounted)), &image.tree);
    store.podman(["image", "unmount", FULL]);

    let container = store.podman(["create", "--network=none", FULL]);
    let mounted = store.podman(["mount", &container]);
    assert_eq!(fs::read(Path::new(&mounted).join("etc/issue")).unwrap(), b"back again");
    store.podman(["unmount", &container]);
    store.podman(["rm", &container]);

    let archive = store.path("saved.tar");
    store.podman(["save", "--output", &archive.display().to_string(), FULL]);
    assert_eq!(saved::docker_archive(&archive), [expected(FULL, &image.full)]);
    assert_sound(&store);
}

#[test]
fn every_layer_compression_gives_the_same_image() {
    let image = Debian::get();
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    // The number is what the layer's record says of its blob: absent is uncompressed.
    for (archive, name, facts, compression) in [
        (image.oci_archive(), FULL, &image.full, json!(2)),
        (image.zstd_archive(), FULL, &image.full, json!(4)),
        (image.plain_archive(), FULL, &image.full, Value::Null),
        (image.skopeo_archive(), DOCKER, &image.docker, Value::Null),
    ] {
        assert_eq!(client.load(&archive), [name], "{}", archive.display());
        assert_eq!(store.image_ids(), [facts.id.as_str()]);
        assert_eq!(store.diff_ids(name), facts.diff_ids);
        for layer in store.records("overlay-layers/layers.json") {
            assert_eq!(layer["compression"], compression, "{layer}");
        }
        assert_sound(&store);
        client.delete(&format!("/images/{}", escape(name))).expect(200);
        assert_empty(&store);
    }
}

#[test]
fn an_archive_of_several_images_shares_layers() {
    let image = Debian::get();
    let store = Store::new();
    let server = Server::start(&store);
    assert_eq!(server.client().load(&image.multi_archive()), [BASE, FULL]);
    let mut ids = [image.base.id.clone(), image.full.id.clone()];
    ids.sort();
    assert_eq!(store.image_ids(), ids);
    let layers = store.records("overlay-layers/layers.json").len();
    assert_eq!(layers, image.full.diff_ids.len(), "the base layer is stored once");
    assert_sound(&store);

    // An image that is there already is not stored again, and keeps its names.
    server.client().load(&image.docker_archive());
    assert_eq!(store.image_ids(), ids);
    assert_sound(&store);
}

#[test]
fn whole_archives_may_be_compressed() {
    let store = Store::new();
    let server = Server::start(&store);
    let base = Layer::random(7, "data", 40, 9000);
    let top = Layer::files(&[("etc/top", b"1"), ("etc/.wh.gone", b"")]);
    for (index, tool) in ["gzip", "bzip2", "xz", "zstd"].into_iter().enumerate() {
        let name = format!("localhost/{tool}:docker");
        let marker = Layer::files(&[("marker", tool.as_bytes())]);
        let layers = [base.clone(), top.clone(), marker];
        let docker = DockerArchive::new(&[&name], &layers);
        let packed = compress(&store, tool, &docker.build());
        assert_eq!(server.client().load(&packed), [name.as_str()]);
        assert_eq!(store.inspect(&name)["Id"], docker.image_id(0));

        let name = format!("localhost/{tool}:oci");
        let oci = OciArchive::new(&name, &layers);
        let packed = compress(&store, tool, &oci.build());
        assert_eq!(server.client().load(&packed), [name.as_str()]);
        // The same config: one image with two names.
        assert_eq!(store.image_ids().len(), index + 1);
        assert_eq!(store.diff_ids(&name), layers.each_ref().map(Layer::diff_id));
    }
    assert_sound(&store);
}

/// Layers other tools write: GNU and PAX formats, sparse files, bytes after the end.
#[test]
fn unusual_tars_come_back_bit_for_bit() {
    let store = Store::new();
    let server = Server::start(&store);
    let files = store.path("files");
    fs::create_dir_all(files.join("d".repeat(120)).join("e".repeat(120))).unwrap();
    fs::write(files.join("d".repeat(120)).join("file"), b"long path").unwrap();
    let sparse = fs::File::create(files.join("sparse")).unwrap();
    sparse.set_len(4 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 1 << 20).unwrap();

    let gnu = tar(&files, &["--format=gnu"]);
    let pax = tar(&files, &["--format=posix"]);
    let padded = tar(&files, &["--format=ustar", "--exclude=d*", "--blocking-factor=100"]);
    let mut trailing = padded.clone();
    trailing.extend_from_slice(b"not a tar block, but part of the layer");
    let sparse = tar(&files, &["--format=posix", "--sparse"]);
    for (name, tar) in
        [("gnu", gnu), ("pax", pax), ("padded", padded), ("trailing", trailing), ("sparse", sparse)]
    {
        let layer = Layer { tar };
        let name = format!("localhost/{name}:1");
        let archive = DockerArchive::new(&[&name], std::slice::from_ref(&layer));
        let answer = server.client().load_bytes(archive.build()).expect(200);
        assert_eq!(answer.json()["Names"], json!([name]));
        assert_eq!(store.diff_ids(&name), [layer.diff_id()]);
        let saved = store.path("saved.tar");
        store.podman(["save", "--output", &saved.display().to_string(), &name]);
        assert_eq!(saved::docker_archive(&saved)[0].diff_ids, [sha256(&layer.tar)]);
        fs::remove_file(saved).unwrap();
    }
    let mounted = PathBuf::from(store.podman(["image", "mount", "localhost/sparse:1"]));
    assert_eq!(tree::digest(&mounted.join("sparse")), tree::digest(&files.join("sparse")));
    store.podman(["image", "unmount", "--all"]);
    assert_sound(&store);
}

/// What an archive of this image must hold.
pub(crate) fn expected(name: &str, facts: &Facts) -> saved::Saved {
    saved::Saved {
        names: vec![name.to_owned()],
        id: facts.id.clone(),
        diff_ids: facts.diff_ids.clone(),
    }
}

/// No image, no layer, and nothing of them on disk.
#[track_caller]
pub(crate) fn assert_empty(store: &Store) {
    assert_eq!(store.image_ids(), [""; 0]);
    assert!(store.records("overlay-layers/layers.json").is_empty());
    let left: Vec<_> = fs::read_dir(store.root().join("overlay"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.len() == 64)
        .collect();
    assert_eq!(left, [""; 0]);
    assert_sound(store);
}

pub(crate) fn compress(store: &Store, tool: &str, archive: &[u8]) -> PathBuf {
    let path = store.path("archive");
    fs::write(&path, archive).unwrap();
    let output = crate::support::tool::output(command(tool, ["-c"]).arg(&path));
    assert!(output.status.success(), "{tool}");
    fs::write(&path, output.stdout).unwrap();
    path
}

fn tar(dir: &Path, options: &[&str]) -> Vec<u8> {
    let file = dir.with_extension("tar");
    run(command("tar", ["--create", "--file"]).arg(&file).args(options).arg(".").current_dir(dir));
    fs::read(file).unwrap()
}
