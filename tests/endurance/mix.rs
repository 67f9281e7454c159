//! Requests of all kinds, good and bad, that any number of clients may make at once. Each leaves the
//! store as it found it.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::events::Follower;
use crate::support::http::{PREFIX, escape};
use crate::support::registry::Registry;
use crate::support::{Client, DockerArchive, Layer, OciArchive, Response, Server, Store};

/// The image that stays, in which everything is looked up.
pub(crate) const KEPT: &str = "localhost/kept:1";
/// Names in the registry. What one client pulls under a name no other removes.
const SLOTS: usize = 16;

/// One kind of request, or of several that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    List,
    Filter,
    Inspect,
    Exists,
    History,
    Tree,
    Info,
    DiskUsage,
    PastEvents,
    /// Follows events, and leaves.
    Follow,
    /// Names and removes a name.
    Tag,
    Prune,
    /// Loads, and removes what was loaded.
    LoadDocker,
    LoadOci,
    Import,
    Pull,
    Push,
    Export,
    /// The client goes when it has sent half.
    LeaveLoad,
    /// The client goes when it has read the beginning.
    LeaveExport,
    LoadGarbage,
    PullNothing,
    Missing,
    BadFilter,
    BadRequests,
}

/// Those that only read, which take milliseconds.
pub(crate) const QUICK: [Kind; 15] = [
    Kind::List,
    Kind::Filter,
    Kind::Inspect,
    Kind::Exists,
    Kind::History,
    Kind::Tree,
    Kind::Info,
    Kind::DiskUsage,
    Kind::PastEvents,
    Kind::Follow,
    Kind::Tag,
    Kind::Missing,
    Kind::BadFilter,
    Kind::BadRequests,
    Kind::LoadGarbage,
];

/// Those that move layers.
pub(crate) const HEAVY: [Kind; 10] = [
    Kind::LoadDocker,
    Kind::LoadOci,
    Kind::Import,
    Kind::Pull,
    Kind::Push,
    Kind::Export,
    Kind::LeaveLoad,
    Kind::LeaveExport,
    Kind::PullNothing,
    Kind::Prune,
];

/// A daemon, its store and a registry, and how to ask.
pub(crate) struct Mix {
    pub(crate) store: Store,
    pub(crate) server: Server,
    registry: Registry,
    client: Client,
    base: Layer,
    slots: [Mutex<()>; SLOTS],
    requests: AtomicUsize,
}

impl Mix {
    /// A new store with [`KEPT`] in it, served with more arguments of `serve`.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let store = Store::new();
        let server = Server::start_with(&store, arguments);
        let client = server.client();
        let base = Layer::random(1, "base", 40, 10_000);
        client
            .load_bytes(DockerArchive::new(&[KEPT], std::slice::from_ref(&base)).build())
            .expect(200);
        let registry = Registry::plain();
        let names: Vec<String> = (0..SLOTS).map(|slot| format!("pulled:{slot}")).collect();
        registry.push(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let slots = Default::default();
        Self { store, server, registry, client, base, slots, requests: AtomicUsize::new(0) }
    }

