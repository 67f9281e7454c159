//! OCI layouts of several images, in archives and in directories. Podman refuses them; what is
//! loaded here is the same as if each had come alone.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::load::assert_empty;
use crate::support::archive::{descriptor, sha256};
use crate::support::check::assert_sound;
use crate::support::http::escape;
use crate::support::tool::{command, run, run_failing};
use crate::support::{DockerArchive, Layer, OciArchive, Response, Server, Store};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD: &str = "io.containerd.image.name";

/// A layout in which Skopeo has put one image after the other, two of them in both kinds, one
/// under two names, one under none.
fn layout(store: &Store) -> PathBuf {
    let shared = Layer::random(9, "srv", 20, 5000);
    let images = [("one", "etc/one"), ("two", "etc/two"), ("three", "etc/three")];
    for (name, file) in images {
        let name = format!("localhost/{name}:1");
        let layers = [shared.clone(), Layer::files(&[(file, name.as_bytes())])];
        let archive = match file {
            "etc/two" => DockerArchive::new(&[&name], &layers).build(),
            _ => OciArchive::new(&name, &layers).build(),
        };
        fs::write(store.path("archive.tar"), archive).unwrap();
        store.podman(["load", "--quiet", "--input", "archive.tar"]);
    }
    let path = store.path("layout");
    for (image, name) in [
        ("localhost/one:1", ":quay.io/example/one:1"),
        ("localhost/two:1", ":short"),
        ("localhost/one:1", ":localhost/also:one"),
        ("localhost/three:1", ""),
    ] {
        store.skopeo(["copy", &store.reference(image), &format!("oci:{}{name}", path.display())]);
    }
    path
}

/// The only image of the store after Podman has loaded an image of the layout by itself.
fn alone(store: &Store, layout: &Path, position: usize) -> (String, Value) {
    store.podman(["rmi", "--all", "--force"]);
    let single = store.path("single");
    run(command("cp", ["--recursive"]).arg(layout).arg(&single));
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let index = json!({ "schemaVersion": 2, "manifests": [index["manifests"][position]] });
    fs::write(single.join("index.json"), index.to_string()).unwrap();
    let archive = archived(store, &single, "single.tar");
    store.podman(["load", "--quiet", "--input", &archive.display().to_string()]);
    fs::remove_dir_all(single).unwrap();
    let ids = store.image_ids();
    assert_eq!(ids.len(), 1);
    let inspected = store.inspect(&ids[0]);
    (ids[0].clone(), inspected)
}

fn archived(store: &Store, layout: &Path, name: &str) -> PathBuf {
    let file = store.path(name);
    run(command("tar", ["--create", "--file"]).arg(&file).arg("--directory").arg(layout).arg("."));
    file
}

fn load_directory(server: &Server, path: &Path) -> Response {
    let path = escape(&path.display().to_string());
    server.client().post(&format!("/local/images/load?path={path}"))
}

#[test]
fn every_image_of_a_layout_is_loaded_as_if_it_were_alone() {
    let source = Store::new();
    let layout = layout(&source);
    let archive = archived(&source, &layout, "layout.tar");
    let by_podman = Store::new();
    let text = "more than one image in oci, choose an image";
    let path = archive.display().to_string();
    let mut podman = by_podman.podman_command(["load", "--input", &path]);
    assert!(run_failing(&mut podman).contains(text));
    let expected = [0, 1, 2, 3].map(|position| alone(&by_podman, &layout, position));
    assert_eq!(expected[0].0, expected[2].0, "one image has two names");

    let store = Store::new();
    let server = Server::start(&store);
    let nameless = format!("sha256:{}", expected[3].0);
    let names =
        ["quay.io/example/one:1", "localhost/also:one", "localhost/short:latest", &nameless];
    for directory in [false, true] {
        let loaded = match directory {
            true => load_directory(&server, &layout).expect(200).json()["Names"].clone(),
            false => json!(server.client().load(&archive)),
        };
        assert_eq!(loaded, json!(names));
        assert_eq!(store.image_ids().len(), 3);
        for (name, (id, alone)) in [(0, 0), (1, 2), (2, 1)]
            .map(|(name, at)| (names[name], &expected[at]))
            .into_iter()
            .chain([(expected[3].0.as_str(), &expected[3])])
        {
            let image = store.inspect(name);
            assert_eq!(image["Id"], *id.as_str(), "{name}");
            for field in ["Digest", "ManifestType", "Config", "RootFS", "History", "Size"] {
                assert_eq!(image[field], alone[field], "{field} of {name}");
            }
        }
        assert_eq!(store.records("overlay-layers/layers.json").len(), 4, "one is shared");

        // Podman makes a container of each, and reads its files.
        for (name, file) in [(names[0], "one"), (names[2], "two"), (&expected[3].0, "three")] {
            let container = store.podman(["create", name]);
            let mounted = store.podman(["mount", &container]);
            let content = fs::read_to_string(format!("{mounted}/etc/{file}")).unwrap();
            assert_eq!(content, format!("localhost/{file}:1"));
            store.podman(["unmount", &container]);
            store.podman(["rm", &container]);
        }
        assert_sound(&store);
        server.client().delete("/images/remove?all=true").expect(200);
        assert_empty(&store);
    }
}

