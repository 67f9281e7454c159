//! Manifest lists that Podman makes of images we store, and goes on using whatever we do.

use std::fs;

use serde_json::{Value, json};

use crate::support::check::assert_sound;
use crate::support::http::escape;
use crate::support::tool::{command, run};
use crate::support::{Layer, OciArchive, Server, Store};

const LIST: &str = "localhost/list:1";

/// Images for two platforms, without names.
fn instances() -> [OciArchive; 2] {
    ["amd64", "arm64"].map(|platform| {
        let layers = [Layer::files(&[("shared", b"1")]), Layer::files(&[(platform, b"1")])];
        OciArchive::configured("x", &layers, |config| config["architecture"] = json!(platform))
            .indexed(|index| index["manifests"][0]["annotations"] = Value::Null)
    })
}

/// Loads the instances through us and lets Podman make a list of them; its ID.
fn create(store: &Store, server: &Server) -> String {
    let id = store.podman(["manifest", "create", LIST]);
    for instance in instances() {
        server.client().load_bytes(instance.build()).expect(200);
        let reference = store.reference(instance.image_id());
        store.podman(["manifest", "add", LIST, &reference]);
    }
    id
}

fn listed(store: &Store, name: &str) -> Value {
    serde_json::from_str(&store.podman(["manifest", "inspect", name])).unwrap()
}

fn image_id(server: &Server, name: &str) -> String {
    let image = server.client().get(&format!("/images/{}/json", escape(name))).expect(200).json();
    image["Id"].as_str().unwrap().to_owned()
}

#[test]
fn podman_uses_lists_after_all_we_do() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let id = create(&store, &server);
    let [host, other] = instances();
    let before = listed(&store, LIST);
    let digests: Vec<_> =
        before["manifests"].as_array().unwrap().iter().map(|it| &it["digest"]).collect();
    assert_eq!(
        digests,
        [&host, &other]
            .map(|it| json!(format!("sha256:{}", it.manifest_blob())))
            .iter()
            .collect::<Vec<_>>()
    );

    // It stands for the instance of this machine, and Podman says so too.
    assert_eq!(image_id(&server, LIST), host.image_id());
    assert_eq!(store.inspect(LIST)["Id"], host.image_id());
    let all = client.get("/images/json").expect(200).json();
    let lists: Vec<_> =
        all.as_array().unwrap().iter().filter(|it| it["IsManifestList"] == true).collect();
    assert_eq!(lists.len(), 1);
    assert_eq!((&lists[0]["Id"], &lists[0]["Names"]), (&json!(id), &json!([LIST])));

    // Names, pruning, archives and commits leave it as it is.
    client.post("/images/list:1/tag?repo=localhost/also&tag=1").expect(201);
    client.post("/images/prune").expect(200);
    assert_eq!(client.post("/images/prune").expect(200).json(), json!([]));
    // An archive with other bytes for the layers would do to Podman what it does after its own load:
    // it looks for the instance by the newest manifest of the image.
    client.get(&format!("/images/{}/get", host.image_id())).expect(200);
    client.load_bytes(host.build()).expect(200);
    store.podman(["create", "--name=c", "--network=none", host.image_id(), "/x"]);
    client.post("/commit?container=c&repo=localhost/made&tag=1").expect(200);
    store.podman(["rm", "c"]);
    client.delete("/images/made:1").expect(200);
    for name in [LIST, "localhost/also:1", &id] {
        assert_eq!(listed(&store, name), before, "{name}");
    }
    for instance in [&host, &other] {
        assert_eq!(image_id(&server, instance.image_id()), instance.image_id());
    }
    assert_sound(&store);

    // Podman changes the list, and copies all of it from the store.
    store.podman([
        "manifest",
        "annotate",
        "--annotation=seen=1",
        LIST,
        digests[0].as_str().unwrap(),
    ]);
    let changed = listed(&store, LIST);
    assert_ne!(changed, before);
    assert_eq!(image_id(&server, LIST), host.image_id());
    let layout = store.path("layout");
    let target = format!("oci:{}:localhost/pushed:1", layout.display());
    store.podman(["manifest", "push", "--all", "localhost/also:1", &target]);

    // Who takes its name does not take anything else.
    let tar = Layer::files(&[("a", b"a")]).tar;
    client.import("?reference=localhost/also:1", tar).expect(200);
    client.post("/images/also:1/tag?repo=localhost/list&tag=1").expect(201);
    assert_eq!(listed(&store, &id), changed);
    client.post(&format!("/images/{id}/tag?repo=localhost/list&tag=1")).expect(201);
    assert_eq!(listed(&store, LIST), changed);

    // What was copied comes back: an index, of which the instance for this machine is loaded.
    let again = Store::new();
    let loading = Server::start(&again);
    let file = store.path("layout.tar");
    run(command("tar", ["--create", "--file"]).arg(&file).arg("--directory").arg(&layout).arg("."));
    assert_eq!(loading.client().load(&file), ["localhost/pushed:1"]);
    assert_eq!(again.diff_ids("pushed:1"), store.diff_ids(host.image_id()));
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let stored = again.image_ids();
    assert_eq!(again.inspect(&stored[0])["Digest"], index["manifests"][0]["digest"]);
    assert_sound(&again);
}

#[test]
fn a_list_goes_without_its_instances() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let id = create(&store, &server);
    let [host, other] = instances();
    let report = client.delete("/images/list:1?lookupManifest=true").expect(200).json();
    assert_eq!((&report["Deleted"], &report["Untagged"]), (&json!([id]), &json!([LIST])));
    let mut left = [host.image_id(), other.image_id()];
    left.sort_unstable();
    assert_eq!(store.image_ids(), left);
    assert_sound(&store);

    // Without the list they are dangling.
    create(&store, &server);
    assert_eq!(client.post("/images/prune").expect(200).json(), json!([]));
    store.podman(["manifest", "rm", LIST]);
    assert_eq!(client.post("/images/prune").expect(200).json().as_array().unwrap().len(), 2);
    crate::load::assert_empty(&store);

    let id = create(&store, &server);
    let all = client.delete("/images/remove?all=true").expect(200).json();
    assert_eq!(all["Deleted"].as_array().unwrap().len(), 3, "{id} and two more: {all}");
    crate::load::assert_empty(&store);
    assert_sound(&store);
}
