//! What names stand for: policies, short names, mirrors, blocked registries, IDs.

use std::fs;

use serde_json::Value;

use super::{answer, pull, pulled, records, refused, start};
use crate::support::check::assert_sound;
use crate::support::events::{Seen, events};
use crate::support::{Faulty, Layer, OciArchive, Server, Store};

fn image(text: &str) -> OciArchive {
    OciArchive::new("image:1", &[Layer::files(&[("file", text.as_bytes())])])
}

#[test]
fn policies() {
    let registry = Faulty::start();
    let host = registry.host();
    registry.put("app", "1", &image("one"));
    let store = Store::new();
    let server = start(&store, "");
    let name = format!("{host}/app:1");
    let missing = format!("{name}: image not known");
    assert_eq!(refused(&server, &name, "policy=never"), (500, missing));
    assert!(registry.seen().is_empty());
    let one = pull(&server, &name);
    registry.forget();
    for policy in ["never", "missing", "IfNotPresent"] {
        assert_eq!(pulled(&server, &name, &format!("policy={policy}")), [one.as_str()]);
        assert!(registry.seen().is_empty(), "{policy}");
    }
    assert_eq!(pulled(&server, &name, "policy=newer"), [one.as_str()]);
    assert!(registry.asked("GET", "/blobs/").is_empty());

    registry.put("app", "1", &image("two"));
    let two = image("two").image_id().to_owned();
    assert_eq!(pulled(&server, &name, "policy=missing"), [one.as_str()]);
    assert_eq!(pulled(&server, &name, "policy=newer"), [two.as_str()]);
    // The older one is still there, without a name.
    assert_eq!(store.image_ids().len(), 2);
    // With a registry that is away, what is there will do for `newer`, and nothing for `always`.
    let gone = Faulty::start();
    gone.put("app", "1", &image("three"));
    let name = format!("{}/app:1", gone.host());
    let three = pull(&server, &name);
    gone.fail("GET", "/v2/", usize::MAX, crate::support::Fault::Reset);
    assert_eq!(pulled(&server, &name, "policy=newer&retry=0"), [three.as_str()]);
    let (status, message) = refused(&server, &name, "retry=0");
    assert_eq!(status, 500, "{message}");

    // IDs are never pulled by.
    for id in [three.clone(), format!("sha256:{three}")] {
        let text = format!("pull policy is always but image has been referred to by ID ({id})");
        assert_eq!(refused(&server, &id, ""), (500, text));
        assert_eq!(pulled(&server, &id, "policy=missing"), [three.as_str()]);
    }
    let short = &three[..12];
    let text = format!("pull policy is always but image has been referred to by ID ({short})");
    assert_eq!(refused(&server, short, ""), (500, text));
    assert_eq!(pulled(&server, short, "policy=newer"), [three.as_str()]);
    assert_sound(&store);
}

fn streams(server: &Server, name: &str) -> Vec<String> {
    let records = records(&answer(server, name, "retry=0").expect(200));
    let text = |it: &Value| it["stream"].as_str().or(it["error"].as_str()).map(str::to_owned);
    records.iter().filter_map(text).collect()
}

