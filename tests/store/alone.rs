//! What needs no other tool.

use std::collections::HashSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use imaged::image::LayerId;
use imaged::storage::{Error, Store, StoreOptions};
use imaged::sys::Cancel;

use crate::support::*;

fn two_layers() -> [Vec<u8>; 2] {
    [
        tar(&[("etc/", ""), ("etc/a", "one"), ("etc/b", "two"), ("opt/", ""), ("opt/x", "x")]),
        tar(&[
            ("etc/", ""),
            ("etc/.wh.a", ""),
            ("opt/", ""),
            ("opt/.wh..wh..opq", ""),
            ("opt/y", "y"),
        ]),
    ]
}

#[test]
fn layers_are_as_other_tools_make_them() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    let id = add(&store, &tars, "", &["localhost/a:1", "localhost/b:1"]);
    assert_eq!(contents(&store, &id), tars);

    let snapshot = store.snapshot(&Cancel::new()).unwrap();
    let ids = diff_ids(&tars);
    let base = LayerId::derive(None, &ids[0]);
    let top = LayerId::derive(Some(&base), &ids[1]);
    let image = &snapshot.image(&id).unwrap().record;
    assert_eq!(image.layer.as_ref(), Some(&top));
    assert_eq!(image.names, ["localhost/a:1", "localhost/b:1"]);
    assert_eq!(image.names_history, ["localhost/b:1", "localhost/a:1"]);
    assert_eq!(image.metadata, "{}");
    let record = &snapshot.layer(&top).unwrap().record;
    assert_eq!((record.parent.as_ref(), record.diff_id.as_ref()), (Some(&base), Some(&ids[1])));
    assert!(!record.flags.incomplete);
    assert_eq!(record.diff_size, i64::try_from(tars[1].len()).unwrap());

    let overlay = fixture.path("overlay");
    let directory = |layer: &LayerId| overlay.join(layer.as_str());
    let base_link = read(directory(&base).join("link"));
    let top_link = read(directory(&top).join("link"));
    assert_eq!((base_link.len(), top_link.len()), (26, 26));
    assert_eq!(read(directory(&top).join("lower")), format!("l/{base_link}"));
    assert_eq!(read(directory(&top).join("lower-layers")), base.as_str());
    assert!(!directory(&base).join("lower").exists() && !directory(&top).join("empty").exists());
    let target = std::fs::read_link(overlay.join("l").join(&top_link)).unwrap();
    assert_eq!(target.to_str().unwrap(), format!("../{top}/diff"));
    for (path, mode) in [
        (directory(&base), 0o700),
        (directory(&base).join("diff"), 0o555),
        (directory(&base).join("empty"), 0o700),
        (directory(&top).join("diff"), 0o555),
        (directory(&top).join("work"), 0o700),
        (directory(&top).join("merged"), 0o700),
        (directory(&top).join("link"), 0o644),
        (overlay.join("l"), 0o755),
        (fixture.path("overlay-layers/layers.json"), 0o600),
        (fixture.path("overlay-layers/layers.lock"), 0o644),
        (fixture.path(&format!("overlay-layers/{base}.tar-split.gz")), 0o600),
        (fixture.path(&format!("overlay-images/{id}")), 0o700),
        (fixture.path(&format!("overlay-images/{id}/manifest")), 0o600),
    ] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, mode, "{path:?}");
    }
    assert!(!overlay.join("tempdirs").exists());
    assert_eq!(std::fs::read_dir(fixture.path("overlay-layers/tmp")).unwrap().count(), 0);
    assert_eq!(fixture.path("overlay-layers/layers.lock").metadata().unwrap().size(), 64);
}

#[test]
fn snapshots_are_kept_until_somebody_writes() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let other = fixture.open();
    let first = store.snapshot(&Cancel::new()).unwrap();
    assert!(store.snapshot(&Cancel::new()).unwrap().is_same(&first));
    let id = add(&other, &two_layers(), "", &[]);
    let second = store.snapshot(&Cancel::new()).unwrap();
    assert!(!second.is_same(&first) && second.image(&id).is_some());
    assert!(store.snapshot(&Cancel::new()).unwrap().is_same(&second));
    // A manual edit changes no lock file.
    let json = fixture.path("overlay-images/images.json");
    std::fs::write(&json, read(&json).replace("2024-02-03", "2023-02-03")).unwrap();
    let third = store.snapshot(&Cancel::new()).unwrap();
    assert!(third.image(&id).unwrap().record.created.to_string().starts_with("2023-02-03"));
}

