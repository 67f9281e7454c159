//! Configs that are JSON, but not what a config is.

use serde_json::{Value, json};

use crate::scene::Scene;
use crate::support::check::assert_sound;
use crate::support::{DockerArchive, Layer, OciArchive};

/// Values in the place of something else.
fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(-1),
        json!(1e308),
        json!(u64::MAX),
        json!("text"),
        json!([]),
        json!([7]),
        json!({}),
        json!({ "a": 7 }),
        json!("9999999999-01-01T00:00:00Z"),
    ]
}

/// What a config has, by path.
const PARTS: [&str; 22] = [
    "/created",
    "/architecture",
    "/os",
    "/variant",
    "/author",
    "/config",
    "/config/Cmd",
    "/config/Entrypoint",
    "/config/Env",
    "/config/Labels",
    "/config/ExposedPorts",
    "/config/Volumes",
    "/config/User",
    "/config/WorkingDir",
    "/config/StopSignal",
    "/config/Healthcheck",
    "/config/OnBuild",
    "/history",
    "/history/0",
    "/history/0/created",
    "/history/0/empty_layer",
    "/rootfs/type",
];

fn set(config: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    match config.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        object => object[key] = value,
    }
}

#[test]
fn values_of_the_wrong_type_are_refused_or_do_no_harm() {
    let scene = Scene::new();
    let layers = [Layer::files(&[("f", b"content")])];
    let mut refused = 0;
    let mut accepted = 0;
    for path in PARTS {
        for value in values() {
            let what = format!("{path} is {value}");
            let archive = OciArchive::configured("localhost/odd:1", &layers, |config| {
                set(config, path, value.clone());
            });
            let docker = DockerArchive::new(&["localhost/odd:1"], &layers)
                .configured(|config| set(config, path, value.clone()));
            // In turn: the parser is the same.
            let archive =
                if (refused + accepted) % 2 == 0 { archive.build() } else { docker.build() };
            let answer = scene.server.client().load_bytes(archive);
            if answer.status == 200 {
                scene.serves_everything(&what);
                scene.removes_all_but_the_good();
                accepted += 1;
            } else {
                scene.assert_refused(&what, &answer, 500, "");
                refused += 1;
            }
        }
    }
    println!("{refused} refused, {accepted} accepted");
    assert!(refused > 50 && accepted > 25, "{refused} refused, {accepted} accepted");
    assert_sound(&scene.store);
}

#[test]
fn lists_of_layers_that_do_not_fit_are_refused() {
    let scene = Scene::new();
    let layers = [Layer::files(&[("f", b"content")])];
    let id = layers[0].diff_id();
    for value in [
        json!(null),
        json!({}),
        json!({ "type": "layers" }),
        json!({ "type": "layers", "diff_ids": null }),
        json!({ "type": "layers", "diff_ids": [] }),
        json!({ "type": "layers", "diff_ids": {} }),
        json!({ "type": "layers", "diff_ids": [[id]] }),
        json!({ "type": "layers", "diff_ids": [7] }),
        json!({ "type": "layers", "diff_ids": [id, id] }),
        json!({ "type": "layers", "diff_ids": id }),
        json!("layers"),
        json!([id]),
    ] {
        let what = value.to_string();
        let edit = |config: &mut Value| config["rootfs"] = value.clone();
        let archive = OciArchive::configured("localhost/odd:1", &layers, edit);
        scene.refuses_archive(&what, archive.build(), 500, "");
        scene.registry.put("odd", "1", &archive);
        scene.assert_refused(&what, &scene.pull("odd:1"), 500, "");
        let archive = DockerArchive::new(&["localhost/odd:1"], &layers).configured(edit);
        scene.refuses_archive(&what, archive.build(), 500, "");
    }
}

#[test]
fn manifests_that_are_something_else_are_refused() {
    let scene = Scene::new();
    let layers = [Layer::files(&[("f", b"content")])];
    let image = OciArchive::new("localhost/odd:1", &layers);
    for key in ["schemaVersion", "mediaType", "config", "layers"] {
        for value in values() {
            let what = format!("{key} is {value}");
            scene.registry.put_edited("odd", "1", &image, |it| it[key] = value.clone());
            let answer = scene.pull("odd:1");
            if answer.status == 200 {
                // Podman, too, does without a type or a version.
                assert!(matches!(key, "schemaVersion" | "mediaType"), "{what}");
                scene.removes_all_but_the_good();
            } else {
                scene.assert_refused(&what, &answer, 500, "");
            }
        }
    }
}
