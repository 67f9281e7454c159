use jiff::Timestamp;
use serde_json::{Value, json};

use super::history;
use crate::engine::local::testing::{MadeUp, Recipe, body};
use crate::engine::{HistoryOptions, ImageName, Result};
use crate::image::LayerId;

/// The answer in the shape of the recorded ones.
fn shown(store: &MadeUp, name: &str) -> Result<Value> {
    let steps = history(&store.library(), &ImageName::new(name), &HistoryOptions::default())?;
    let steps = steps.into_iter().map(|step| {
        json!({
            "Id": step.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
            "Created": step.created.map(Timestamp::as_second),
            "CreatedBy": step.created_by,
            "Tags": if step.tags.is_empty() { Value::Null } else { json!(step.tags) },
            "Size": step.size_bytes,
            "Comment": step.comment,
        })
    });
    Ok(steps.collect())
}

/// A config history that gives the recorded answer. Steps without size made no layer.
fn entries(answer: &Value) -> Value {
    let entry = |step: &Value| {
        let created = Timestamp::from_second(step["Created"].as_i64().unwrap()).unwrap();
        json!({
            "created": created.to_string(),
            "created_by": step["CreatedBy"],
            "comment": step["Comment"],
            "empty_layer": step["Size"] == 0,
        })
    };
    answer.as_array().unwrap().iter().rev().map(entry).collect()
}

fn image(
    store: &mut MadeUp,
    id: &'static str,
    names: &[&'static str],
    layer: &LayerId,
    history: Value,
) {
    let mut recipe = Recipe { id: Some(id), names: names.to_vec(), ..store.on(layer, &[]) };
    recipe.history = history;
    recipe.config["author"] = id.into();
    store.image(recipe);
}

#[test]
fn builds_as_recorded() {
    let with = body(include_str!("../../../tests/data/samples/history/built-empty-layers.txt"));
    let without = body(include_str!("../../../tests/data/samples/history/built-no-layers.txt"));
    let mut store = MadeUp::default();
    let base = store.layer("1dc5668c295c", None, 1_996_800);
    let top = store.layer("ca12f900879c", Some(&base), 2048);
    let a = "f6082996d3998b897c639e95b17229575a2b724b6901a69881b1c4e98bb92b81";
    let built = "b5f825a8b3fcca7a62245d0843a7b291a080f38ba30c6f6bf2130abeac838977";
    image(&mut store, a, &["localhost/a:latest"], &base, json!([]));
    image(&mut store, built, &["localhost/built:latest"], &top, entries(&with));
    image(&mut store, "c1", &["localhost/builtd:latest"], &top, json!([]));
    image(&mut store, "c2", &["localhost/nolayers:latest"], &top, entries(&without));
    assert_eq!(shown(&store, "built").unwrap(), with);
    assert_eq!(shown(&store, "nolayers").unwrap(), without);
    assert_eq!(shown(&store, "a").unwrap(), json!([]));
}

#[test]
fn layers_without_an_image_as_recorded() {
    let answer = body(include_str!("../../../tests/data/samples/history/parent-untagged.txt"));
    let mut store = MadeUp::default();
    let base = store.layer("1dc5668c295c", None, 1_996_800);
    let middle = store.layer("353b4769172e", Some(&base), 2560);
    let top = store.layer("c9858859b2d2", Some(&middle), 102_400);
    let c = "bec69a451d4f4e4c1cc5fd933a52bf86e722768698b29ad4b1c35b22772f5f05";
    let b = "3214f347c5afdfa1831363e3b4ac8187cf432ff151cd24ae075658fc6c84fcac";
    image(&mut store, b, &["localhost/b:latest"], &middle, json!([]));
    image(&mut store, c, &["localhost/c:latest"], &top, entries(&answer));
    assert_eq!(shown(&store, "c").unwrap(), answer);
}

#[test]
fn entries_that_say_nothing_or_too_much() {
    let mut store = MadeUp::default();
    let base = store.layer("1d", None, 5);
    image(&mut store, "a1", &["localhost/a:1"], &base, json!([{"empty_layer": true}, {}]));
    image(&mut store, "a2", &["localhost/b:1"], &base, json!([{"created_by": "x"}, {}]));
    let names = json!(["localhost/a:1", "localhost/b:1"]);
    let id = store.images[0].record.id.as_str();
    assert_eq!(
        shown(&store, "a:1").unwrap(),
        json!([
            {"Id": id, "Created": null, "CreatedBy": "", "Tags": names, "Size": 5, "Comment": ""},
            {"Id": "<missing>", "Created": null, "CreatedBy": "", "Tags": null, "Size": 0, "Comment": ""},
        ])
    );
    assert_eq!(
        shown(&store, "b:1").unwrap_err().to_string(),
        "no layer left for non-empty history entry: x"
    );
    let id = store.images[0].record.id.clone();
    store.edit(&id, |record| record.layer = Some("9".repeat(64).parse().unwrap()));
    assert_eq!(shown(&store, "a:1").unwrap_err().to_string(), "layer not known");
}
