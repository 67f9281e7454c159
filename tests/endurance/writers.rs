//! The daemon and every other tool write one store at the same time, for long, and nothing is lost.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::check::assert_sound;
use crate::support::http::escape;
use crate::support::soak::{figure, soaking};
use crate::support::store::strings;
use crate::support::{Client, DockerArchive, Layer, OciArchive, Server, Store};
use crate::tools;

/// Images of each writer that are there at a time. For each new one the oldest goes.
const KEPT: usize = 3;

const SEED: &str = "localhost/seed:1";

/// Everything that is needed to write.
struct Scene {
    store: Store,
    /// Runs as long as this.
    _server: Server,
    client: Client,
    /// Everybody's images begin with this one, so that it comes and goes in races.
    base: Layer,
    until: Instant,
}

/// Names and diff IDs of one writer's images, oldest first, and how many there have been.
#[derive(Default)]
struct Ledger {
    images: VecDeque<(String, Vec<String>)>,
    made: usize,
}

impl Scene {
    /// Makes images called after `who` until it is time, each by `make` and each removed by `remove`.
    fn write(
        &self,
        who: &str,
        make: impl Fn(&str) -> Vec<String>,
        remove: impl Fn(&str),
    ) -> Ledger {
        let mut ledger = Ledger::default();
        while Instant::now() < self.until {
            let name = format!("localhost/{who}:{}", ledger.made);
            ledger.images.push_back((name.clone(), make(&name)));
            ledger.made += 1;
            if ledger.images.len() > KEPT {
                let (oldest, _) = ledger.images.pop_front().unwrap();
                remove(&oldest);
            }
        }
        ledger
    }

    /// Does something that leaves nothing, until it is time; how often.
    fn repeat(&self, work: impl Fn(usize)) -> usize {
        let mut rounds = 0;
        while Instant::now() < self.until {
            work(rounds);
            rounds += 1;
        }
        rounds
    }

    fn layers(&self, name: &str) -> [Layer; 2] {
        [self.base.clone(), Layer::files(&[("own", name.as_bytes())])]
    }

    /// An archive of an image of this name, in a file.
    fn file(&self, name: &str) -> String {
        let file = self.store.path(&format!("{}.tar", escape(name)));
        fs::write(&file, DockerArchive::new(&[name], &self.layers(name)).build()).unwrap();
        file.display().to_string()
    }

    fn diff_ids(&self, name: &str) -> Vec<String> {
        self.layers(name).iter().map(Layer::diff_id).collect()
    }

    fn load(&self, name: &str) -> Vec<String> {
        let archive = if name.len().is_multiple_of(2) {
            DockerArchive::new(&[name], &self.layers(name)).build()
        } else {
            OciArchive::new(name, &self.layers(name)).build()
        };
        self.client.load_bytes(archive).expect(200);
        self.diff_ids(name)
    }

    fn remove(&self, name: &str) {
        self.client.delete(&format!("/images/{}", escape(name))).expect(200);
    }

    /// Runs a tool as often as others get in its way.
    #[track_caller]
    fn run(&self, mut command: Command) -> String {
        tools::run(&self.store, &mut command)
    }

    fn podman<const N: usize>(&self, args: [&str; N]) -> String {
        self.run(self.store.podman_command(args))
    }

    fn load_with_podman(&self, name: &str) -> Vec<String> {
        let file = self.file(name);
        self.podman(["load", "--quiet", "--input", &file]);
        fs::remove_file(file).unwrap();
        self.diff_ids(name)
    }

    fn copy_with_skopeo(&self, name: &str) -> Vec<String> {
        let file = self.file(name);
        let (from, to) = (format!("docker-archive:{file}"), self.store.reference(name));
        self.run(self.store.skopeo_command(["copy", "--quiet", &from, &to]));
        fs::remove_file(file).unwrap();
        self.diff_ids(name)
    }

    fn commit_with_buildah(&self, name: &str) -> Vec<String> {
        let buildah = |args: &[&str]| {
            let mut command = self.store.buildah_command([]);
            command.args(args);
            self.run(command)
        };
        let container = buildah(&["from", SEED]);
        let root = buildah(&["mount", &container]);
        fs::write(format!("{root}/built"), name).unwrap();
        buildah(&["commit", "--quiet", &container, name]);
        buildah(&["rm", &container]);
        let inspected = self.client.get(&format!("/images/{}/json", escape(name))).expect(200);
        strings(&inspected.json()["RootFS"]["Layers"])
    }

    /// A container comes and goes.
    fn create_with_containers_storage(&self) {
        let made = self.run(self.store.storage_command(["create-container", SEED]));
        let id = made.lines().next().unwrap().trim();
        self.run(self.store.storage_command(["delete-container", id]));
    }

