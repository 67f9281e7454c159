//! `kill -9` of the daemon at random moments: the store opens clean in both, and an image is
//! whole or absent.
//!
//! `IMAGED_CRASH_SEED` repeats a run, `IMAGED_CRASH_COUNT` changes how often the daemon dies.

use std::ops::Range;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

use crate::load::assert_empty;
use crate::support::archive::Numbers;
use crate::support::check::{check, image_layers};
use crate::support::http::escape;
use crate::support::{Client, DockerArchive, Layer, Server, Store};

const NAME: &str = "localhost/crash:1";
const KEPT: &str = "localhost/kept:1";

#[test]
fn killed_while_loading() {
    let scene = Scene::new();
    let load = |client: &Client| drop(client.try_load(&scene.archive));
    scene.repeat(&Plan { remove: false, critical: 0.6..1.1 }, load);
}

#[test]
fn killed_while_removing() {
    let scene = Scene::new();
    let remove = |client: &Client| drop(client.try_delete(&format!("/images/{}", escape(NAME))));
    scene.repeat(&Plan { remove: true, critical: 0.0..0.15 }, remove);
}

/// The other way round: Podman dies in the middle of a load while we are running.
#[test]
fn podman_killed_while_loading() {
    let scene = Scene::new();
    let mut numbers = Numbers::new(seed());
    let archive = scene.archive.display().to_string();
    let mut command = scene.store.podman_command(["load", "--input", &archive]);
    let mut server = Server::start(&scene.store);
    let start = Instant::now();
    crate::support::tool::run(&mut command);
    let whole_time = start.elapsed();
    scene.remove(&server.client());
    for _ in 0..10 {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(moment(&mut numbers, whole_time, &(0.0..1.1)));
        child.kill().unwrap();
        child.wait().unwrap();
        // We may find the image whole, or what is left of it; both are ours to deal with.
        let client = server.client();
        client.get("/images/json").expect(200);
        assert_eq!(client.load(&scene.archive), [NAME]);
        scene.store.image_ids();
        let images = image_layers(&scene.store.root());
        assert_eq!(images[&scene.image.image_id(0)], scene.diff_ids);
        scene.remove(&client);
        assert!(server.stop().success());
        server = Server::start(&scene.store);
        scene.assert_clean();
    }
}

/// What is interrupted, and when that is most interesting, as shares of the time it takes.
struct Plan {
    remove: bool,
    critical: Range<f64>,
}

/// A store with one image that must survive everything, and an archive that shares its base.
struct Scene {
    store: Store,
    archive: PathBuf,
    image: DockerArchive,
    kept: String,
    diff_ids: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let store = Store::new();
        let base = Layer::random(31, "base", 500, 2000);
        let layers = [
            base.clone(),
            Layer::random(32, "second", 2000, 500),
            Layer::random(33, "third", 4, 3_000_000),
            Layer::files(&[("second/000/.wh.00007", b""), ("third/.wh..wh..opq", b"")]),
        ];
        let image = DockerArchive::new(&[NAME], &layers);
        let archive = store.path("crash.tar");
        fs::write(&archive, image.build()).unwrap();
        let kept = DockerArchive::new(&[KEPT], &[base]);
        let file = store.path("kept.tar");
        fs::write(&file, kept.build()).unwrap();
        store.podman(["load", "--input", &file.display().to_string()]);
        let diff_ids = layers.iter().map(Layer::diff_id).collect();
        Self { store, archive, kept: kept.image_id(0), image, diff_ids }
    }

    /// Kills the daemon again and again while `action` runs.
    fn repeat(&self, plan: &Plan, action: impl Fn(&Client) + Sync) {
        let count = setting("IMAGED_CRASH_COUNT").unwrap_or(50) / 2;
        let mut numbers = Numbers::new(seed());

        let server = Server::start(&self.store);
        if plan.remove {
            self.load(&server.client());
        }
        let start = Instant::now();
        action(&server.client());
        let whole_time = start.elapsed();
        if !plan.remove {
            self.remove(&server.client());
        }
        server.kill();

        let mut outcomes = [0, 0];
        for round in 0..count {
            let server = Server::start(&self.store);
            if plan.remove {
                self.load(&server.client());
            }
            let range = if round % 2 == 0 { &(0.0..1.1) } else { &plan.critical };
            let moment = moment(&mut numbers, whole_time, range);
            thread::scope(|scope| {
                let client = server.client();
                let action = &action;
                scope.spawn(move || action(&client));
                thread::sleep(moment);
                server.kill();
            });
            println!("round {round}: killed after {moment:?} of {whole_time:?}");
            let whole = self.recover(numbers.below(2) == 0);
            outcomes[usize::from(whole)] += 1;
        }
        println!("absent {}, whole {}", outcomes[0], outcomes[1]);
        self.store.podman(["rmi", KEPT]);
        assert_empty(&self.store);
    }

    /// Opens the store with both, in either order; whether the image is there.
    fn recover(&self, podman_first: bool) -> bool {
        if podman_first {
            self.store.image_ids();
        }
        let server = Server::start(&self.store);
        let client = server.client();
        let listed = self.store.image_ids();
        self.assert_clean();
        let images = image_layers(&self.store.root());
        let id = self.image.image_id(0);
        assert!(images.contains_key(&self.kept), "{images:?}");
        let whole = images.contains_key(&id);
        assert_eq!(listed.contains(&id), whole, "{listed:?}");
        let exists = client.get(&format!("/images/{id}/exists")).status;
        assert_eq!(exists, if whole { 204 } else { 404 });
        if whole {
            assert_eq!(images[&id], self.diff_ids);
            let file = self.store.path("export.tar");
            let route = format!("/images/{id}/get?format=docker-archive");
            assert_eq!(client.download(&route, &file).unwrap(), 200);
            let saved = crate::support::saved::docker_archive(&file);
            assert_eq!(saved[0].diff_ids, self.diff_ids);
        }

        // The same image goes in and out again without a trace of the accident.
        self.load(&client);
        assert_eq!(image_layers(&self.store.root())[&id], self.diff_ids);
        self.remove(&client);
        assert_eq!(self.store.image_ids(), [self.kept.as_str()]);
        assert_eq!(self.store.records("overlay-layers/layers.json").len(), 1);
        self.assert_clean();
        server.kill();
        whole
    }

    /// Our own judgement: the tools' listings are too slow for every round.
    fn assert_clean(&self) {
        let problems = check(&self.store.root(), &self.store.runroot());
        assert!(problems.is_empty(), "the store is damaged:\n{}", problems.join("\n"));
    }

    fn load(&self, client: &Client) {
        assert_eq!(client.load(&self.archive), [NAME]);
    }

    fn remove(&self, client: &Client) {
        client.delete(&format!("/images/{}", escape(NAME))).expect(200);
    }
}

/// The seed of this run, printed so that it can be repeated.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let seed = setting("IMAGED_CRASH_SEED").unwrap_or(now);
    println!("IMAGED_CRASH_SEED={seed}");
    seed
}

/// A random moment of an action, given as a share of the time it takes.
fn moment(numbers: &mut Numbers, whole_time: Duration, range: &Range<f64>) -> Duration {
    let share = f64::from(u32::try_from(numbers.below(10_000)).unwrap()) / 10_000.0;
    whole_time.mul_f64(range.start + share * (range.end - range.start))
}

fn setting(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap())
}
