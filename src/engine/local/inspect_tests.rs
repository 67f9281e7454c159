use serde_json::{Value, json};

use super::{as_go_writes_times, exists, inspect};
use crate::engine::local::testing::{MadeUp, Recipe, body, padded};
use crate::engine::{Error, ErrorKind, ImageDetails, ImageName, InspectOptions};

#[test]
fn times() {
    for (written, shown) in [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00.650294000Z", "2024-01-01T00:00:00.650294Z"),
        ("2024-01-01T00:00:00.000Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00.1234567899Z", "2024-01-01T00:00:00.123456789Z"),
        ("2024-01-01T00:00:00.10+02:00", "2024-01-01T00:00:00.1+02:00"),
        ("2024-01-01T00:00:00+00:00", "2024-01-01T00:00:00Z"),
    ] {
        assert_eq!(as_go_writes_times(written), shown);
    }
}

fn details(store: &MadeUp, name: &str) -> Result<ImageDetails, Error> {
    inspect(&store.library(), &ImageName::new(name), &InspectOptions::default())
}

/// An image with the config of a recorded answer, on layers with the recorded diff IDs.
fn recorded(answer: &Value, docker: bool) -> MadeUp {
    let mut store = MadeUp::default();
    let mut layer = None;
    for diff_id in answer["RootFS"]["Layers"].as_array().unwrap() {
        let id = diff_id.as_str().unwrap().strip_prefix("sha256:").unwrap();
        layer = Some(store.layer(id, layer.as_ref(), 1000));
    }
    let text = |key: &str| answer[key].as_str().unwrap().to_owned();
    let mut config = json!({
        "created": text("Created"),
        "architecture": text("Architecture"),
        "os": text("Os"),
        "author": text("Author"),
        "config": answer["Config"],
    });
    if docker {
        config["comment"] = text("Comment").into();
        config["container_config"] = json!({"Healthcheck": answer["Healthcheck"]});
        config["config"]["OnBuild"] = json!(["x"]);
    }
    let diff_ids = answer["RootFS"]["Layers"].as_array().unwrap();
    store.image(Recipe {
        names: vec!["localhost/x:1", "q.io/y@sha256:aa"],
        layer,
        config,
        diff_ids: diff_ids.iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect(),
        history: answer["History"].clone(),
        docker,
        annotations: answer["Annotations"].clone(),
        ..Recipe::default()
    });
    store
}

#[test]
fn documents_as_recorded() {
    for (sample, docker) in [
        (include_str!("../../../tests/data/samples/inspect/imported.txt"), false),
        (include_str!("../../../tests/data/samples/inspect/committed-oci.txt"), false),
        (include_str!("../../../tests/data/samples/inspect/committed-docker.txt"), true),
        (include_str!("../../../tests/data/samples/inspect/healthcheck.txt"), true),
    ] {
        let answer = body(sample);
        let store = recorded(&answer, docker);
        let details = details(&store, "x:1").unwrap();
        assert_eq!(json!(details.comment), answer["Comment"]);
        assert_eq!(json!(details.created), answer["Created"]);
        assert_eq!(json!(details.author), answer["Author"]);
        assert_eq!(json!(details.architecture), answer["Architecture"]);
        assert_eq!(json!(details.os), answer["Os"]);
        assert_eq!(json!(details.diff_ids), answer["RootFS"]["Layers"]);
        assert_eq!(json!(details.annotations), answer["Annotations"]);
        assert_eq!(json!(details.manifest_type), answer["ManifestType"]);
        assert_eq!(json!(details.history), answer["History"]);
        let healthcheck = serde_json::from_value(answer["Healthcheck"].clone()).unwrap();
        assert_eq!(details.healthcheck, healthcheck);
        assert_eq!(json!(details.config.env), answer["Config"]["Env"]);
        assert_eq!(json!(details.config.labels), answer["Labels"]);
        assert_eq!(details.repo_tags, ["localhost/x:1"]);
        let digest = store.images[0].record.digest.clone().unwrap();
        assert_eq!(
            details.repo_digests,
            [format!("localhost/x@{digest}"), format!("q.io/y@{digest}")]
        );
    }
}

#[test]
fn directories_of_the_driver() {
    let mut store = MadeUp::default();
    let low = store.layer("a1", None, 1);
    store.layers[0].graph_root = std::path::Path::new("/other").into();
    let middle = store.layer("a2", Some(&low), 1);
    let top = store.layer("a3", Some(&middle), 1);
    store.plain(&["localhost/one:1"], &low, &["1"]);
    store.plain(&["localhost/three:1"], &top, &["1", "2", "3"]);
    store.image(Recipe { names: vec!["localhost/none:1"], ..Recipe::default() });
    let data = |name: &str| json!(details(&store, name).unwrap().graph_driver.data);
    let [a1, a2, a3] = ["a1", "a2", "a3"].map(padded);
    assert_eq!(
        data("three:1"),
        json!({
            "LowerDir": format!("/store/overlay/{a2}/diff:/other/overlay/{a1}/diff"),
            "UpperDir": format!("/store/overlay/{a3}/diff"),
            "WorkDir": format!("/store/overlay/{a3}/work"),
        })
    );
    assert_eq!(
        data("one:1"),
        json!({
            "UpperDir": format!("/other/overlay/{a1}/diff"),
            "WorkDir": format!("/other/overlay/{a1}/work"),
        })
    );
    // What Podman 4.3.1 answers.
    assert_eq!(
        data("none:1"),
        json!({"UpperDir": "/store/overlay/diff", "WorkDir": "/store/overlay/work"})
    );
}

#[test]
fn oci_images_have_no_healthcheck_and_empty_history_is_not_absent_history() {
    let mut store = MadeUp::default();
    let mut recipe = Recipe { names: vec!["localhost/a:1"], ..Recipe::default() };
    recipe.config["config"] = json!({"Healthcheck": {"Test": ["NONE"]}});
    recipe.config["comment"] = "not shown".into();
    store.image(recipe.clone());
    recipe.names = vec!["localhost/b:1"];
    recipe.docker = true;
    recipe.history = Value::Null;
    recipe.config["docker_version"] = "1.2".into();
    store.image(recipe);
    let (oci, docker) = (details(&store, "a:1").unwrap(), details(&store, "b:1").unwrap());
    assert_eq!((oci.healthcheck, oci.comment.as_str()), (None, ""));
    assert_eq!((oci.history, docker.history), (Some(vec![]), None));
    assert_eq!((docker.comment.as_str(), docker.docker_version.as_str()), ("not shown", "1.2"));
    assert_eq!(docker.healthcheck.unwrap().test.unwrap(), ["NONE"]);
    assert_eq!((docker.created, docker.author.as_str()), (None, ""));
}

#[test]
fn what_exists() {
    let mut store = MadeUp::default();
    let id = store.image(Recipe { names: vec!["localhost/a:1"], ..Recipe::default() });
    store.list("e1", &["localhost/empty:1"], &[]);
    let found = |store: &MadeUp, name: &str| exists(&store.library(), &ImageName::new(name));
    assert!(found(&store, "a:1").unwrap());
    assert!(!found(&store, "nope").unwrap());
    assert!(!found(&store, "empty:1").unwrap());
    assert_eq!(found(&store, "UPPER").unwrap_err().kind(), ErrorKind::BadReference);
    store.cache = Default::default();
    store.items.0.remove(&(id.clone(), format!("sha256:{id}")));
    assert!(!found(&store, "a:1").unwrap());
    assert_eq!(details(&store, "a:1").unwrap_err().kind(), ErrorKind::Storage);
}
