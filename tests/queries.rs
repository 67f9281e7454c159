//! Lookups and documents of images that Podman and Buildah made, compared with what Podman finds
//! in the same store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "shown when a test fails")]

mod support;

use imaged::engine::local::{LocalEngine, Options};
use imaged::engine::{ErrorKind, HistoryOptions, ImageEngine, ImageName, InspectOptions};
use imaged::engine::{ListOptions, TreeOptions};
use imaged::storage::{self, StoreOptions};
use imaged::sys::Cancel;
use imaged::task::Tasks;
use serde_json::{Value, json};
use support::tool::output;
use support::{Layer, Store};

/// Two imported images under several names, a build without layers, an image committed on top of
/// one, an untagged image, and manifest lists.
fn filled() -> Store {
    let store = Store::new();
    for (file, names) in [
        ("one", ["localhost/base:latest", "quay.io/ns/sub/c:9", "docker.io/library/foo:1"]),
        ("two", ["localhost/other:latest", "localhost/beef:latest", "localhost/c:8"]),
    ] {
        let tar = store.path(file);
        std::fs::write(&tar, Layer::files(&[(file, b"content")]).tar).unwrap();
        store.podman(["import", "--message", "made here", &tar.display().to_string(), names[0]]);
        store.podman(["tag", names[0], names[1], names[2]]);
    }
    let container = store.podman(["create", "base", "/bin/true"]);
    store.podman(["commit", "--quiet", "--format", "docker", &container, "localhost/on-base:1"]);
    store.podman(["commit", "--quiet", &container, "localhost/untagged:1"]);
    store.podman(["untag", "localhost/untagged:1"]);
    store.podman(["rm", &container]);
    std::fs::write(store.path("Containerfile"), "FROM scratch\nLABEL a=1\n").unwrap();
    store.buildah(["build", "--quiet", "--tag", "localhost/bare:1", "."]);
    let here = store.reference("localhost/other:latest");
    store.podman(["manifest", "create", "localhost/list:1"]);
    store.podman(["manifest", "add", "localhost/list:1", &here]);
    store.podman(["manifest", "create", "localhost/nothing:1"]);
    store
}

fn engine(store: &Store) -> LocalEngine {
    let options = StoreOptions {
        graph_root: store.root(),
        run_root: store.runroot(),
        ..StoreOptions::default()
    };
    let opened = storage::Store::open(options, &Cancel::new()).unwrap();
    LocalEngine::new(opened, Options::default(), Tasks::new(2))
}

/// What Podman takes `name` for, if it finds it.
fn id_by_podman(store: &Store, name: &str) -> Option<String> {
    let mut command = store.podman_command(["image", "inspect", "--format", "{{.Id}}", name]);
    let output = output(&mut command);
    let id = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    output.status.success().then_some(id)
}

#[tokio::test]
async fn names_mean_what_podman_takes_them_for() {
    let store = filled();
    let engine = engine(&store);
    let base = store.inspect("localhost/base:latest");
    let (id, digest) = (base["Id"].as_str().unwrap(), base["Digest"].as_str().unwrap());
    let other_digest =
        store.inspect("localhost/other:latest")["Digest"].as_str().unwrap().to_owned();
    let unknown = "0".repeat(64);
    let names = [
        "base",
        "base:latest",
        "base:1",
        "localhost/base",
        "docker.io/base",
        "c:9",
        "c:8",
        "c",
        "sub/c:9",
        "ns/sub/c:9",
        "ub/c:9",
        "quay.io/ns/sub/c:9",
        "localhost/sub/c:9",
        "foo:1",
        "foo",
        "library/foo:1",
        "docker.io/foo:1",
        "index.docker.io/library/foo:1",
        "beef",
        "on-base:1",
        "bare:1",
        "list:1",
        "nothing:1",
        "UPPER",
        "a b",
        "docker://base",
        "dir:/x",
        "sha256:12",
        "containers-storage:foo:1",
        "containers-storage:localhost/base",
        &unknown,
        "0",
        "z",
        id,
        &id[..12],
        &id[..5],
        &format!("sha256:{id}"),
        &format!("sha256:{}", &id[..9]),
        &format!("containers-storage:{}", &id[..9]),
        digest,
        &format!("base@{digest}"),
        &format!("localhost/base@{digest}"),
        &format!("localhost/base:9@{digest}"),
        &format!("quay.io/ns/sub/c@{digest}"),
        &format!("sub/c@{digest}"),
        &format!("foo@{digest}"),
        &format!("@{id}"),
    ];
    for name in names {
        let found = engine.inspect(&ImageName::new(name), InspectOptions::default()).await;
        let (found, error) = match found {
            Ok(details) => (Some(details.id.to_string()), String::new()),
            Err(error) => (None, error.to_string()),
        };
        assert_eq!(found, id_by_podman(&store, name), "{name}: {error}");
    }
    // Podman 4.3.1 takes any image with the digest, newer ones only an image of that name.
    let mismatched = ImageName::new(format!("base@{other_digest}"));
    assert!(!engine.exists(&mismatched).await.unwrap());
}