#[test]
fn a_layout_is_loaded_whole_or_not_at_all() {
    let store = Store::new();
    let server = Server::start(&store);
    let image = |number: u8| {
        let layers = [Layer::files(&[("shared", b"1")]), Layer::files(&[("n", &[number])])];
        OciArchive::new(&format!("localhost/image:{number}"), &layers)
    };
    let second = image(2);
    let both = || image(1).and(image(2));
    let named = |name: &'static str| {
        both().indexed(move |index| index["manifests"][1]["annotations"][NAME] = json!(name))
    };
    for (archive, text) in [
        (both().corrupt(second.layer_blob(1)), "writing blob blobs/sha256/"),
        (both().corrupt(second.manifest_blob()), "Digest did not match"),
        (both().corrupt(second.image_id()), "Digest did not match"),
        (both().without(second.layer_blob(1)), "no such file or directory"),
        (both().without(second.manifest_blob()), "no such file or directory"),
        (named("UPPER"), "repository name must be lowercase"),
        (named("bad name"), "invalid reference format"),
    ] {
        let error = server.client().load_bytes(archive.build()).expect(500).json();
        let message = error["message"].as_str().unwrap();
        let line = message.lines().find(|line| line.starts_with(" * oci-archive: ")).unwrap();
        assert!(line.contains(text), "{text} in {message}");
        assert_empty(&store);
    }
    server.client().load_bytes(both().build()).expect(200);
    assert_eq!(store.image_ids().len(), 2);
    assert_sound(&store);
}

/// As BuildKit, containerd and cosign write them.
#[test]
fn what_is_no_image_is_left_aside() {
    let store = Store::new();
    let server = Server::start(&store);
    let image = |name: &str| OciArchive::new(name, &[Layer::files(&[("n", name.as_bytes())])]);
    let one = image("localhost/one:1");
    let attestation = manifest(
        "application/vnd.oci.image.config.v1+json",
        b"{}",
        "application/vnd.in-toto+json",
        b"{\"about\":1}",
    );
    let artifact = manifest(
        "application/vnd.oci.empty.v1+json",
        b"{}",
        "application/vnd.example.recipe",
        b"a recipe",
    );
    let nowhere = json!({ "architecture": "unknown", "os": "unknown" });
    let mut about = descriptor(MANIFEST, &attestation);
    about["platform"] = nowhere;
    about["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": one.entry()["digest"],
    });
    let blobs = |archive: OciArchive| {
        let contents: [&[u8]; 5] = [&attestation, &artifact, b"{}", b"{\"about\":1}", b"a recipe"];
        contents.into_iter().fold(archive, OciArchive::with_blob)
    };

    // Beside the image, under no name or one of its own.
    let mut named = descriptor(MANIFEST, &artifact);
    named["annotations"] = json!({ NAME: "localhost/recipe:1" });
    for more in [vec![&about], vec![&named], vec![&about, &named]] {
        let archive = blobs(image("localhost/one:1")).indexed(|index| {
            index["manifests"].as_array_mut().unwrap().extend(more.into_iter().cloned())
        });
        let answer = server.client().load_bytes(archive.build()).expect(200).json();
        assert_eq!(answer["Names"], json!(["localhost/one:1"]));
        assert_eq!(store.image_ids(), [one.image_id()]);
        server.client().delete("/images/remove?all=true").expect(200);
    }
    // Nothing but that.
    let nothing =
        blobs(image("localhost/one:1")).indexed(|index| index["manifests"] = json!([about, named]));
    let error = server.client().load_bytes(nothing.build()).expect(500).text();
    assert!(error.contains("oci-archive: loading index: "), "{error}");
    assert_empty(&store);

    // Below the image's name, as `docker buildx build --output type=oci` and `ctr image export`.
    let entries = ["app", "docker.io/library/web:2"].map(|name| {
        let mut inner = image(name).entry().clone();
        inner["annotations"].take();
        inner["platform"] = json!({ "architecture": "amd64", "os": "linux" });
        let nested = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [about, inner] });
        let nested = nested.to_string().into_bytes();
        let mut entry = descriptor(INDEX, &nested);
        let (full, tag) =
            if name == "app" { ("docker.io/library/app:1", "1") } else { (name, "2") };
        entry["annotations"] = json!({ CONTAINERD: full, NAME: tag });
        (nested, entry)
    });
    let archive = blobs(image("app").and(image("docker.io/library/web:2")))
        .with_blob(&entries[0].0)
        .with_blob(&entries[1].0)
        .indexed(|index| index["manifests"] = json!([entries[0].1, entries[1].1]));
    let answer = server.client().load_bytes(archive.build()).expect(200).json();
    let names = ["docker.io/library/app:1", "docker.io/library/web:2"];
    assert_eq!(answer["Names"], json!(names));
    for (name, (index, _)) in names.into_iter().zip(&entries) {
        // The index that the image was chosen from is its digest, as for one that is alone.
        let image = store.inspect(store.inspect(name)["Id"].as_str().unwrap());
        assert_eq!(image["Digest"], sha256(index));
    }
    assert_sound(&store);
}

