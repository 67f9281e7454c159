//! Podman and Buildah write; we list, inspect and export what Skopeo and Podman load back.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::load::expected;
use crate::support::check::assert_sound;
use crate::support::debian::{DOCKER, Debian, FULL, layer};
use crate::support::http::escape;
use crate::support::server::podman_service;
use crate::support::{Client, Layer, Server, Store, saved};

/// Both servers on one store answer alike.
#[test]
fn answers_equal_those_of_podman() {
    let store = Store::new();
    fill(&store);
    let server = Server::start(&store);
    let socket = store.path("reference.sock");
    let reference = Server::spawn(&store, &mut podman_service(&store, &socket), &socket);
    let (ours, theirs) = (server.client(), reference.client());

    for query in [
        "",
        "?all=true",
        r#"?filters={"dangling":["true"]}"#,
        r#"?filters={"dangling":["false"]}"#,
        r#"?all=true&filters={"intermediate":["true"]}"#,
        r#"?filters={"label":["kind=imported"]}"#,
        r#"?filters={"label":["kind"]}"#,
        r#"?filters={"containers":["true"]}"#,
        r#"?filters={"reference":["*imported*"]}"#,
        r#"?filters={"reference":["localhost/built:oci"]}"#,
        r#"?filters={"since":["localhost/imported:1"]}"#,
        r#"?filters={"before":["localhost/built:docker"]}"#,
    ] {
        let route = format!("/images/json{}", query.replace('"', "%22"));
        let list = |client: &Client| summaries(&client.get(&route).expect(200).json());
        assert_eq!(list(&ours), list(&theirs), "{query}");
    }

    let ids = store.image_ids();
    assert!(ids.len() >= 7, "{ids:?}");
    let names = ["localhost/imported:1", "built:oci", "localhost/built:docker", "committed"];
    for name in ids.iter().map(String::as_str).chain(names) {
        let get = |client: &Client, route: &str| {
            client.get(&format!("/images/{}/{route}", escape(name))).expect(200).json()
        };
        assert_eq!(inspection(get(&ours, "json")), inspection(get(&theirs, "json")), "{name}");
        assert_eq!(history(get(&ours, "history")), history(get(&theirs, "history")), "{name}");
        assert_eq!(get(&ours, "tree"), get(&theirs, "tree"), "{name}");
        ours.get(&format!("/images/{}/exists", escape(name))).expect(204);
    }
    for route in ["exists", "json", "history", "tree"] {
        let get = |client: &Client| client.get(&format!("/images/nobody/{route}")).expect(404);
        assert_eq!(get(&ours).json(), get(&theirs).json(), "{route}");
    }
    assert_sound(&store);
}

/// Real layers, exported in both formats, are what was stored and load elsewhere.
#[test]
fn tools_load_what_we_export() {
    let image = Debian::get();
    let store = Store::new();
    store.podman(["load", "--input", &image.oci_archive().display().to_string()]);
    store.podman(["load", "--input", &image.skopeo_archive().display().to_string()]);
    let server = Server::start(&store);
    let client = server.client();
    let docker = store.path("docker.tar");
    let oci = store.path("oci.tar");

    let status = client.download(&route(FULL, "docker-archive"), &docker).unwrap();
    assert_eq!(status, 200);
    assert_eq!(saved::docker_archive(&docker), [expected(FULL, &image.full)]);
    let status = client.download(&route(FULL, "oci-archive"), &oci).unwrap();
    assert_eq!(status, 200);
    assert_eq!(saved::oci_archive(&oci), expected(FULL, &image.full));

    let target = Store::new();
    for (archive, transport) in [(&docker, "docker-archive"), (&oci, "oci-archive")] {
        let source = format!("{transport}:{}", archive.display());
        let inspected: Value =
            serde_json::from_str(&target.skopeo(["inspect", "--config", &source])).unwrap();
        assert_eq!(inspected["rootfs"]["diff_ids"], json!(image.full.diff_ids));
        let copy = format!("localhost/copied:{transport}");
        target.skopeo(["copy", &source, &target.reference(&copy)]);
        assert_eq!(target.inspect(&copy)["Id"], image.full.id.as_str());
        assert_eq!(target.diff_ids(&copy), image.full.diff_ids);
        target.podman(["rmi", &copy]);
        assert_eq!(target.image_ids(), [""; 0]);
        target.podman(["load", "--input", &archive.display().to_string()]);
        assert_eq!(target.inspect(FULL)["Id"], image.full.id.as_str());
        assert_eq!(target.diff_ids(FULL), image.full.diff_ids);
        target.podman(["rmi", FULL]);
    }

    // Several images in one archive; a docker image as OCI gets another ID but the same layers.
    let query = format!(
        "/images/export?format=docker-archive&references={}&references={}",
        escape(FULL),
        escape(DOCKER)
    );
    assert_eq!(client.download(&query, &docker).unwrap(), 200);
    let names = |list: Vec<saved::Saved>| -> Vec<(Vec<String>, Vec<String>)> {
        list.into_iter().map(|image| (image.names, image.diff_ids)).collect()
    };
    assert_eq!(
        names(saved::docker_archive(&docker)),
        [
            (vec![FULL.to_owned()], image.full.diff_ids.clone()),
            (vec![DOCKER.to_owned()], image.docker.diff_ids.clone())
        ]
    );
    assert_eq!(client.download(&route(DOCKER, "oci-archive"), &oci).unwrap(), 200);
    assert_eq!(saved::oci_archive(&oci).diff_ids, image.docker.diff_ids);
    assert_sound(&store);
}

