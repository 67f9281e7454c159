//! A daemon with one good image, the canary beside its store, and every way in.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::canary::Canary;
use crate::support::check::assert_sound;
use crate::support::http::{PREFIX, escape};
use crate::support::server::{PATIENCE, imaged};
use crate::support::soak::figure;
use crate::support::store::strings;
use crate::support::tree::{self, Tree};
use crate::support::{DockerArchive, Faulty, Layer, OciArchive, Response, Server, Store};

/// Name of the image that attacks bring.
const NAME: &str = "localhost/hostile:1";

/// How a layer comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `images/load` of a docker-archive.
    Docker,
    /// `images/load` of an oci-archive, the layer packed by gzip.
    Oci,
    /// `images/import`.
    Import,
    /// `images/pull`, the layer packed by gzip.
    Pull,
}

pub(crate) const WAYS: [Way; 4] = [Way::Docker, Way::Oci, Way::Import, Way::Pull];

/// Where an attack takes place.
pub(crate) struct Scene {
    pub(crate) store: Store,
    pub(crate) server: Server,
    pub(crate) canary: Canary,
    pub(crate) registry: Faulty,
    before: Tree,
    beside: Vec<String>,
    attacks: AtomicUsize,
}

impl Scene {
    /// A daemon with the limits it has by default.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A daemon with these arguments of `serve`.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let store = Store::new();
        let socket = store.path("api.sock");
        let mut command = imaged(&store, &socket);
        fs::write(store.path("registries.conf"), "").unwrap();
        command.env("CONTAINERS_REGISTRIES_CONF", store.path("registries.conf"));
        fs::create_dir_all(store.path(".config/containers")).unwrap();
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(store.path(".config/containers/policy.json"), policy).unwrap();
        command.env("HOME", store.dir()).env("IMAGED_LOG", "debug").args(arguments);
        let server = Server::spawn(&store, &mut command, &socket);
        server.client().load_bytes(good().build()).expect(200);
        let canary = Canary::new(store.path("canary"));
        let before = tree::outline(&store.root());
        let beside = beside(&store);
        let (registry, attacks) = (Faulty::start(), AtomicUsize::new(0));
        Self { store, server, canary, registry, before, beside, attacks }
    }

    /// Sends an image of `layers` in one way.
    pub(crate) fn send(&self, way: Way, layers: &[Layer]) -> Response {
        let client = self.server.client();
        match way {
            Way::Docker => client.load_bytes(DockerArchive::new(&[NAME], layers).build()),
            Way::Oci => client.load_bytes(OciArchive::new(NAME, layers).build()),
            Way::Import => client.import("", layers[0].tar.clone()),
            Way::Pull => {
                self.registry.put("hostile", "1", &OciArchive::new(NAME, layers));
                self.pull("hostile:1")
            }
        }
    }

    /// Pulls from the scene's registry.
    pub(crate) fn pull(&self, name: &str) -> Response {
        let reference = escape(&format!("{}/{name}", self.registry.host()));
        let query = format!("reference={reference}&quiet=true&tlsVerify=false&retry=0");
        self.server.client().post(&format!("/images/pull?{query}"))
    }

    /// Sends a layer in every way. None may be accepted.
    #[track_caller]
    pub(crate) fn refuses(&self, what: &str, tar: &[u8], status: u16, text: &str) {
        for way in WAYS {
            let answer = self.send(way, &[Layer { tar: tar.to_vec() }]);
            self.assert_refused(&format!("{what}, {way:?}"), &answer, status, text);
        }
    }

    /// Loads an archive, which may not be accepted.
    #[track_caller]
    pub(crate) fn refuses_archive(&self, what: &str, archive: Vec<u8>, status: u16, text: &str) {
        let answer = self.server.client().load_bytes(archive);
        self.assert_refused(what, &answer, status, text);
    }

    /// Looks at the answer to an attack, and at what the attack may have done.
    #[track_caller]
    pub(crate) fn assert_refused(&self, what: &str, answer: &Response, status: u16, text: &str) {
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.headers["content-type"], "application/json", "{what}");
        let error = answer.json();
        assert_eq!(error["response"], status, "{what}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(text), "{what}: {message}");
        self.assert_untouched();
        self.assert_as_before();
        self.attacks.fetch_add(1, Ordering::Relaxed);
    }

    /// The store is as it was: at once, or as soon as what a pull has unpacked is deleted, for which
    /// nobody waits.
    #[track_caller]
    fn assert_as_before(&self) {
        let start = Instant::now();
        while tree::outline(&self.store.root()) != self.before && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        tree::assert_same(&tree::outline(&self.store.root()), &self.before);
    }

    /// Sends a layer in every way; each time it is accepted, the store is sound, and `look` may
    /// look at the directory of the layer. At the end all is removed again.
    #[track_caller]
    pub(crate) fn defuses(&self, what: &str, tar: &[u8], look: impl Fn(&std::path::Path)) {
        for way in WAYS {
            let answer = self.send(way, &[Layer { tar: tar.to_vec() }]);
            assert_eq!(answer.status, 200, "{what}, {way:?}: {}", answer.text());
            self.assert_untouched();
            look(&self.added());
            assert_sound(&self.store);
            self.removes_all_but_the_good();
            self.attacks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The directory of the one layer that is not of the good image.
    #[track_caller]
    pub(crate) fn added(&self) -> std::path::PathBuf {
        let mut added: Vec<_> = fs::read_dir(self.store.root().join("overlay"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                name.len() == 64 && !self.before.contains_key(&format!("overlay/{name}"))
            })
            .collect();
        assert_eq!(added.len(), 1, "{added:?}");
        self.store.root().join("overlay").join(added.remove(0)).join("diff")
    }

    /// What was accepted can be removed, and leaves nothing.
    #[track_caller]
    pub(crate) fn removes_all_but_the_good(&self) {
        let client = self.server.client();
        for image in client.get("/images/json?all=true").expect(200).json().as_array().unwrap() {
            if !strings(&image["Names"]).contains(&GOOD.to_owned()) {
                let id = image["Id"].as_str().unwrap();
                client.delete(&format!("/images/{id}?force=true")).expect(200);
            }
        }
        self.assert_as_before();
    }

    /// Whoever looks at images still can: an odd one takes no route with it.
    #[track_caller]
    pub(crate) fn serves_everything(&self, what: &str) {
        let client = self.server.client();
        let images = client.get("/images/json?all=true").expect(200).json();
        for image in images.as_array().unwrap() {
            let id = image["Id"].as_str().unwrap();
            for route in ["json", "history", "tree"] {
                let answer = client.get(&format!("/images/{id}/{route}"));
                assert_eq!(answer.status, 200, "{what}, {route}: {}", answer.text());
            }
            for format in ["docker-archive", "oci-archive"] {
                let path = format!("{PREFIX}/images/{id}/get?format={format}");
                // A config with a date that is none cannot be converted; then the answer breaks off.
                let _ = client.try_get(&path).map(|answer| answer.expect(200));
            }
        }
        client.get("/system/df").expect(200);
    }

    /// The canary is as it was, nothing is new beside it, and the daemon serves.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        self.canary.assert_untouched();
        assert_eq!(beside(&self.store), self.beside);
        self.server.client().get("/images/json").expect(200);
        // What attackers choose to call things does not get onto terminals.
        let log = self.server.log();
        assert!(!log.contains(|char: char| char.is_control() && char != '\n'), "{log}");
    }

    /// How much memory the daemon has used at most since [`Self::forget_peak`], bytes.
    pub(crate) fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// Begins to measure anew.
    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.server.pid()), "5").unwrap();
    }

    /// Reports how much memory attacks of some kind took, which must be less than `limit`.
    #[track_caller]
    pub(crate) fn assert_peak(&self, what: &str, limit: u64) {
        let peak = self.peak();
        figure("hostile images", &format!("peak memory, {what}"), &format!("{} MiB", peak >> 20));
        assert!(peak < limit, "{what}: {} MiB of memory", peak >> 20);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_sound(&self.store);
            let count = self.attacks.load(Ordering::Relaxed).to_string();
            figure("hostile images", "attacks that were refused or did nothing", &count);
        }
    }
}

/// Name of the image that must survive all of it.
pub(crate) const GOOD: &str = "localhost/good:1";

/// Its only layer, on which attacks build, too.
pub(crate) fn good_layer() -> Layer {
    Layer::files(&[("etc/passwd", b"root"), ("etc/shadow", b"secret"), ("bin/sh", b"#!")])
}

fn good() -> DockerArchive {
    DockerArchive::new(&[GOOD], &[good_layer()])
}

/// Names beside the store.
fn beside(store: &Store) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(store.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // Podman, run to see whether the store is sound, has these.
        .filter(|name| name != "libpod" && name != ".local" && name != ".cache")
        .collect();
    names.sort();
    names
}
