use serde_json::json;

use super::list;
use crate::engine::ListOptions;
use crate::engine::local::testing::{MadeUp, Recipe, digest};

#[test]
fn everything_a_summary_says() {
    let mut store = MadeUp::default();
    let base = store.layer("1d", None, 1_996_800);
    let top = store.layer("2d", Some(&base), 2560);
    let own = store.layer("3d", Some(&top), 0);
    let parent = store.plain(&["localhost/base:latest"], &base, &["1"]);
    let mut recipe = Recipe {
        names: vec!["q.io/b:1", "q.io/a:1", "q.io/a:2"],
        created: "2026-11-23T07:58:21.5Z",
        ..store.on(&top, &["1", "2"])
    };
    recipe.config["config"] = json!({"Labels": {"k": "v"}});
    let id = store.image(recipe);
    store.container("c1", &id, &own);
    let second = digest("second manifest");
    store.edit(&id, |record| {
        record.big_data_names.push(format!("manifest-{second}"));
        record.big_data_digests.insert(format!("manifest-{second}"), second.clone());
        record.big_data_sizes = [("manifest".to_owned(), 400), ("unlisted".to_owned(), 7)].into();
        record.names_history = vec!["q.io/old:1".into()];
    });
    let images = list(&store.library(), &ListOptions::default()).unwrap();
    assert_eq!(images.iter().map(|image| &image.id).collect::<Vec<_>>(), [&parent, &id]);
    let image = &images[1];
    assert_eq!(image.parent.as_ref(), Some(&parent));
    assert_eq!(image.names, ["q.io/b:1", "q.io/a:1", "q.io/a:2"]);
    let own = store.digest_of(&id);
    let mut expected: Vec<String> = ["q.io/a", "q.io/b"]
        .iter()
        .flat_map(|repository| [&own, &second].map(|digest| format!("{repository}@{digest}")))
        .collect();
    expected.sort();
    assert_eq!(image.repo_digests, expected);
    assert_eq!(image.created.to_string(), "2026-11-23T07:58:21.5Z");
    assert_eq!(image.size_bytes, 1_996_800 + 2560 + 400);
    assert_eq!(image.labels, Some([("k".to_owned(), "v".to_owned())].into()));
    assert_eq!((image.containers, image.read_only, image.dangling), (1, false, false));
    assert_eq!((image.architecture.as_str(), image.os.as_str()), ("amd64", "linux"));
    assert_eq!(image.digest, Some(own));
    assert_eq!(image.names_history, ["q.io/old:1"]);
    assert!(!image.is_manifest_list);
}

#[test]
fn manifest_lists_have_only_data() {
    let mut store = MadeUp::default();
    store.list("e1", &["localhost/ml:latest"], &[(&digest("x"), Some("amd64"))]);
    let images = list(&store.library(), &ListOptions::default()).unwrap();
    let length = store.items.0.values().next().unwrap().len();
    assert!(images[0].is_manifest_list && images[0].labels.is_none() && images[0].os.is_empty());
    assert_eq!(images[0].size_bytes, i64::try_from(length).unwrap());
}

#[test]
fn a_damaged_image_does_not_hide_the_others() {
    let mut store = MadeUp::default();
    let base = store.layer("1d", None, 100);
    let whole = store.plain(&["localhost/a:1"], &base, &["1"]);
    let without_manifest = store.plain(&["localhost/b:1"], &base, &["2"]);
    let wrong_config = store.plain(&["localhost/c:1"], &base, &["3"]);
    let without_layer = store.plain(&["localhost/d:1"], &base, &["4"]);
    store.items.0.remove(&(without_manifest.clone(), "manifest".to_owned()));
    let key = (wrong_config.clone(), format!("sha256:{wrong_config}"));
    store.items.0.insert(key, "{}".into());
    store.edit(&without_layer, |record| {
        record.layer = Some("9".repeat(64).parse().unwrap());
    });
    let images = list(&store.library(), &ListOptions::default()).unwrap();
    let ids: Vec<_> = images.iter().map(|image| image.id.clone()).collect();
    assert_eq!(ids, [whole, without_manifest, wrong_config]);
    for damaged in &images[1..] {
        assert!(damaged.architecture.is_empty() && damaged.parent.is_none());
        assert_eq!(damaged.names.len(), 1);
        assert!(damaged.size_bytes > 100);
    }
}

#[test]
fn sizes_of_odd_stores() {
    let mut store = MadeUp::default();
    let base = store.layer("1d", None, 100);
    let (left, right) = (store.layer("2d", Some(&base), 10), store.layer("3d", Some(&base), 7));
    let mapped = store.plain(&["localhost/mapped:1"], &left, &["1", "2"]);
    store.edit(&mapped, |record| {
        record.mapped_layers = vec![right];
        record.big_data_sizes.clear();
    });
    // A layer that is its own ancestor, and an image on it.
    let circle = "4".repeat(64);
    store.push_layer(&json!({"id": circle, "parent": circle, "diff-size": 1}));
    let lost = store.plain(&["localhost/circle:1"], &base, &["x"]);
    store.edit(&lost, |record| record.layer = Some(circle.parse().unwrap()));
    let images = list(&store.library(), &ListOptions::default()).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].size_bytes, 100 + 10 + 7);
}

#[test]
fn layers_of_unknown_size_are_measured() {
    let root = tempfile::tempdir().unwrap();
    let mut store = MadeUp::default();
    let layer = store.layer("1d", None, -1);
    store.layers[0].graph_root = root.path().into();
    let files = root.path().join("overlay").join(layer.as_str()).join("diff/usr");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("a"), "12345").unwrap();
    std::fs::hard_link(files.join("a"), files.join("b")).unwrap();
    std::fs::write(files.join("../c"), "67").unwrap();
    let image = store.plain(&["localhost/a:1"], &layer, &["1"]);
    store.edit(&image, |record| record.big_data_sizes.clear());
    let images = list(&store.library(), &ListOptions::default()).unwrap();
    assert_eq!(images[0].size_bytes, 7);
}

#[test]
fn a_warm_list_reads_nothing() {
    let mut store = MadeUp::default();
    let base = store.layer("1d", None, 100);
    store.plain(&["localhost/a:1"], &base, &["1"]);
    let cold = list(&store.library(), &ListOptions::default()).unwrap();
    store.items.0.clear();
    // A changed store, but the same manifest.
    let id = cold[0].id.clone();
    store.edit(&id, |record| record.names = vec!["localhost/b:1".into()]);
    let warm = list(&store.library(), &ListOptions::default()).unwrap();
    assert_eq!(warm[0].names, ["localhost/b:1"]);
    assert_eq!(warm[0].architecture, "amd64");
    // Another manifest has to be read.
    store.edit(&id, |record| {
        record.big_data_digests.insert("manifest".into(), digest("new"));
    });
    let changed = list(&store.library(), &ListOptions::default()).unwrap();
    assert!(changed[0].architecture.is_empty());
}
