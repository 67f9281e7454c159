//! Pruning stores that Podman and Buildah use as well.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use crate::load::assert_empty;
use crate::names::two_images;
use crate::support::check::assert_sound;
use crate::support::{DockerArchive, Layer, Server, Store};

#[test]
fn dangling_images_go_and_others_stay() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let (first, second) = two_images();
    client.load_bytes(first.build()).expect(200);
    client.load_bytes(second.build()).expect(200);
    let container = store.podman(["create", "--network=none", "first:1"]);
    store.podman(["commit", "--quiet", &container]);
    store.podman(["untag", "second:1"]);

    let filter = "dangling=true";
    let dangling = store.podman(["images", "--quiet", "--no-trunc", "--filter", filter]);
    let dangling: BTreeSet<&str> =
        dangling.lines().map(|id| id.trim_start_matches("sha256:")).collect();
    assert_eq!(dangling.len(), 2);
    let sizes: Vec<Value> =
        dangling.iter().map(|id| json!({"Id": id, "Size": store.inspect(id)["Size"]})).collect();
    let mut report = client.post("/images/prune").expect(200).json();
    report.as_array_mut().unwrap().sort_by_key(|image| image["Id"].to_string());
    assert_eq!(report, json!(sizes));
    assert_eq!(store.image_ids(), [first.image_id(0)]);
    assert_sound(&store);

    // What a container needs is kept and no error. Whoever owns it: unless that is asked for.
    assert_eq!(client.post("/images/prune?all=true&external=true").expect(200).json(), json!([]));
    store.podman(["rm", &container]);
    store.buildah(["from", "--quiet", "localhost/first:1"]);
    assert_eq!(client.post("/images/prune?all=true").expect(200).json(), json!([]));
    store.buildah(["rm", "--all"]);
    assert_eq!(client.post("/images/prune").expect(200).json(), json!([]));
    let label = "%7B%22label%22%3A%5B%22none%22%5D%7D";
    let report = client.post(&format!("/images/prune?all=true&filters={label}")).expect(200);
    assert_eq!(report.json(), json!([]));
    let report = client.post("/images/prune?all=true").expect(200).json();
    assert_eq!(ids(&report), [first.image_id(0)]);
    assert_empty(&store);
}

#[test]
fn parents_follow_as_with_podman() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let (first, _) = two_images();
    let chain = || {
        client.load_bytes(first.build()).expect(200);
        let mut images = vec![first.image_id(0).to_owned()];
        for _ in 0..3 {
            let parent = images.last().unwrap();
            let container = store.podman(["create", "--network=none", parent]);
            let child = store.podman(["commit", "--quiet", &container]);
            store.podman(["rm", &container]);
            images.push(child.trim_start_matches("sha256:").to_owned());
        }
        store.podman(["untag", "first:1"]);
        images
    };
    chain();
    store.podman(["image", "prune", "--force"]);
    assert_empty(&store);
    let mut images = chain();
    images.reverse();
    assert_eq!(ids(&client.post("/images/prune").expect(200).json()), images);
    assert_empty(&store);
}

/// More than fit into one transaction.
#[test]
fn many_images_go_at_once() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let base = Layer::random(1, "base", 20, 700);
    for number in 0..200 {
        let own = Layer::files(&[("own", format!("{number}").as_bytes())]);
        let image = DockerArchive::new(&[], &[base.clone(), own]);
        client.load_bytes(image.build()).expect(200);
    }
    let start = Instant::now();
    let report = client.post("/images/prune").expect(200).json();
    println!("200 images pruned in {:?}", start.elapsed());
    assert_eq!(ids(&report).into_iter().collect::<BTreeSet<_>>().len(), 200);
    assert_empty(&store);
}

fn ids(report: &Value) -> Vec<String> {
    let id = |image: &Value| image["Id"].as_str().unwrap().to_owned();
    report.as_array().unwrap().iter().map(id).collect()
}