    /// How many requests were made.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Makes the requests of this kind. `number` is of nobody else at this time.
    ///
    /// # Panics
    /// When one is not answered as it should be.
    pub(crate) fn request(&self, kind: Kind, number: usize) {
        let name = format!("localhost/mix:{number}");
        match kind {
            Kind::List => {
                let list = self.get("/images/json", 200).json();
                let names = |image: &serde_json::Value| image["RepoTags"].to_string();
                let images = list.as_array().unwrap();
                assert!(images.iter().any(|image| names(image).contains(KEPT)), "{list}");
            }
            Kind::Filter => {
                let filters = escape(r#"{"reference":["localhost/kept"],"dangling":["false"]}"#);
                let list = self.get(&format!("/images/json?filters={filters}"), 200).json();
                assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
            }
            Kind::Inspect => drop(self.get(&format!("/images/{KEPT}/json"), 200)),
            Kind::Exists => drop(self.get(&format!("/images/{KEPT}/exists"), 204)),
            Kind::History => drop(self.get(&format!("/images/{KEPT}/history"), 200)),
            Kind::Tree => drop(self.get(&format!("/images/{KEPT}/tree"), 200)),
            Kind::Info => drop(self.get("/info", 200)),
            Kind::DiskUsage => drop(self.get("/system/df", 200)),
            Kind::PastEvents => drop(self.get("/events?stream=false&since=1m", 200)),
            Kind::Follow => {
                self.count();
                drop(Follower::new(&self.server, "stream=true"));
            }
            Kind::Tag => {
                self.post(&format!("/images/{KEPT}/tag?repo=localhost/tag&tag={number}"), 201);
                self.post(&format!("/images/{KEPT}/untag?repo=localhost/tag&tag={number}"), 201);
            }
            Kind::Prune => drop(self.post("/images/prune", 200)),
            Kind::LoadDocker => {
                self.load(DockerArchive::new(&[&name], &self.layers(&name)).build(), 200);
                self.remove(&name);
            }
            Kind::LoadOci => {
                self.load(OciArchive::new(&name, &self.layers(&name)).build(), 200);
                self.remove(&name);
            }
            Kind::Import => {
                self.count();
                let tar = Layer::files(&[("name", name.as_bytes())]).tar;
                self.client.import(&format!("?reference={name}"), tar).expect(200);
                self.remove(&name);
            }
            Kind::Pull => {
                let slot = number % SLOTS;
                let _mine = self.slots[slot].lock().unwrap();
                let name = format!("{}/pulled:{slot}", self.registry.host());
                self.pull(&name, 200);
                self.remove(&name);
            }
            Kind::Push => {
                let destination =
                    escape(&format!("{}/pushed:{}", self.registry.host(), number % SLOTS));
                let query = format!("destination={destination}&tlsVerify=false");
                let answer = self.post(&format!("/images/{KEPT}/push?{query}"), 200);
                assert!(!answer.text().contains("\"error\""), "{}", answer.text());
            }
            Kind::Export => {
                let format = ["docker-archive", "oci-archive"][number % 2];
                let answer = self.get(&format!("/images/{KEPT}/get?format={format}"), 200);
                assert!(answer.body.len() > 40 * 10_000, "{} bytes", answer.body.len());
            }
            Kind::LeaveLoad => {
                self.count();
                let archive = DockerArchive::new(&[&name], &self.layers(&name)).build();
                // An error when the daemon has enough of it before we have.
                let _left = self.client.abandon_load(&archive[..archive.len() / 2], Duration::ZERO);
            }
            Kind::LeaveExport => {
                self.count();
                self.client.abandon_download(&format!("/images/{KEPT}/get")).unwrap();
            }
            Kind::LoadGarbage => drop(self.load(b"garbage".repeat(1000), 500)),
            Kind::PullNothing => self.pull(&format!("{}/nothing:1", self.registry.host()), 404),
            Kind::Missing => {
                self.get("/images/nobody/json", 404);
                self.get("/images/nobody/exists", 404);
                self.get("/images/nobody/get", 404);
                self.post("/images/nobody/tag?repo=x&tag=y", 404);
                self.count();
                self.client.delete("/images/nobody").expect(404);
            }
            Kind::BadFilter => drop(self.get("/images/json?filters=nonsense", 500)),
            Kind::BadRequests => {
                self.get("/nothing", 404);
                self.get("/containers/json", 501);
                self.post("/images/json", 405);
            }
        }
    }

    /// What is left when everybody has done.
    #[track_caller]
    pub(crate) fn assert_only_kept_is_there(&self) {
        let list = self.client.get("/images/json?all=true").expect(200).json();
        assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
        for area in ["overlay/tempdirs", "overlay-layers/tmp"] {
            let left = fs::read_dir(self.store.root().join(area));
            assert!(left.map_or(0, Iterator::count) == 0, "something is left in {area}");
        }
    }

    fn layers(&self, name: &str) -> [Layer; 2] {
        [self.base.clone(), Layer::files(&[("name", name.as_bytes())])]
    }

    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    #[track_caller]
    fn get(&self, route: &str, status: u16) -> Response {
        self.count();
        self.client.get_with(&format!("{PREFIX}{route}"), &[]).expect(status)
    }

    #[track_caller]
    fn post(&self, route: &str, status: u16) -> Response {
        self.count();
        self.client.post(route).expect(status)
    }

    #[track_caller]
    fn load(&self, archive: Vec<u8>, status: u16) -> Response {
        self.count();
        self.client.load_bytes(archive).expect(status)
    }

    #[track_caller]
    fn pull(&self, name: &str, status: u16) {
        let reference = escape(name);
        self.post(
            &format!("/images/pull?reference={reference}&tlsVerify=false&quiet=true"),
            status,
        );
    }

    #[track_caller]
    fn remove(&self, name: &str) {
        self.count();
        self.client.delete(&format!("/images/{}", escape(name))).expect(200);
    }
}
