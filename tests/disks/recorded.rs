//! Operations on a store whose disk is recorded, and what was there after each of them.

use std::fs;
use std::path::PathBuf;

use crate::disk::{Blocks, Loss, Recording};
use crate::mounted::{FileSystem, Mounted};
use crate::rack::Rack;
use crate::support::http::escape;
use crate::support::remains::{Images, images};
use crate::support::{Client, DockerArchive, Faulty, Layer, OciArchive, Response, Server, Store};

type Ask = fn(&Client, &Faulty) -> Response;

/// What is asked for, one after the other.
const REQUESTS: [(&str, Ask); 10] = [
    ("load a docker archive", |client, _| client.load_bytes(docker())),
    ("load an OCI archive", |client, _| client.load_bytes(oci("loaded").build())),
    ("import", |client, _| client.import("?reference=localhost/imported", layer(5).tar)),
    ("pull", |client, registry| {
        let name = escape(&format!("{}/app:1", registry.host()));
        client.post(&format!("/images/pull?reference={name}&tlsVerify=false&quiet=true"))
    }),
    ("commit", |client, _| client.post("/commit?container=one&repo=localhost/committed")),
    ("tag", |client, _| client.post("/images/localhost%2Fdocker:1/tag?repo=localhost/other&tag=1")),
    ("untag", |client, _| {
        client.post("/images/localhost%2Fdocker:1/untag?repo=localhost/docker&tag=1")
    }),
    ("remove", |client, _| client.delete("/images/localhost%2Fother:1")),
    ("load it again", |client, _| client.load_bytes(docker())),
    ("prune", |client, _| client.post("/images/prune?all=true")),
];

/// A recording of the disk, and what was answered meanwhile.
pub(crate) struct Recorded {
    kind: FileSystem,
    rack: Rack,
    recording: Recording,
    /// Of the store, in the file system.
    directory: PathBuf,
    before: Images,
    answers: Vec<Answer>,
}

/// A request that was answered.
struct Answer {
    request: &'static str,
    /// How many events were recorded when the answer was there.
    at: usize,
    /// What was there then.
    images: Images,
}

/// The power goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// After so many events.
    pub(crate) at: usize,
    pub(crate) loss: Loss,
}

/// A disk after a loss of power, and what has to be on it.
pub(crate) struct AfterCut<'a> {
    // Before the file system it is on.
    pub(crate) store: Store,
    _mounted: Mounted,
    /// What was there when the last answer was.
    pub(crate) before: &'a Images,
    /// What would have been there at the next.
    pub(crate) after: &'a Images,
    pub(crate) what: String,
}

impl Recorded {
    /// The first `count` of the requests, of a daemon with these arguments.
    pub(crate) fn new(kind: FileSystem, count: usize, arguments: &[&str]) -> Self {
        let rack = Rack::new();
        let registry = Faulty::start();
        registry.put("app", "1", &oci("pulled"));
        let mounted = Mounted::make(&rack, kind);
        let store = Store::new_in(mounted.path());
        let server = Server::start_with(&store, arguments);
        let client = server.client();
        client
            .load_bytes(DockerArchive::new(&["localhost/base:1"], &[layer(1)]).build())
            .expect(200);
        store.buildah(["from", "--name", "one", "localhost/base:1"]);
        let changed = store.path("changed");
        fs::write(&changed, layer(6).tar).unwrap();
        store.buildah(["copy", "one", changed.to_str().unwrap(), "/of/the/container"]);
        rustix::fs::syncfs(fs::File::open(mounted.path()).unwrap()).unwrap();
        mounted.slot().disk().record();

        let before = images(&client);
        let answers = REQUESTS.iter().take(count).map(|(request, ask)| {
            let answer = ask(&client, &registry);
            let at = mounted.slot().disk().recorded();
            assert_eq!(answer.status / 100, 2, "{request}: {}", answer.text());
            Answer { request, at, images: images(&client) }
        });
        let answers = answers.collect();
        let recording = mounted.slot().disk().take_recording();
        assert!(server.stop().success());
        let directory = store.dir().strip_prefix(mounted.path()).unwrap().to_owned();
        Self { kind, rack, recording, directory, before, answers }
    }

    /// The moments of the answers, when everything that was not flushed is lost.
    pub(crate) fn at_answers(&self) -> Vec<Cut> {
        self.answers.iter().map(|answer| Cut { at: answer.at, loss: Loss::Everything }).collect()
    }

    /// So many other moments, spread out.
    pub(crate) fn spread_out(&self, count: usize) -> Vec<Cut> {
        let cut = |index: usize| {
            let loss = match index % 4 {
                0 => Loss::Everything,
                1 => Loss::Nothing,
                _ => Loss::Random(index as u64),
            };
            Cut { at: index * self.recording.len() / count, loss }
        };
        (0..count).map(cut).collect()
    }

    /// The disk after a cut, in a machine that has started again.
    pub(crate) fn cut(&self, cut: Cut) -> AfterCut<'_> {
        let answered = self.answers.iter().take_while(|answer| answer.at <= cut.at).count();
        let before = match answered.checked_sub(1) {
            Some(last) => &self.answers[last].images,
            None => &self.before,
        };
        let next = self.answers.get(answered);
        let during = next.map_or("nothing", |next| next.request);
        let what = format!(
            "{}: {cut:?} of {} while asked to {during}, after {answered} answers",
            self.kind.name(),
            self.recording.len()
        );
        let blocks: Blocks = self.recording.cut(cut.at, cut.loss);
        let mounted = Mounted::open(&self.rack, self.kind, blocks);
        let store = Store::rebooted(&mounted.path().join(&self.directory));
        let after = next.map_or(before, |next| &next.images);
        AfterCut { store, _mounted: mounted, before, after, what }
    }
}

fn docker() -> Vec<u8> {
    let layers = [layer(1), layer(2), Layer::random(21, "large", 2, 500_000)];
    DockerArchive::new(&["localhost/docker:1"], &layers).build()
}

fn oci(name: &str) -> OciArchive {
    let own = Layer::files(&[("name", name.as_bytes())]);
    OciArchive::new(&format!("localhost/{name}:1"), &[layer(1), layer(3), own])
}

fn layer(seed: u64) -> Layer {
    Layer::random(seed, "files", 30, 5000)
}
