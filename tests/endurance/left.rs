//! The client leaves, and with it the reason for the work.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::support::check::{assert_sound, check};
use crate::support::http::{PREFIX, escape};
use crate::support::server::PATIENCE;
use crate::support::soak::{figure, soaking};
use crate::support::tree::Tree;
use crate::support::{DockerArchive, Fault, Faulty, Layer, OciArchive, Server, Store, tree};

/// How soon everything has to be over.
const PROMISE: Duration = Duration::from_millis(200);
/// How long nothing must happen for everything to be over.
const QUIET: Duration = Duration::from_millis(400);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes that are read and written between two looks when nothing is done: less than a file.
const TRIFLE: u64 = 8 << 10;

const IMAGE: &str = "localhost/there:1";
/// Bytes of the layers that are on their way when the client leaves.
const FILES: usize = 1500;
const FILE: usize = 16 << 10;

fn rounds() -> usize {
    if soaking() { 50 } else { 3 }
}

/// A daemon with an image and a container, and what the store looks like at rest.
struct Scene {
    store: Store,
    server: Server,
    at_rest: Tree,
}

impl Scene {
    fn new() -> Self {
        let store = Store::new();
        let server = Server::start(&store);
        let archive = DockerArchive::new(&[IMAGE], &[big(1)]).build();
        server.client().load_bytes(archive).expect(200);
        Self { at_rest: tree::outline(&store.root()), store, server }
    }

    /// Sends a request without a body, and gives the connection.
    fn ask(&self, method: &str, route: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.server.socket()).unwrap();
        write!(stream, "{method} {PREFIX}{route} HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
        stream
    }

    /// Sends a request with a body of which only some comes, for as long as `go_on` says so.
    fn send(&self, route: &str, body: &[u8], go_on: impl Fn(usize) -> bool) -> UnixStream {
        let mut stream = UnixStream::connect(self.server.socket()).unwrap();
        let length = body.len();
        let head =
            format!("POST {PREFIX}{route} HTTP/1.1\r\nHost: d\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut sent = 0;
        for chunk in body.chunks(64 << 10) {
            if !go_on(sent) {
                break;
            }
            stream.write_all(chunk).unwrap();
            sent += chunk.len();
        }
        stream
    }

    fn is_staging(&self) -> bool {
        ["overlay/tempdirs", "overlay-layers/tmp"].iter().any(|area| {
            fs::read_dir(self.store.root().join(area)).is_ok_and(|mut area| area.next().is_some())
        })
    }

    #[track_caller]
    fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < PATIENCE, "{what}:\n{}", self.server.log());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Hangs up and watches the daemon until nothing happens any more.
    #[track_caller]
    fn leave(&self, stream: UnixStream) -> Left {
        let process = Process(self.server.pid());
        let first = process.times();
        let left = Instant::now();
        drop(stream);
        let (mut before, mut moved, mut looked) = (first.clone(), process.moved(), left);
        let mut report = Left::default();
        let mut busy = Duration::ZERO;
        while left.elapsed() < busy + QUIET {
            assert!(left.elapsed() < PATIENCE, "it does not end:\n{}", self.server.log());
            thread::sleep(LOOK);
            let staging = self.is_staging();
            let (now, times, moves) = (Instant::now(), process.times(), process.moved());
            // Less than half of the time is what is done now and then, not work.
            let runs = times.since(&before).running > (now - looked) / 2;
            let others = times.since(&first).delayed;
            // While files are deleted, only what is moved tells whether there is more than that.
            if moves - moved > TRIFLE || (runs && !staging) {
                report.stopped = left.elapsed().saturating_sub(others);
            }
            if staging {
                report.deleted = left.elapsed();
            }
            if runs || staging {
                busy = left.elapsed();
            }
            (before, moved, looked) = (times, moves, now);
        }
        report
    }

    /// Lets `begin` begin something and the client leave it, again and again at other moments.
    #[track_caller]
    fn rounds(&self, what: &str, begin: impl Fn(usize) -> UnixStream) {
        let mut longest = Left::default();
        for round in 0..rounds() {
            longest.join(self.leave(begin(round)));
        }
        longest.report(what);
        tree::assert_same(&tree::outline(&self.store.root()), &self.at_rest);
        assert_eq!(check(&self.store.root(), &self.store.runroot()), [""; 0]);
    }
}

/// What became of the work whose client has left.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    /// How long it went on, without the time for which it was ready and others had the processors.
    stopped: Duration,
    /// When the last of the staged files was deleted, which takes the longer the more there are.
    deleted: Duration,
}

impl Left {
    fn join(&mut self, other: Self) {
        self.stopped = self.stopped.max(other.stopped);
        self.deleted = self.deleted.max(other.deleted);
    }

    #[track_caller]
    fn report(self, what: &str) {
        for (measured, time) in
            [("until work stopped", self.stopped), ("until staged files were gone", self.deleted)]
        {
            let measured = format!("longest time {measured}, {what}");
            figure("client leaves", &measured, &format!("{} ms", time.as_millis()));
        }
        assert!(self.stopped <= PROMISE, "{what}: it went on for {:?}", self.stopped);
    }
}

