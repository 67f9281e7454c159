//! Stores that are sound: no alarm, whoever made them and whoever works on them.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::scene::{BAD, GOOD, Said, Scene};
use crate::support::server::imaged_on;
use crate::support::tool::{describe, output, run_racing};
use crate::support::{DockerArchive, Layer, Server, Store};

#[track_caller]
fn assert_sound(scene: &Scene) {
    for arguments in [&["check"][..], &["check", "--read-data"], &["repair", "--read-data"]] {
        let Said { status, json } = scene.run(arguments);
        assert_eq!((status, &json["findings"]), (0, &json!([])), "{json:#}");
    }
}

#[test]
fn what_all_tools_have_made() {
    let scene = Scene::new();
    let store = &scene.store;
    let tar = store.path("import.tar");
    fs::write(&tar, Layer::files(&[("x/y", b"z")]).tar).unwrap();
    store.podman(["import", "-q", tar.to_str().unwrap(), "localhost/imported:1"]);
    store.podman(["manifest", "create", "localhost/list:1"]);
    let image = store.reference(GOOD);
    store.podman(["manifest", "add", "localhost/list:1", &image]);
    store.podman(["create", "--name", "one", GOOD, "true"]);
    store.podman(["create", "--rm", "--name", "two", BAD, "true"]);
    store.podman(["commit", "-q", "one", "localhost/committed:1"]);
    store.podman(["tag", BAD, "localhost/other:2"]);
    fs::write(store.path("Dockerfile"), format!("FROM {GOOD}\nCOPY import.tar /a\n")).unwrap();
    let context = store.dir().to_str().unwrap().to_owned();
    let file = store.path("Dockerfile");
    let file = file.to_str().unwrap();
    store.buildah(["bud", "-q", "--layers", "-f", file, "-t", "localhost/built:1", &context]);
    store.buildah(["from", "--name", "working", GOOD]);
    store.buildah(["from", "--name", "empty", "scratch"]);
    let copied = store.reference("localhost/copied:1");
    let directory = format!("dir:{}", store.path("copy").display());
    store.skopeo(["copy", "-q", &store.reference(GOOD), &directory]);
    store.skopeo(["copy", "-q", &directory, &copied]);
    store.storage(["create-container", GOOD]);
    // Without content and without an image: only time tells that nobody needs it.
    store.storage(["create-layer"]);
    store.podman(["rmi", "localhost/imported:1"]);
    assert_sound(&scene);
}

#[test]
fn mounted_layers() {
    let scene = Scene::new();
    scene.store.podman(["image", "mount", GOOD]);
    let container = scene.store.podman(["create", BAD, "true"]);
    let merged = scene.store.podman(["mount", &container]);
    fs::write(format!("{merged}/new"), "written by a container").unwrap();
    fs::remove_file(format!("{merged}/etc/bad")).unwrap();
    assert_sound(&scene);
    scene.store.podman(["umount", &container]);
    scene.store.podman(["image", "unmount", GOOD]);
    assert_sound(&scene);
}

/// Podman notes sparse files with the length they have on disk, and cannot export them afterwards. They
/// are as they should be, and it is said that they cannot be compared.
#[test]
fn a_sparse_file_is_not_taken_for_a_damaged_one() {
    let scene = Scene::new();
    let store = &scene.store;
    let file = fs::File::create(store.path("sparse")).unwrap();
    file.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"data", 600_000).unwrap();
    let tar = store.path("sparse.tar");
    let mut command = std::process::Command::new("tar");
    command.current_dir(store.dir()).args(["--sparse", "--format=posix", "-cf"]).arg(&tar);
    crate::support::tool::run(command.arg("sparse"));
    store.podman(["import", "-q", tar.to_str().unwrap(), "localhost/sparse:1"]);
    let said = scene.run(&["check", "--read-data"]);
    let severities: Vec<Value> = said.findings().iter().map(|it| it["severity"].clone()).collect();
    assert_eq!(severities, [json!("warning")], "{:#}", said.json);
    said.assert_finding("content", "sparse");
    assert_ne!(scene.independent(), Vec::<String>::new());
    let done = scene.run(&["repair", "--apply", "--read-data"]);
    assert_eq!((done.status, &done.json["actions"]), (1, &json!([])), "{:#}", done.json);
    store.podman(["image", "exists", "localhost/sparse:1"]);
}