#[test]
fn short_names_aliases_and_search() {
    let (first, second) = (Faulty::start(), Faulty::start());
    first.put("team/app", "latest", &image("alias"));
    second.put("only", "latest", &image("second"));
    let (a, b) = (first.host(), second.host());
    let store = Store::new();
    let conf = format!(
        "unqualified-search-registries = ['{a}', '{b}']\n[aliases]\n'al' = '{a}/team/app'\n"
    );
    let server = start(&store, &conf);
    let file = store.path("registries.conf").display().to_string();
    let found = streams(&server, "al");
    assert_eq!(found[0], format!("Resolved \"al\" as an alias ({file})\n"));
    assert_eq!(found[1], format!("Trying to pull {a}/team/app:latest...\n"));
    let found = streams(&server, "only");
    assert_eq!(
        found[..3],
        [
            format!("Resolving \"only\" using unqualified-search registries ({file})\n"),
            format!("Trying to pull {a}/only:latest...\n"),
            format!("Trying to pull {b}/only:latest...\n"),
        ]
    );
    // What is there under the full name is pulled under it.
    assert_eq!(streams(&server, "only")[0], format!("Trying to pull {b}/only:latest...\n"));
    let (status, message) = refused(&server, "nothing", "retry=0");
    assert_eq!(status, 404);
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines[0], "2 errors occurred while pulling:");
    assert!(lines[1].starts_with(&format!(" * unable to copy from source docker://{a}/nothing")));
    assert!(lines[2].starts_with(&format!(" * unable to copy from source docker://{b}/nothing")));

    let strict = Store::new();
    let server = start(&strict, &format!("short-name-mode = 'enforcing'\n{conf}"));
    let text = "short-name resolution enforced but cannot prompt without a TTY";
    assert_eq!(refused(&server, "only", ""), (500, text.to_owned()));
    assert_eq!(streams(&server, "al").len(), 6);
    let none = Store::new();
    let server = start(&none, "");
    let file = none.path("registries.conf").display().to_string();
    let text = format!(
        "short-name \"only\" did not resolve to an alias and no unqualified-search registries are \
         defined in \"{file}\""
    );
    assert_eq!(refused(&server, "only", ""), (500, text));
}

#[test]
fn mirrors_locations_and_blocked_registries() {
    let (mirror, real) = (Faulty::start(), Faulty::start());
    let (m, r) = (mirror.host(), real.host());
    let store = Store::new();
    let conf = format!(
        "[[registry]]\nprefix = 'example.org/ns'\nlocation = '{r}/real'\ninsecure = true\n\
         [[registry.mirror]]\nlocation = '{m}/copy'\ninsecure = true\n\
         [[registry]]\nprefix = 'blocked.example.org'\nblocked = true\n"
    );
    let server = start(&store, &conf);
    // No `tlsVerify`, so that the file decides.
    let pull = |name: &str| {
        server.client().post(&format!("/images/pull?quiet=true&retry=0&reference={name}"))
    };
    mirror.put("copy/app", "1", &image("app"));
    real.put("real/other", "1", &image("other"));
    pull("example.org/ns/app:1").expect(200);
    assert!(real.seen().is_empty());
    pull("example.org/ns/other:1").expect(200);
    assert!(!mirror.asked("GET", "/v2/copy/other/manifests/1").is_empty());
    // Both are named as they were asked for.
    let list = server.client().get("/images/json").expect(200).json();
    let mut names: Vec<_> =
        list.as_array().unwrap().iter().map(|it| it["RepoTags"][0].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["example.org/ns/app:1", "example.org/ns/other:1"]);
    let error = pull("example.org/ns/none:1").expect(404).text();
    assert!(error.contains("(Mirrors also failed: ["), "{error}");

    let error = pull("blocked.example.org/app:1").expect(500).text();
    assert!(error.contains("registry blocked.example.org is blocked in "), "{error}");
    // Whoever asks for verification gets it.
    let error = server
        .client()
        .post("/images/pull?quiet=true&retry=0&tlsVerify=true&reference=example.org/ns/app:1")
        .expect(500)
        .text();
    assert!(error.contains("server gave HTTP response to HTTPS client"), "{error}");
}

#[test]
fn pulls_are_told_as_events() {
    let registry = Faulty::start();
    registry.put("app", "1", &image("app"));
    let store = Store::new();
    let server = start(&store, "");
    let name = format!("{}/app:1", registry.host());
    let id = pull(&server, &name);
    refused(&server, &format!("{}/none:1", registry.host()), "retry=0");
    let found: Vec<_> = events(&server.client(), "stream=false");
    assert_eq!(Seen::of(&found[0]), Seen::image("pull", &id, &name));
    assert_eq!(found[1]["Status"].as_str().or(found[1]["Action"].as_str()), Some("pull-error"));
    // Podman reads both from the shared log.
    let log = store.runroot().join("events/events.log");
    assert_eq!(fs::read_to_string(log).unwrap().lines().count(), 2);
}
