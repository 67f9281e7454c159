use serde_json::json;

use super::{human_size, tree};
use crate::engine::local::testing::{MadeUp, Recipe, body};
use crate::engine::{ImageName, TreeOptions};
use crate::image::LayerId;

#[test]
fn human_sizes() {
    for (bytes, text) in [
        (0, "0B"),
        (1, "1B"),
        (10, "10B"),
        (999, "999B"),
        (1000, "1kB"),
        (2560, "2.56kB"),
        (102_400, "102.4kB"),
        (999_949, "999.9kB"),
        (999_951, "1000kB"),
        (1_998_083, "1.998MB"),
        (-1, "-1B"),
        (i64::MAX, "9.223EB"),
    ] {
        assert_eq!(human_size(bytes), text, "{bytes}");
    }
}

fn image(store: &mut MadeUp, id: &'static str, name: &'static str, layer: &LayerId, items: i64) {
    let mut recipe = Recipe { id: Some(id), names: vec![name], ..store.on(layer, &[]) };
    recipe.config["author"] = name.into();
    let id = store.image(recipe);
    store.edit(&id, |record| record.big_data_sizes = [("manifest".to_owned(), items)].into());
}

fn drawn(store: &MadeUp, name: &str, what_requires: bool) -> String {
    let options = TreeOptions { what_requires };
    tree(&store.library(), &ImageName::new(name), &options).unwrap().text
}

/// The images a ← b ← c of the recorded session.
fn chain() -> (MadeUp, [LayerId; 3]) {
    let mut store = MadeUp::default();
    let a = store.layer("1dc5668c295c", None, 1_996_800);
    let b = store.layer("353b4769172e", Some(&a), 2560);
    let c = store.layer("c9858859b2d2", Some(&b), 102_400);
    (store, [a, b, c])
}

#[test]
fn own_layers_as_recorded() {
    let (mut store, [a, b, c]) = chain();
    image(&mut store, "cc5595ab8ba1", "localhost/a:latest", &a, 1200);
    image(&mut store, "b", "localhost/b:latest", &b, 2000);
    image(&mut store, "bec69a451d4f", "localhost/c:latest", &c, 2485);
    let sample = include_str!("../../../tests/data/samples/tree/three-layers.txt");
    assert_eq!(json!(drawn(&store, "c", false)), body(sample)["Tree"]);
    let sample = include_str!("../../../tests/data/samples/tree/whatrequires-chain.txt");
    assert_eq!(json!(drawn(&store, "a", true)), body(sample)["Tree"]);
}

#[test]
fn branches_as_recorded() {
    let (mut store, [a, b, c]) = chain();
    let built = store.layer("ca12f900879c", Some(&a), 2048);
    image(&mut store, "f6082996d399", "localhost/a:latest", &a, 1200);
    image(&mut store, "b", "localhost/b:latest", &b, 0);
    image(&mut store, "c", "quay.io/ns/sub/c:9", &c, 0);
    for (id, name) in [
        ("d1", "localhost/built:latest"),
        ("d2", "localhost/builtd:latest"),
        ("d3", "localhost/nolayers:latest"),
    ] {
        image(&mut store, id, name, &built, 0);
    }
    // As in the recorded store, the layer of the build is the older child.
    store.layers.swap(1, 3);
    let sample = include_str!("../../../tests/data/samples/tree/whatrequires-branching.txt");
    assert_eq!(json!(drawn(&store, "a", true)), body(sample)["Tree"]);
}

#[test]
fn a_container_layer_as_recorded() {
    let mut store = MadeUp::default();
    let base = store.layer("1dc5668c295c", None, 1_996_800);
    store.layer("e0b6c86bc88e", Some(&base), 0);
    let two = store.layer("7ee7105e0b8f", Some(&base), 2560);
    image(&mut store, "8d0cc69dcf5c", "localhost/base:latest", &base, 1283);
    for (id, name) in [
        ("e1", "localhost/two:v1"),
        ("e2", "localhost/twod:v1"),
        ("e3", "localhost/st:latest"),
        ("e4", "localhost/bodycfg:latest"),
    ] {
        image(&mut store, id, name, &two, 0);
    }
    let sample = include_str!("../../../tests/data/samples/tree/whatrequires.txt");
    assert_eq!(json!(drawn(&store, "base", true)), body(sample)["Tree"]);
    let sample = include_str!("../../../tests/data/samples/tree/imported.txt");
    assert_eq!(json!(drawn(&store, "base", false)), body(sample)["Tree"]);
}

#[test]
fn levels_end_with_their_last_layer() {
    let mut store = MadeUp::default();
    let root = store.layer("a1", None, 1);
    let left = store.layer("b1", Some(&root), 1);
    let right = store.layer("b2", Some(&root), 1);
    let inner = store.layer("c1", Some(&left), 1);
    store.layer("d1", Some(&inner), 1);
    store.layer("d2", Some(&inner), 1);
    store.layer("c2", Some(&right), 1);
    image(&mut store, "f1", "localhost/a:1", &root, 1);
    let text = drawn(&store, "a:1", true);
    let layers: Vec<&str> =
        text.lines().skip(4).map(|line| line.split("0000").next().unwrap()).collect();
    assert_eq!(
        layers,
        [
            "├── ID: a1",
            "├── ID: b1",
            "│   ├── ID: c1",
            "│   ├── ID: d1",
            "│   └── ID: d2",
            "└── ID: b2",
            "    └── ID: c2",
        ]
    );
}

#[test]
fn without_layers_and_with_missing_ones() {
    let mut store = MadeUp::default();
    let id = store.image(Recipe {
        id: Some("e0523ef0f8ee"),
        names: vec!["localhost/empty:1"],
        ..Recipe::default()
    });
    store.edit(&id, |record| record.big_data_sizes = [("manifest".to_owned(), 1068)].into());
    let expected = "Image ID: e0523ef0f8ee\nTags:     [localhost/empty:1]\nSize:     1.068kB\nNo Image Layers\n";
    assert_eq!(drawn(&store, "empty:1", false), expected);
    assert_eq!(drawn(&store, "empty:1", true), expected);

    let missing = "9".repeat(64);
    store.edit(&id, |record| record.layer = Some(missing.parse().unwrap()));
    let error = tree(&store.library(), &ImageName::new("empty:1"), &TreeOptions::default());
    assert_eq!(
        error.unwrap_err().to_string(),
        format!("locating layer with ID \"{missing}\": layer not known")
    );
}

#[test]
fn circles_end() {
    let mut store = MadeUp::default();
    let base = store.layer("a0", None, 1);
    image(&mut store, "f1", "localhost/a:1", &base, 1);
    for id in [&base.to_string(), &"b".repeat(64)] {
        let parent = "b".repeat(64);
        store.push_layer(&json!({"id": id, "parent": parent}));
    }
    assert_eq!(drawn(&store, "a:1", true).lines().count(), 5);
}
