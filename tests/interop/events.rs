//! One event log for the daemon and Podman: both write, both read, both rotate.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::names::two_images;
use crate::support::events::{Follower, Seen, events, log_of_podman, of_images, sharing_server};
use crate::support::http::escape;
use crate::support::server::{imaged, podman_service};
use crate::support::tool::run;
use crate::support::{Client, Layer, Server, Store};

/// How long something may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(120);
/// For `--since`: everything.
const EVER: &str = "--since=2020-01-01";

fn seen(events: &[Value]) -> Vec<Seen> {
    events.iter().map(Seen::of).collect()
}

/// What Podman prints of the log, since ever, with one filter.
fn podman_events(store: &Store, filter: &str) -> Vec<Seen> {
    let filter = format!("--filter={filter}");
    let text = store.podman(["events", "--stream=false", EVER, "--format=json", &filter]);
    text.lines().map(Seen::of_line).collect()
}

/// The same requests to us and to Podman's service make the same events in the same order.
#[test]
fn events_are_those_of_podman() {
    let [ours, theirs] = [Store::new(), Store::new()];
    let server = sharing_server(&ours);
    let socket = theirs.path("podman.sock");
    let service = Server::spawn(&theirs, &mut podman_service(&theirs, &socket), &socket);
    let our_child = play(&ours, &server.client());
    let their_child = play(&theirs, &service.client());

    let query = format!("since=0&{}", of_images());
    let own = seen(&events(&server.client(), &query));
    assert!(own.iter().any(|event| event.action == "save"), "{own:#?}");
    // Podman's service writes its events a moment later.
    let start = Instant::now();
    let expected: Vec<Seen> = loop {
        let expected = seen(&events(&service.client(), &query));
        if expected.len() >= own.len() {
            break expected;
        }
        assert!(start.elapsed() < PATIENCE, "{expected:#?}\nours: {own:#?}");
        thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(comparable(&own, &our_child), comparable(&expected, &their_child));
    // Podman reads ours as we do.
    assert_eq!(podman_events(&ours, "type=image"), own);
}

/// What can be the same on two stores.
fn comparable(events: &[Seen], child: &str) -> Vec<Seen> {
    let mut comparable: Vec<Seen> = events
        .iter()
        .map(|event| match &*event.action {
            // Files have no names here, and 4.3 does not say what it has loaded.
            "loadfromarchive" => Seen::image("loadfromarchive", "", ""),
            "save" => Seen { name: String::new(), ..event.clone() },
            _ if event.id == child => Seen { id: "child".to_owned(), ..event.clone() },
            _ => event.clone(),
        })
        .collect();
    // 4.3 puts new names behind the others.
    let untags = |a: &Seen, b: &Seen| a.action == "untag" && b.action == "untag" && a.id == b.id;
    comparable.chunk_by_mut(untags).for_each(<[Seen]>::sort);
    comparable
}

/// Everything that makes events, on a fresh store; the ID of an image that another one was built
/// into.
fn play(store: &Store, client: &Client) -> String {
    let (first, second) = two_images();
    let post = |route: &str, status| drop(client.post(route).expect(status));
    let delete = |route: &str, status| drop(client.delete(route).expect(status));
    client.load_bytes(first.build()).expect(200);
    client.load_bytes(second.build()).expect(200);
    post("/images/first:1/tag?repo=quay.io/example/app&tag=v1", 201);
    post("/images/first:1/tag?repo=app", 201);
    post("/images/first:1/tag?repo=app&tag=latest", 201);
    post("/images/nobody/tag?repo=app", 404);
    post("/images/first:1/tag?repo=UPPER", 500);
    post("/images/first:1/untag?repo=app", 201);
    // Several names, by ID, without force.
    delete(&format!("/images/{}", first.image_id(0)), 500);
    // Only a name.
    delete("/images/quay.io/example/app:v1", 200);
    let archive = store.path("saved.tar");
    client.download("/images/first:1/get?format=oci-archive", &archive).unwrap();
    let both = "references=first:1&references=second:1&references=first:1";
    client.download(&format!("/images/export?format=docker-archive&{both}"), &archive).unwrap();
    // Podman's service writes these a moment later, and what comes next is not done by it.
    let start = Instant::now();
    let saves = || {
        seen(&events(client, "stream=false&since=0")).into_iter().filter(|it| it.action == "save")
    };
    while saves().count() < 3 {
        assert!(start.elapsed() < PATIENCE, "not all exports are told");
        thread::sleep(Duration::from_millis(10));
    }
    let container = store.podman(["create", "--network=none", "first:1"]);
    delete("/images/first:1", 409);
    store.podman(["rm", &container]);
    // A parent that becomes dangling goes with its child.
    let container = store.podman(["create", "--network=none", "second:1"]);
    let child = store.podman(["commit", "--quiet", &container, "localhost/child:1"]);
    store.podman(["rm", &container]);
    post("/images/second:1/untag?repo=&tag=", 201);
    delete("/images/remove?images=child:1&images=first:1&images=nobody", 200);
    // Both images are gone, so that only the names matter from here on.
    let missing = client.get(&format!("/images/{child}/exists"));
    assert_eq!(missing.status, 404);
    client.load_bytes(first.build()).expect(200);
    client.load_bytes(second.build()).expect(200);
    delete("/images/remove?all=true", 200);
    client.load_bytes(first.build()).expect(200);
    post("/images/first:1/tag?repo=other", 201);
    post("/images/prune", 200);
    post("/images/prune?all=true", 200);
    client.load_bytes(second.build()).expect(200);
    post("/images/second:1/untag", 201);
    post("/images/prune", 200);
    child
}

#[test]
fn imports_are_told_by_their_name() {
    let store = Store::new();
    let server = sharing_server(&store);
    let client = server.client();
    let tar = Layer::files(&[("file", b"content")]).tar;
    let import = |query: &str| {
        let answer = client.import(query, tar.clone()).expect(200).json();
        answer["Id"].as_str().unwrap().trim_start_matches("sha256:").to_owned()
    };
    let named = import("?reference=base");
    import("");
    let own = seen(&events(&client, &format!("since=0&{}", of_images())));
    assert_eq!(own, [Seen::image("tag", &named, "base")]);
    assert_eq!(podman_events(&store, &format!("image={named}")), own);
}

/// A commit is something that happens to the container.
#[test]
fn commits_are_told_as_by_podman() {
    let store = Store::new();
    let server = sharing_server(&store);
    let client = server.client();
    let (first, _) = two_images();
    client.load_bytes(first.build()).expect(200);
    store.podman(["create", "--network=none", "--name=web", "--label=a=b", "first:1"]);
    client.post("/commit?container=web&repo=ours").expect(200);
    store.podman(["commit", "--quiet", "web", "theirs"]);
    let filters = escape(r#"{"event":["commit"]}"#);
    let mut commits = events(&client, &format!("since=0&filters={filters}"));
    for commit in &mut commits {
        commit["time"].take();
        commit["timeNano"].take();
    }
    assert_eq!(commits.len(), 2, "{commits:#?}");
    assert_eq!(commits[0], commits[1]);
    assert_eq!(commits[0]["Actor"]["Attributes"]["a"], "b");
    assert_eq!(commits[0]["from"], "localhost/first:1");
    // It is named without an event of its own.
    let tags = events(&client, &format!("since=0&filters={}", escape(r#"{"event":["tag"]}"#)));
    assert_eq!(tags, [Value::Null; 0]);
}

/// Filters and times, asked of us and of Podman's service about one log.
#[test]
fn filters_find_what_podman_finds() {
    let store = Store::new();
    let server = sharing_server(&store);
    let client = server.client();
    let socket = store.path("podman.sock");
    let service = Server::spawn(&store, &mut podman_service(&store, &socket), &socket);
    let (first, second) = two_images();
    client.load_bytes(first.build()).expect(200);
    client.load_bytes(second.build()).expect(200);
    client.post("/images/first:1/tag?repo=app").expect(201);
    store.podman(["tag", "second:1", "localhost/app:v2"]);
    store.podman(["volume", "create", "data"]);
    let container =
        store.podman(["create", "--network=none", "--name=web", "--label=k=v=w", "first:1"]);
    store.podman(["rm", "web"]);
    client.delete("/images/second:1").expect(200);

    let all = events(&client, "since=0");
    let kinds: BTreeSet<&str> = all.iter().map(|event| event["Type"].as_str().unwrap()).collect();
    assert!(BTreeSet::from(["container", "image", "volume"]).is_subset(&kinds), "{all:#?}");
    let middle = &all[all.len() / 2];
    let nanoseconds = middle["timeNano"].as_i64().unwrap();
    let time = jiff::Timestamp::from_nanosecond(nanoseconds.into()).unwrap();
    let elsewhere = time.display_with_offset(jiff::tz::offset(2)).to_string();
    let naked = time.to_string();
    let naked = naked.trim_end_matches('Z');

    // Podman stops reading when the time has come, be it before it has read what was before.
    let before = all.iter().filter(|event| event["timeNano"].as_i64().unwrap() < nanoseconds);
    let until = events(&client, &format!("until={}", escape(naked)));
    assert_eq!(until.iter().collect::<Vec<_>>(), before.collect::<Vec<_>>());

    // 4.3 looks for the ID of a volume, which has none, and does not know labels without a value.
    for filters in [json!({"volume": ["dat"]}), json!({"label": ["k"], "event": ["create"]})] {
        let found = events(&client, &format!("since=0&filters={}", escape(&filters.to_string())));
        assert_eq!(found.len(), 1, "{filters}: {found:#?}");
        assert_eq!(found[0]["Action"], "create");
    }

    let (first, second) = (first.image_id(0), second.image_id(0));
    let mut queries = vec![
        String::new(),
        "since=0".to_owned(),
        format!("since={}", escape(&time.to_string())),
        format!("since={}", escape(&elsewhere)),
        format!("since={}&until={}", escape(&time.to_string()), escape("1h")),
        "since=1h".to_owned(),
        "since=1h30m&until=1m".to_owned(),
        "until=1m".to_owned(),
        "since=-1h".to_owned(),
        "until=-24h".to_owned(),
        "since=2020-01-01".to_owned(),
        "since=2020-01-01Z&until=2020-02-01T00:00:00".to_owned(),
        format!("since={}.25", nanoseconds / 1_000_000_000 - 3600),
        "since=&until=".to_owned(),
    ];
    for filters in [
        json!({}),
        json!({"type": ["image"]}),
        json!({"type": ["image", "volume"]}),
        json!({"type": {"image": true, "volume": false}}),
        json!({"type": ["image"], "event": ["tag"]}),
        json!({"Type": ["image"], "STATUS": ["tag"]}),
        json!({"event": ["tag"], "status": ["remove"]}),
        json!({"event": ["tag", "remove", "create"]}),
        json!({"event": ["nothing"]}),
        json!({"event": []}),
        json!({"image": [first[..12]]}),
        json!({"image": [first, second]}),
        json!({"image": ["localhost/app:v2"]}),
        json!({"image": ["app:latest"]}),
        json!({"image": ["app"]}),
        json!({"image": [""]}),
        json!({"container": ["web"]}),
        json!({"container": [container[..6]]}),
        json!({"container": ["web"], "event": ["remove"]}),
        json!({"pod": ["web"]}),
        json!({"label": ["k=v=w"]}),
        json!({"label": ["k=v"]}),
        json!({"label=k": ["v=w"]}),
        json!({"type": ["system"]}),
        json!(null),
    ] {
        queries.push(format!("since=0&filters={}", escape(&filters.to_string())));
    }
    for query in queries {
        let ours = events(&client, &query);
        // From 5.0 on, only containers that have ended have an exit code.
        let theirs = events(&service.client(), &query).into_iter().map(|mut event| {
            event["Actor"]["Attributes"].as_object_mut().unwrap().remove("containerExitCode");
            event
        });
        assert_eq!(ours, theirs.collect::<Vec<_>>(), "{query}");
    }
    for query in
        ["since=x", "until=2026-13-01", "since=1x", "filters=%7B%22x%22%3A%5B%221%22%5D%7D"]
    {
        let route = format!("/events?stream=false&{query}");
        // There the status has been sent before.
        assert_eq!(client.get(&route).expect(500).json(), service.client().get(&route).json());
    }
}

#[test]
fn each_follows_the_other() {
    let store = Store::new();
    let server = sharing_server(&store);
    let client = server.client();
    let (first, _) = two_images();
    client.load_bytes(first.build()).expect(200);
    let id = first.image_id(0);
    let tag = |name: &str| {
        drop(client.post(&format!("/images/first:1/tag?repo={name}")).expect(201));
        Seen::image("tag", &id, &format!("{name}:latest"))
    };

    let mut follower = Follower::new(&server, &of_images());
    let mut command = store.podman_command(["events", EVER, "--format=json", "--filter=event=tag"]);
    // What it has seen tells that it has begun.
    let before = tag("before");
    let mut podman = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(podman.stdout.take().unwrap()).lines();
    let mut next_of_podman = || Seen::of_line(&lines.next().unwrap().unwrap());
    let mut next = || Seen::of(&follower.next().unwrap());
    assert_eq!(next_of_podman(), before);
    assert_eq!(next(), before);
    for round in 0..3 {
        let ours = tag(&format!("ours-{round}"));
        assert_eq!(next(), ours);
        assert_eq!(next_of_podman(), ours);
        let name = format!("localhost/theirs-{round}:1");
        store.podman(["tag", "first:1", &name]);
        let theirs = Seen::image("tag", &id, &name);
        assert_eq!(next(), theirs);
        assert_eq!(next_of_podman(), theirs);
    }
    podman.kill().unwrap();
    podman.wait().unwrap();
}

/// Both write and rotate, with a limit that lets a hundred events stay.
#[test]
fn both_write_and_rotate_at_once() {
    const ROUNDS: usize = 12;
    const OURS_EACH_ROUND: usize = 10;
    let store = Store::new();
    let conf = store.path("containers.conf");
    fs::write(&conf, "[engine]\nevents_logfile_max_size = \"20k\"\n").unwrap();
    let socket = store.path("api.sock");
    let mut command = imaged(&store, &socket);
    command.arg("--events-log").arg(log_of_podman(&store)).env("CONTAINERS_CONF", &conf);
    let server = Server::spawn(&store, &mut command, &socket);
    let client = server.client();
    let (first, _) = two_images();
    client.load_bytes(first.build()).expect(200);

    let mut follower = Follower::new(&server, "");
    let log = fs::metadata(log_of_podman(&store)).unwrap();
    let mut rotations = 0;
    for round in 0..ROUNDS {
        // Nobody follows a log of which more than half is dropped at once, so the follower is
        // given the time to keep up.
        let mut expected: BTreeSet<String> = thread::scope(|scope| {
            let theirs = scope.spawn(|| {
                let name = format!("localhost/theirs-{round}:1");
                let mut tag = store.podman_command(["tag", "first:1", &name]);
                run(tag.env("CONTAINERS_CONF", &conf));
                name
            });
            let ours = (0..OURS_EACH_ROUND).map(|number| {
                let name = format!("ours-{round}-{number}");
                client.post(&format!("/images/first:1/tag?repo={name}")).expect(201);
                format!("{name}:latest")
            });
            let ours: BTreeSet<String> = ours.collect();
            ours.into_iter().chain([theirs.join().unwrap()]).collect()
        });
        while !expected.is_empty() {
            let event = Seen::of(&follower.next().unwrap());
            if event.kind == "system" {
                assert_eq!(event.action, "log-rotation");
                rotations += 1;
            } else {
                assert!(expected.remove(&event.name), "{event:?} comes twice");
            }
        }
    }
    assert!(rotations > 0, "the log was never rotated");
    let text = fs::read_to_string(log_of_podman(&store)).unwrap();
    assert!(text.len() <= 20_000, "{}", text.len());
    assert!(text.lines().map(Seen::of_line).any(|event| event.action == "log-rotation"));
    // What is left is the newest, for both.
    let last = format!("ours-{}-{}:latest", ROUNDS - 1, OURS_EACH_ROUND - 1);
    let own = seen(&events(&client, "since=0"));
    assert!(own.iter().any(|event| event.name == last));
    let text = store.podman(["events", "--stream=false", EVER, "--format=json"]);
    assert_eq!(text.lines().map(Seen::of_line).collect::<Vec<_>>(), own);
    use std::os::unix::fs::MetadataExt as _;
    assert_ne!(fs::metadata(log_of_podman(&store)).unwrap().ino(), log.ino());
}

#[test]
fn the_remote_client_shows_events() {
    let store = Store::new();
    let server = sharing_server(&store);
    let (first, _) = two_images();
    server.client().load_bytes(first.build()).expect(200);
    server.client().post("/images/first:1/tag?repo=app").expect(201);
    server.client().delete("/images/app").expect(200);
    let lines = |text: String| text.lines().map(Seen::of_line).collect::<Vec<_>>();
    let filter = "--filter=type=image";
    let remote = server.remote(["events", "--stream=false", EVER, "--format=json", filter]);
    let id = first.image_id(0);
    let expected = [
        Seen::image("loadfromarchive", &id, "localhost/first:1"),
        Seen::image("tag", &id, "app:latest"),
        Seen::image("untag", &id, "localhost/app:latest"),
        Seen::image("remove", &id, "localhost/app:latest"),
    ];
    assert_eq!(lines(remote), expected);
    assert_eq!(podman_events(&store, "type=image"), expected);
    // For people, too; and of everything that Podman has done.
    store.podman(["create", "--network=none", "--name=web", "first:1"]);
    let text = server.remote(["events", "--stream=false", EVER]);
    assert!(text.contains(&format!("image tag {id} app:latest")), "{text}");
    assert!(text.contains("container create "), "{text}");
}

#[test]
fn a_daemon_that_stops_ends_its_streams() {
    let store = Store::new();
    let mut server = Server::start(&store);
    let mut followers = [(); 3].map(|()| Follower::new(&server, ""));
    let (first, _) = two_images();
    server.client().load_bytes(first.build()).expect(200);
    for follower in &mut followers {
        assert_eq!(follower.next().unwrap()["Action"], "loadfromarchive");
    }
    server.signal(Signal::TERM);
    for follower in &mut followers {
        assert_eq!(follower.next(), None);
    }
    assert!(server.wait().success());
    assert!(!server.log().contains("breaking off"), "{}", server.log());
}

/// A store of one's own has a log of its own, unless somebody asks for another, or for none.
#[test]
fn where_events_go() {
    let store = Store::new();
    let (first, _) = two_images();
    let query = format!("since=0&{}", of_images());
    let server = Server::start(&store);
    server.client().load_bytes(first.build()).expect(200);
    assert_eq!(events(&server.client(), &query).len(), 1);
    let own = fs::read_to_string(store.runroot().join("events/events.log")).unwrap();
    assert_eq!(own.lines().map(Seen::of_line).next().unwrap().action, "loadfromarchive");
    assert_eq!(podman_events(&store, "type=image"), []);
    assert!(server.stop().success());

    let server = Server::start_with(&store, &["--events-log", "none"]);
    server.client().post("/images/first:1/tag?repo=none").expect(201);
    let error = server.client().get("/events").expect(500).json();
    assert_eq!(error["message"], "cannot read events with the \"none\" backend");
    assert!(server.stop().success());

    // A log that cannot be written is no reason for an operation to fail.
    let server = Server::start_with(&store, &["--events-log", "/proc/version/events.log"]);
    server.client().post("/images/first:1/tag?repo=nowhere").expect(201);
    server.client().get("/events").expect(500);
    assert!(server.log().contains("events could not be logged"), "{}", server.log());
    let own_again = fs::read_to_string(store.runroot().join("events/events.log")).unwrap();
    assert_eq!(own_again, own);
}
