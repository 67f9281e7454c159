//! What may be left of an operation that was cut short: each image is as it was or as it was to be,
//! and whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::store::strings;
use super::{Client, Store, check, saved};

/// The names of every image, by ID.
pub(crate) type Images = BTreeMap<String, BTreeSet<String>>;

/// What the daemon lists.
#[track_caller]
pub(crate) fn images(client: &Client) -> Images {
    let list = client.get("/images/json?all=true").expect(200).json();
    let images = list.as_array().unwrap().iter();
    images
        .map(|image| {
            let id = image["Id"].as_str().unwrap().to_owned();
            (id, strings(&image["RepoTags"]).into_iter().collect())
        })
        .collect()
}

/// Each image that was there or was to be there is one or the other now.
#[track_caller]
pub(crate) fn assert_between(found: &Images, before: &Images, after: &Images, what: &str) {
    for id in before.keys().chain(after.keys()) {
        let (was, will_be) = (before.get(id), after.get(id));
        let is = found.get(id);
        assert!(is == was || is == will_be, "{what}: {id} has {is:?}, not {was:?}/{will_be:?}");
    }
}

/// Podman and `containers-storage` list the images that have records.
#[track_caller]
pub(crate) fn assert_agreed(store: &Store) {
    let recorded: BTreeSet<String> = check::image_layers(&store.root()).into_keys().collect();
    let podman: BTreeSet<String> = store.image_ids().into_iter().collect();
    assert_eq!(podman, recorded, "Podman");
    let listed: Vec<Value> = serde_json::from_str(&store.storage(["images", "--json"])).unwrap();
    let id = |image: &Value| image["id"].as_str().unwrap().to_owned();
    let listed: BTreeSet<String> = listed.iter().map(id).collect();
    assert_eq!(listed, recorded, "containers-storage");
}

/// Every image can be exported and has the digests that its config says, which has that of its ID.
/// The archives go through `file`.
#[track_caller]
pub(crate) fn assert_whole(client: &Client, images: &Images, file: &Path, what: &str) {
    for id in images.keys() {
        let route = format!("/images/{id}/get?format=docker-archive");
        assert_eq!(client.download(&route, file).unwrap(), 200, "{what}: {id}");
        assert_eq!(saved::docker_archive(file)[0].id, *id, "{what}");
    }
}
