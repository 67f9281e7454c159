//! Images with real signatures: who is let in, and as what.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Value, json};

use super::signer::{Signer, path};
use crate::support::http::{PREFIX, escape};
use crate::support::registry::{PASSWORD, Registry, Setup, USER};
use crate::support::server::PATIENCE;
use crate::support::tool::{command, run};
use crate::support::{Faulty, Layer, OciArchive, Response, Server, Store};

/// The ID of what is pulled, or why nothing is.
fn pull(server: &Server, name: &str, more: &str) -> Result<String, String> {
    told(&server.client().post(&target(name, more)))
}

fn target(name: &str, more: &str) -> String {
    format!("/images/pull?reference={}&tlsVerify=false&quiet=true{more}", escape(name))
}

fn told(answer: &Response) -> Result<String, String> {
    let text = answer.text();
    let mut told = Err(text.clone());
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for key in ["message", "error"] {
            if let Some(error) = line[key].as_str() {
                return Err(error.to_owned());
            }
        }
        if let Some(id) = line["id"].as_str() {
            told = Ok(id.to_owned());
        }
    }
    told
}

#[test]
fn an_image_is_what_was_signed_or_refused() {
    let registry = Registry::plain();
    registry.push(&["app:plain", "never:signed"]);
    let signer = Signer::new();
    signer.sign(&registry, "app:plain", "app:good", "good");
    signer.sign(&registry, "app:plain", "other:bad", "bad");
    let other = Registry::plain();
    other.push(&["app:good"]);
    let (ours, theirs) = (Store::new(), Store::new());
    let server = signer.serve(&ours, &path());
    let podman = signer.serve_podman(&theirs);
    let host = registry.host();
    let name = |name: &str| format!("{host}/{name}");
    let digest = signer.digest(&registry, "app:good");
    for (image, accepted) in [
        (name("app:good"), true),
        (name(&format!("app@{digest}")), true),
        // The same image, but this name was not signed.
        (name("app:plain"), false),
        (name("never:signed"), false),
        // By somebody else.
        (name("other:bad"), false),
        // As an image of another registry.
        (format!("{}/app:good", other.host()), false),
    ] {
        let (our, their) = (pull(&server, &image, ""), pull(&podman, &image, ""));
        assert_eq!(our.is_ok(), accepted, "{image}: {our:?}");
        match (&our, &their) {
            (Err(our), Err(their)) => {
                assert!(their.contains("Source image rejected: "), "{their}");
                assert!(our.ends_with(their.as_str()), "{our}\n{their}");
            }
            _ => assert_eq!(our, their, "{image}"),
        }
    }
    assert_eq!(ours.image_ids().len(), 1);
    assert_eq!(ours.inspect(&name("app:good"))["Digest"], digest);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

/// Policies and signatures speak of the name that is wanted, wherever `registries.conf` finds it.
#[test]
fn names_count_not_places() {
    let registry = Registry::plain();
    registry.push(&["team/app:1"]);
    let signer = Signer::new();
    let host = registry.host();
    let place = format!("docker://{host}/team/app:1");
    run(&mut signer.skopeo(&[
        "--insecure-policy",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--sign-by",
        "good@example.com",
        "--sign-identity",
        "signed.example/team/app:1",
        &place,
        &place,
    ]));
    let registries = signer.path("registries.conf");
    let text = format!(
        "[[registry]]\nprefix = 'signed.example'\nlocation = '{host}'\ninsecure = true\n\
         [[registry]]\nprefix = 'mirrored.example'\nlocation = '127.0.0.1:1'\n\
         [[registry.mirror]]\nlocation = '{host}'\ninsecure = true\n"
    );
    fs::write(&registries, text).unwrap();
    let (ours, theirs) = (Store::new(), Store::new());
    let mut server = signer.imaged(&ours, &path());
    server.env("CONTAINERS_REGISTRIES_CONF", &registries);
    let server = Server::spawn(&ours, &mut server, &ours.path("api.sock"));
    let mut podman = signer.podman(&theirs);
    podman.env("CONTAINERS_REGISTRIES_CONF", &registries);
    let podman = Server::spawn(&theirs, &mut podman, &theirs.path("api.sock"));
    let pull = |server: &Server, name: &str| {
        told(&server.client().post(&format!("/images/pull?reference={}&quiet=true", escape(name))))
    };
    let name = "signed.example/team/app:1";
    let id = pull(&server, name).unwrap();
    assert_eq!(pull(&podman, name).unwrap(), id);
    let name = "mirrored.example/team/app:1";
    let reason = "Source image rejected: Signature for identity signed.example/team/app:1 is not \
                  accepted";
    for server in [&server, &podman] {
        let answer = pull(server, name).unwrap_err();
        assert!(answer.ends_with(reason), "{answer}");
    }
}

/// As Podman does, the signature of the one image counts, not that of the list.
#[test]
fn of_a_list_the_image_has_to_be_signed() {
    let registry = Registry::plain();
    let signer = Signer::new();
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let image = OciArchive::configured(
            "image:1",
            &[Layer::files(&[("arch", architecture.as_bytes())])],
            |config| config["architecture"] = json!(architecture),
        );
        signer.push(&registry, &format!("list:{architecture}"), &image);
        let size = image.blobs().last().unwrap().1.len();
        entries.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{}", image.manifest_blob()), "size": size,
            "platform": {"os": "linux", "architecture": architecture},
        }));
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    });
    put_manifest(&registry.host(), "list/manifests/all", &index.to_string());
    signer.sign(&registry, "list:all", "list:signed", "good");
    let store = Store::new();
    let server = signer.serve(&store, &path());
    for architecture in ["amd64", "arm64"] {
        let more = format!("&Arch={architecture}&OS=linux");
        let name = format!("{}/list:signed", registry.host());
        let id = pull(&server, &name, &more).unwrap();
        assert_eq!(store.inspect(&id)["Architecture"], architecture);
        let unsigned = pull(&server, &format!("{}/list:all", registry.host()), &more).unwrap_err();
        assert!(unsigned.contains("Source image rejected: "), "{unsigned}");
    }
}

