use serde_json::json;

use crate::engine::local::list::list;
use crate::engine::local::testing::{MadeUp, Recipe};
use crate::engine::{Filter, ListOptions};

/// Images in storage order: `base` and its unnamed child, a container's image, a list.
fn store() -> MadeUp {
    let mut store = MadeUp::default();
    let lower = store.layer("1d", None, 100);
    let upper = store.layer("2d", Some(&lower), 10);
    let own = store.layer("3d", Some(&upper), 0);
    let mut base = Recipe {
        id: Some("aa"),
        names: vec!["localhost/base:latest", "docker.io/library/foo:1"],
        created: "2024-01-01T00:00:00Z",
        ..store.on(&lower, &["1"])
    };
    base.config["config"] = json!({"Labels": {"a": "1", "io.x/y": "2"}});
    store.image(base);
    store.image(Recipe {
        id: Some("bb"),
        created: "2024-02-01T00:00:00Z",
        ..store.on(&upper, &["1", "2"])
    });
    let used = store.image(Recipe {
        id: Some("cc"),
        names: vec!["quay.io/ns/sub/c:9"],
        created: "2024-03-01T00:00:00Z",
        ..store.on(&upper, &["1", "2", "3"])
    });
    store.container("c1", &used, &own);
    let digest = store.digest_of(&used);
    store.list("dd", &["localhost/ml:latest"], &[(&digest, None)]);
    store.images[3].read_only = true;
    store
}

fn options(filters: &[&str]) -> ListOptions {
    let parse = |text: &&str| {
        let (key, negated, value) = match text.split_once("!=") {
            Some((key, value)) => (key, true, value),
            None => text.split_once('=').map(|(key, value)| (key, false, value)).unwrap(),
        };
        Filter { key: key.to_owned(), negated, value: value.to_owned() }
    };
    ListOptions { all: true, filters: filters.iter().map(parse).collect() }
}

/// The first letters of the IDs that pass.
fn pass(store: &MadeUp, filters: &[&str]) -> String {
    let images = list(&store.library(), &options(filters)).unwrap();
    images.iter().map(|image| &image.id.as_str()[..1]).collect()
}

#[test]
fn every_key() {
    let store = store();
    let digest = store.images[0].record.digest.clone().unwrap();
    for (filters, expected) in [
        (&[][..], "abcd"),
        (&["since=base"], "bc"),
        (&["after=aa"], "bc"),
        (&["since!=base"], "ad"),
        (&["before=ns/sub/c:9"], "abd"),
        (&["before=ns/sub/c:9", "since=base"], "b"),
        (&["until=2024-02-01Z"], "ad"),
        (&["until=1h"], "abcd"),
        (&["until!=2024-02-01Z"], "bc"),
        (&["containers=true"], "c"),
        (&["containers=false"], "abd"),
        (&["containers!=true"], "abd"),
        (&["containers=true", "containers=true"], "c"),
        (&["dangling=true"], ""),
        (&["dangling=0"], "abcd"),
        (&["dangling!=true"], "abcd"),
        (&["intermediate=true"], "b"),
        (&["intermediate=f"], "acd"),
        (&["id=a"], "a"),
        (&["id!=a"], "bcd"),
        (&["id=A"], ""),
        (&[&format!("digest={}", &digest.as_str()[..20])], "a"),
        (&["digest=sha256:"], "abcd"),
        (&["label=a"], "a"),
        (&["label=a=1"], "a"),
        (&["label=a="], "a"),
        (&["label=a=2"], ""),
        (&["label=io.*"], "a"),
        (&["label=x*=2"], "a"),
        (&["label=x*=1"], ""),
        (&["label!=a"], "bcd"),
        (&["label=a", "label=b"], ""),
        (&["readonly=true"], "d"),
        (&["manifest=true"], "d"),
        (&["manifest=false"], "abc"),
    ] {
        assert_eq!(pass(&store, filters), expected, "{filters:?}");
    }
}

