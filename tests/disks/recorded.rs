//! Operations on a store whose disk is recorded, one after the other or several at a time, and what was
//! there after them.

use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;

use crate::disk::{Blocks, Loss, Recording};
use crate::mounted::{FileSystem, Mounted};
use crate::rack::Rack;
use crate::support::http::escape;
use crate::support::remains::{Images, images};
use crate::support::{Client, DockerArchive, Faulty, Layer, OciArchive, Response, Server, Store};

type Ask = fn(&Client, &Faulty) -> Response;

/// What one client asks for.
#[derive(Clone, Copy)]
struct Request {
    what: &'static str,
    /// The image that it concerns; `None` if it concerns those that no other of its round does.
    image: Option<fn() -> String>,
    ask: Ask,
}

/// What is asked for by one client, one after the other.
const ALONE: [(&str, Ask); 10] = [
    ("load a docker archive", |client, _| client.load_bytes(docker())),
    ("load an OCI archive", |client, _| client.load_bytes(oci("loaded").build())),
    ("import", |client, _| client.import("?reference=localhost/imported", layer(5).tar)),
    ("pull", pull),
    ("commit", |client, _| client.post("/commit?container=one&repo=localhost/committed")),
    ("tag", |client, _| client.post("/images/localhost%2Fdocker:1/tag?repo=localhost/other&tag=1")),
    ("untag", |client, _| {
        client.post("/images/localhost%2Fdocker:1/untag?repo=localhost/docker&tag=1")
    }),
    ("remove", |client, _| client.delete("/images/localhost%2Fother:1")),
    ("load it again", |client, _| client.load_bytes(docker())),
    ("prune", |client, _| client.post("/images/prune?all=true")),
];

/// What is asked for by several clients at a time, in rounds: each begins when all of the one before
/// are answered.
const TOGETHER: [&[Request]; 6] = [
    &[
        of(docker_image, "load a docker archive", |client, _| client.load_bytes(docker())),
        of(base_image, "tag", |client, _| {
            client.post("/images/localhost%2Fbase:1/tag?repo=localhost/other&tag=1")
        }),
    ],
    // They have layers in common.
    &[
        of(first_image, "load the first of two", |client, _| {
            client.load_bytes(oci("first").build())
        }),
        of(second_image, "load the second of two", |client, _| {
            client.load_bytes(oci("second").build())
        }),
        of(pulled_image, "pull", pull),
    ],
    &[
        of(third_image, "load a third", |client, _| client.load_bytes(oci("third").build())),
        of(docker_image, "remove", |client, _| client.delete("/images/localhost%2Fdocker:1")),
        of(base_image, "untag", |client, _| {
            client.post("/images/localhost%2Fbase:1/untag?repo=localhost/other&tag=1")
        }),
    ],
    &[
        Request {
            what: "commit",
            image: None,
            ask: |client, _| client.post("/commit?container=one&repo=localhost/committed"),
        },
        of(first_image, "remove the first of two", |client, _| {
            client.delete("/images/localhost%2Ffirst:1")
        }),
        of(docker_image, "load it again", |client, _| client.load_bytes(docker())),
    ],
    &[
        of(first_image, "load the first again", |client, _| {
            client.load_bytes(oci("first").build())
        }),
        of(first_image, "load it by another client", |client, _| {
            client.load_bytes(oci("first").build())
        }),
    ],
    &[
        of(second_image, "remove the second of two", |client, _| {
            client.delete("/images/localhost%2Fsecond:1")
        }),
        of(third_image, "remove the third", |client, _| {
            client.delete("/images/localhost%2Fthird:1")
        }),
        of(docker_image, "tag it", |client, _| {
            client.post("/images/localhost%2Fdocker:1/tag?repo=localhost/other&tag=2")
        }),
    ],
];

/// A recording of the disk, and what was answered meanwhile.
pub(crate) struct Recorded {
    kind: FileSystem,
    rack: Rack,
    recording: Recording,
    /// Of the store, in the file system.
    directory: PathBuf,
    rounds: Vec<Round>,
}

/// Requests that were under way at the same time.
struct Round {
    /// What was there before them.
    start: Images,
    answers: Vec<Answer>,
    /// What was there after them.
    end: Images,
}

/// A request that was answered.
struct Answer {
    request: Request,
    /// How many events were recorded when the answer was there.
    at: usize,
}

/// The power goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// After so many events.
    pub(crate) at: usize,
    pub(crate) loss: Loss,
}

/// A disk after a loss of power, and what has to be on it.
pub(crate) struct AfterCut {
    // Before the file system it is on.
    pub(crate) store: Store,
    _mounted: Mounted,
    /// What was there, as far as it had been answered.
    pub(crate) before: Images,
    /// What would have been there when all that was under way had been answered.
    pub(crate) after: Images,
    pub(crate) what: String,
}

impl Round {
    /// What has to be there when those requests are answered that were when so many events had been
    /// recorded, and nothing is left of the others.
    fn answered(&self, at: usize) -> Images {
        let mut images = self.start.clone();
        for answer in self.answers.iter().filter(|answer| answer.at <= at) {
            for id in self.concerned(answer) {
                match self.end.get(&id) {
                    Some(names) => images.insert(id, names.clone()),
                    None => images.remove(&id),
                };
            }
        }
        images
    }

    fn concerned(&self, answer: &Answer) -> BTreeSet<String> {
        if let Some(image) = answer.request.image {
            return [image()].into();
        }
        let mut rest: BTreeSet<_> = self.start.keys().chain(self.end.keys()).cloned().collect();
        for image in self.answers.iter().filter_map(|other| other.request.image) {
            rest.remove(&image());
        }
        rest
    }
}

