//! The same tar imported by us and by Podman.

use serde_json::{Value, json};

use crate::load::{assert_empty, compress};
use crate::reading;
use crate::support::check::assert_sound;
use crate::support::http::escape;
use crate::support::{DockerArchive, Layer, Server, Store};

const CHANGES: &[&str] = &[
    "CMD [\"/bin/true\", \"<x>\"]",
    "ENTRYPOINT run me",
    "ENV PATH=/bin",
    "ENV EMPTY",
    "EXPOSE 80",
    "EXPOSE 53/udp",
    "VOLUME /a /b",
    "WORKDIR /w",
    "WORKDIR x/../y",
    "LABEL a=\"1 2\"",
    "USER 1:2",
    "STOPSIGNAL SIGINT",
];

#[test]
fn an_import_equals_podmans() {
    let store = Store::new();
    let server = Server::start(&store);
    for changes in [&[][..], CHANGES] {
        reading::import(&store, "localhost/theirs", "same", changes);
        let tar = std::fs::read(store.path("import-same.tar")).unwrap();
        let mut query = "?reference=ours".to_owned();
        for change in changes {
            query.push_str(&format!("&changes={}", escape(change)));
        }
        let answer = server.client().import(&query, tar).expect(200).json();
        let id = answer["Id"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        assert_eq!(store.inspect("localhost/ours:latest")["Id"], id);
        assert_eq!(without_times(store.inspect("ours")), without_times(store.inspect("theirs")));
        assert_eq!(config(&store, "ours"), config(&store, "theirs"));
    }
    assert_eq!(store.records("overlay-layers/layers.json").len(), 1, "one tree for all imports");
    assert_sound(&store);
}

#[test]
fn every_compression_gives_the_same_layer() {
    let store = Store::new();
    let server = Server::start(&store);
    let layer = Layer::random(3, "data", 20, 5000);
    for (tool, media_type) in [
        ("gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("bzip2", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("xz", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ] {
        let packed = std::fs::read(compress(&store, tool, &layer.tar)).unwrap();
        let query = format!("?reference={tool}&message=from+{tool}&Architecture=arm64&variant=v8");
        server.client().import(&query, packed.clone()).expect(200);
        assert_eq!(store.diff_ids(tool), [layer.diff_id()]);
        let inspected = store.inspect(tool);
        assert_eq!(inspected["Architecture"], "arm64");
        assert_eq!(inspected["History"][0]["comment"], format!("from {tool}"));
        let name = store.reference(&format!("localhost/{tool}"));
        let manifest: Value =
            serde_json::from_str(&store.skopeo(["inspect", "--raw", &name])).unwrap();
        assert_eq!(manifest["layers"][0]["mediaType"], media_type);
        assert_eq!(manifest["layers"][0]["size"], packed.len());
    }
    assert_sound(&store);
}

/// A file of the server, over a Unix socket and by its user, becomes an image with its time.
#[test]
fn a_file_of_the_server() {
    let store = Store::new();
    let server = Server::start(&store);
    let layer = Layer::files(&[("etc/file", b"content")]);
    let path = store.path("root.tar");
    std::fs::write(&path, &layer.tar).unwrap();
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let url = |path: &std::path::Path| escape(&path.display().to_string());
    let query = format!("?reference=file&URL={}", url(&path));
    server.client().import(&query, Vec::new()).expect(200);
    assert_eq!(store.diff_ids("file"), [layer.diff_id()]);
    assert_eq!(store.inspect("file")["Created"], "2001-09-09T01:46:40Z");

    let archive = store.path("archive.tar");
    let image = DockerArchive::new(&["localhost/local:1"], &[layer]);
    std::fs::write(&archive, image.build()).unwrap();
    let load = |path: &std::path::Path| {
        server.client().post(&format!("/local/images/load?path={}", url(path)))
    };
    assert_eq!(load(&archive).expect(200).json()["Names"], json!(["localhost/local:1"]));
    assert_eq!(store.inspect("local:1")["Id"], image.image_id(0));
    let missing = store.path("missing");
    let text = format!("file does not exist: {:?}", missing.display().to_string());
    assert_eq!(load(&missing).expect(404).json()["message"], text);
    load(store.dir()).expect(500);
    assert_sound(&store);
}

#[test]
fn nothing_is_an_empty_layer() {
    let store = Store::new();
    let server = Server::start(&store);
    server.client().import("?reference=empty", Vec::new()).expect(200);
    assert_eq!(store.diff_ids("empty").len(), 1);
    store.podman(["image", "mount", "empty"]);
    store.podman(["image", "unmount", "--all"]);
    assert_sound(&store);
}

#[test]
fn a_refused_import_leaves_nothing() {
    let store = Store::new();
    let server = Server::start(&store);
    let tar = Layer::files(&[("etc/file", b"content")]).tar;
    for (query, body, message) in [
        (
            "?reference=UPPER",
            &tar[..],
            r#"unable to import tarball: normalizing name "UPPER": normalizing name "UPPER": repository name must be lowercase"#,
        ),
        (
            "?changes=BOGUS+x",
            &tar,
            r#"unable to import tarball: invalid change "BOGUS x" - invalid instruction BOGUS"#,
        ),
        ("", b"garbage", "unable to import tarball: writing blob: adding layer: unexpected EOF"),
        ("", &tar[..515], "unable to import tarball: writing blob: adding layer: unexpected EOF"),
    ] {
        let answer = server.client().import(query, body.to_vec()).expect(500).json();
        assert_eq!(answer["message"], message);
        assert_empty(&store);
    }
}

/// An inspection without what no two imports share.
fn without_times(mut inspection: Value) -> Value {
    for key in ["Id", "Digest", "Created", "RepoTags", "RepoDigests", "NamesHistory"] {
        inspection[key] = Value::Null;
    }
    // Podman 4.3.1 counts empty signature items, and its manifests name no media type.
    inspection["Size"] = Value::Null;
    inspection["VirtualSize"] = Value::Null;
    inspection["History"][0]["created"] = Value::Null;
    inspection
}

/// The config's text, without its times.
fn config(store: &Store, name: &str) -> String {
    let name = store.reference(&format!("localhost/{name}"));
    let text = store.skopeo(["inspect", "--config", "--raw", &name]);
    let config: Value = serde_json::from_str(&text).unwrap();
    let created = config["created"].as_str().unwrap();
    assert_eq!(config["history"][0]["created"], json!(created));
    text.replace(created, "now")
}