#[test]
fn nothing_stays_of_what_was_removed_or_given_up() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    drop(stage(&store, &tars));
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
    let missing = store.commit(Vec::new(), vec![draft(&tars, "", &[])], &Cancel::new());
    assert!(matches!(missing, Err(Error::MissingLayer { .. })), "{missing:?}");
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
    let canceled = Cancel::new();
    canceled.cancel();
    assert!(store.stage(&tars[0][..], &canceled).is_err());
    let staged = stage(&store, &tars);
    let given_up = store.commit(staged, vec![draft(&tars, "", &[])], &canceled);
    assert!(matches!(given_up, Err(Error::Canceled(_))), "{given_up:?}");
    assert_eq!(fixture.leftovers(), Vec::<String>::new());

    let first = add(&store, &tars, "first", &["localhost/first:1"]);
    let second = add(&store, &tars[..1], "second", &["localhost/second:1"]);
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    transaction.delete_image(&first).unwrap();
    assert!(transaction.view().image(&first).is_none());
    assert_eq!(transaction.view().layers().len(), 1);
    drop(transaction);
    assert_eq!(contents(&store, &first), tars);
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    transaction.delete_image(&first).unwrap();
    transaction.commit().unwrap();
    assert_eq!(contents(&store, &second), tars[..1]);
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    assert!(matches!(transaction.delete_image(&first), Err(Error::ImageNotKnown { .. })));
    transaction.delete_image(&second).unwrap();
    transaction.commit().unwrap();
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
    assert_eq!(read(fixture.path("overlay-layers/layers.json")), "[]");
    assert_eq!(read(fixture.path("overlay-images/images.json")), "[]");
}

#[test]
fn names_move_and_are_remembered() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    let first = add(&store, &tars, "first", &["localhost/x:1", "localhost/x:2"]);
    let second = add(&store, &tars, "second", &["localhost/x:1"]);
    let names = |id| {
        let snapshot = store.snapshot(&Cancel::new()).unwrap();
        let image = &snapshot.image(id).unwrap().record;
        (image.names.clone(), image.names_history.clone())
    };
    assert_eq!(names(&first).0, ["localhost/x:2"]);
    assert_eq!(names(&first).1, ["localhost/x:2", "localhost/x:1"]);
    // Stored again, it gets the name back, and no second record.
    assert_eq!(add(&store, &tars, "first", &["localhost/x:1"]), first);
    assert_eq!(names(&first).0, ["localhost/x:1", "localhost/x:2"]);
    assert_eq!(names(&second), (vec![], vec!["localhost/x:1".to_owned()]));
    assert_eq!(store.snapshot(&Cancel::new()).unwrap().images().len(), 2);
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    transaction.set_names(&second, vec!["localhost/x:2".into()]).unwrap();
    assert_eq!(transaction.view().image(&first).unwrap().record.names, ["localhost/x:1"]);
    transaction.commit().unwrap();
    assert_eq!(names(&first).0, ["localhost/x:1"]);
    assert_eq!(names(&second).0, ["localhost/x:2"]);
}

#[test]
fn an_id_stands_for_one_list_of_layers() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    add(&store, &tars, "", &["localhost/x:1"]);
    let before = read(fixture.path("overlay-images/images.json"));
    let mut other = draft(&tars, "", &["localhost/y:1"]);
    other.diff_ids.pop();
    let taken = store.commit(stage(&store, &tars), vec![other], &Cancel::new());
    assert!(matches!(taken, Err(Error::TopLayerDiffers { .. })), "{taken:?}");
    assert_eq!(read(fixture.path("overlay-images/images.json")), before);
    // All images of a commit or none.
    let good = draft(&[tars[1].clone()], "good", &[]);
    let bad = draft(&[tars[1].clone(), tar(&[("missing", "")])], "bad", &[]);
    let staged = stage(&store, &tars[1..]);
    assert!(store.commit(staged, vec![good, bad], &Cancel::new()).is_err());
    assert_eq!(store.snapshot(&Cancel::new()).unwrap().images().len(), 1);
    assert_eq!(store.snapshot(&Cancel::new()).unwrap().layers().len(), 2);
}