impl Recorded {
    /// The first `count` of the requests of one client, to a daemon with these arguments.
    pub(crate) fn alone(kind: FileSystem, count: usize, arguments: &[&str]) -> Self {
        let rounds = ALONE.iter().take(count);
        let rounds = rounds.map(|&(what, ask)| vec![Request { what, image: None, ask }]);
        Self::new(kind, rounds, arguments)
    }

    /// Requests of several clients at a time.
    pub(crate) fn together(kind: FileSystem) -> Self {
        Self::new(kind, TOGETHER.iter().map(|round| round.to_vec()), &[])
    }

    fn new(
        kind: FileSystem,
        rounds: impl Iterator<Item = Vec<Request>>,
        arguments: &[&str],
    ) -> Self {
        let rack = Rack::new();
        let registry = Faulty::start();
        registry.put("app", "1", &oci("pulled"));
        let mounted = Mounted::make(&rack, kind);
        let store = Store::new_in(mounted.path());
        let server = Server::start_with(&store, arguments);
        let client = server.client();
        client.load_bytes(base().build()).expect(200);
        store.buildah(["from", "--name", "one", "localhost/base:1"]);
        let changed = store.path("changed");
        fs::write(&changed, layer(6).tar).unwrap();
        store.buildah(["copy", "one", changed.to_str().unwrap(), "/of/the/container"]);
        rustix::fs::syncfs(fs::File::open(mounted.path()).unwrap()).unwrap();
        mounted.slot().disk().record();

        let mut start = images(&client);
        let rounds = rounds.map(|requests| {
            let ready = Barrier::new(requests.len());
            let answer = |request: Request| {
                let client = server.client();
                ready.wait();
                let answer = (request.ask)(&client, &registry);
                let at = mounted.slot().disk().recorded();
                assert_eq!(answer.status / 100, 2, "{}: {}", request.what, answer.text());
                Answer { request, at }
            };
            let answers = thread::scope(|scope| {
                let asked =
                    requests.into_iter().map(|request| scope.spawn(move || answer(request)));
                let asked: Vec<_> = asked.collect();
                asked.into_iter().map(|asked| asked.join().unwrap()).collect()
            });
            let end = images(&client);
            let start = mem::replace(&mut start, end.clone());
            Round { start, answers, end }
        });
        let rounds = rounds.collect();
        let recording = mounted.slot().disk().take_recording();
        assert!(server.stop().success());
        let directory = store.dir().strip_prefix(mounted.path()).unwrap().to_owned();
        Self { kind, rack, recording, directory, rounds }
    }

    /// The moments of the answers, when everything that was not flushed is lost.
    pub(crate) fn at_answers(&self) -> Vec<Cut> {
        let answers = self.rounds.iter().flat_map(|round| &round.answers);
        answers.map(|answer| Cut { at: answer.at, loss: Loss::Everything }).collect()
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
    pub(crate) fn cut(&self, cut: Cut) -> AfterCut {
        let is_open = |round: &&Round| round.answers.iter().any(|answer| answer.at > cut.at);
        let last = self.rounds.last().expect("something was asked for");
        let round = self.rounds.iter().find(is_open).unwrap_or(last);
        let (answered, open): (Vec<_>, Vec<_>) =
            round.answers.iter().partition(|answer| answer.at <= cut.at);
        let names = |answers: &[&Answer]| {
            answers.iter().map(|answer| answer.request.what).collect::<Vec<_>>().join(", ")
        };
        let what = format!(
            "{}: {cut:?} of {}, answered: {}, under way: {}",
            self.kind.name(),
            self.recording.len(),
            names(&answered),
            names(&open)
        );
        let blocks: Blocks = self.recording.cut(cut.at, cut.loss);
        let mounted = Mounted::open(&self.rack, self.kind, blocks);
        let store = Store::rebooted(&mounted.path().join(&self.directory));
        AfterCut {
            store,
            _mounted: mounted,
            before: round.answered(cut.at),
            after: round.end.clone(),
            what,
        }
    }
}

const fn of(image: fn() -> String, what: &'static str, ask: Ask) -> Request {
    Request { what, image: Some(image), ask }
}

fn pull(client: &Client, registry: &Faulty) -> Response {
    let name = escape(&format!("{}/app:1", registry.host()));
    client.post(&format!("/images/pull?reference={name}&tlsVerify=false&quiet=true"))
}

fn base() -> DockerArchive {
    DockerArchive::new(&["localhost/base:1"], &[layer(1)])
}

fn docker_archive() -> DockerArchive {
    let layers = [layer(1), layer(2), Layer::random(21, "large", 2, 500_000)];
    DockerArchive::new(&["localhost/docker:1"], &layers)
}

fn docker() -> Vec<u8> {
    docker_archive().build()
}

fn base_image() -> String {
    base().image_id(0)
}

fn docker_image() -> String {
    docker_archive().image_id(0)
}

fn first_image() -> String {
    oci("first").image_id().to_owned()
}

fn second_image() -> String {
    oci("second").image_id().to_owned()
}

fn third_image() -> String {
    oci("third").image_id().to_owned()
}

fn pulled_image() -> String {
    oci("pulled").image_id().to_owned()
}

fn oci(name: &str) -> OciArchive {
    let own = Layer::files(&[("name", name.as_bytes())]);
    OciArchive::new(&format!("localhost/{name}:1"), &[layer(1), layer(3), own])
}

fn layer(seed: u64) -> Layer {
    Layer::random(seed, "files", 30, 5000)
}
