//! Lookup on a made-up store. The texts are those of Podman 6.0.

use super::Lists;
use crate::engine::ErrorKind;
use crate::engine::local::testing::{MadeUp, Recipe, digest, padded};
use crate::image::{Digest, ImageId};

struct Shelf {
    store: MadeUp,
    base: ImageId,
    foo: ImageId,
    deep: ImageId,
}

fn shelf() -> Shelf {
    let mut store = MadeUp::default();
    let mut image = |names: &[&'static str], author: &str| {
        let mut recipe = Recipe { names: names.to_vec(), ..Recipe::default() };
        recipe.config["author"] = author.into();
        store.image(recipe)
    };
    let base = image(&["localhost/base:latest", "localhost/x/b:1"], "a");
    let foo = image(&["docker.io/library/foo:latest", "quay.io/ns/foo:2"], "b");
    let deep = image(&["quay.io/ns/sub/c:9"], "c");
    store.short_names.search = vec!["quay.io".into()];
    store.short_names.aliases = [("al".to_owned(), "quay.io/ns/sub/c".to_owned())].into();
    Shelf { store, base, foo, deep }
}

fn fails(store: &MadeUp, name: &str, lists: Lists) -> (String, ErrorKind) {
    let library = store.library();
    let error = library.lookup(name, lists).unwrap_err();
    (error.to_string(), error.kind())
}

#[test]
fn names_and_ids() {
    let Shelf { store, base, foo, deep } = shelf();
    let library = store.library();
    let digest = store.digest_of(&deep);
    let own = |start: usize, end: usize| base.as_str()[start..end].to_owned();
    for (name, id, resolved) in [
        ("base", &base, "localhost/base:latest"),
        ("localhost/base", &base, "localhost/base:latest"),
        ("base:latest", &base, "localhost/base:latest"),
        ("x/b:1", &base, "localhost/x/b:1"),
        ("foo", &foo, "docker.io/library/foo:latest"),
        ("docker.io/foo", &foo, "docker.io/library/foo:latest"),
        ("index.docker.io/library/foo", &foo, "docker.io/library/foo:latest"),
        ("ns/foo:2", &foo, "quay.io/ns/foo:2"),
        ("al:9", &deep, "quay.io/ns/sub/c:9"),
        ("c:9", &deep, "quay.io/ns/sub/c:9"),
        ("sub/c:9", &deep, "quay.io/ns/sub/c:9"),
        ("ns/sub/c:9", &deep, "quay.io/ns/sub/c:9"),
        (&own(0, 64), &base, &own(0, 64)),
        (&own(0, 12), &base, &own(0, 12)),
        (&format!("sha256:{base}"), &base, &format!("sha256:{base}")),
        (&format!("quay.io/ns/sub/c@{digest}"), &deep, &format!("quay.io/ns/sub/c@{digest}")),
        (&format!("quay.io/ns/sub/c:7@{digest}"), &deep, &format!("quay.io/ns/sub/c@{digest}")),
        (&format!("sub/c@{digest}"), &deep, &format!("quay.io/ns/sub/c@{digest}")),
        ("containers-storage:foo", &foo, ""),
        (&format!("containers-storage:{}", own(0, 8)), &base, ""),
        (&format!("containers-storage:@{}", own(0, 8)), &base, ""),
        (&format!("containers-storage:localhost/base@{base}"), &base, ""),
    ] {
        let found = library.lookup(name, Lists::Instance).unwrap();
        assert_eq!((&found.image.record.id, found.resolved.as_str()), (id, resolved), "{name}");
    }
}

