//! Signature policies, held against the tools that made them.

mod signed;
mod signer;
mod sigstore;

use std::fs;
use std::path::{Path, PathBuf};

use imaged::image::Policy;
use serde_json::{Value, json};

use crate::support::http::{PREFIX, escape};
use crate::support::server::{imaged, podman_service};
use crate::support::tool::{command, run_failing};
use crate::support::{DockerArchive, Layer, OciArchive, Response, Server, Store};

const ACCEPT: &str = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;

/// The daemon and the reference server, each on a store of its own, with one home.
struct Pair {
    ours: Server,
    theirs: Server,
    stores: [Store; 2],
}

impl Pair {
    fn start() -> Self {
        let stores = [Store::new(), Store::new()];
        let socket = |store: &Store| store.path("api.sock");
        let mut ours = imaged(&stores[0], &socket(&stores[0]));
        ours.env("HOME", stores[0].dir());
        let ours = Server::spawn(&stores[0], &mut ours, &socket(&stores[0]));
        let mut theirs = podman_service(&stores[1], &socket(&stores[1]));
        let theirs = Server::spawn(&stores[1], &mut theirs, &socket(&stores[1]));
        Self { ours, theirs, stores }
    }

    /// Both users get this policy.
    fn policy(&self, text: &str) {
        for store in &self.stores {
            write_policy(store.dir(), text);
        }
    }
}

fn write_policy(home: &Path, text: &str) -> PathBuf {
    let directory = home.join(".config/containers");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("policy.json");
    fs::write(&path, text).unwrap();
    path
}

/// Status and message, with nothing in it that is a server's own: homes, stores and the temporary
/// files that only the reference server needs.
fn told(answer: &Response, store: &Store) -> (u16, String) {
    let text = match answer.json()["message"].as_str() {
        Some(message) => message.replace(store.dir().to_str().unwrap(), "HOME"),
        None => String::new(),
    };
    let mut shown = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("/tmp/libpod-images-") {
        let end = after.find([':', ' ']).unwrap_or(after.len());
        shown += before.trim_end_matches("HOME");
        shown += "-";
        rest = &after[end..];
    }
    (answer.status, shown + rest)
}

#[test]
fn what_is_refused_is_what_podman_refuses() {
    let pair = Pair::start();
    let tar = Layer::files(&[("etc/file", b"content")]).tar;
    let layers = [Layer::files(&[("a", b"a")])];
    let docker = DockerArchive::new(&["localhost/docker:1"], &layers).build();
    let oci = OciArchive::new("localhost/oci:1", &layers).build();
    let signed = r#"[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/nonexistent"}]"#;
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    let reject = r#"[{"type":"reject"}]"#;
    let only = |transport: &str, scope: &str| {
        format!(r#"{{"default":{reject},"transports":{{"{transport}":{{"{scope}":{accept}}}}}}}"#)
    };
    let default = |list: &str| format!(r#"{{"default":{list}}}"#);
    let mut accepted = 0;
    for policy in [
        ACCEPT.to_owned(),
        default(reject),
        default(signed),
        default(r#"[{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchRepository"}}]"#),
        only("docker-archive", ""),
        only("oci-archive", ""),
        only("tarball", ""),
        only("docker", ""),
        format!(
            r#"{{"default":{accept},"transports":{{"tarball":{{"":{signed}}},"docker-archive":{{"":{reject}}}}}}}"#
        ),
        "{".to_owned(),
        default("[]"),
        default(r#"[{"type":"sudo"}]"#),
    ] {
        pair.policy(&policy);
        let both = |ask: &dyn Fn(&Server) -> Response| {
            let (ours, theirs) = (ask(&pair.ours), ask(&pair.theirs));
            (told(&ours, &pair.stores[0]), told(&theirs, &pair.stores[1]))
        };
        let (ours, theirs) = both(&|server| server.client().import("", tar.clone()));
        assert_eq!(ours, theirs, "import: {policy}");
        accepted += usize::from(ours.0 == 200);
        for (format, archive) in [("docker-archive", &docker), ("oci-archive", &oci)] {
            let (ours, theirs) = both(&|server| server.client().load_bytes(archive.clone()));
            assert_eq!(ours.0, theirs.0, "{format}: {policy}\n{}\n{}", ours.1, theirs.1);
            accepted += usize::from(ours.0 == 200);
            // The lines about other formats speak of the reference server's temporary files.
            let line = |text: &str| {
                let line = text.lines().find(|line| line.starts_with(&format!(" * {format}: ")));
                line.map(str::to_owned)
            };
            assert_eq!(line(&ours.1), line(&theirs.1), "{policy}");
            assert_eq!(line(&ours.1).is_some(), ours.0 == 500, "{policy}");
        }
    }
    assert_eq!(accepted, 3 + 1 + 1 + 1 + 1, "whoever is let in");
}

/// What only this server loads is decided about as the rest.
#[test]
fn every_form_of_archive_obeys_the_policy() {
    let store = Store::new();
    let socket = store.path("api.sock");
    let mut command = imaged(&store, &socket);
    let server = Server::spawn(&store, command.env("HOME", store.dir()), &socket);
    let image = |name: &str| OciArchive::new(name, &[Layer::files(&[("a", name.as_bytes())])]);
    let several = image("localhost/one:1").and(image("localhost/two:1")).build();
    write_policy(store.dir(), ACCEPT);
    server.client().load_bytes(image("localhost/one:1").build()).expect(200);
    let directory =
        server.client().get("/images/one:1/get?format=docker-dir").expect(200).body.to_vec();
    server.client().delete("/images/one:1").expect(200);
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    for transport in ["oci-archive", "dir", "docker-archive", "oci"] {
        let policy = format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"{transport}":{{"":{accept}}}}}}}"#
        );
        write_policy(store.dir(), &policy);
        for (format, archive) in [("oci-archive", &several), ("dir", &directory)] {
            let answer = server.client().load_bytes(archive.clone());
            if format == transport {
                assert_eq!(answer.status, 200, "{}", answer.text());
                server.client().delete("/images/remove?all=true").expect(200);
                continue;
            }
            let message = answer.expect(500).json()["message"].as_str().unwrap().to_owned();
            let line = format!(" * {format}: Source image rejected: ");
            assert!(message.contains(&line), "{message}");
            assert_eq!(store.image_ids(), [""; 0]);
        }
    }
}