/// Newer tools keep what a reboot may lose in files of its own.
#[test]
fn volatile_containers() {
    let scene = Scene::new();
    let container = scene.store.podman(["create", GOOD, "true"]);
    let layer = {
        let containers = scene.store.records("overlay-containers/containers.json");
        containers[0]["layer"].as_str().unwrap().to_owned()
    };
    for (directory, kind, id) in
        [("overlay-containers", "containers", &container), ("overlay-layers", "layers", &layer)]
    {
        let file = format!("{directory}/{kind}.json");
        let records = scene.store.records(&file);
        let (volatile, lasting): (Vec<Value>, Vec<Value>) =
            records.into_iter().partition(|record| record["id"] == json!(id));
        assert_eq!(volatile.len(), 1);
        fs::write(scene.path(&file), Value::from(lasting).to_string()).unwrap();
        let file = scene.path(&format!("{directory}/volatile-{kind}.json"));
        fs::write(file, Value::from(volatile).to_string()).unwrap();
    }
    assert_sound(&scene);
}

/// Made where the kernel cannot map owners in mounts: a layer with its own ID and the same parent and
/// digest as the one it is a copy of, on which it lies.
#[test]
fn a_copy_for_other_users() {
    let scene = Scene::new();
    let (top, copy) = (scene.top(BAD), Scene::stranger());
    let link = "COPYCOPYCOPYCOPYCOPYCOPY22";
    let directory = scene.path(&format!("overlay/{copy}"));
    for name in ["diff", "diff1/etc", "work", "merged"] {
        fs::create_dir_all(directory.join(name)).unwrap();
    }
    fs::write(directory.join("diff1/etc/bad"), "bad").unwrap();
    fs::write(directory.join("link"), link).unwrap();
    std::os::unix::fs::symlink(format!("../{copy}/diff"), scene.path(&format!("overlay/l/{link}")))
        .unwrap();
    let lower = fs::read_to_string(scene.path(&format!("overlay/{top}/lower"))).unwrap();
    let lower = format!("l/{}:{lower}", scene.link_of(&top));
    fs::write(directory.join("lower"), lower).unwrap();
    let tar_split = |id: &str| scene.path(&format!("overlay-layers/{id}.tar-split.gz"));
    fs::copy(tar_split(&top), tar_split(&copy)).unwrap();
    scene.edit_layers(|layers| {
        let mut record = layers.iter().find(|it| it["id"] == json!(top)).unwrap().clone();
        record["id"] = json!(copy);
        record["uidmap"] = json!([{"container_id": 0, "host_id": 100_000, "size": 65_536}]);
        record["gidmap"] = record["uidmap"].clone();
        layers.push(record);
    });
    let bad = scene.image(BAD);
    scene.edit_images(|images| {
        let image = images.iter_mut().find(|it| it["id"] == json!(bad)).unwrap();
        image["mapped-layers"] = json!([copy]);
    });
    assert_sound(&scene);
    // Its content is looked at, in itself and in what it is a copy of.
    fs::write(directory.join("diff1/etc/bad"), "bAd").unwrap();
    scene.run(&["check", "--read-data"]).assert_finding("content", &copy);
}

#[test]
fn what_is_built_on_an_additional_store() {
    let other = Scene::new();
    let store = Store::new();
    let option = format!("overlay.imagestore={}", other.store.root().display());
    let conf = store.path("storage.conf");
    let text = format!(
        "[storage]\ndriver = 'overlay'\ngraphroot = '{}'\nrunroot = '{}'\n\
         [storage.options]\nadditionalimagestores = ['{}']\n",
        store.root().display(),
        store.runroot().display(),
        other.store.root().display()
    );
    fs::write(&conf, text).unwrap();
    let mut create = std::process::Command::new("podman");
    create.args(["--cgroup-manager=cgroupfs", "--events-backend=file", "--tmpdir"]);
    create.arg(store.path("libpod")).args(["create", GOOD, "true"]);
    create.env("CONTAINERS_STORAGE_CONF", &conf);
    let made = output(&mut create);
    assert!(made.status.success(), "{}", describe(&create, &made));

    let mut check = imaged_on(&store);
    check.args(["--storage-opt", &option, "check", "--read-data", "--json"]);
    let said = output(&mut check);
    assert!(said.status.success(), "{}", describe(&check, &said));
    // Without that store the container has neither image nor layers.
    let alone = output(imaged_on(&store).args(["check", "--json"]));
    assert_eq!(alone.status.code(), Some(1), "{alone:?}");
}