/// Directories, unpacked from the tar that is sent, are what Skopeo reads as such.
#[test]
fn skopeo_reads_exported_directories() {
    let store = Store::new();
    import(&store, "localhost/base:1", "one", &["ENV A=1"]);
    layer(&store, "localhost/base:1", "localhost/two:1", |root| {
        std::fs::write(root.join("added"), "two").unwrap();
    });
    let container = store.buildah(["from", "localhost/two:1"]);
    store.buildah(["commit", "--format=docker", "--quiet", &container, "localhost/docker:1"]);
    store.buildah(["rm", &container]);
    let server = Server::start(&store);
    let target = Store::new();
    let loader = Server::start(&target);
    let gzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let plain = "application/vnd.docker.image.rootfs.diff.tar";
    for (number, (query, transport, layer_type)) in [
        ("format=oci-dir", "oci", "application/vnd.oci.image.layer.v1.tar+gzip"),
        (
            "format=oci-dir&ociAcceptUncompressedLayers=true",
            "oci",
            "application/vnd.oci.image.layer.v1.tar",
        ),
        ("format=docker-dir", "dir", plain),
        ("format=docker-dir&compress=true", "dir", gzip),
    ]
    .into_iter()
    .enumerate()
    {
        for name in ["localhost/two:1", "localhost/docker:1"] {
            let tar = store.path("directory.tar");
            let query = format!("/images/export?references={}&{query}", escape(name));
            assert_eq!(server.client().download(&query, &tar).unwrap(), 200);
            let directory = store.path(&format!("{number}-{}", name.replace(['/', ':'], "-")));
            std::fs::create_dir(&directory).unwrap();
            let mut untar = crate::support::tool::command("tar", ["--extract", "--file"]);
            crate::support::tool::run(untar.arg(&tar).arg("--directory").arg(&directory));
            let source = format!("{transport}:{}", directory.display());
            let manifest: Value =
                serde_json::from_str(&target.skopeo(["inspect", "--raw", &source])).unwrap();
            for layer in manifest["layers"].as_array().unwrap() {
                assert_eq!(layer["mediaType"], layer_type, "{query}");
            }
            let copy = format!("localhost/copy:{number}");
            target.skopeo(["copy", &source, &target.reference(&copy)]);
            assert_eq!(target.diff_ids(&copy), store.diff_ids(name), "{query}");
            // A Docker image as OCI is another one.
            let same = target.inspect(&copy)["Id"] == store.inspect(name)["Id"];
            assert_eq!(same, transport == "dir" || name == "localhost/two:1", "{query} {name}");
            if transport == "oci" {
                // The tar of a layout is an archive, too.
                assert_eq!(loader.client().load(&tar), [name]);
                assert_eq!(target.inspect(name)["Id"], target.inspect(&copy)["Id"]);
            }
        }
    }
    assert_sound(&store);
    assert_sound(&target);
}

/// A store written by everybody but us: imports, commits of both kinds and formats, a container.
fn fill(store: &Store) {
    import(store, "localhost/imported:1", "one", &["LABEL kind=imported", "ENV A=1"]);
    import(store, "localhost/imported:2", "two", &["CMD /bin/true"]);
    store.podman(["tag", "localhost/imported:1", "quay.io/example/imported:1", "localhost/also"]);
    for (number, name) in ["localhost/built:1", "localhost/built:oci"].into_iter().enumerate() {
        let from = if number == 0 { "localhost/imported:1" } else { "localhost/built:1" };
        layer(store, from, name, |root| {
            std::fs::write(root.join(format!("built-{number}")), name).unwrap();
        });
    }
    // Untagging makes the middle one intermediate.
    store.podman(["untag", "localhost/built:1"]);
    let container = store.buildah(["from", "localhost/imported:2"]);
    store.buildah(["config", "--label", "kind=built", "--author", "a & b <c>", &container]);
    store.buildah(["commit", "--format=docker", "--quiet", &container, "localhost/built:docker"]);
    let container = store.podman(["create", "--network=none", "localhost/built:docker"]);
    store.podman(["commit", "--quiet", "--pause=false", &container, "localhost/committed"]);
    // A name that moves on leaves a dangling image.
    import(store, "localhost/moving", "three", &[]);
    import(store, "localhost/moving", "four", &[]);
}

/// `podman import` of a one-file layer.
pub(crate) fn import(store: &Store, name: &str, content: &str, changes: &[&str]) -> String {
    let file = store.path(&format!("import-{content}.tar"));
    let path = format!("etc/{content}");
    std::fs::write(&file, Layer::files(&[(&path, content.as_bytes())]).tar).unwrap();
    let mut command = store.podman_command(["import", "--quiet"]);
    for change in changes {
        command.arg("--change").arg(change);
    }
    command.arg(&file).arg(name).stderr(Stdio::null());
    crate::support::tool::run(&mut command)
}

fn route(name: &str, format: &str) -> String {
    format!("/images/{}/get?format={format}", escape(name))
}

/// A list as Podman 4.3.1 answers it: it has no platform and no manifest list flag.
fn summaries(list: &Value) -> Vec<Value> {
    let mut list = list.as_array().unwrap().clone();
    for summary in &mut list {
        let summary = summary.as_object_mut().unwrap();
        for key in ["Arch", "Os", "IsManifestList"] {
            summary.remove(key);
        }
    }
    list
}

/// An inspection without `MergedDir`, which comes and goes with mounts.
fn inspection(mut inspection: Value) -> Value {
    inspection["GraphDriver"]["Data"].as_object_mut().unwrap().remove("MergedDir");
    inspection
}

/// A history as Podman 4.3.1 answers it: without tags.
fn history(mut history: Value) -> Value {
    for entry in history.as_array_mut().unwrap() {
        entry["Tags"] = Value::Null;
    }
    history
}