/// `PUT` of an index.
fn put_manifest(host: &str, target: &str, body: &str) {
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    write!(
        stream,
        "PUT /v2/{target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/vnd.oci.image.index.v1+json\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

/// What skopeo is told on its command line and in its environment, everybody can read.
#[test]
fn skopeo_asks_as_the_caller_and_nobody_sees_how() {
    let registry = Registry::start(Setup { tls: true, password: true, ..Setup::default() });
    registry.push(&["app:1"]);
    let signer = Signer::new();
    let seen = signer.path("seen");
    let script = format!(
        "(printf '%s\\n' \"$@\"; env) >>{}; exec {} \"$@\"",
        seen.display(),
        which("skopeo")
    );
    let path = signer.instead_of_skopeo(&script);
    registry.make_known(signer.home.path());
    let (host, creds) = (registry.host(), format!("{USER}:{PASSWORD}"));
    run(&mut signer.skopeo(&[
        "--insecure-policy",
        "copy",
        "--quiet",
        "--sign-by",
        "good@example.com",
        "--src-creds",
        &creds,
        "--dest-creds",
        &creds,
        &format!("docker://{host}/app:1"),
        &format!("docker://{host}/app:signed"),
    ]));
    let store = Store::new();
    let server = signer.serve(&store, &path);
    let ask = |password: &str| {
        let login = json!({"username": USER, "password": password}).to_string();
        let login = base64::engine::general_purpose::URL_SAFE.encode(login);
        let reference = escape(&format!("{host}/app:signed"));
        let path = format!("{PREFIX}/images/pull?quiet=true&reference={reference}");
        let client = server.client();
        told(&client.send("POST", &path, &[("X-Registry-Auth", &login)], Bytes::new()).unwrap())
    };
    assert!(ask("wrong-pw").is_err());
    ask(PASSWORD).unwrap();
    let seen = fs::read_to_string(&seen).unwrap();
    assert!(seen.contains("--authfile\n/proc/"), "{seen}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(&creds);
    for secret in [PASSWORD, &encoded] {
        assert!(!seen.contains(secret) && !server.log().contains(secret), "{seen}");
    }
}

fn which(program: &str) -> String {
    run(&mut command("sh", ["-c", &format!("command -v {program}")]))
}

#[test]
fn without_skopeo_nothing_that_needs_a_signature_is_pulled() {
    let registry = Registry::plain();
    registry.push(&["app:1"]);
    let signer = Signer::new();
    signer.sign(&registry, "app:1", "app:signed", "good");
    let store = Store::new();
    let server = signer.serve(&store, "/nonexistent");
    let answer = pull(&server, &format!("{}/app:signed", registry.host()), "").unwrap_err();
    let reason = "Source image rejected: the policy asks for signatures, and skopeo, which looks \
                  at them, is not installed";
    assert!(answer.ends_with(reason), "{answer}");
    assert_eq!(store.image_ids().len(), 0);
}

/// Between two requests the name is given to another image: that one is signed, the first is not.
#[test]
fn what_is_pulled_is_what_was_looked_at() {
    let registry = Registry::plain();
    let signer = Signer::new();
    let image = |content: &[u8]| OciArchive::new("image:1", &[Layer::files(&[("a", content)])]);
    signer.push(&registry, "app:1", &image(b"signed"));
    signer.sign(&registry, "app:1", "app:signed", "good");
    signer.push(&registry, "app:signed", &image(b"forged"));
    let skopeo = which("skopeo");
    let host = registry.host();
    let script = format!(
        "{skopeo} --insecure-policy copy -q --src-tls-verify=false --dest-tls-verify=false \
         docker://{host}/app:1 docker://{host}/app:signed && exec {skopeo} \"$@\""
    );
    let path = signer.instead_of_skopeo(&script);
    let store = Store::new();
    let server = signer.serve(&store, &path);
    let (good, forged) = (image(b"signed"), image(b"forged"));
    let name = format!("{host}/app:signed");
    let answer = pull(&server, &name, "").unwrap_err();
    let reason = format!(
        "Source image rejected: the signatures are of sha256:{}, the registry has sha256:{}",
        good.manifest_blob(),
        forged.manifest_blob()
    );
    assert!(answer.ends_with(&reason), "{answer}");
    assert_eq!(store.image_ids().len(), 0);
    assert_eq!(pull(&server, &name, "").unwrap(), good.image_id());
}

#[test]
fn skopeo_ends_with_the_request() {
    let registry = Registry::plain();
    registry.push(&["app:1"]);
    let signer = Signer::new();
    let running = signer.path("running");
    let script = format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 100000", running.display());
    let path = signer.instead_of_skopeo(&script);
    let store = Store::new();
    let server = signer.serve(&store, &path);
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    let target = target(&format!("{}/app:1", registry.host()), "");
    write!(stream, "POST {PREFIX}{target} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let begun = Instant::now();
    let wait = |done: &dyn Fn() -> bool| {
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "{}", server.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait(&|| running.exists());
    let process = fs::read_to_string(&running).unwrap();
    let process = Path::new("/proc").join(process.trim());
    assert!(process.exists());
    drop(stream);
    wait(&|| !process.exists());
    assert_eq!(store.image_ids().len(), 0);
}

/// Nothing of an image that is refused is fetched but what says that it is there.
#[test]
fn a_rejected_image_stays_where_it_is() {
    let registry = Faulty::start();
    registry.put("app", "1", &OciArchive::new("image:1", &[Layer::files(&[("a", b"a")])]));
    let store = Store::new();
    let policy = store.path("reject.json");
    fs::write(&policy, r#"{"default":[{"type":"reject"}]}"#).unwrap();
    let path = policy.display().to_string();
    let server = Server::start_with(&store, &["--signature-policy", &path]);
    let name = format!("{}/app:1", registry.host());
    let rejected = |name: &str| {
        let reason =
            format!("Source image rejected: Running image docker://{name} is rejected by policy.");
        let answer = pull(&server, name, "").unwrap_err();
        assert!(answer.ends_with(&reason), "{answer}");
    };
    rejected(&name);
    assert_eq!(registry.asked("GET", "/blobs/").len(), 0);
    let accept = json!([{"type": "insecureAcceptAnything"}]);
    let only = |scope: &str| {
        let scopes = json!({"docker": {scope: accept}});
        let text = json!({"default": [{"type": "reject"}], "transports": scopes}).to_string();
        fs::write(&policy, text).unwrap();
    };
    only(&format!("{}/other", registry.host()));
    rejected(&name);
    only(&registry.host());
    pull(&server, &name, "").unwrap();
    fs::remove_file(&policy).unwrap();
    let answer = pull(&server, &format!("{}/app:1", registry.host()), "").unwrap_err();
    assert!(answer.ends_with(&format!("open {path}: no such file or directory")), "{answer}");
}
