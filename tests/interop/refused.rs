//! Archives that cannot be loaded: the documented answer, and not a byte left in the store.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::archive::Numbers;
use crate::support::check::assert_sound;
use crate::support::server::PATIENCE;
use crate::support::{DockerArchive, Layer, OciArchive, Response, Server, Store, tree};

#[test]
fn bad_archives_leave_nothing() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    // One good image first: refusals must not touch what is there.
    client.load_bytes(good("localhost/good:1").build()).expect(200);
    let before = tree::outline(&store.root());

    let docker = good("localhost/bad:1");
    let oci = OciArchive::new("localhost/bad:1", &layers());
    let mut garbage = vec![0; 100_000];
    Numbers::new(5).fill(&mut garbage);
    let zeros = "0".repeat(64);
    let wrong = format!("sha256:{zeros}");
    let missing = format!("{}.tar", layers()[1].diff_id().trim_start_matches("sha256:"));
    let config = format!("{}.json", docker.image_id(0));
    let wrong_ids = [&wrong[..]; 4];
    let broken = |tar: Vec<u8>| {
        let tricky = Layer { tar };
        DockerArchive::new(&["localhost/bad:1"], &[layers()[0].clone(), tricky]).build()
    };
    for (what, archive, text) in [
        ("garbage", garbage, ""),
        ("text", b"garbage".to_vec(), "unexpected EOF"),
        ("empty", Vec::new(), ""),
        ("empty tar", vec![0; 1024], "file does not exist"),
        ("no manifest", docker.build_without("manifest.json"), "file does not exist"),
        ("no config", docker.build_without(&config), ""),
        (
            "no layer",
            docker.build_without(&missing),
            "Some layer tarfiles are missing in the tarball",
        ),
        (
            "wrong diff ID",
            docker.clone().with_diff_ids(&wrong_ids).build(),
            "Digest did not match, expected sha256:0000",
        ),
        ("a layer that is no tar", broken(b"no tar at all, but long".repeat(100)), ""),
        ("a name that leaves the layer", broken(one_file(b"../escaped")), ""),
        ("a name twice", broken(twice()), "duplicates of file paths not supported"),
        ("corrupt blob", oci.clone().corrupt(oci.layer_blob(1)).build(), ""),
        ("corrupt config", oci.clone().corrupt(oci.image_id()).build(), ""),
        ("no blob", oci.clone().without(oci.layer_blob(2)).build(), ""),
        ("no config blob", oci.clone().without(oci.image_id()).build(), ""),
    ] {
        let answer = client.load_bytes(archive);
        assert_refused(what, &answer, text);
        tree::assert_same(&tree::outline(&store.root()), &before);
    }

    for archive in [docker.build(), oci.build()] {
        // Up to the end of the last member: what follows is only padding.
        let length = archive.len() - 4096;
        let cuts = [1, 511, 512, 513, 5000, length / 3, length / 2, length - 600];
        for cut in cuts {
            let answer = client.load_bytes(archive[..cut].to_vec());
            assert_refused(&format!("cut at {cut}"), &answer, "");
            tree::assert_same(&tree::outline(&store.root()), &before);
        }
    }
    client.load_bytes(docker.build()).expect(200);
    assert_sound(&store);
}

#[test]
fn clients_that_stop_leave_nothing() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    client.load_bytes(good("localhost/good:1").build()).expect(200);
    let before = tree::outline(&store.root());
    let docker = good("localhost/stopped:1").build();
    let oci = OciArchive::new("localhost/stopped:1", &layers()).build();
    let mut numbers = Numbers::new(3);
    for archive in [&docker, &oci] {
        // Some at once, so that one that stops does not take another's staging with it.
        thread::scope(|scope| {
            for _ in 0..6 {
                let cut = usize::try_from(numbers.below(archive.len() as u64)).unwrap();
                let pause = Duration::from_millis(numbers.below(40));
                let client = &client;
                scope.spawn(move || client.abandon_load(&archive[..cut], pause).unwrap());
            }
        });
        wait_until_same(&store, &before);
    }
    // A complete archive whose request never ends is not complete.
    client.abandon_load(&docker, Duration::from_millis(50)).unwrap();
    wait_until_same(&store, &before);
    client.load_bytes(docker).expect(200);
    assert_sound(&store);
}

/// A client that reads half an export and hangs up, or refuses to read, costs nothing lasting.
#[test]
fn readers_that_stop_are_survived() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    client.load_bytes(good("localhost/good:1").build()).expect(200);
    let before = tree::outline(&store.root());
    for format in ["docker-archive", "oci-archive"] {
        for _ in 0..4 {
            client.abandon_download(&format!("/images/good:1/get?format={format}")).unwrap();
        }
    }
    wait_until_same(&store, &before);
    let left: Vec<_> = std::fs::read_dir(store.path("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    client.load_bytes(good("localhost/after:1").build()).expect(200);
    assert_sound(&store);
}

#[track_caller]
fn assert_refused(what: &str, answer: &Response, text: &str) {
    assert_eq!(answer.status, 500, "{what}: {}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/json", "{what}");
    let error = answer.json();
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["cause", "message", "response"], "{what}");
    let (message, cause) = (error["message"].as_str().unwrap(), error["cause"].as_str().unwrap());
    assert_eq!(error["response"], 500, "{what}");
    assert_eq!(message, format!("unable to load image: {cause}"), "{what}");
    let start = "payload does not match any of the supported image formats:\n * oci: ";
    assert!(cause.starts_with(start), "{what}: {cause}");
    for format in ["oci-archive", "docker-archive", "dir"] {
        assert!(cause.contains(&format!("\n * {format}: ")), "{what}: {cause}");
    }
    assert!(cause.contains(text), "{what}: {cause}");
}

/// Waits until the server has noticed and cleaned up.
#[track_caller]
fn wait_until_same(store: &Store, before: &tree::Tree) {
    let start = Instant::now();
    while tree::outline(&store.root()) != *before && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }
    tree::assert_same(&tree::outline(&store.root()), before);
}

fn layers() -> [Layer; 3] {
    [
        Layer::random(21, "a", 60, 4000),
        Layer::random(22, "b", 200, 900),
        Layer::files(&[("a/000/.wh.00003", b""), ("c", b"c")]),
    ]
}

fn good(name: &str) -> DockerArchive {
    let [first, second, third] = layers();
    // A layer of its own, so that a refused image never shares all layers with the good one.
    let own = Layer::files(&[("name", name.as_bytes())]);
    DockerArchive::new(&[name], &[own, first, second, third])
}

/// A tar of one file whose name the library would not write.
fn one_file(name: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_size(1);
    header.set_mode(0o644);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b"x"[..]).unwrap();
    builder.into_inner().unwrap()
}

fn twice() -> Vec<u8> {
    Layer::files(&[("etc/a", b"1"), ("etc/b", b"2"), ("etc/a", b"3")]).tar
}
