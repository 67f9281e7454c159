//! Every format and conversion, from us to other tools and from them to us.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::load::assert_empty;
use crate::support::check::assert_sound;
use crate::support::http::escape;
use crate::support::tool::{command, run, run_failing};
use crate::support::{DockerArchive, Layer, OciArchive, Server, Store, saved};

const OCI: &str = "localhost/kind/oci:1";
const DOCKER: &str = "localhost/kind/docker:1";

/// The formats and their options, and the transports that read them.
const FORMATS: [(&str, &str); 7] = [
    ("docker-archive", "docker-archive"),
    ("oci-archive", "oci-archive"),
    ("oci-archive&ociAcceptUncompressedLayers=true", "oci-archive"),
    ("oci-dir", "oci"),
    ("oci-dir&ociAcceptUncompressedLayers=true", "oci"),
    ("docker-dir", "dir"),
    ("docker-dir&compress=true", "dir"),
];

#[test]
fn podman_and_skopeo_read_every_export() {
    let store = two_kinds();
    let server = Server::start(&store);
    let target = Store::new();
    for name in [OCI, DOCKER] {
        let id = store.inspect(name)["Id"].as_str().unwrap().to_owned();
        for (query, transport) in FORMATS {
            // What Skopeo makes of the image in this format, conversions included.
            let theirs = converted(&store, name, transport);
            let references = [name, id.as_str()];
            // Directories have no names, so there is only one way to ask for them.
            let ways = if transport.ends_with("archive") { 2 } else { 1 };
            for reference in references.into_iter().take(ways) {
                let what = format!("{reference} as {query}");
                let file = download(&server, &target, &[reference], query, transport);
                let source = format!("{transport}:{file}");
                let config = target.skopeo(["inspect", "--config", "--raw", &source]);
                let config_id = crate::support::archive::sha256(config.as_bytes());
                assert_eq!(config_id, format!("sha256:{theirs}"), "{what}");

                target.skopeo(["copy", &source, &target.reference("localhost/copy:1")]);
                assert_eq!(target.image_ids(), [theirs.as_str()], "{what}");
                assert_eq!(target.diff_ids("localhost/copy:1"), store.diff_ids(name), "{what}");
                target.podman(["rmi", "--all", "--force"]);

                let answer = target.podman(["load", "--quiet", "--input", &file]);
                assert_eq!(target.image_ids(), [theirs.as_str()], "{what}");
                assert_eq!(target.diff_ids(&theirs), store.diff_ids(name), "{what}");
                let archive = transport.ends_with("archive");
                let loaded = match (archive, reference == name) {
                    (true, true) => name.to_owned(),
                    (true, false) => format!("sha256:{theirs}"),
                    // Podman 4.3.1 calls the image of a layout after its directory.
                    (false, _) if transport == "oci" => "localhost/export-oci".to_owned(),
                    (false, _) => format!("sha256:{theirs}"),
                };
                assert_eq!(answer, format!("Loaded image: {loaded}"), "{what}");
                target.podman(["rmi", "--all", "--force"]);
            }
        }
    }
}

#[test]
fn tools_find_each_of_several_images_in_an_archive() {
    let store = two_kinds();
    store.podman(["tag", OCI, "quay.io/example/also:2"]);
    let nameless = store.podman(["inspect", "--format={{.Id}}", DOCKER]);
    let server = Server::start(&store);
    let target = Store::new();
    let references = [OCI, "quay.io/example/also:2", &nameless];
    let file = download(&server, &target, &references, "docker-archive", "docker-archive");

    let path = target.path(&file);
    let images = saved::docker_archive(&path);
    let names: Vec<Vec<String>> = images.iter().map(|image| image.names.clone()).collect();
    let (oci, docker) = (store.inspect(OCI), store.inspect(DOCKER));
    for image in &images {
        let id = if image.names.is_empty() { &docker["Id"] } else { &oci["Id"] };
        assert_eq!(*id, image.id.as_str(), "{names:?}");
    }
    assert_eq!(names.concat(), [OCI, "quay.io/example/also:2"]);

    let tagged = format!("docker-archive:{file}:quay.io/example/also:2");
    target.skopeo(["copy", &tagged, &target.reference("localhost/copy:1")]);
    assert_eq!(target.inspect("localhost/copy:1")["Id"], oci["Id"]);
    let last = format!("docker-archive:{file}:@{}", images.len() - 1);
    target.skopeo(["copy", &last, &target.reference("localhost/copy:1")]);
    assert_eq!(target.inspect("localhost/copy:1")["Id"], docker["Id"]);
    target.podman(["rmi", "--all", "--force"]);

    target.podman(["load", "--quiet", "--input", &file]);
    let by_podman = target.image_ids();
    assert_eq!(target.inspect(OCI)["Id"], oci["Id"]);
    assert_eq!(target.inspect("quay.io/example/also:2")["Id"], oci["Id"]);
    target.podman(["rmi", "--all", "--force"]);
    let loaded = Server::start(&target).client().load(&path);
    assert_eq!(loaded, [OCI, "quay.io/example/also:2", &format!("sha256:{nameless}")]);
    assert_eq!(target.image_ids(), by_podman);
    assert_sound(&target);
}