    /// Everybody reads. What goes between two looks of a tool may be missed by it, but not by us.
    fn read(&self, round: usize) {
        let found = self.client.get("/images/json").expect(200).text();
        assert!(found.contains(SEED), "{found}");
        let mut command = match round % 3 {
            0 => self.store.podman_command(["images", "--quiet"]),
            1 => self.store.podman_command(["image", "inspect", SEED]),
            _ => self.store.storage_command(["layers"]),
        };
        if let Err(error) = tools::try_run(&self.store, &mut command) {
            // Tools write an image's record before its manifest, so that readers come between.
            let unfinished = "consider removing the image";
            let gone = ["not known", "no such file or directory", unfinished, tools::BLOCKED];
            assert!(gone.iter().any(|text| error.contains(text)), "{command:?}: {error}");
        }
    }

    fn tag(&self, who: &str, round: usize) {
        let query = format!("repo=localhost/{who}&tag={round}");
        self.client.post(&format!("/images/{SEED}/tag?{query}")).expect(201);
        let name = format!("localhost/{who}:{round}");
        self.podman(["tag", &name, &format!("{name}-too")]);
        self.podman(["untag", SEED, &name]);
        self.client.post(&format!("/images/{SEED}/untag?{query}-too")).expect(201);
    }
}

#[test]
fn nothing_is_lost_when_all_tools_write_for_long() {
    let time = Duration::from_secs(if soaking() { 15 * 60 } else { 45 });
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    // Podman's database must exist before several Podmans race to create it.
    store.podman(["ps"]);
    let seed = Layer::random(12, "seed", 20, 3000);
    client.load_bytes(DockerArchive::new(&[SEED], std::slice::from_ref(&seed)).build()).expect(200);
    let base = Layer::random(11, "base", 120, 3000);
    let scene = Scene { store, _server: server, client, base, until: Instant::now() + time };
    let scene = &scene;
    type Writer<'a> = Box<dyn Fn() -> Ledger + Send + Sync + 'a>;
    let writers: [(&str, Writer<'_>); 5] = [
        ("imaged", Box::new(|| scene.write("ours", |it| scene.load(it), |it| scene.remove(it)))),
        // What one makes another removes.
        (
            "imaged and podman",
            Box::new(|| {
                let remove = |name: &str| drop(scene.podman(["rmi", name]));
                scene.write("shared", |it| scene.load(it), remove)
            }),
        ),
        (
            "podman and imaged",
            Box::new(|| {
                scene.write("podman", |it| scene.load_with_podman(it), |it| scene.remove(it))
            }),
        ),
        (
            "skopeo and imaged",
            Box::new(|| {
                scene.write("skopeo", |it| scene.copy_with_skopeo(it), |it| scene.remove(it))
            }),
        ),
        (
            "buildah and imaged",
            Box::new(|| {
                scene.write("built", |it| scene.commit_with_buildah(it), |it| scene.remove(it))
            }),
        ),
    ];
    let mut expected = BTreeMap::from([(SEED.to_owned(), vec![seed.diff_id()])]);
    thread::scope(|scope| {
        let others = [
            ("tags by both", scope.spawn(|| scene.repeat(|round| scene.tag("tag", round)))),
            ("reads by all", scope.spawn(|| scene.repeat(|round| scene.read(round)))),
            (
                "containers of containers-storage",
                scope.spawn(|| scene.repeat(|_| scene.create_with_containers_storage())),
            ),
        ];
        let writers = writers.each_ref().map(|(who, writer)| (who, scope.spawn(writer)));
        let made = |who: &str, count: usize| {
            figure("many writers", &format!("{who}, in {} s", time.as_secs()), &count.to_string());
        };
        for (who, writer) in writers {
            let ledger = writer.join().unwrap();
            made(&format!("images by {who}"), ledger.made);
            expected.extend(ledger.images);
        }
        for (what, other) in others {
            made(what, other.join().unwrap());
        }
    });
    assert_eq!(found(scene), expected);
    assert_sound(&scene.store);
    for name in expected.keys() {
        assert_eq!(scene.store.diff_ids(name), expected[name], "{name}");
    }
}

/// The images that are there, by name, with their layers.
fn found(scene: &Scene) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let list = scene.client.get("/images/json?all=true").expect(200).json();
    for image in list.as_array().unwrap() {
        for name in strings(&image["RepoTags"]) {
            let route = format!("/images/{}/json", escape(&name));
            let inspected = scene.client.get(&route).expect(200).json();
            found.insert(name, strings(&inspected["RootFS"]["Layers"]));
        }
    }
    found
}