/// Podman and the daemon create and remove images, of which one has a layer that takes its time,
/// while the store is looked at again and again.
#[test]
fn while_others_work() {
    const LOOKS: usize = 25;
    let scene = Scene::new();
    let store = &scene.store;
    let layers = |seed| (0..3).map(|at| Layer::random(seed + at, "data", 60, 20_000)).collect();
    let archive = |file: &str, name: &str, seed: u64| {
        let layers: Vec<Layer> = layers(seed);
        let path = store.path(file);
        fs::write(&path, DockerArchive::new(&[name], &layers).build()).unwrap();
        path
    };
    let podmans = archive("podman.tar", "localhost/podmans:1", 100);
    let daemons = archive("daemon.tar", "localhost/daemons:1", 200);
    let server = Server::start(store);
    let done = AtomicBool::new(false);
    let worked = std::thread::scope(|scope| {
        let podman = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                let file = podmans.to_str().unwrap();
                run_racing(&mut store.podman_command(["load", "-q", "-i", file]));
                run_racing(&mut store.podman_command(["create", "--name", "c", GOOD, "true"]));
                run_racing(&mut store.podman_command(["rm", "c"]));
                run_racing(&mut store.podman_command(["rmi", "localhost/podmans:1"]));
                rounds += 1;
            }
            rounds
        });
        let daemon = scope.spawn(|| {
            let client = server.client();
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                client.load(&daemons);
                client.delete("/images/localhost%2Fdaemons:1").expect(200);
                rounds += 1;
            }
            rounds
        });
        let looks: Vec<Said> = (0..LOOKS)
            .map(|look| {
                scene.run(if look % 2 == 0 { &["check", "--read-data"] } else { &["check"] })
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        let worked = (podman.join().unwrap(), daemon.join().unwrap());
        for Said { status, json } in looks {
            assert_eq!((status, &json["findings"]), (0, &json!([])), "{json:#}");
        }
        worked
    });
    assert!(worked.0 > 0 && worked.1 > 0, "nobody has worked: {worked:?}");
    drop(server);
    assert_sound(&scene);
    scene.assert_good();
}

/// A repair with something to do, while Podman creates and removes: only that is done.
#[test]
fn a_repair_while_others_work() {
    const REPAIRS: usize = 6;
    let scene = Scene::new();
    let store = &scene.store;
    let layers: Vec<Layer> = (0..3).map(|at| Layer::random(at, "data", 60, 20_000)).collect();
    let archive = store.path("podman.tar");
    fs::write(&archive, DockerArchive::new(&["localhost/podmans:1"], &layers).build()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let podman = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let file = archive.to_str().unwrap();
                run_racing(&mut store.podman_command(["load", "-q", "-i", file]));
                run_racing(&mut store.podman_command(["rmi", "localhost/podmans:1"]));
            }
        });
        for _ in 0..REPAIRS {
            let orphan = scene.add_orphan();
            let said = scene.run(&["repair", "--apply", "--read-data"]);
            let json = &said.json;
            for action in json["actions"].as_array().unwrap() {
                assert!(action["what"].as_str().unwrap().contains(&orphan), "{json:#}");
            }
            assert!(!scene.path(&format!("overlay/{orphan}")).exists(), "{json:#}");
            assert_eq!((said.status, &json["failed"]), (0, &json!([])), "{json:#}");
        }
        done.store(true, Ordering::Relaxed);
        podman.join().unwrap();
    });
    scene.assert_good();
}
