//! Images with real signatures: who is let in, and as what.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::http::{PREFIX, escape};
use crate::support::registry::{PASSWORD, Registry, Setup, USER};
use crate::support::server::{PATIENCE, imaged, podman_service};
use crate::support::tool::{command, run};
use crate::support::{Faulty, Layer, OciArchive, Response, Server, Store};

/// A home with keys, a place for signatures and a policy.
struct Signer {
    home: TempDir,
}

impl Signer {
    fn new() -> Self {
        let home = tempfile::Builder::new().prefix("imaged-signer-").tempdir().unwrap();
        let signer = Self { home };
        let directory = signer.path(".config/containers/registries.d");
        fs::create_dir_all(&directory).unwrap();
        let place = format!("file://{}", signer.path("signatures").display());
        let text = format!("default-docker:\n  sigstore: {place}\n  sigstore-staging: {place}\n");
        fs::write(directory.join("default.yaml"), text).unwrap();
        fs::create_dir(signer.path("gnupg")).unwrap();
        run(command("chmod", ["700"]).arg(signer.path("gnupg")));
        for name in ["good", "bad"] {
            let key = "rsa2048";
            let user = format!("{name}@example.com");
            let quiet = ["--batch", "--quiet", "--passphrase", ""];
            run(signer.gpg().args(quiet).args(["--quick-gen-key", &user, key, "sign", "never"]));
            let file = signer.path(&format!("{name}.gpg"));
            run(signer.gpg().arg("--output").arg(file).args(["--export", &user]));
        }
        signer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.path("gnupg")).env("HOME", self.home.path());
        command
    }

    fn skopeo(&self, arguments: &[&str]) -> Command {
        let mut command = command("skopeo", arguments);
        command.env("GNUPGHOME", self.path("gnupg")).env("HOME", self.home.path());
        command
    }

    /// Copies an image inside of a registry, signed by `key`.
    fn sign(&self, registry: &Registry, from: &str, to: &str, key: &str) {
        let host = registry.host();
        let (from, to) = (format!("docker://{host}/{from}"), format!("docker://{host}/{to}"));
        let key = format!("{key}@example.com");
        run(&mut self.skopeo(&[
            "--insecure-policy",
            "copy",
            "--quiet",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--sign-by",
            &key,
            &from,
            &to,
        ]));
    }

    /// Lets in what the good key has signed, from anywhere.
    fn policy(&self) -> PathBuf {
        let path = self.path("policy.json");
        let requirement =
            json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": self.path("good.gpg")});
        let policy =
            json!({"default": [{"type": "reject"}], "transports": {"docker": {"": [requirement]}}});
        fs::write(&path, policy.to_string()).unwrap();
        path
    }

    /// The daemon on a store, with this home, this policy and skopeo from `path`.
    fn serve(&self, store: &Store, path: &str) -> Server {
        let socket = store.path("api.sock");
        let mut command = imaged(store, &socket);
        command.arg("--signature-policy").arg(self.policy());
        command.env("HOME", self.home.path()).env("PATH", path).env("IMAGED_LOG", "trace");
        Server::spawn(store, &mut command, &socket)
    }

    /// The reference server with the same policy.
    fn serve_podman(&self, store: &Store) -> Server {
        let socket = store.path("api.sock");
        let mut command = podman_service(store, &socket);
        let policy = self.path(".config/containers/policy.json");
        fs::copy(self.policy(), policy).unwrap();
        command.env("HOME", self.home.path());
        Server::spawn(store, &mut command, &socket)
    }

    /// A directory with a script in place of skopeo.
    fn instead_of_skopeo(&self, script: &str) -> String {
        let directory = self.path("bin");
        fs::create_dir(&directory).unwrap();
        // By a shell: as long as a process forked here has it open for writing, it cannot be run.
        let write = r#"printf %s "$1" >"$2" && chmod 755 "$2""#;
        let file = directory.join("skopeo").display().to_string();
        run(&mut command("sh", ["-c", write, "sh", &format!("#!/bin/sh\n{script}\n"), &file]));
        format!("{}:{}", directory.display(), path())
    }

    /// Puts an image into a registry.
    fn push(&self, registry: &Registry, name: &str, image: &OciArchive) {
        let archive = self.path("image.tar");
        fs::write(&archive, image.build()).unwrap();
        let (from, to) = (
            format!("oci-archive:{}", archive.display()),
            format!("docker://{}/{name}", registry.host()),
        );
        run(&mut self.skopeo(&[
            "--insecure-policy",
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
            &from,
            &to,
        ]));
    }

    /// The digest of what a registry has.
    fn digest(&self, registry: &Registry, name: &str) -> String {
        let image = format!("docker://{}/{name}", registry.host());
        let format = "{{.Digest}}";
        run(&mut self.skopeo(&["inspect", "--tls-verify=false", "--format", format, &image]))
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // The agent that gpg has started would stay a while.
        let kill =
            command("gpgconf", ["--kill", "all"]).env("GNUPGHOME", self.path("gnupg")).status();
        assert!(std::thread::panicking() || kill.unwrap().success());
    }
}

/// Where the tools are.
fn path() -> String {
    std::env::var("PATH").unwrap()
}

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