/// What Podman, Skopeo and Buildah write is loaded to the same names, IDs and layers as by Podman.
#[test]
fn every_archive_of_other_tools_is_loaded_as_podman_does() {
    let store = two_kinds();
    let target = Store::new();
    let server = Server::start(&target);
    for name in [OCI, DOCKER] {
        for (number, write) in WRITERS.iter().enumerate() {
            let what = format!("{name} by {number}");
            let file = target.path("archive.tar");
            write(&store, name, &file);
            let answer = target.podman(["load", "--quiet", "--input", "archive.tar"]);
            let theirs: Vec<&str> =
                answer.lines().filter_map(|line| line.strip_prefix("Loaded image: ")).collect();
            assert!(!theirs.is_empty(), "{what}: {answer}");
            let ids = target.image_ids();
            let layers: Vec<_> = ids.iter().map(|id| target.diff_ids(id)).collect();
            target.podman(["rmi", "--all", "--force"]);
            assert_empty(&target);

            assert_eq!(server.client().load(&file), theirs, "{what}");
            assert_eq!(target.image_ids(), ids, "{what}");
            for (id, layers) in ids.iter().zip(&layers) {
                assert_eq!(target.diff_ids(id), *layers, "{what}");
                assert_eq!(*layers, store.diff_ids(name), "{what}");
            }
            assert_sound(&target);
            target.podman(["rmi", "--all", "--force"]);
            fs::remove_file(file).unwrap();
        }
    }
}

/// Podman exports tars of `dir:` directories, and loads none. Here they come back, without a name.
#[test]
fn tars_of_dir_directories_are_loaded() {
    let store = two_kinds();
    let exporting = Server::start(&store);
    let target = Store::new();
    let server = Server::start(&target);
    let directory = store.path("directory");
    for name in [OCI, DOCKER] {
        let theirs = converted(&store, name, "dir");
        store.skopeo(["copy", &store.reference(name), &format!("dir:{}", directory.display())]);
        let file = target.path("directory.tar");
        let mut tar = command("tar", ["--create", "--file"]);
        run(tar.arg(&file).arg("--directory").arg(&directory).arg("."));
        fs::remove_file(largest(&directory)).unwrap();
        let broken = target.path("broken.tar");
        let mut tar = command("tar", ["--create", "--file"]);
        run(tar.arg(&broken).arg("--directory").arg(&directory).arg("."));
        let text = server.client().try_load(&broken).unwrap().expect(500).text();
        assert!(text.contains("* dir: open ") && text.contains(": no such file"), "{text}");
        assert_empty(&target);
        fs::remove_dir_all(&directory).unwrap();
        run_failing(&mut target.podman_command(["load", "--input", "directory.tar"]));
        let stored = store.inspect(name)["Id"].as_str().unwrap().to_owned();
        assert_eq!(server.client().load(&file), [format!("sha256:{stored}")], "{name}");
        assert_eq!(target.diff_ids(&stored), store.diff_ids(name));
        target.podman(["rmi", "--all"]);

        for compress in [false, true] {
            let route =
                format!("/images/{}/get?format=docker-dir&compress={compress}", escape(name));
            assert_eq!(exporting.client().download(&route, &file).unwrap(), 200);
            assert_eq!(server.client().load(&file), [format!("sha256:{theirs}")], "{route}");
            assert_eq!(target.image_ids(), [theirs.as_str()]);
            assert_eq!(target.diff_ids(&theirs), store.diff_ids(name));
            assert_sound(&target);
            target.podman(["rmi", "--all"]);
        }
    }
}

