//! Everybody writes to one store at the same time, and nothing is lost.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use crate::reading::import;
use crate::support::check::assert_sound;
use crate::support::debian::layer;
use crate::support::http::escape;
use crate::support::tool::run_racing;
use crate::support::{Client, DockerArchive, Layer, OciArchive, Server, Store};

/// Images each writer makes; every second one is removed again.
const COUNT: usize = 8;

/// Name and diff IDs of the images that must be there in the end.
type Expected = Vec<(String, Vec<String>)>;

#[test]
fn nothing_is_lost_when_all_write_at_once() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    // Podman's database must exist before several Podmans race to create it.
    import(&store, "localhost/seed:1", "seed", &[]);
    let seed = store.diff_ids("seed:1");
    // Everybody's images begin with the same layer, so that it is created and removed in races.
    let base = Layer::random(11, "base", 120, 3000);

    let writers: Vec<Box<dyn Fn() -> Expected + Send + Sync>> = vec![
        Box::new(|| load_with_us(&client, &base, "ours")),
        Box::new(|| load_with_us(&client, &base, "theirs-too")),
        Box::new(|| load_with_podman(&store, &base)),
        Box::new(|| import_with_podman(&store)),
        Box::new(|| copy_with_skopeo(&store, &base)),
        Box::new(|| commit_with_buildah(&store, &seed)),
        Box::new(|| create_with_containers_storage(&store)),
    ];
    let mut expected: BTreeMap<String, Vec<String>> = thread::scope(|scope| {
        let running: Vec<_> = writers.iter().map(|writer| scope.spawn(writer)).collect();
        running.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    expected.insert("localhost/seed:1".to_owned(), seed.clone());

    let mut found = BTreeMap::new();
    for summary in client.get("/images/json?all=true").expect(200).json().as_array().unwrap() {
        for name in crate::support::store::strings(&summary["RepoTags"]) {
            let route = format!("/images/{}/json", escape(&name));
            let inspected = client.get(&route).expect(200).json();
            let diff_ids = crate::support::store::strings(&inspected["RootFS"]["Layers"]);
            assert_eq!(store.diff_ids(&name), diff_ids, "{name}");
            found.insert(name, diff_ids);
        }
    }
    assert_eq!(found, expected);
    assert_sound(&store);

    for name in expected.keys() {
        client.delete(&format!("/images/{}", escape(name))).expect(200);
    }
    crate::load::assert_empty(&store);
}

/// A cached list never hides what another process has done since.
#[test]
fn changes_of_others_are_seen_at_once() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let names = || {
        let list = client.get("/images/json").expect(200).json();
        let list = list.as_array().unwrap().iter();
        list.flat_map(|image| crate::support::store::strings(&image["RepoTags"])).collect()
    };
    import(&store, "localhost/one:1", "one", &[]);
    for round in 0..10 {
        let name = format!("localhost/round:{round}");
        store.podman(["tag", "one:1", &name]);
        let all: Vec<String> = names();
        assert!(all.contains(&name), "{all:?}");
        store.podman(["untag", "one:1", &name]);
        let all: Vec<String> = names();
        assert_eq!(all, ["localhost/one:1"]);
        // Our write must start from their state too.
        client.post(&format!("/images/one:1/tag?repo=ours&tag={round}")).expect(201);
        store.podman(["untag", "one:1", &format!("ours:{round}")]);
    }
    assert_eq!(names(), ["localhost/one:1"]);
    assert_sound(&store);
}

fn image(base: &Layer, name: &str) -> (DockerArchive, Expected) {
    let layers = [base.clone(), Layer::files(&[("own", name.as_bytes())])];
    let diff_ids = layers.iter().map(Layer::diff_id).collect();
    (DockerArchive::new(&[name], &layers), vec![(name.to_owned(), diff_ids)])
}

fn load_with_us(client: &Client, base: &Layer, group: &str) -> Expected {
    let mut expected = Expected::new();
    for index in 0..COUNT {
        let name = format!("localhost/{group}:{index}");
        let (docker, entry) = image(base, &name);
        let archive = if index % 3 == 0 {
            let layers = [base.clone(), Layer::files(&[("own", name.as_bytes())])];
            OciArchive::new(&name, &layers).build()
        } else {
            docker.build()
        };
        client.load_bytes(archive).expect(200);
        if index % 2 == 0 {
            client.delete(&format!("/images/{}", escape(&name))).expect(200);
        } else {
            expected.extend(entry);
        }
    }
    expected
}

fn load_with_podman(store: &Store, base: &Layer) -> Expected {
    let mut expected = Expected::new();
    for index in 0..COUNT {
        let name = format!("localhost/podman:{index}");
        let (archive, entry) = image(base, &name);
        let file = store.path(&format!("podman-{index}.tar"));
        fs::write(&file, archive.build()).unwrap();
        run_racing(&mut store.podman_command(["load", "--input", &file.display().to_string()]));
        if index % 2 == 0 {
            store.podman(["rmi", &name]);
        } else {
            expected.extend(entry);
        }
    }
    expected
}

fn import_with_podman(store: &Store) -> Expected {
    let mut expected = Expected::new();
    for index in 0..COUNT {
        let (name, content) = (format!("localhost/imported:{index}"), format!("content-{index}"));
        import(store, &name, &content, &[]);
        if index % 2 == 0 {
            store.podman(["rmi", &name]);
        } else {
            let path = format!("etc/{content}");
            let layer = Layer::files(&[(&path, content.as_bytes())]);
            expected.push((name, vec![layer.diff_id()]));
        }
    }
    expected
}

fn copy_with_skopeo(store: &Store, base: &Layer) -> Expected {
    let mut expected = Expected::new();
    for index in 0..COUNT / 2 {
        let name = format!("localhost/skopeo:{index}");
        let (archive, entry) = image(base, &name);
        let file = store.path(&format!("skopeo-{index}.tar"));
        fs::write(&file, archive.build()).unwrap();
        let source = format!("docker-archive:{}", file.display());
        run_racing(&mut store.skopeo_command(["copy", &source, &store.reference(&name)]));
        expected.extend(entry);
    }
    expected
}

fn commit_with_buildah(store: &Store, seed: &[String]) -> Expected {
    let mut expected = Expected::new();
    for index in 0..COUNT / 2 {
        let name = format!("localhost/built:{index}");
        layer(store, "localhost/seed:1", &name, |root| {
            fs::write(root.join("built"), &name).unwrap();
        });
        let diff_ids = store.diff_ids(&name);
        assert!(diff_ids.starts_with(seed), "{diff_ids:?}");
        expected.push((name, diff_ids));
    }
    expected
}

/// Containers come and go; they leave no image.
fn create_with_containers_storage(store: &Store) -> Expected {
    for _ in 0..COUNT {
        let output = store.storage(["create-container", "localhost/seed:1"]);
        store.storage(["delete-container", output.lines().next().unwrap().trim()]);
    }
    Expected::new()
}