#[test]
fn failures() {
    let Shelf { store, base, deep, .. } = shelf();
    let other = store.digest_of(&base);
    let unknown = "0".repeat(64);
    for name in [
        "nope",
        "ub/c:9",
        "localhost/c:9",
        "ns/sub/c",
        "docker.io/c:9",
        &unknown,
        &format!("sha256:{unknown}"),
        // A manifest digest is no image ID.
        other.as_str(),
        &format!("quay.io/ns/sub/c@{other}"),
        &format!("sub/c@{other}"),
    ] {
        let expected = (format!("{name}: image not known"), ErrorKind::NoSuchImage);
        assert_eq!(fails(&store, name, Lists::Instance), expected);
    }
    let reference = ErrorKind::BadReference;
    for (name, text, kind) in [
        ("UPPER", "parsing reference \"UPPER\": repository name must be lowercase", reference),
        ("two:b ad", "parsing reference \"two:b ad\": invalid reference format", reference),
        (
            &format!("@{deep}"),
            &*format!("parsing reference \"@{deep}\": invalid reference format"),
            reference,
        ),
        (
            "sha256:ac782ebe8e85",
            "sha256:ac782ebe8e85: invalid format: no 64-byte hexadecimal value",
            reference,
        ),
        ("docker://foo", "unsupported transport \"docker\" for looking up local images", reference),
        ("dir:/x", "unsupported transport \"dir\" for looking up local images", reference),
        ("docker:foo", "docker:foo: image not known", ErrorKind::NoSuchImage),
        ("containers-storage:nope", "image not known", ErrorKind::NoSuchImage),
        (
            &format!("containers-storage:quay.io/nope@{base}"),
            "image not known",
            ErrorKind::NoSuchImage,
        ),
    ] {
        assert_eq!(fails(&store, name, Lists::Instance), (text.to_owned(), kind), "{name}");
    }
    let tagged = format!("quay.io/nope:1@{other}");
    assert_eq!(
        fails(&store, &tagged, Lists::Instance).0,
        format!("quay.io/nope@{other}: image not known"),
    );
}

#[test]
fn prefixes_must_be_unique_and_names_win() {
    let mut store = MadeUp::default();
    store.list("abc1", &[], &[]);
    store.list("abc2", &[], &[]);
    let named = store.list("def1", &["localhost/abc2:latest"], &[]);
    let found = |store: &MadeUp, name: &str| {
        let library = store.library();
        library.lookup(name, Lists::Preferred).map(|found| found.image.record.id.clone()).ok()
    };
    assert_eq!(found(&store, "abc"), None);
    assert_eq!(found(&store, "abc1"), Some(padded("abc1").parse().unwrap()));
    assert_eq!(found(&store, "abc2"), Some(named.clone()));
    assert_eq!(found(&store, "d"), Some(named));
    // In another store a prefix is looked up for itself.
    store.images[1].graph_root = std::path::Path::new("/other").into();
    assert_eq!(found(&store, "abc"), Some(padded("abc1").parse().unwrap()));
}

#[test]
fn manifest_lists() {
    let mut store = shelf().store;
    let base = store.images[0].record.id.clone();
    let instance = store.digest_of(&base);
    let here = crate::image::Platform::host().architecture;
    let absent = digest("absent");
    let full = store.list("e1", &["localhost/full:latest"], &[(&instance, Some(&here))]);
    let foreign = store.list("e2", &["localhost/foreign:latest"], &[(&instance, Some("vax"))]);
    let gone = store.list("e3", &["localhost/gone:latest"], &[(&absent, Some(&here))]);
    let any = store.list("e4", &["localhost/any:latest"], &[(&instance, None)]);
    let library = store.library();
    let find = |name: &str, lists| {
        let found = library.lookup(name, lists)?;
        assert!(found.resolved.ends_with(":latest") || found.resolved == name);
        Ok::<_, crate::engine::Error>(found.image.record.id.clone())
    };
    assert_eq!(find("full", Lists::Instance).unwrap(), base.clone());
    assert_eq!(find(full.as_str(), Lists::Instance).unwrap(), base.clone());
    assert_eq!(find("any", Lists::Instance).unwrap(), base.clone());
    assert_eq!(find("full", Lists::Preferred).unwrap(), full.clone());
    assert_eq!(find("full", Lists::Required).unwrap(), full);
    assert_eq!(find("any", Lists::IfNoInstance).unwrap(), base.clone());
    assert_eq!(find("foreign", Lists::IfNoInstance).unwrap(), foreign);
    assert_eq!(find("base", Lists::Preferred).unwrap(), base);
    let _ = any;

    assert_eq!(
        fails(&store, "base", Lists::Required),
        ("localhost/base:latest: image is not a manifest list".to_owned(), ErrorKind::BadRequest)
    );
    let (text, kind) = fails(&store, "foreign", Lists::Instance);
    assert!(text.starts_with("no image found in image index for architecture \""), "{text}");
    assert!(text.ends_with(", OS \"linux\": image not known"), "{text}");
    assert_eq!(kind, ErrorKind::NoSuchImage);
    // Podman 4.3.1 and 6.0 say it twice.
    assert_eq!(
        fails(&store, "gone", Lists::Instance).0,
        format!(
            "could not find image instance {absent} of manifest list {gone} in local containers \
             storage: image not known: image not known"
        )
    );
}

