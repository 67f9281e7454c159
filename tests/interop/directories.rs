//! Directories on the server that Podman, Skopeo or Buildah wrote.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::load::assert_empty;
use crate::support::check::assert_sound;
use crate::support::debian::layer;
use crate::support::http::escape;
use crate::support::{DockerArchive, Layer, OciArchive, Response, Server, Store};

/// Every tool's directories, with every packing of layers, become the images they were made from.
#[test]
fn directories_of_other_tools_are_loaded() {
    let store = Store::new();
    let target = Store::new();
    let server = Server::start(&target);
    let layers = [Layer::random(5, "srv", 30, 4000), Layer::files(&[("etc/issue", b"two")])];
    for (name, archive) in [
        ("oci", OciArchive::new("localhost/image:oci", &layers).build()),
        ("docker", DockerArchive::new(&["localhost/image:docker"], &layers).build()),
    ] {
        let file = store.path("archive.tar");
        fs::write(&file, archive).unwrap();
        store.podman(["load", "--quiet", "--input", &file.display().to_string()]);
        let name = format!("localhost/image:{name}");
        let diff_ids = layers.each_ref().map(Layer::diff_id);
        for (number, write) in WRITERS.iter().enumerate() {
            let directory = store.path(&format!("{number}-{}", name.replace(['/', ':'], "-")));
            write(&store, &name, &directory.display().to_string());
            let answer = load(&server, &directory).expect(200).json();
            // The document that Skopeo finds there names the image.
            let kind = if directory.join("oci-layout").exists() { "oci" } else { "dir" };
            let source = format!("{kind}:{}", directory.display());
            let raw = target.skopeo(["inspect", "--raw", &source]);
            let manifest: Value = serde_json::from_str(&raw).unwrap();
            assert_eq!(answer["Names"], json!([manifest["config"]["digest"]]), "{source}");
            let id = manifest["config"]["digest"].as_str().unwrap().trim_start_matches("sha256:");
            assert_eq!(target.image_ids(), [id]);
            assert_eq!(target.diff_ids(id), diff_ids, "{source}");
            assert_eq!(
                target.inspect(id)["Digest"],
                crate::support::archive::sha256(raw.as_bytes())
            );
            assert_sound(&target);
            server.client().delete("/images/remove?all=true").expect(200);
            // And what other tools make of the directory is the same image.
            target.skopeo(["copy", &source, &target.reference("localhost/copy:1")]);
            assert_eq!(target.image_ids(), [id]);
            server.client().delete("/images/remove?all=true").expect(200);
        }
    }
}

type Writer = fn(&Store, &str, &str);

const WRITERS: [Writer; 8] = [
    |store, name, path| {
        store.podman(["save", "--quiet", "--format=oci-dir", "--output", path, name]);
    },
    |store, name, path| {
        store.podman(["save", "--quiet", "--format=docker-dir", "--output", path, name]);
    },
    |store, name, path| {
        let options = ["--format=docker-dir", "--compress", "--output"];
        store.podman(["save", "--quiet", options[0], options[1], options[2], path, name]);
    },
    |store, name, path| {
        store.skopeo(["copy", &store.reference(name), &format!("oci:{path}:named")]);
    },
    |store, name, path| {
        let target = format!("oci:{path}");
        let plain = "--dest-oci-accept-uncompressed-layers";
        store.skopeo(["copy", plain, &store.reference(name), &target]);
    },
    |store, name, path| {
        let zstd = ["--dest-compress", "--dest-compress-format", "zstd"];
        let target = format!("oci:{path}");
        store.skopeo(["copy", zstd[0], zstd[1], zstd[2], &store.reference(name), &target]);
    },
    |store, name, path| {
        store.skopeo(["copy", &store.reference(name), &format!("dir:{path}")]);
    },
    |store, name, path| {
        store.buildah(["push", "--quiet", name, &format!("oci:{path}")]);
    },
];