fn big(seed: u64) -> Layer {
    Layer::random(seed, "data", FILES, FILE)
}

#[test]
fn a_load_stops_when_its_client_leaves() {
    let scene = Scene::new();
    let archive = DockerArchive::new(&["localhost/left:1"], &[big(2)]).build();
    scene.rounds("load", |round| {
        let enough = part_of(archive.len(), round);
        scene.send("/images/load", &archive, |sent| sent < enough || !scene.is_staging())
    });
}

#[test]
fn an_import_stops_when_its_client_leaves() {
    let scene = Scene::new();
    let tar = big(3).tar;
    scene.rounds("import", |round| {
        let enough = part_of(tar.len(), round);
        scene.send("/images/import", &tar, |sent| sent < enough || !scene.is_staging())
    });
}

#[test]
fn an_export_stops_when_its_client_leaves() {
    let scene = Scene::new();
    for format in ["docker-archive", "oci-archive"] {
        scene.rounds(&format!("export, {format}"), |round| {
            let mut stream = scene.ask("GET", &format!("/images/{IMAGE}/get?format={format}"));
            let some = part_of(FILES * FILE, round) as u64;
            let read = io::copy(&mut Read::by_ref(&mut stream).take(some), &mut io::sink());
            assert_eq!(read.unwrap(), some);
            stream
        });
    }
}

#[test]
fn a_pull_stops_when_its_client_leaves() {
    let scene = Scene::new();
    let registry = Faulty::start();
    let image = OciArchive::new("image:1", &[big(4), big(5)]);
    registry.put("image", "1", &image);
    let pull = || {
        let reference = escape(&format!("{}/image:1", registry.host()));
        registry.forget();
        scene.ask("POST", &format!("/images/pull?reference={reference}&tlsVerify=false"))
    };
    scene.rounds("pull that comes", |round| {
        let stream = pull();
        // Of one layer or of both of them.
        let enough = part_of(FILES * FILE, round) as u64;
        scene.wait_until("nothing comes", || {
            scene.is_staging() && registry.sent("/blobs/") >= enough
        });
        stream
    });
    for layer in 0..2 {
        registry.fail("GET", image.layer_blob(layer), usize::MAX, Fault::Hold(10 << 20));
    }
    scene.rounds("pull that waits for its registry", |_| {
        let stream = pull();
        registry.wait_until_held(2);
        scene.wait_until("nothing is staged", || scene.is_staging());
        stream
    });
    registry.release();
}

#[test]
fn a_push_stops_when_its_client_leaves() {
    let scene = Scene::new();
    let registry = Faulty::start();
    scene.rounds("push", |round| {
        registry.forget();
        let destination = escape(&format!("{}/image:{round}", registry.host()));
        let route = format!("/images/{IMAGE}/push?destination={destination}&tlsVerify=false");
        let stream = scene.ask("POST", &route);
        let enough = part_of(FILES * FILE, round) as u64;
        let received = || registry.asked("PATCH", "").iter().map(|seen| seen.received).sum::<u64>();
        scene.wait_until("nothing is sent", || received() >= enough);
        stream
    });
    for round in 0..rounds() {
        let manifest = registry.manifest("image", &round.to_string());
        assert!(manifest.is_none(), "half an image was pushed");
    }
}

#[test]
fn a_commit_stops_when_its_client_leaves() {
    let mut scene = Scene::new();
    let container = scene.store.buildah(["from", IMAGE]);
    let root = PathBuf::from(scene.store.buildah(["mount", &container]));
    let content = vec![7; FILE];
    for file in 0..FILES {
        fs::write(root.join(format!("file-{file}")), &content).unwrap();
    }
    scene.store.buildah(["umount", &container]);
    scene.at_rest = tree::outline(&scene.store.root());
    scene.rounds("commit", |round| {
        let route = format!("/commit?container={container}&repo=localhost/left&tag=1");
        let stream = scene.ask("POST", &route);
        scene.wait_until("nothing is staged", || scene.is_staging());
        thread::sleep(Duration::from_millis(20) * u32::try_from(round % 10).unwrap());
        stream
    });
}

/// All of the archive is there, and is being brought to the disk. It may become an image or not.
#[test]
fn a_load_that_waits_for_the_disk_stops_when_its_client_leaves() {
    let scene = Scene::new();
    let archive = DockerArchive::new(&["localhost/left:1"], &[big(6)]).build();
    let mut longest = Left::default();
    for _ in 0..rounds() {
        let stream = scene.send("/images/load", &archive, |_| true);
        longest.join(scene.leave(stream));
        let image = scene.server.client().delete("/images/localhost/left:1");
        assert!([200, 404].contains(&image.status), "{}", image.text());
        tree::assert_same(&tree::outline(&scene.store.root()), &scene.at_rest);
    }
    longest.report("load at its end");
    assert_sound(&scene.store);
}

/// One of several equal parts of a whole, another one in each round.
fn part_of(whole: usize, round: usize) -> usize {
    whole * (round + 1) / (rounds() + 1)
}