#[test]
fn which_digest_a_lookup_knows() {
    let mut store = shelf().store;
    let id = store.images[0].record.id.clone();
    let (first, newer, list): (Digest, Digest, Digest) =
        (digest("first"), digest("newer"), digest("list"));
    store.edit(&id, |record| {
        record.digest = Some(list.clone());
        for (key, digest) in [(format!("manifest-{first}"), &first), ("manifest".into(), &newer)] {
            record.big_data_names.push(key.clone());
            record.big_data_digests.insert(key, digest.clone());
        }
    });
    let library = store.library();
    for (name, expected) in [
        (id.as_str(), &list),
        (&id.as_str()[..9], &list),
        ("base", &newer),
        (&format!("localhost/base@{first}"), &first),
        (&format!("localhost/base@{list}"), &list),
        (&format!("base@{first}"), &first),
    ] {
        let found = library.lookup(name, Lists::Instance).unwrap();
        assert_eq!(found.digest.as_ref(), Some(expected), "{name}");
    }
}

#[test]
fn platforms_of_one_list_share_its_digest() {
    let mut store = MadeUp::default();
    let here = crate::image::Platform::host().architecture;
    let mut image = |author: &str| {
        let mut recipe = Recipe { names: vec![], ..Recipe::default() };
        recipe.config["author"] = author.into();
        store.image(recipe)
    };
    let (first, second) = (image("vax"), image("here"));
    let (first_digest, second_digest) = (store.digest_of(&first), store.digest_of(&second));
    let list =
        store.list("e0", &[], &[(&first_digest, Some("vax")), (&second_digest, Some(&here))]);
    let raw = store.items.0[&(list.clone(), "manifest".to_owned())].clone();
    let shared = store.digest_of(&list);
    store.images.pop();
    for (id, name) in [(&first, "quay.io/a:1"), (&second, "quay.io/a:2")] {
        let key = format!("manifest-{shared}");
        store.items.0.insert((id.clone(), key.clone()), raw.clone());
        store.edit(id, |record| {
            record.names.push(name.to_owned());
            record.big_data_names.push(key.clone());
            record.big_data_digests.insert(key, shared.clone());
        });
    }
    let library = store.library();
    let found = library.lookup(&format!("quay.io/a@{shared}"), Lists::Instance).unwrap();
    assert_eq!(found.image.record.id, second);
}

#[test]
fn damaged_images_are_found() {
    let Shelf { mut store, base, .. } = shelf();
    store.items.0.retain(|(id, _), _| *id != base);
    let library = store.library();
    assert_eq!(library.lookup("base", Lists::Instance).unwrap().image.record.id, base);
    let error = library.facts(0).unwrap_err();
    assert_eq!(error.cause(), "file does not exist");
    assert!(error.to_string().starts_with("locating item named \"manifest\" for image with ID"));
}