#[test]
fn a_directory_is_read_no_further_than_its_image_and_itself() {
    let store = Store::new();
    let server = Server::start(&store);
    let source = Store::new();
    let file = source.path("archive.tar");
    let layers = [Layer::files(&[("etc/issue", b"one")])];
    fs::write(&file, OciArchive::new("localhost/image:1", &layers).build()).unwrap();
    source.podman(["load", "--quiet", "--input", &file.display().to_string()]);
    let made = |name: &str, write: usize| {
        let path = source.path(name);
        WRITERS[write](&source, "localhost/image:1", &path.display().to_string());
        path
    };
    let refused = |path: &Path, texts: &[&str]| {
        let error = load(&server, path).expect(500).json();
        let message = error["message"].as_str().unwrap();
        let start = "unable to load image: payload does not match any of the supported image \
            formats:\n * oci: ";
        assert!(message.starts_with(start), "{message}");
        for text in texts {
            assert!(message.contains(text), "{text} in {message}");
        }
        assert_empty(&store);
    };

    refused(
        source.dir(),
        &["oci: open index.json: no such file", "dir: open manifest.json: no such"],
    );

    let missing = made("missing", 0);
    let blobs = missing.join("blobs/sha256");
    let largest = blob(&blobs);
    fs::rename(blobs.join(&largest), source.path("kept")).unwrap();
    refused(&missing, &[&format!("oci: open blobs/sha256/{largest}: no such file")]);
    // A link out of the directory, even to what belongs there, is not followed; one inside is.
    symlink(source.path("kept"), blobs.join(&largest)).unwrap();
    refused(
        &missing,
        &[&format!("oci: open blobs/sha256/{largest}: it leads out of the directory")],
    );
    fs::remove_file(blobs.join(&largest)).unwrap();
    symlink("../../../kept", blobs.join(&largest)).unwrap();
    refused(&missing, &["it leads out of the directory"]);
    fs::remove_file(blobs.join(&largest)).unwrap();
    fs::create_dir(blobs.join(&largest)).unwrap();
    refused(&missing, &["not a regular file"]);
    fs::remove_dir(blobs.join(&largest)).unwrap();
    fs::rename(source.path("kept"), missing.join("kept")).unwrap();
    symlink("../../kept", blobs.join(&largest)).unwrap();
    load(&server, &missing).expect(200);
    server.client().delete("/images/remove?all=true&force=true").expect(200);

    let changed = made("changed", 1);
    let largest = blob(&changed);
    let mut content = fs::read(changed.join(&largest)).unwrap();
    let at = content.iter().position(|&byte| byte == b'o').unwrap();
    content[at] ^= 1;
    fs::write(changed.join(&largest), &content).unwrap();
    refused(&changed, &["dir: "]);

    let newer = made("newer", 1);
    fs::write(newer.join("version"), "Directory Transport Version: 2.0\n").unwrap();
    refused(&newer, &["dir: unsupported directory transport version"]);
    fs::remove_file(newer.join("version")).unwrap();
    load(&server, &newer).expect(200);
    server.client().delete("/images/remove?all=true&force=true").expect(200);

    // What the index does not list is not the daemon's business.
    let two = made("two", 3);
    layer(&source, "localhost/image:1", "localhost/image:2", |root| {
        fs::write(root.join("added"), "2").unwrap();
    });
    let target = format!("oci:{}:other", two.display());
    source.skopeo(["copy", &source.reference("localhost/image:2"), &target]);
    let index: Value = serde_json::from_slice(&fs::read(two.join("index.json")).unwrap()).unwrap();
    let first = json!({ "schemaVersion": 2, "manifests": [index["manifests"][0]] });
    fs::write(two.join("index.json"), first.to_string()).unwrap();
    load(&server, &two).expect(200);
    assert_eq!(store.records("overlay-layers/layers.json").len(), 1, "only what is listed");
    assert_sound(&store);
}

fn load(server: &Server, path: &Path) -> Response {
    let path = escape(&path.display().to_string());
    server.client().post(&format!("/local/images/load?path={path}"))
}

/// The largest file of a directory: the layer.
fn blob(directory: &Path) -> String {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let largest = entries.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap();
    largest.file_name().into_string().unwrap()
}
