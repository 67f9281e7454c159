//! Names and removal, by us and by the tools, on images that share layers.

use serde_json::{Value, json};

use crate::load::assert_empty;
use crate::support::check::assert_sound;
use crate::support::http::escape;
use crate::support::{DockerArchive, Layer, Response, Server, Store};

#[test]
fn names_move_between_images_of_both() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let (first, second) = two_images();
    client.load_bytes(first.build()).expect(200);
    let file = store.path("second.tar");
    std::fs::write(&file, second.build()).unwrap();
    store.podman(["load", "--input", &file.display().to_string()]);
    let (first, second) = (first.image_id(0), second.image_id(0));
    let find = |name: &str| store.inspect(name)["Id"].as_str().unwrap().to_owned();

    client.post("/images/first:1/tag?repo=quay.io/example/app&tag=v1").expect(201);
    assert_eq!(find("quay.io/example/app:v1"), first);
    store.podman(["tag", "second:1", "quay.io/example/app:v1"]);
    assert_eq!(find("quay.io/example/app:v1"), second);
    assert_eq!(inspect(&server, "quay.io/example/app:v1")["Id"], second.as_str());
    assert_eq!(names(&server, &first), ["localhost/first:1"]);
    client.post("/images/first:1/tag?repo=quay.io/example/app&tag=v1").expect(201);
    assert_eq!(find("quay.io/example/app:v1"), first);
    assert_eq!(names(&server, &second), ["localhost/second:1"]);
    let history = inspect(&server, &second)["NamesHistory"].clone();
    assert_eq!(history, json!(["quay.io/example/app:v1", "localhost/second:1"]));

    client.post("/images/second/untag?repo=second&tag=1").expect(404);
    client.post("/images/second:1/untag?repo=second&tag=1").expect(201);
    store.podman(["untag", "quay.io/example/app:v1", "quay.io/example/app:v1"]);
    assert_eq!(names(&server, &first), ["localhost/first:1"]);
    assert_eq!(names(&server, &second), [""; 0]);
    assert_eq!(store.inspect(&second)["RepoTags"], json!([]));
    assert_sound(&store);
}

#[test]
fn removal_spares_shared_layers_and_leaves_nothing_else() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let (first, second) = two_images();
    let load = || {
        client.load_bytes(first.build()).expect(200);
        client.load_bytes(second.build()).expect(200);
        assert_eq!(store.records("overlay-layers/layers.json").len(), 4);
    };

    // Ours removed by Podman, the rest by us.
    load();
    store.podman(["rmi", "first:1"]);
    assert_eq!(store.records("overlay-layers/layers.json").len(), 3);
    assert_sound(&store);
    assert_removed(&client.delete("/images/second:1"), &second.image_id(0), "localhost/second:1");
    assert_empty(&store);

    // The other way round, in one batch, and by ID.
    load();
    assert_removed(&client.delete("/images/second:1"), &second.image_id(0), "localhost/second:1");
    assert_sound(&store);
    assert_eq!(store.podman(["image", "exists", "first:1"]), "");
    store.podman(["rmi", "first:1"]);
    assert_empty(&store);

    load();
    let query = format!("images={}&images=second:1&images=nobody", first.image_id(0));
    let report = client.delete(&format!("/images/remove?{query}")).expect(200).json();
    assert_eq!(report["Deleted"], json!([first.image_id(0), second.image_id(0)]));
    assert_eq!(report["Errors"], json!(["nobody: image not known"]));
    assert_eq!(report["ExitCode"], 1);
    assert_empty(&store);
}

#[test]
fn layers_of_both_build_on_each_other() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let (first, _) = two_images();
    client.load_bytes(first.build()).expect(200);
    crate::support::debian::layer(&store, "localhost/first:1", "localhost/built", |root| {
        std::fs::write(root.join("more"), b"by Buildah").unwrap();
        std::fs::remove_file(root.join("common")).unwrap();
    });
    assert_sound(&store);
    let archive = store.path("built.tar");
    client.download("/images/built/get?format=docker-archive", &archive).unwrap();
    let diff_ids = store.diff_ids("built");

    // The base goes with its last user only, whoever removes it.
    client.delete("/images/first:1").expect(200);
    assert_eq!(store.diff_ids("built"), diff_ids);
    assert_sound(&store);
    client.delete("/images/built").expect(200);
    assert_empty(&store);
    assert_eq!(client.load(&archive), ["localhost/built:latest"]);
    assert_eq!(store.diff_ids("built"), diff_ids);
    assert_sound(&store);
}

#[test]
fn an_image_in_use_stays() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let (first, _) = two_images();
    client.load_bytes(first.build()).expect(200);
    for owner in ["podman", "buildah"] {
        let container = if owner == "podman" {
            store.podman(["create", "--network=none", "first:1"])
        } else {
            store.buildah(["from", "--quiet", "localhost/first:1"]);
            store.buildah(["containers", "--quiet", "--notruncate"])
        };
        let summary = client.get("/images/json").expect(200).json();
        assert_eq!(summary[0]["Containers"], 1, "{owner}");
        let answer = client.delete("/images/first:1").expect(409).json();
        let text = format!(
            "image used by {container}: image is in use by a container: \
             consider listing external containers and force-removing image"
        );
        assert_eq!(answer["message"], text.as_str());
        assert_eq!(answer["cause"], "image is in use by a container");
        let report = client.delete("/images/remove?images=first:1").expect(200).json();
        assert_eq!(report["ExitCode"], 2);
        assert_eq!(report["Errors"], json!([text]));
        // A second name may go, and nothing is untagged by the refusal.
        client.post("/images/first:1/tag?repo=other").expect(201);
        client.delete("/images/other").expect(200);
        assert_eq!(names(&server, "first:1"), ["localhost/first:1"]);
        assert_sound(&store);
        if owner == "podman" {
            store.podman(["rm", &container]);
        } else {
            store.buildah(["rm", &container]);
        }
    }
    client.delete("/images/first:1").expect(200);
    assert_empty(&store);
}

/// Two images with two common layers and one of their own each.
pub(crate) fn two_images() -> (DockerArchive, DockerArchive) {
    let base = Layer::random(1, "base", 150, 700);
    let common = Layer::files(&[("base/000/.wh.00000", b""), ("common", b"c")]);
    let image = |name: &str| {
        let own = Layer::files(&[("own", name.as_bytes()), ("base/.wh..wh..opq", b"")]);
        let name = format!("localhost/{name}:1");
        DockerArchive::new(&[&name], &[base.clone(), common.clone(), own])
    };
    (image("first"), image("second"))
}

fn inspect(server: &Server, name: &str) -> Value {
    server.client().get(&format!("/images/{}/json", escape(name))).expect(200).json()
}

fn names(server: &Server, name: &str) -> Vec<String> {
    crate::support::store::strings(&inspect(server, name)["RepoTags"])
}

#[track_caller]
fn assert_removed(answer: &Response, id: &str, name: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let report = answer.json();
    assert_eq!(report["Deleted"], json!([id]));
    assert_eq!(report["Untagged"], json!([name]));
    assert_eq!(report["ExitCode"], 0);
}