#[test]
fn exports_obey_the_policy() {
    let pair = Pair::start();
    let archive = DockerArchive::new(&["localhost/a:1"], &[Layer::files(&[("a", b"a")])]);
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    for (server, store) in [(&pair.ours, &pair.stores[0]), (&pair.theirs, &pair.stores[1])] {
        pair.policy(ACCEPT);
        server.client().load_bytes(archive.build()).expect(200);
        let id = archive.image_id(0);
        let root = store.root().display().to_string();
        let get = || server.client().get(&format!("/images/{}/get", escape("localhost/a:1")));
        let policy = |scope: &str| {
            let text = format!(
                r#"{{"default":[{{"type":"reject"}}],"transports":{{"containers-storage":{{"{scope}":{accept}}}}}}}"#
            );
            pair.policy(&text);
        };
        for scope in [
            "",
            &format!("[overlay@{root}]"),
            &format!("[{root}]"),
            &format!("[overlay@{root}]@{id}"),
        ] {
            policy(scope);
            get().expect(200);
        }
        policy("[overlay@/elsewhere]");
        let text = format!(
            "Source image rejected: Running image {}@{id} is rejected by policy.",
            store.reference("")
        );
        assert_eq!(get().expect(400).json()["message"], text);
        pair.policy(
            r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/nonexistent"}]}"#,
        );
        let text = "Source image rejected: A signature was required, but no signature exists";
        assert_eq!(get().expect(400).json()["message"], text);
    }
}

