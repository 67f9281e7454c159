//! The store shared with Podman and the `containers-storage` command. Without them these tests
//! say so, and pass.

use std::path::Path;

use imaged::image::ImageId;
use imaged::storage::Error;
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
            ("opt/pipe", "not a pipe"),
        ]),
    ]
}

/// All files below a directory with their contents.
fn files(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, read(&path)));
            }
        }
    }
    found.sort();
    found
}

/// The layers in an archive made with `podman save`, base first.
fn saved_layers(archive: &Path) -> Vec<Vec<u8>> {
    let content = |wanted: &str| {
        let mut archive = tar::Archive::new(std::fs::File::open(archive).unwrap());
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let mut entry = entries.find(|it| it.path().unwrap().to_str() == Some(wanted)).unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        content
    };
    let manifest: serde_json::Value = serde_json::from_slice(&content("manifest.json")).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap();
    layers.iter().map(|name| content(name.as_str().unwrap())).collect()
}

#[test]
fn podman_takes_our_images_for_its_own() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    let id = add(&store, &tars, "", &["localhost/a:1"]);
    let list =
        fixture.podman(&["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"]);
    assert_eq!(list, format!("sha256:{id} localhost/a:1"));
    let inspect = fixture.podman(&["image", "inspect", "a:1"]);
    let inspect: serde_json::Value = serde_json::from_str(&inspect).unwrap();
    assert_eq!(inspect[0]["RootFS"]["Layers"], serde_json::to_value(diff_ids(&tars)).unwrap());
    assert_eq!(inspect[0]["Labels"]["comment"], "");

    let mounted = fixture.podman(&["image", "mount", "a:1"]);
    let seen = files(Path::new(&mounted));
    let refused = {
        let mut transaction = store.begin(&Cancel::new()).unwrap();
        transaction.delete_image(&id)
    };
    fixture.podman(&["image", "unmount", "a:1"]);
    let expected = [("etc/b", "two"), ("opt/pipe", "not a pipe"), ("opt/y", "y")];
    assert_eq!(seen, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    assert!(matches!(refused, Err(Error::Mounted { .. })), "{refused:?}");

    let archive = fixture.directory().join("saved.tar");
    fixture.podman(&["save", "-o", archive.to_str().unwrap(), "a:1"]);
    assert_eq!(saved_layers(&archive), tars);

    let container = fixture.podman(&["create", "a:1", "true"]);
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    match transaction.delete_image(&id) {
        Err(Error::InUse { container: user, .. }) => assert_eq!(user, container),
        other => panic!("{other:?}"),
    }
    drop(transaction);
    fixture.podman(&["rm", &container]);
    fixture.podman(&["rmi", "a:1"]);
    assert!(store.snapshot(&Cancel::new()).unwrap().images().is_empty());
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[test]
fn we_take_podmans_images_for_our_own() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let tars = two_layers();
    let file = fixture.directory().join("layer.tar");
    std::fs::write(&file, &tars[0]).unwrap();
    let id = fixture.podman(&["import", "-q", file.to_str().unwrap(), "localhost/p:1"]);
    let id: ImageId = id.trim_start_matches("sha256:").parse().unwrap();
    assert_eq!(contents(&store, &id), tars[..1]);
    // Ours on top of its layer, and its container on top of ours.
    let child = add(&store, &tars, "child", &["localhost/c:1"]);
    let container = fixture.podman(&["create", "c:1", "true"]);
    fixture.podman(&["commit", "-q", &container, "localhost/committed:1"]);
    fixture.podman(&["rm", &container]);
    let snapshot = store.snapshot(&Cancel::new()).unwrap();
    let committed =
        snapshot.images().iter().find(|it| it.record.names == ["localhost/committed:1"]);
    let committed = committed.unwrap().record.id.clone();
    assert_eq!(contents(&store, &committed)[..2], tars);
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    transaction.delete_image(&child).unwrap();
    transaction.commit().unwrap();
    assert_eq!(contents(&store, &committed)[..2], tars);
    let list = fixture.podman(&["images", "-q", "--no-trunc"]);
    assert_eq!(list.lines().count(), 2, "{list}");
    let mut transaction = store.begin(&Cancel::new()).unwrap();
    transaction.set_names(&id, vec!["localhost/renamed:1".into()]).unwrap();
    transaction.delete_image(&committed).unwrap();
    transaction.commit().unwrap();
    let list = fixture.podman(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(list, "localhost/renamed:1");
    fixture.podman(&["rmi", "renamed:1"]);
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[test]
fn nothing_is_lost_when_everyone_writes_at_once() {
    const EACH: usize = 8;
    let fixture = Fixture::new();
    let store = fixture.open();
    let base = tar(&[("base", "shared by all")]);
    let image = |who: &str, number: usize| [base.clone(), tar(&[(who, &number.to_string())])];
    std::thread::scope(|scope| {
        for who in ["one", "two"] {
            // A store object of its own behaves like a process of its own.
            let own = fixture.open();
            let shared = &store;
            scope.spawn(move || {
                for number in 0..EACH {
                    let store = if number % 2 == 0 { shared } else { &own };
                    let name = format!("localhost/{who}:{number}");
                    let id = add(store, &image(who, number), &name, &[&name]);
                    assert_eq!(contents(store, &id), image(who, number));
                }
            });
        }
        {
            let fixture = &fixture;
            scope.spawn(move || {
                for number in 0..EACH {
                    let file = fixture.directory().join(format!("{number}.tar"));
                    std::fs::write(&file, tar(&[("podman", &number.to_string())])).unwrap();
                    let name = format!("localhost/podman:{number}");
                    fixture.podman(&["import", "-q", file.to_str().unwrap(), &name]);
                }
            });
        }
        {
            let fixture = &fixture;
            scope.spawn(move || {
                for number in 0..EACH {
                    let name = format!("localhost/cs:{number}");
                    let layer = fixture.containers_storage(&["create-layer"]);
                    let layer = layer.lines().next().unwrap();
                    fixture.containers_storage(&["create-image", "-n", &name, layer]);
                }
            });
        }
    });
    let snapshot = fixture.open().snapshot(&Cancel::new()).unwrap();
    let mut names: Vec<_> =
        snapshot.images().iter().flat_map(|image| image.record.names.clone()).collect();
    names.sort();
    let writers = ["cs", "one", "podman", "two"];
    let expected: Vec<_> = writers
        .iter()
        .flat_map(|who| (0..EACH).map(move |number| format!("localhost/{who}:{number}")))
        .collect();
    assert_eq!(names, expected);
    assert!(snapshot.layers().iter().all(|layer| !layer.record.flags.incomplete));
    assert!(!fixture.path("overlay/tempdirs").exists());
    for image in snapshot.images() {
        for layer in image.record.layer.iter().flat_map(|top| snapshot.chain(top)) {
            let directory = fixture.path("overlay").join(layer.record.id.as_str());
            let link = read(directory.join("link"));
            assert!(fixture.path("overlay/l").join(link).join(".").is_dir(), "{directory:?}");
        }
    }
}