#[test]
fn one_content_at_several_places() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let [base, other] = two_layers();
    let tars = [base.clone(), other.clone(), other, base];
    let staged = stage(&store, &tars[..2]);
    let id = store.commit(staged, vec![draft(&tars, "", &[])], &Cancel::new()).unwrap().remove(0);
    assert_eq!(contents(&store, &id), tars);
    let none = draft(&[], "no layers", &[]);
    let id = store.commit(Vec::new(), vec![none], &Cancel::new()).unwrap().remove(0);
    assert!(contents(&store, &id).is_empty());
}

#[test]
fn unknown_keys_survive_and_malformed_files_are_refused() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let id = add(&store, &two_layers(), "", &["localhost/x:1"]);
    for file in ["overlay-images/images.json", "overlay-layers/layers.json"] {
        let text = read(fixture.path(file)).replace(r#"{"id""#, r#"{"future":{"x":1.0},"id""#);
        std::fs::write(fixture.path(file), text).unwrap();
    }
    add(&store, &[tar(&[("z", "z")])], "other", &["localhost/x:1"]);
    for (file, count) in [("overlay-images/images.json", 1), ("overlay-layers/layers.json", 2)] {
        assert_eq!(read(fixture.path(file)).matches(r#"{"future":{"x":1.0},"id""#).count(), count);
    }
    for text in ["{", "[{}]", "[{\"id\":\"../x\"}]", "\u{0}", "[] []"] {
        for file in [
            "overlay-images/images.json",
            "overlay-layers/layers.json",
            "overlay-containers/containers.json",
        ] {
            let path = fixture.path(file);
            let before = std::fs::read(&path).ok();
            std::fs::write(&path, text).unwrap();
            for error in [
                store.snapshot(&Cancel::new()).map(drop).unwrap_err(),
                store.begin(&Cancel::new()).map(drop).unwrap_err(),
                fixture.open().snapshot(&Cancel::new()).map(drop).unwrap_err(),
            ] {
                assert!(
                    matches!(&error, Error::Malformed { path: at, .. } if *at == path),
                    "{error:?}"
                );
            }
            assert_eq!(read(&path), text);
            match before {
                Some(before) => std::fs::write(&path, before).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
        }
    }
    assert!(store.snapshot(&Cancel::new()).unwrap().image(&id).is_some());
}

#[test]
fn repairs_what_a_crash_leaves() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    let kept = add(&store, &tars[..1], "kept", &["localhost/x:1", "localhost/x:2"]);
    let lost = add(&store, &tars, "lost", &[]);
    let layers = fixture.path("overlay-layers/layers.json");
    let top =
        LayerId::derive(Some(&LayerId::derive(None, &diff_ids(&tars)[0])), &diff_ids(&tars)[1]);
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    transaction.set_names(&lost, vec!["localhost/y:1".into()]).unwrap();
    transaction.commit().unwrap();
    // An incomplete layer, as if its deletion had been cut off, and a name given twice.
    let record = format!(r#""id":"{top}""#);
    let text =
        read(&layers).replace(&record, &format!(r#"{record},"flags":{{"incomplete":true}}"#));
    std::fs::write(&layers, text).unwrap();
    let images = fixture.path("overlay-images/images.json");
    std::fs::write(
        &images,
        read(&images).replace(
            "[\"localhost/y:1\"],\"names-h",
            "[\"localhost/y:1\",\"localhost/x:1\"],\"names-h",
        ),
    )
    .unwrap();
    let snapshot = store.snapshot(&Cancel::new()).unwrap();
    assert!(snapshot.layer(&top).is_none());
    assert_eq!(snapshot.image(&kept).unwrap().record.names, ["localhost/x:2"]);
    assert_eq!(snapshot.image(&lost).unwrap().record.names, ["localhost/y:1", "localhost/x:1"]);
    assert!(!read(&layers).contains(top.as_str()));
    assert!(!fixture.leftovers().iter().any(|path| path.contains(top.as_str())));
    assert_eq!(std::fs::read_dir(fixture.path("overlay/l")).unwrap().count(), 1);
    // Its image is loaded again and whole.
    assert_eq!(add(&store, &tars, "lost", &[]), lost);
    assert_eq!(contents(&store, &lost), tars);
}

#[test]
fn recovers_from_the_dead_and_spares_the_living() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    let living = stage(&store, &tars[..1]);
    let trees = fixture.path("overlay/tempdirs");
    std::fs::create_dir_all(trees.join("temp-dir-1/0-addition/diff/x")).unwrap();
    std::fs::write(trees.join("lock-1"), "").unwrap();
    // A writer that died with its layers complete and no image.
    let orphan = add(&store, &tars[1..], "orphan", &[]);
    let images = fixture.path("overlay-images/images.json");
    std::fs::write(&images, "[]").unwrap();
    let layer = LayerId::derive(None, &diff_ids(&tars)[1]);
    let files = fixture.path("overlay-layers/tmp");
    std::fs::create_dir_all(files.join("temp-dir-1")).unwrap();
    std::fs::write(files.join("lock-1"), "").unwrap();
    let intent = format!(r#"{{"layers":["{layer}"],"images":["{orphan}"]}}"#);
    std::fs::write(files.join("temp-dir-1/intent"), intent).unwrap();
    let again = fixture.open();
    assert!(again.snapshot(&Cancel::new()).unwrap().layers().is_empty());
    assert!(!trees.join("lock-1").exists() && !trees.join("temp-dir-1").exists());
    assert!(!fixture.leftovers().iter().any(|path| path.contains(layer.as_str())
        || path.contains(orphan.as_str())
        || path.ends_with("-1")));
    let id =
        again.commit(living, vec![draft(&tars[..1], "", &[])], &Cancel::new()).unwrap().remove(0);
    assert_eq!(contents(&again, &id), tars[..1]);
}

#[test]
fn refuses_what_it_does_not_know_how_to_write() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path("vfs-layers")).unwrap();
    let refused = Store::open(fixture.options(), &Cancel::new()).map(drop);
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!("graph driver \"vfs\" of {:?} is not supported, only overlay is", fixture.root())
    );
    assert!(!fixture.path("overlay").exists());
    let options = StoreOptions { driver: "overlay2".into(), ..fixture.options() };
    Store::open(options.clone(), &Cancel::new()).unwrap();
    let mut masked = options;
    masked.overlay.force_mask = Some("shared".into());
    let masked = Store::open(masked, &Cancel::new()).unwrap();
    for refused in
        [masked.stage(&b""[..], &Cancel::new()).map(drop), masked.begin(&Cancel::new()).map(drop)]
    {
        assert!(matches!(refused, Err(Error::UnsupportedFeature { feature: "force_mask" })));
    }
}

#[test]
fn additional_stores_are_read_only() {
    let library = Fixture::new();
    let tars = two_layers();
    let id = add(&library.open(), &tars[..1], "", &["localhost/lib:1"]);
    let fixture = Fixture::new();
    let absent = fixture.directory().join("absent");
    let store = Store::open(
        StoreOptions {
            additional_image_stores: vec![absent.clone(), library.root()],
            ..fixture.options()
        },
        &Cancel::new(),
    )
    .unwrap();
    assert!(!absent.exists());
    let before = read(library.path("overlay-images/images.json"));
    assert!(store.snapshot(&Cancel::new()).unwrap().image(&id).unwrap().read_only);
    assert_eq!(contents(&store, &id), tars[..1]);
    // A child of one of its layers.
    let child = add(&store, &tars, "child", &[]);
    assert_eq!(contents(&store, &child), tars);
    assert_eq!(store.snapshot(&Cancel::new()).unwrap().layers().len(), 2);
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    assert!(matches!(transaction.delete_image(&id), Err(Error::ReadOnly { .. })));
    transaction.set_names(&id, vec!["localhost/mine:1".into()]).unwrap();
    transaction.commit().unwrap();
    let snapshot = store.snapshot(&Cancel::new()).unwrap();
    let copy = snapshot.image(&id).unwrap();
    assert!(!copy.read_only);
    assert_eq!(copy.record.names, ["localhost/mine:1"]);
    assert!(!store.image_data(copy, "manifest").unwrap().is_empty());
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    transaction.delete_image(&id).unwrap();
    transaction.delete_image(&child).unwrap();
    transaction.commit().unwrap();
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
    assert_eq!(read(library.path("overlay-images/images.json")), before);
}

#[test]
fn a_commit_that_loses_its_staging_leaves_nothing() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    let kept = add(&store, &tars[..1], "kept", &["localhost/kept:1"]);
    let staged: Vec<_> = stage(&store, &tars);
    // Garbage collection of older tools may do this.
    let trees = fixture.path("overlay/tempdirs");
    for entry in std::fs::read_dir(&trees).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path.join("0-addition")).unwrap();
        }
    }
    let before = store.snapshot(&Cancel::new()).unwrap();
    let lost =
        store.commit(staged, vec![draft(&tars, "lost", &["localhost/kept:1"])], &Cancel::new());
    assert!(lost.is_err());
    let after = store.snapshot(&Cancel::new()).unwrap();
    assert_eq!(after.layers().len(), before.layers().len());
    assert_eq!(after.image(&kept).unwrap().record.names, ["localhost/kept:1"]);
    assert_eq!(contents(&store, &kept), tars[..1]);
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    transaction.delete_image(&kept).unwrap();
    transaction.commit().unwrap();
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[test]
fn a_commit_that_fails_halfway_is_taken_back() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    let kept = add(&store, &tars[..1], "kept", &["localhost/kept:1"]);
    let draft = draft(&tars, "lost", &["localhost/kept:1"]);
    // The layers can be stored, but not the image's data.
    std::fs::write(fixture.path(&format!("overlay-images/{}", draft.id)), "in the way").unwrap();
    let lost = store.commit(stage(&store, &tars), vec![draft], &Cancel::new());
    assert!(matches!(lost, Err(Error::Io { .. })), "{lost:?}");
    let after = store.snapshot(&Cancel::new()).unwrap();
    assert_eq!((after.layers().len(), after.images().len()), (1, 1));
    assert_eq!(after.image(&kept).unwrap().record.names, ["localhost/kept:1"]);
    assert_eq!(contents(&store, &kept), tars[..1]);
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    transaction.delete_image(&kept).unwrap();
    transaction.commit().unwrap();
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[test]
fn containers_of_a_transient_store_count() {
    let fixture = Fixture::new();
    let store =
        Store::open(StoreOptions { transient: true, ..fixture.options() }, &Cancel::new()).unwrap();
    let tars = two_layers();
    let id = add(&store, &tars, "", &[]);
    let directory = fixture.directory().join("run/overlay-containers");
    let layer = "c".repeat(64);
    let container = format!(r#"[{{"id":"{layer}","image":"{id}","layer":"{layer}"}}]"#);
    std::fs::write(directory.join("volatile-containers.json"), container).unwrap();
    assert!(directory.join("containers.lock").exists());
    assert!(!fixture.path("overlay-containers/containers.lock").exists());
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    let refused = transaction.delete_image(&id);
    assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
    drop(transaction);
    // Its own file is the one that is written.
    let mut transaction = store.begin_with_containers(&Cancel::new()).unwrap();
    transaction.delete_image_and_containers(&id, &HashSet::from([layer])).unwrap();
    transaction.commit().unwrap();
    assert_eq!(read(directory.join("volatile-containers.json")), "[]");
    assert!(!fixture.path("overlay-containers/containers.json").exists());
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[test]
fn containers_go_with_their_image_or_not_at_all() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let id = add(&store, &two_layers(), "", &[]);
    let containers = ["c", "d"].map(|digit| digit.repeat(64));
    let record =
        |id: &String, image: &str| format!(r#"{{"id":"{id}","image":"{image}","layer":"{id}"}}"#);
    let records = containers.iter().map(|it| record(it, id.as_str())).collect::<Vec<_>>();
    let directory = fixture.path("overlay-containers");
    // What is no name of a directory has none; and nobody knows what is in fields of others.
    let odd = r#"{"id":"../overlay","image":"","layer":"x","future":[1.0]}"#
        .replace("\"x\"", &format!("\"{}\"", "e".repeat(64)));
    let all = format!("[{},{odd}]", records.join(","));
    std::fs::write(directory.join("containers.json"), &all).unwrap();
    for container in &containers {
        for directory in [&directory, &fixture.directory().join("run/overlay-containers")] {
            let path = directory.join(container).join("userdata");
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("ctr.log"), "said").unwrap();
        }
    }
    let both = HashSet::from(containers.clone());
    let one = HashSet::from([containers[0].clone()]);
    // Without their lock; with only one of them; and while one is mounted.
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    let refused = transaction.delete_image_and_containers(&id, &both);
    assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
    drop(transaction);
    let mountpoints = fixture.directory().join("run/overlay-layers/mountpoints.json");
    std::fs::create_dir_all(mountpoints.parent().unwrap()).unwrap();
    std::fs::write(mountpoints.with_extension("lock"), "").unwrap();
    let mounted = format!(r#"[{{"id":"{}","path":"/x","count":1}}]"#, containers[1]);
    std::fs::write(&mountpoints, mounted).unwrap();
    let mut transaction = store.begin_with_containers(&Cancel::new()).unwrap();
    let refused = transaction.delete_image_and_containers(&id, &one);
    assert!(matches!(&refused, Err(Error::InUse { container, .. }) if *container == containers[1]));
    let refused = transaction.delete_image_and_containers(&id, &both);
    assert!(
        matches!(&refused, Err(Error::ContainerMounted { container }) if *container == containers[1]),
        "{refused:?}"
    );
    transaction.commit().unwrap();
    assert_eq!(read(directory.join("containers.json")), all);
    std::fs::write(&mountpoints, "[]").unwrap();

    let mut transaction = store.begin_with_containers(&Cancel::new()).unwrap();
    transaction.delete_image_and_containers(&id, &both).unwrap();
    assert_eq!(transaction.view().containers().len(), 1);
    transaction.commit().unwrap();
    assert_eq!(read(directory.join("containers.json")), format!("[{odd}]"));
    for container in &containers {
        assert!(!directory.join(container).exists());
        assert!(!fixture.directory().join("run/overlay-containers").join(container).exists());
    }
    assert_eq!(store.snapshot(&Cancel::new()).unwrap().images().len(), 0);
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[test]
fn content_is_compared_with_what_the_record_promises() {
    let fixture = Fixture::new();
    let tars = two_layers();
    add(&fixture.open(), &tars, "", &[]);
    let records = fixture.path("overlay-layers/layers.json");
    let good = read(&records);
    let wrong = |bad: String, hashed: bool| {
        assert_ne!(bad, good);
        std::fs::write(&records, bad).unwrap();
        let store = fixture.open();
        let snapshot = store.snapshot(&Cancel::new()).unwrap();
        let base = &snapshot.layers()[0].record.id;
        let content = store.open_layer(&snapshot, base, &Cancel::new()).unwrap();
        match hashed {
            true => content.copy_hashed(Vec::new(), &Cancel::new()),
            false => content.copy_to(Vec::new(), &Cancel::new()),
        }
    };
    let [base, top] = [0, 1].map(|at| diff_ids(&tars)[at].to_string());
    let other_digest = good.replacen(&base, &top, 2);
    let size = format!("\"diff-size\":{}", tars[0].len());
    let is_wrong = |result| matches!(result, Err(Error::WrongContent { .. }));
    assert!(is_wrong(wrong(other_digest.clone(), true)));
    assert!(is_wrong(wrong(other_digest.replacen(&size, "\"diff-size\":0", 1), false)));
    assert!(is_wrong(wrong(good.replacen(&size, "\"diff-size\":1", 1), false)));
}

#[test]
fn layers_that_cannot_be_given_out() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    add(&store, &tars, "", &[]);
    let snapshot = store.snapshot(&Cancel::new()).unwrap();
    let [base, top] = [0, 1].map(|at| snapshot.layers()[at].record.id.clone());
    let open = |layer| store.open_layer(&snapshot, layer, &Cancel::new());
    // Content that is not what it was.
    std::fs::write(fixture.path(&format!("overlay/{top}/diff/opt/y")), "z").unwrap();
    let changed = open(&top).unwrap().copy_to(Vec::new(), &Cancel::new());
    assert!(changed.is_err(), "{changed:?}");
    std::fs::remove_file(fixture.path(&format!("overlay-layers/{base}.tar-split.gz"))).unwrap();
    assert!(matches!(open(&base), Err(Error::UnsupportedLayer { .. })));
    std::fs::create_dir(fixture.path(&format!("overlay/{top}/composefs-data"))).unwrap();
    assert!(matches!(open(&top), Err(Error::UnsupportedLayer { .. })));
    let above = [tars[0].clone(), tars[1].clone(), tar(&[("above", "")])];
    let staged = stage(&store, &above[2..]);
    let refused = store.commit(staged, vec![draft(&above, "", &[])], &Cancel::new());
    assert!(matches!(refused, Err(Error::UnsupportedLayer { .. })), "{refused:?}");
    std::fs::remove_dir_all(fixture.path(&format!("overlay/{base}"))).unwrap();
    assert!(matches!(open(&base), Err(Error::LayerNotKnown { .. })));
    let unknown = "f".repeat(64).parse().unwrap();
    assert!(matches!(open(&unknown), Err(Error::LayerNotKnown { .. })));
}