#[tokio::test]
async fn documents_are_those_of_podman() {
    let store = filled();
    let engine = engine(&store);
    for name in ["localhost/base:latest", "c:8", "on-base:1", "bare:1", "list:1"] {
        let theirs = store.inspect(name);
        let image = ImageName::new(name);
        let ours = engine.inspect(&image, InspectOptions::default()).await.unwrap();
        let diff_ids: Vec<Value> = ours.diff_ids.iter().map(|id| json!(id)).collect();
        for (key, value) in [
            ("RepoTags", json!(ours.repo_tags)),
            ("RepoDigests", json!(ours.repo_digests)),
            ("Parent", json!(ours.parent.map(|id| id.to_string()).unwrap_or_default())),
            ("Comment", json!(ours.comment)),
            ("Created", json!(ours.created)),
            ("Architecture", json!(ours.architecture)),
            ("Size", json!(ours.size_bytes)),
            ("Annotations", json!(ours.annotations)),
            ("ManifestType", json!(ours.manifest_type)),
            ("History", json!(ours.history)),
            ("NamesHistory", json!(ours.names_history)),
        ] {
            assert_eq!(value, theirs[key], "{name} {key}");
        }
        assert_eq!(json!(diff_ids), theirs["RootFS"]["Layers"], "{name}");
        assert_eq!(json!(ours.graph_driver.data), theirs["GraphDriver"]["Data"], "{name}");

        for what_requires in [false, true] {
            let mut options = TreeOptions::default();
            options.what_requires = what_requires;
            let ours = engine.tree(&image, options).await.unwrap().text;
            let flag = format!("--whatrequires={what_requires}");
            assert_eq!(ours.trim_end(), store.podman(["image", "tree", &flag, name]), "{name}");
        }
        let ours = engine.history(&image, HistoryOptions::default()).await.unwrap();
        let theirs: Value =
            serde_json::from_str(&store.podman(["history", "--format", "json", name])).unwrap();
        let theirs = theirs.as_array().unwrap();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            let id = ours.id.as_ref().map_or_else(|| "<missing>".to_owned(), ToString::to_string);
            assert_eq!(json!(id), theirs["id"], "{name}");
            assert_eq!(json!(ours.size_bytes), theirs["size"], "{name}");
        }
    }
}

/// Podman 4.3.1 answers with an error instead of a list.
#[tokio::test]
async fn a_damaged_image_is_listed_but_does_not_exist() {
    let store = filled();
    let id = store.inspect("c:8")["Id"].as_str().unwrap().to_owned();
    std::fs::remove_file(store.root().join("overlay-images").join(&id).join("manifest")).unwrap();
    let engine = engine(&store);
    let listed = engine.list(ListOptions::default()).await.unwrap();
    assert_eq!(listed.len(), 7);
    assert!(listed.iter().any(|image| image.id.as_str() == id && image.labels.is_none()));
    let name = ImageName::new("c:8");
    assert!(!engine.exists(&name).await.unwrap());
    let error = engine.inspect(&name, InspectOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
}
