use serde_json::json;

use crate::engine::local::testing::{MadeUp, Recipe};
use crate::image::{ImageId, LayerId};

/// Parent, children and name of every image, as one line each.
fn drawn(store: &MadeUp) -> Vec<String> {
    let library = store.library();
    let relations = library.relations();
    let name = |at: usize| {
        let record = &library.images()[at].record;
        record.names.first().cloned().unwrap_or_else(|| record.id.short()[..2].to_owned())
    };
    (0..library.images().len())
        .map(|at| {
            let parent = relations.parent(at).map_or_else(|| "-".to_owned(), name);
            let flags = [
                (relations.has_children(at), " children"),
                (relations.is_dangling(at), " dangling"),
                (relations.is_intermediate(at), " intermediate"),
            ];
            let flags: String =
                flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
            format!("{} < {parent}{flags}", name(at))
        })
        .collect()
}

fn layers(store: &mut MadeUp) -> (LayerId, LayerId) {
    let base = store.layer("1d", None, 100);
    let upper = store.layer("2d", Some(&base), 10);
    (base, upper)
}

#[test]
fn a_chain_of_commits() {
    let mut store = MadeUp::default();
    let (base, upper) = layers(&mut store);
    // Children may come first.
    store.plain(&["c"], &upper, &["1", "2", "3"]);
    store.plain(&["a"], &base, &["1"]);
    let middle = store.image(Recipe { id: Some("bb"), ..store.on(&upper, &["1", "2"]) });
    let leaf = store.image(Recipe { id: Some("dd"), ..store.on(&upper, &["1", "2", "4"]) });
    store.plain(&["jump"], &upper, &["1", "x", "y"]);
    assert_eq!(
        drawn(&store),
        [
            "c < bb",
            "a < - children",
            "bb < a children intermediate",
            "dd < bb dangling",
            "jump < -"
        ],
    );
    let named = |record: &mut crate::storage::record::ImageRecord| record.names = vec!["n".into()];
    store.edit(&middle, named);
    store.edit(&leaf, named);
    assert_eq!(drawn(&store)[2..4], ["n < a children", "n < n"]);
}

#[test]
fn same_layer_goes_before_the_layer_below() {
    let mut store = MadeUp::default();
    let (base, upper) = layers(&mut store);
    let mut recipe = Recipe { names: vec!["below"], ..store.on(&base, &["1"]) };
    store.image(recipe.clone());
    recipe = Recipe { names: vec!["same"], layer: Some(upper.clone()), ..recipe };
    recipe.config["author"] = json!("x");
    store.image(recipe);
    store.plain(&["child"], &upper, &["1", "2"]);
    assert_eq!(drawn(&store), ["below < - children", "same < - children", "child < same"]);
}

#[test]
fn twins_are_both_parents_but_only_the_first_is_shown() {
    let mut store = MadeUp::default();
    let (base, upper) = layers(&mut store);
    store.plain(&["first"], &base, &["1"]);
    let mut twin = Recipe { names: vec!["twin"], ..store.on(&base, &["1"]) };
    twin.config["author"] = json!("x");
    store.image(twin);
    store.plain(&["child"], &upper, &["1", "2"]);
    assert_eq!(drawn(&store), ["first < - children", "twin < - children", "child < first"]);
}

#[test]
fn other_content_or_history_makes_no_parent() {
    let mut store = MadeUp::default();
    let (base, upper) = layers(&mut store);
    let mut other = Recipe { names: vec!["other"], ..store.on(&base, &["1"]) };
    other.diff_ids = store.diff_ids(&upper)[1..].to_vec();
    store.image(other);
    store.plain(&["two steps less"], &base, &[]);
    store.plain(&["another step"], &base, &["0"]);
    store.plain(&["child"], &upper, &["1", "2"]);
    assert!(drawn(&store).contains(&"child < -".to_owned()));
}

#[test]
fn images_without_layers_and_lists() {
    let mut store = MadeUp::default();
    let steps = |count: usize| json!(vec![json!({"empty_layer": true}); count]);
    store.image(Recipe { names: vec!["none"], ..Recipe::default() });
    store.image(Recipe { names: vec!["one"], history: steps(1), ..Recipe::default() });
    let loose: ImageId =
        store.image(Recipe { id: Some("ee"), history: steps(3), ..Recipe::default() });
    store.list("fa", &["list"], &[(&store.digest_of(&loose), None)]);
    store.list("fb", &[], &[]);
    assert_eq!(
        drawn(&store),
        ["none < - children", "one < none", "ee < -", "list < -", "fb < - dangling"],
    );
}

#[test]
fn images_that_cannot_be_read_have_no_relations() {
    let mut store = MadeUp::default();
    let (base, upper) = layers(&mut store);
    let parent = store.plain(&["p"], &base, &["1"]);
    store.plain(&["c"], &upper, &["1", "2"]);
    let manifest = store.items.0.remove(&(parent.clone(), "manifest".to_owned())).unwrap();
    let snapshot = store.snapshot();
    assert!(!store.library_of(&snapshot).relations().has_children(0));
    // The same records, but now it can be read.
    store.items.0.insert((parent, "manifest".to_owned()), manifest);
    assert!(store.library_of(&snapshot).relations().has_children(0));
}
