//! A small store in which one operation is done again and again, and the judgement of what is left.

use std::fs;
use std::io;

use serde_json::Value;

use crate::operation::{Operation, registry};
use crate::strace::{Call, Tracer, calls};
use crate::support::check::check;
use crate::support::remains::{Images, assert_between, assert_whole, images};
use crate::support::soak::soaking;
use crate::support::store::strings;
use crate::support::{Client, DockerArchive, Faulty, Layer, Response, Server, Store};

pub(crate) const KEPT: &str = "localhost/kept:1";
pub(crate) const DOOMED: &str = "localhost/doomed:1";
pub(crate) const USED: &str = "localhost/used:1";
pub(crate) const NEW: &str = "localhost/new:1";

/// A store with images that share layers. Every round works on a copy of it.
pub(crate) struct Scene {
    operation: Operation,
    template: Store,
    registry: Faulty,
    before: Images,
    after: Images,
    /// What the operation calls.
    calls: Vec<Call>,
}

impl Scene {
    /// Of the operation's calls, those with a name in `calls` count.
    pub(crate) fn new(operation: Operation, calls: &str) -> Self {
        let mut scene = Self {
            operation,
            template: template(),
            registry: registry(),
            before: Images::new(),
            after: Images::new(),
            calls: Vec::new(),
        };
        scene.rehearse(calls);
        scene
    }

    /// Sees what the operation does when nothing disturbs it.
    fn rehearse(&mut self, names: &str) {
        let store = self.store();
        let server = Server::start(&store);
        let client = server.client();
        self.before = images(&client);
        let log = store.path("calls");
        let tracer = Tracer::watch(server.pid(), names, &log);
        let answer = self.run(&client).unwrap();
        assert_eq!(answer.status / 100, 2, "{}", answer.text());
        self.after = images(&client);
        assert!(server.stop().success());
        tracer.detach();
        assert_ne!(self.before, self.after);
        self.calls = calls(&log, |name| names.split(',').any(|it| it == name));
    }

    /// A fresh copy of the store.
    pub(crate) fn store(&self) -> Store {
        Store::copy_of(&self.template)
    }

    pub(crate) fn run(&self, client: &Client) -> io::Result<Response> {
        self.operation.run(client, &self.registry)
    }

    /// The calls to try: `count` of them spread out, in a long run all of them.
    pub(crate) fn points(&self, count: usize) -> Vec<&Call> {
        let count = std::env::var("IMAGED_FAULT_POINTS").map_or(count, |n| n.parse().unwrap());
        let all = self.calls.len();
        println!("{:?}: {all} calls", self.operation);
        if soaking() || count == 0 || count >= all {
            return self.calls.iter().collect();
        }
        (0..count).map(|index| &self.calls[index * all / count]).collect()
    }

    /// Whether the daemon lists what it did before the operation.
    pub(crate) fn is_untouched(&self, client: &Client) -> bool {
        images(client) == self.before
    }

    /// Whether the operation is seen to be done.
    pub(crate) fn is_done(&self, found: &Images) -> bool {
        names(found) == names(&self.after)
    }

    /// Starts the daemon on what is left, and judges it. Whether the operation is seen to be done.
    pub(crate) fn judge(&self, store: &Store, what: &str) -> bool {
        let server = Server::start(store);
        let client = server.client();
        let found = images(&client);
        // The ID of an image that is imported or committed depends on the time.
        let mut after = self.after.clone();
        after.retain(|id, names| found.contains_key(id) || !found.values().any(|it| it == names));
        assert_between(&found, &self.before, &after, what);
        for (id, names) in &found {
            let known = self.before.contains_key(id) || self.after.values().any(|it| it == names);
            assert!(known, "{what}: unknown image {id} {names:?}");
        }
        assert_whole(&client, &found, &store.path("export.tar"), what);
        // The next write finds what the dead have left.
        let alive = DockerArchive::new(&["localhost/alive:1"], &[Layer::files(&[("a", b"a")])]);
        client.load_bytes(alive.build()).expect(200);
        assert!(server.stop().success());
        assert_containers(store, &found, what);
        assert_clean(store, what);
        self.is_done(&found)
    }
}

/// Nothing is wrong with the store's files, and nothing is left in it. Without the tools: they are
/// too slow for every round.
#[track_caller]
pub(crate) fn assert_clean(store: &Store, what: &str) {
    let problems = check(&store.root(), &store.runroot());
    assert!(problems.is_empty(), "{what}: the store is damaged:\n{}", problems.join("\n"));
}

/// Images that share layers, and containers of two of them.
pub(crate) fn template() -> Store {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let own = |name: &str| Layer::files(&[("name", name.as_bytes()), ("base/x", b"x")]);
    for (names, layers) in [
        (&[KEPT][..], vec![base()]),
        (&[DOOMED], vec![base(), own("doomed")]),
        (&[USED], vec![base(), own("used")]),
        (&[], vec![base(), own("dangling"), own("twice")]),
    ] {
        client.load_bytes(DockerArchive::new(names, &layers).build()).expect(200);
    }
    assert!(server.stop().success());
    for (name, image) in [("one", USED), ("two", USED), ("other", KEPT)] {
        store.buildah(["from", "--name", name, image]);
    }
    let changed = store.path("changed");
    fs::write(&changed, "changed").unwrap();
    store.buildah(["copy", "one", changed.to_str().unwrap(), "/of/the/container"]);
    store
}

/// Containers are there with their image and their directory, or are gone with it; whose image is
/// gone is gone.
fn assert_containers(store: &Store, images: &Images, what: &str) {
    let records = store.records("overlay-containers/containers.json");
    let mut known: Vec<&str> = records.iter().map(|it| it["id"].as_str().unwrap()).collect();
    known.sort_unstable();
    let names = |record: &Value| strings(&record["names"]);
    assert!(records.iter().any(|record| names(record) == ["other"]), "{what}");
    for record in &records {
        let image = record["image"].as_str().unwrap();
        assert!(images.contains_key(image), "{what}: {:?} without its image", names(record));
    }
    let entries = fs::read_dir(store.root().join("overlay-containers")).unwrap();
    let directories = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut directories: Vec<_> = directories.filter(|name| name.len() == 64).collect();
    directories.sort();
    assert_eq!(directories, known, "{what}");
}

/// The layer that all images have.
pub(crate) fn base() -> Layer {
    Layer::random(51, "base", 6, 700)
}

fn names(images: &Images) -> Vec<&std::collections::BTreeSet<String>> {
    let mut names: Vec<_> = images.values().collect();
    names.sort();
    names
}