/// Without any file the tools do nothing at all. Here what lies on this machine can still be used.
#[test]
fn a_named_policy_counts_alone() {
    let store = Store::new();
    let named = store.path("named.json");
    write_policy(store.dir(), ACCEPT);
    let socket = store.path("api.sock");
    let mut command = imaged(&store, &socket);
    command.env("HOME", store.dir()).arg("--signature-policy").arg(&named);
    let server = Server::spawn(&store, &mut command, &socket);
    let import = || server.client().import("", Layer::files(&[("a", b"a")]).tar);
    let message =
        |answer: Response| answer.expect(500).json()["message"].as_str().unwrap().to_owned();
    let missing =
        format!("unable to import tarball: open {}: no such file or directory", named.display());
    assert_eq!(message(import()), missing);
    fs::write(&named, ACCEPT).unwrap();
    import().expect(200);
    // A change counts at once.
    fs::write(&named, r#"{"default":[{"type":"reject"}]}"#).unwrap();
    let rejected = "unable to import tarball: Source image rejected: Running image tarball:- is \
                    rejected by policy.";
    assert_eq!(message(import()), rejected);
    // Files and what is found there.
    let archive = DockerArchive::new(&["localhost/a:1"], &[Layer::files(&[("a", b"a")])]);
    let path = store.path("a.tar");
    fs::write(&path, archive.build()).unwrap();
    let load = || {
        let target = format!("{PREFIX}/local/images/load?path={}", escape(path.to_str().unwrap()));
        server.client().post_bytes(&target, "")
    };
    let text = message(load());
    let line = format!(
        " * docker-archive: Source image rejected: Running image docker-archive:{}:localhost/a:1 is \
         rejected by policy.",
        path.display()
    );
    assert!(text.contains(&line), "{text}");
    let only = r#"{"default":[{"type":"reject"}],"transports":{"docker-archive":{"":[{"type":"insecureAcceptAnything"}]}}}"#;
    fs::write(&named, only).unwrap();
    load().expect(200);
}

/// Both read the same file; skopeo reads it before it looks for an image.
#[test]
fn policies_are_read_as_skopeo_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.json");
    let accept = json!({"type": "insecureAcceptAnything"});
    let signed = |more: &Value| {
        let mut requirement = json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"});
        for (key, value) in more.as_object().unwrap() {
            requirement[key] = value.clone();
        }
        json!({"default": [requirement]}).to_string()
    };
    let scoped = |transport: &str, scope: &str| {
        json!({"default": [accept], "transports": {transport: {scope: [accept]}}}).to_string()
    };
    let with = |requirement: &Value| json!({"default": [requirement]}).to_string();
    let mut refused = 0;
    let policies = [
        ACCEPT.to_owned(),
        String::new(),
        "{".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        r#"{"default":[]}"#.to_owned(),
        r#"{"default":{}}"#.to_owned(),
        r#"{"default":null}"#.to_owned(),
        r#"{"default":[{"type":"reject"}],"default":[{"type":"reject"}]}"#.to_owned(),
        r#"{"default":[{"type":"reject","type":"reject"}]}"#.to_owned(),
        json!({"default": [accept], "other": 1}).to_string(),
        json!({"default": [accept], "transports": {"docker": {"a": []}}}).to_string(),
        with(&json!({})),
        with(&json!("reject")),
        with(&json!({"type": "sudo"})),
        with(&json!({"type": "reject", "why": 1})),
        with(&json!({"type": "signedBaseLayer"})),
        with(&json!({"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}})),
        with(&json!({"type": "signedBy"})),
        with(&json!({"type": "signedBy", "keyPath": "/k"})),
        with(&json!({"type": "signedBy", "keyType": "GPGKeys"})),
        with(&json!({"type": "sigstoreSigned", "keyPath": "/k"})),
        signed(&json!({})),
        signed(&json!({"keyType": "PGP"})),
        signed(&json!({"keyData": "AA=="})),
        signed(&json!({"other": 1})),
        signed(&json!({"signedIdentity": {"type": "any"}})),
        signed(&json!({"signedIdentity": {"type": "exactReference"}})),
        signed(&json!({"signedIdentity": {"type": "exactReference", "dockerReference": "a:1"}})),
        signed(&json!({"signedIdentity": {"type": "exactRepository", "dockerRepository": "a"}})),
        signed(
            &json!({"signedIdentity": {"type": "remapIdentity", "prefix": "a.io", "signedPrefix": "b.io"}}),
        ),
        signed(&json!({"signedIdentity": {"type": "matchRepository", "prefix": "a.io"}})),
        scoped("docker", "any"),
        scoped("unheard-of", "any"),
        scoped("docker-archive", "/a"),
        scoped("docker-archive", ""),
        scoped("tarball", "/a"),
        scoped("dir", "a"),
        scoped("dir", "/a"),
        scoped("dir", "/"),
        scoped("oci", "/a/../b"),
        scoped("oci-archive", "/a/"),
        scoped("containers-storage", "[/root]"),
        scoped("containers-storage", "root"),
    ];
    // Skopeo makes the directory it is to write to before it finds out that there is nothing to read.
    let none = format!("dir:{}", dir.path().join("none").display());
    for policy in &policies {
        fs::write(&path, policy).unwrap();
        let mut skopeo =
            command("skopeo", ["--policy", path.to_str().unwrap(), "copy", &none, &none]);
        let text = run_failing(&mut skopeo);
        let message = text.split_once("msg=").unwrap().1;
        let message: String = serde_json::from_str(message).unwrap();
        let theirs = message
            .strip_prefix(&format!("Error loading trust policy: invalid policy in {path:?}: "));
        let ours = Policy::parse(policy.as_bytes()).err();
        refused += usize::from(theirs.is_some());
        assert_eq!(ours.as_deref(), theirs, "{policy}");
    }
    assert!(refused > 20 && refused < policies.len(), "{refused}");
}