#[test]
fn references() {
    let store = store();
    for (filters, expected) in [
        (&["reference=base"][..], "a"),
        (&["reference=b*"], "a"),
        (&["reference=base:latest"], "a"),
        (&["reference=localhost/*"], "ad"),
        (&["reference=foo:*"], "a"),
        (&["reference=library/foo"], "a"),
        (&["reference=library/foo:1"], "a"),
        (&["reference=*"], "acd"),
        // A candidate with exactly one slash: library/foo, localhost/base, localhost/ml.
        (&["reference=*/*"], "ad"),
        (&["reference=ns/sub/c"], "c"),
        (&["reference=ub/c"], ""),
        (&["reference=bb"], "b"),
        (&["reference=[c"], ""),
        (&["reference=UPPER"], ""),
        (&["reference=base", "reference=c:9"], "ac"),
        (&["reference!=base"], "bcd"),
        (&["reference!=base", "reference!=c:9"], "bd"),
        (&["reference=*", "reference!=base"], "cd"),
        // The list means its instance, and has the name itself.
        (&["reference=ml"], "cd"),
    ] {
        assert_eq!(pass(&store, filters), expected, "{filters:?}");
    }
}

#[test]
fn a_full_reference_reduces_the_names() {
    let store = store();
    let library = store.library();
    let digest = store.images[0].record.digest.clone().unwrap();
    let by_digest = format!("reference=localhost/base@{digest}");
    for (filters, names) in [
        (&["reference=localhost/base:latest"][..], &["localhost/base:latest"][..]),
        (&["reference=docker.io/library/foo:1"], &["docker.io/library/foo:1"]),
        (&[&by_digest], &["localhost/base:latest"]),
        (&["reference=docker.io/foo:1"], &["localhost/base:latest", "docker.io/library/foo:1"]),
        (&["reference=localhost/base"], &["localhost/base:latest", "docker.io/library/foo:1"]),
        (
            &["reference=localhost/base:latest", "reference!=nope"],
            &["localhost/base:latest", "docker.io/library/foo:1"],
        ),
    ] {
        let images = list(&library, &options(filters)).unwrap();
        assert_eq!(images[0].names, names, "{filters:?}");
        assert_eq!(images[0].repo_digests.len(), names.len());
    }
}

#[test]
fn intermediate_images_are_hidden_unless_asked_for() {
    let store = store();
    let listed = |filters: &[&str]| {
        let mut options = options(filters);
        options.all = false;
        let images = list(&store.library(), &options).map_err(|error| error.to_string())?;
        Ok::<_, String>(images.iter().map(|image| &image.id.as_str()[..1]).collect::<String>())
    };
    assert_eq!(listed(&[]).unwrap(), "acd");
    assert_eq!(listed(&["intermediate=true"]).unwrap(), "b");
    assert_eq!(
        listed(&["intermediate!=true"]).unwrap_err(),
        "specifying \"intermediate\" filter more than once with different values is not supported"
    );
}

#[test]
fn errors() {
    let store = store();
    for (filters, message, cause) in [
        (
            &["since=nope"][..],
            "could not find local image for filter \"since\"=\"nope\": nope: image not known",
            "image not known",
        ),
        (&["until=abc"], "failed to parse value as time or duration: \"abc\"", ""),
        (&["containers=foo"], "unsupported value \"foo\" for containers filter", ""),
        (
            &["containers=external"],
            "libimage error: external containers filter without callback",
            "",
        ),
        (
            &["dangling=x"],
            "non-boolean value \"dangling\" for x filter: strconv.ParseBool: parsing \"x\": invalid syntax",
            "invalid syntax",
        ),
        (
            &["dangling=true", "dangling=false"],
            "specifying \"dangling\" filter more than once with different values is not supported",
            "",
        ),
        (&["digest=abc"], "invalid value \"abc\" for digest filter", ""),
        (
            &["foo=x"],
            "invalid image filter \"foo\": must be in the format \"filter=value or filter!=value\"",
            "",
        ),
    ] {
        let error = list(&store.library(), &options(filters)).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.cause(), if cause.is_empty() { message } else { cause });
        assert_eq!(error.kind(), crate::engine::ErrorKind::BadRequest);
    }
}

#[test]
fn what_cannot_be_read_matches_neither_way() {
    let mut store = store();
    store.items.0.clear();
    assert_eq!(pass(&store, &["label=a"]), "");
    assert_eq!(pass(&store, &["label!=a"]), "");
    assert_eq!(pass(&store, &["manifest!=true"]), "");
    assert_eq!(pass(&store, &["id=a"]), "a");
}