/// The largest file of a directory: a layer.
fn largest(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap().path()
}

type Writer = fn(&Store, &str, &Path);

const WRITERS: [Writer; 9] = [
    |store, name, file| save(store, &["--format=docker-archive"], name, file),
    |store, name, file| save(store, &["--format=oci-archive"], name, file),
    |store, name, file| save(store, &["--format=docker-archive"], &id(store, name), file),
    |store, name, file| save(store, &["--format=oci-archive"], &id(store, name), file),
    |store, name, file| {
        let target = format!("docker-archive:{}:quay.io/example/first:1", file.display());
        let more = "--additional-tag=localhost/second:2";
        store.skopeo(["copy", more, &store.reference(name), &target]);
    },
    |store, name, file| {
        let target = format!("docker-archive:{}", file.display());
        store.skopeo(["copy", &store.reference(name), &target]);
    },
    |store, name, file| {
        let target = format!("oci-archive:{}:short", file.display());
        store.skopeo(["copy", &store.reference(name), &target]);
    },
    |store, name, file| {
        let target = format!("docker-archive:{}:localhost/pushed:1", file.display());
        store.buildah(["push", "--quiet", name, &target]);
    },
    |store, name, file| {
        let target = format!("oci-archive:{}:localhost/pushed:1", file.display());
        store.buildah(["push", "--quiet", "--format=oci", name, &target]);
    },
];

fn save(store: &Store, options: &[&str], name: &str, file: &Path) {
    let mut save = store.podman_command(["save", "--quiet", "--output"]);
    run(save.arg(file).args(options).arg(name));
}

fn id(store: &Store, name: &str) -> String {
    store.inspect(name)["Id"].as_str().unwrap().to_owned()
}

/// A store with an image of each kind, of two layers.
fn two_kinds() -> Store {
    let store = Store::new();
    let layers = [Layer::random(9, "srv", 20, 5000), Layer::files(&[("etc/.wh.gone", b"")])];
    let more = [layers[0].clone(), layers[1].clone(), Layer::files(&[("top", b"1")])];
    for archive in
        [OciArchive::new(OCI, &layers).build(), DockerArchive::new(&[DOCKER], &more).build()]
    {
        let file = store.path("archive.tar");
        fs::write(&file, archive).unwrap();
        store.podman(["load", "--quiet", "--input", "archive.tar"]);
    }
    assert_eq!(store.inspect(OCI)["ManifestType"], "application/vnd.oci.image.manifest.v1+json");
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(store.inspect(DOCKER)["ManifestType"], docker);
    store
}

/// The ID that the image has when Skopeo has written it for `transport`.
fn converted(store: &Store, name: &str, transport: &str) -> String {
    let directory = tempfile::tempdir_in(store.dir()).unwrap();
    let (kind, options) = match transport {
        "oci" | "oci-archive" => ("oci", "--format=oci"),
        _ => ("dir", "--format=v2s2"),
    };
    let target = format!("{kind}:{}/image", directory.path().display());
    store.skopeo(["copy", options, &store.reference(name), &target]);
    let manifest: Value =
        serde_json::from_str(&store.skopeo(["inspect", "--raw", &target])).unwrap();
    manifest["config"]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned()
}

/// Exports to the directory of `target`, unpacked where the tar is one of a directory; the name
/// there.
fn download(
    server: &Server,
    target: &Store,
    references: &[&str],
    query: &str,
    transport: &str,
) -> String {
    let references: Vec<String> =
        references.iter().map(|name| format!("references={}", escape(name))).collect();
    let route = format!("/images/export?format={query}&{}", references.join("&"));
    let file: PathBuf = target.path("export.tar");
    assert_eq!(server.client().download(&route, &file).unwrap(), 200, "{route}");
    if transport.ends_with("archive") {
        return "export.tar".to_owned();
    }
    let name = format!("export-{transport}");
    let directory = target.path(&name);
    if directory.exists() {
        fs::remove_dir_all(&directory).unwrap();
    }
    fs::create_dir(&directory).unwrap();
    run(command("tar", ["--extract", "--file"]).arg(&file).arg("--directory").arg(&directory));
    name
}
