//! A small store, what can be done to it, and what may be left of that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use serde_json::Value;

use crate::strace::{Call, Tracer, calls};
use crate::support::check::check;
use crate::support::http::escape;
use crate::support::store::strings;
use crate::support::{Client, DockerArchive, Layer, OciArchive, Response, Server, Store, saved};

/// The names of every image, by ID.
pub(crate) type Images = BTreeMap<String, BTreeSet<String>>;

const KEPT: &str = "localhost/kept:1";
const DOOMED: &str = "localhost/doomed:1";
const USED: &str = "localhost/used:1";
const NEW: &str = "localhost/new:1";

/// Something that writes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    LoadDocker,
    LoadOci,
    Import,
    Tag,
    Untag,
    Remove,
    /// With its containers.
    RemoveUsed,
    Prune,
}

/// A store with images that share layers. Every round works on a copy of it.
pub(crate) struct Scene {
    operation: Operation,
    template: Store,
    before: Images,
    after: Images,
    /// What the operation calls.
    calls: Vec<Call>,
}

impl Scene {
    /// Of the operation's calls, those with a name in `calls` count.
    pub(crate) fn new(operation: Operation, calls: &str) -> Self {
        let template = Store::new();
        let server = Server::start(&template);
        let client = server.client();
        let base = base();
        let own = |name: &str| Layer::files(&[("name", name.as_bytes()), ("base/x", b"x")]);
        for (names, layers) in [
            (&[KEPT][..], vec![base.clone()]),
            (&[DOOMED], vec![base.clone(), own("doomed")]),
            (&[USED], vec![base.clone(), own("used")]),
            (&[], vec![base, own("dangling"), own("twice")]),
        ] {
            client.load_bytes(DockerArchive::new(names, &layers).build()).expect(200);
        }
        assert!(server.stop().success());
        for (name, image) in [("one", USED), ("two", USED), ("other", KEPT)] {
            template.buildah(["from", "--name", name, image]);
        }
        let mut scene = Self {
            operation,
            template,
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
        let answer = self.operation.run(&client).unwrap();
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
        self.operation.run(client)
    }

    /// The calls to try: `count` of them, unless the environment says how many.
    pub(crate) fn points(&self, count: usize) -> Vec<&Call> {
        let count = std::env::var("IMAGED_FAULT_POINTS").map_or(count, |n| n.parse().unwrap());
        let all = self.calls.len();
        println!("{:?}: {all} calls", self.operation);
        if count == 0 || count >= all {
            return self.calls.iter().collect();
        }
        (0..count).map(|index| &self.calls[index * all / count]).collect()
    }

    /// Starts the daemon on what is left, and judges it. Whether the operation is seen to be done.
    pub(crate) fn judge(&self, store: &Store, what: &str) -> bool {
        let server = Server::start(store);
        let client = server.client();
        let found = images(&client);
        for id in self.before.keys().chain(self.after.keys()) {
            let (was, will_be) = (self.before.get(id), self.after.get(id));
            let is = found.get(id);
            assert!(is == was || is == will_be, "{what}: {id} has {is:?}, not {was:?}/{will_be:?}");
        }
        for (id, names) in &found {
            // The ID of an imported image depends on the time.
            let known = self.before.contains_key(id) || self.after.values().any(|it| it == names);
            assert!(known, "{what}: unknown image {id} {names:?}");
            let file = store.path("export.tar");
            let route = format!("/images/{id}/get?format=docker-archive");
            assert_eq!(client.download(&route, &file).unwrap(), 200, "{what}: {id}");
            assert_eq!(saved::docker_archive(&file)[0].id, *id, "{what}");
        }
        // The next write finds what the dead have left.
        let alive = DockerArchive::new(&["localhost/alive:1"], &[Layer::files(&[("a", b"a")])]);
        client.load_bytes(alive.build()).expect(200);
        assert!(server.stop().success());
        assert_containers(store, &found, what);
        let problems = check(&store.root(), &store.runroot());
        assert!(problems.is_empty(), "{what}: the store is damaged:\n{}", problems.join("\n"));
        sorted(&found) == sorted(&self.after)
    }
}

impl Operation {
    fn run(self, client: &Client) -> io::Result<Response> {
        let added = [base(), Layer::random(52, "new", 12, 3000), Layer::files(&[("c", b"c")])];
        let doomed = escape(DOOMED);
        match self {
            Self::LoadDocker => client.try_load_bytes(DockerArchive::new(&[NEW], &added).build()),
            Self::LoadOci => client.try_load_bytes(OciArchive::new(NEW, &added).build()),
            Self::Import => {
                let tar = Layer::random(53, "imported", 8, 2000).tar;
                client.try_import("?reference=localhost/imported", tar)
            }
            Self::Tag => client.try_post(&format!("/images/{doomed}/tag?repo=localhost/new&tag=1")),
            Self::Untag => {
                client.try_post(&format!("/images/{doomed}/untag?repo=localhost/doomed&tag=1"))
            }
            Self::Remove => client.try_delete(&format!("/images/{doomed}?force=true")),
            Self::RemoveUsed => client.try_delete(&format!("/images/{}?force=true", escape(USED))),
            Self::Prune => client.try_post("/images/prune?all=true"),
        }
    }
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

fn base() -> Layer {
    Layer::random(51, "base", 6, 700)
}

fn images(client: &Client) -> Images {
    let list = client.get("/images/json?all=true").expect(200).json();
    let images = list.as_array().unwrap().iter();
    images
        .map(|image| {
            let id = image["Id"].as_str().unwrap().to_owned();
            (id, strings(&image["RepoTags"]).into_iter().collect())
        })
        .collect()
}

fn sorted(images: &Images) -> Vec<&BTreeSet<String>> {
    let mut names: Vec<_> = images.values().collect();
    names.sort();
    names
}