/// A manifest of something that is no image.
fn manifest(config_type: &str, config: &[u8], layer_type: &str, layer: &[u8]) -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config_type, config),
        "layers": [descriptor(layer_type, layer)],
    });
    manifest.to_string().into_bytes()
}

/// Two manifests of one config are one image, as when it is loaded twice.
#[test]
fn manifests_of_one_image_come_together() {
    let store = Store::new();
    let server = Server::start(&store);
    let image = OciArchive::new("localhost/one:1", &[Layer::files(&[("n", b"1")])]);
    let mut other: Value = serde_json::from_slice(&image.blobs().last().unwrap().1).unwrap();
    other["annotations"] = json!({ "a": "b" });
    let other = other.to_string().into_bytes();
    let mut entry = descriptor(MANIFEST, &other);
    entry["annotations"] = json!({ NAME: "localhost/two:1" });
    let archive = image.clone().with_blob(&other).indexed(|index| {
        index["manifests"].as_array_mut().unwrap().push(entry);
    });
    let answer = server.client().load_bytes(archive.build()).expect(200).json();
    assert_eq!(answer["Names"], json!(["localhost/one:1", "localhost/two:1"]));
    assert_eq!(store.image_ids(), [image.image_id()]);

    let twice = Store::new();
    for single in [
        image.build(),
        archive
            .indexed(|index| {
                index["manifests"].as_array_mut().unwrap().remove(0);
            })
            .build(),
    ] {
        fs::write(twice.path("archive.tar"), single).unwrap();
        twice.podman(["load", "--quiet", "--input", "archive.tar"]);
    }
    let (ours, theirs) = (store.inspect("two:1"), twice.inspect("two:1"));
    for field in ["Id", "Digest", "RepoDigests", "Annotations", "Size"] {
        assert_eq!(ours[field], theirs[field], "{field}");
    }
    assert_sound(&store);
}

/// `docker save` writes both formats into one archive.
#[test]
fn an_archive_of_both_formats_is_loaded_as_podman_does() {
    let store = Store::new();
    let layers = |name: &str| [Layer::files(&[("n", name.as_bytes())])];
    let names = ["localhost/one:1", "localhost/two:1"];
    let docker = DockerArchive::new(&names[..1], &layers("1")).and(&names[1..], &layers("2"));
    let oci =
        OciArchive::new("localhost/oci:1", &layers("1")).and(OciArchive::new("x", &layers("2")));
    let mut both = tar::Builder::new(Vec::new());
    for archive in [docker.build(), oci.build()] {
        let mut archive = tar::Archive::new(archive.as_slice());
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            both.append(&entry.header().clone(), entry).unwrap();
        }
    }
    let file = store.path("both.tar");
    fs::write(&file, both.into_inner().unwrap()).unwrap();
    let answer = store.podman(["load", "--quiet", "--input", "both.tar"]);
    let lines: Vec<_> = names.map(|name| format!("Loaded image: {name}")).to_vec();
    assert_eq!(answer.lines().collect::<Vec<_>>(), lines);
    let by_podman = names.map(|name| store.inspect(name)["Digest"].clone());
    store.podman(["rmi", "--all"]);

    let server = Server::start(&store);
    assert_eq!(server.client().load(&file), names);
    assert_eq!(names.map(|name| store.inspect(name)["Digest"].clone()), by_podman);
    assert_sound(&store);
}
