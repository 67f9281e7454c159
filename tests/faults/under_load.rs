//! `SIGKILL` at a random time while several clients load, tag and remove images that share layers:
//! what was answered is so, and everything else is whole or absent.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::scene::{assert_clean, base, template};
use crate::support::archive::Numbers;
use crate::support::check::assert_sound;
use crate::support::http::escape;
use crate::support::remains::{assert_agreed, assert_whole, images};
use crate::support::soak::{figure, soaking};
use crate::support::{Client, DockerArchive, Layer, Response, Server, Store};

/// How often the daemon dies in `make test`, and in a long run.
const DEATHS: u64 = 12;
const MANY_DEATHS: u64 = 600;
const CLIENTS: u64 = 3;
/// Longest life of the daemon.
const LIFE: Duration = Duration::from_millis(700);

/// What clients know of their images, by number: one state that was answered, or besides it the one
/// that was asked for.
type Known = BTreeMap<String, Vec<Names>>;

/// Which names an image has: `localhost/client-N`, `localhost/tagged-N`. Without one it is absent.
type Names = [bool; 2];

#[test]
fn at_random_times_under_load() {
    let template = template();
    let deaths = if soaking() { MANY_DEATHS } else { DEATHS };
    for round in 0..deaths {
        let store = Store::copy_of(&template);
        let life = LIFE.mul_f64(moment(round));
        let what = format!("round {round}, killed after {life:?}");
        let server = Server::start(&store);
        let known = Mutex::new(Known::new());
        thread::scope(|scope| {
            for number in 0..CLIENTS {
                let (client, known) = (server.client(), &known);
                scope.spawn(move || keep_busy(&client, number, known));
            }
            thread::sleep(life);
            server.kill();
        });
        judge(&store, &known.into_inner().unwrap(), &what);
        if round % 10 == 0 {
            assert_sound(&store);
            assert_agreed(&store);
        }
    }
    figure("killed anywhere", "under load: kill points, all passed", &deaths.to_string());
}

/// The share of its longest life that the daemon has; the same for the same round.
fn moment(round: u64) -> f64 {
    f64::from(u32::try_from(Numbers::new(round).below(1000)).unwrap()) / 1000.0
}

/// Loads, tags and removes one image after the other, until nobody answers.
fn keep_busy(client: &Client, number: u64, known: &Mutex<Known>) {
    let begun = Instant::now();
    for count in 0.. {
        assert!(begun.elapsed() < Duration::from_secs(60), "the server lives on");
        let image = Image { client, known, name: format!("{number}:{count}") };
        if image.come_and_go(number, count).is_err() {
            return;
        }
    }
}

/// One image of a client.
struct Image<'a> {
    client: &'a Client,
    known: &'a Mutex<Known>,
    name: String,
}

impl Image<'_> {
    /// An error as soon as nobody answers. Every second image stays.
    fn come_and_go(&self, number: u64, count: u64) -> io::Result<()> {
        let [name, tagged] = names(&self.name);
        // The second layer is shared with images of the other clients.
        let own = Layer::random(1000 * number + count, "own", 5, 2000);
        let layers = [base(), Layer::random(count, "shared", 10, 2000), own];
        let archive = DockerArchive::new(&[&name], &layers).build();
        self.ask([false, false], [true, false], || self.client.try_load_bytes(archive))?;
        let route = |name: &str| format!("/images/{}", escape(name));
        let tag = format!("{}/tag?repo=localhost/tagged-{number}&tag={count}", route(&name));
        self.ask([true, false], [true, true], || self.client.try_post(&tag))?;
        if count.is_multiple_of(2) {
            return Ok(());
        }
        self.ask([true, true], [false, true], || self.client.try_delete(&route(&name)))?;
        self.ask([false, true], [false, false], || self.client.try_delete(&route(&tagged)))
    }

    fn ask(
        &self,
        before: Names,
        after: Names,
        request: impl FnOnce() -> io::Result<Response>,
    ) -> io::Result<()> {
        let know = |states| self.known.lock().unwrap().insert(self.name.clone(), states);
        know(vec![before, after]);
        let answer = request()?;
        assert_eq!(answer.status / 100, 2, "{}", answer.text());
        know(vec![after]);
        Ok(())
    }
}

/// The names that an image of a client can have.
fn names(name: &str) -> [String; 2] {
    [format!("localhost/client-{name}"), format!("localhost/tagged-{name}")]
}

/// Starts the daemon on what is left, and compares it with what the clients know.
fn judge(store: &Store, known: &Known, what: &str) {
    let server = Server::start(store);
    let client = server.client();
    let found = images(&client);
    let listed: Vec<&String> = found.values().flatten().collect();
    for (name, states) in known {
        let state = names(name).map(|name| listed.contains(&&name));
        assert!(states.contains(&state), "{what}: {name} is {state:?}, not of {states:?}");
    }
    assert_whole(&client, &found, &store.path("export.tar"), what);
    // The next write finds what the dead have left.
    let alive = DockerArchive::new(&["localhost/alive:1"], &[Layer::files(&[("a", b"a")])]);
    client.load_bytes(alive.build()).expect(200);
    assert!(server.stop().success());
    assert_clean(store, what);
}
