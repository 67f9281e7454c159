//! Signatures as cosign makes them: by a key, kept as an image beside the image.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::archive::{descriptor, sha256};
use crate::support::http::escape;
use crate::support::registry::Registry;
use crate::support::server::{imaged, podman_service};
use crate::support::tool::{command, run};
use crate::support::{Server, Store};

/// Somebody with keys, and a home for those who trust one of them.
struct Cosigner(TempDir);

impl Cosigner {
    fn new() -> Self {
        let home = tempfile::Builder::new().prefix("imaged-cosigner-").tempdir().unwrap();
        let signer = Self(home);
        for name in ["good", "bad"] {
            let (key, public) = (signer.path(&format!("{name}.key")), signer.path(name));
            let (key, public) = (key.display().to_string(), public.display().to_string());
            let curve = "ec_paramgen_curve:prime256v1";
            let options = ["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", &key];
            run(&mut command("openssl", options));
            run(&mut command("openssl", ["pkey", "-in", &key, "-pubout", "-out", &public]));
        }
        fs::create_dir_all(signer.path(".config/containers/registries.d")).unwrap();
        signer.attachments(true);
        signer.policy(&json!({"type": "matchRepository"}));
        signer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Whether signatures are looked for beside images.
    fn attachments(&self, are: bool) {
        let text = format!("default-docker:\n  use-sigstore-attachments: {are}\n");
        fs::write(self.path(".config/containers/registries.d/default.yaml"), text).unwrap();
    }

    /// Lets in what the good key has signed, under names that fit `identity`.
    fn policy(&self, identity: &Value) {
        let requirement = json!({
            "type": "sigstoreSigned", "keyPath": self.path("good"), "signedIdentity": identity,
        });
        let policy =
            json!({"default": [{"type": "reject"}], "transports": {"docker": {"": [requirement]}}});
        fs::write(self.path(".config/containers/policy.json"), policy.to_string()).unwrap();
    }

    /// What says that `name` is the image with this digest.
    fn payload(name: &str, digest: &str) -> Vec<u8> {
        let critical = json!({
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        });
        json!({"critical": critical, "optional": null}).to_string().into_bytes()
    }

    /// A signature of `payload`, in base 64.
    fn signature(&self, key: &str, payload: &[u8]) -> String {
        let (file, out) = (self.path("payload"), self.path("signature"));
        fs::write(&file, payload).unwrap();
        let private = self.path(&format!("{key}.key"));
        let mut openssl = command("openssl", ["dgst", "-sha256", "-sign"]);
        run(openssl.arg(private).arg("-out").arg(&out).arg(&file));
        let public = self.path(key);
        let mut openssl = command("openssl", ["dgst", "-sha256", "-verify"]);
        run(openssl.arg(public).arg("-signature").arg(&out).arg(&file));
        STANDARD.encode(fs::read(out).unwrap())
    }

    /// The server with this home.
    fn serve(&self, store: &Store, podman: bool) -> Server {
        let socket = store.path("api.sock");
        let mut command =
            if podman { podman_service(store, &socket) } else { imaged(store, &socket) };
        Server::spawn(store, command.env("HOME", self.0.path()), &socket)
    }
}

/// Head and body of an answer.
fn ask(host: &str, request: &str, kind: &str, body: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn put_blob(host: &str, repository: &str, blob: &[u8]) {
    let kind = "application/octet-stream";
    let (head, _) = ask(host, &format!("POST /v2/{repository}/blobs/uploads/"), kind, b"");
    let place = head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
    let place = place.trim_start_matches(&format!("http://{host}"));
    let (head, _) = ask(host, &format!("PUT {place}&digest={}", sha256(blob)), kind, blob);
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
}

/// Puts a signature where cosign puts that of the image with this digest.
fn attach(host: &str, repository: &str, digest: &str, payload: &[u8], signature: &str) {
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let mut layer = descriptor("application/vnd.dev.cosign.simplesigning.v1+json", payload);
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
    let config = json!({
        "architecture": "", "os": "", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [sha256(payload)]},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [layer],
    });
    put_blob(host, repository, payload);
    put_blob(host, repository, &config);
    let target = format!("PUT /v2/{repository}/manifests/{}.sig", digest.replace(':', "-"));
    let (head, _) = ask(host, &target, kind, manifest.to_string().as_bytes());
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
}

/// The ID of what is pulled, or why nothing is.
fn pull(server: &Server, name: &str) -> Result<String, String> {
    let target = format!("/images/pull?reference={}&tlsVerify=false&quiet=true", escape(name));
    let answer = server.client().post(&target).json();
    let text = |key: &str| answer[key].as_str().map(str::to_owned);
    text("id").ok_or_else(|| text("message").or_else(|| text("error")).unwrap())
}

#[test]
fn what_cosign_signs_is_let_in_and_nothing_else() {
    let registry = Registry::plain();
    let host = registry.host();
    let repositories = ["good", "bad", "unsigned", "forged", "moved", "other-image", "garbage"];
    let names = repositories.map(|name| format!("{name}:1"));
    registry.push(&names.each_ref().map(String::as_str));
    let signer = Cosigner::new();
    let image = format!("docker://{host}/good:1");
    let options = ["inspect", "--tls-verify=false", "--format={{.Digest}}", &image];
    let digest = run(&mut command("skopeo", options));
    let payload = |name: &str| Cosigner::payload(&format!("{host}/{name}"), &digest);
    let sign = |name: &str, key: &str, payload: &[u8], shown: &[u8]| {
        attach(&host, name, &digest, shown, &signer.signature(key, payload));
    };
    sign("good", "good", &payload("good"), &payload("good"));
    sign("bad", "bad", &payload("bad"), &payload("bad"));
    // The signature is of something else.
    sign("forged", "good", &payload("good"), &payload("forged"));
    // It is of the same image in another repository, or of another image in this one.
    sign("moved", "good", &payload("good"), &payload("good"));
    let other = Cosigner::payload(&format!("{host}/other-image"), &sha256(b"other"));
    sign("other-image", "good", &other, &other);
    attach(&host, "garbage", &digest, &payload("garbage"), "bm8gc2lnbmF0dXJl");

    let (ours, theirs) = (Store::new(), Store::new());
    let (server, podman) = (signer.serve(&ours, false), signer.serve(&theirs, true));
    // Debian 12 builds its tools without this, and says so of each image.
    let refusal = pull(&podman, &format!("{host}/good:1")).err().unwrap_or_default();
    let is_known = !refusal.ends_with("sigstore disabled");
    let both = |name: &str, accepted: bool| {
        let name = format!("{host}/{name}");
        let (our, their) = (pull(&server, &name), pull(&podman, &name));
        assert_eq!(our.is_ok(), accepted && is_known, "{name}: {our:?}");
        match (&our, &their) {
            (Err(our), Err(their)) => {
                assert!(their.contains("Source image rejected: "), "{their}");
                assert!(our.ends_with(their.as_str()), "{our}\n{their}");
            }
            _ => assert_eq!(our, their, "{name}"),
        }
    };
    for name in repositories {
        both(&format!("{name}:1"), name == "good");
    }
    both(&format!("good@{digest}"), true);
    if is_known {
        assert_eq!(ours.image_ids().len(), 1);
        assert_eq!(ours.inspect(&format!("{host}/good:1"))["Digest"], digest);
    } else {
        assert_eq!(ours.image_ids(), [""; 0]);
    }

    // Cosign signs no tag: where the policy asks for that, only the digest is a name that fits.
    signer.policy(&json!({"type": "matchRepoDigestOrExact"}));
    both("good:1", false);
    both(&format!("good@{digest}"), true);
    sign("good", "good", &payload("good:1"), &payload("good:1"));
    both("good:1", true);
    signer.policy(&json!({"type": "matchRepository"}));
    // Nobody looks beside the image.
    signer.attachments(false);
    both("good:1", false);
    signer.attachments(true);
    both("good:1", true);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}
