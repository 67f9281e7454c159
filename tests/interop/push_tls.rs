//! Pushes to a registry behind TLS: whom the daemon trusts, and what it shows of itself.

use std::fs;

use serde_json::Value;

use crate::support::registry::{Registry, Setup};
use crate::support::server::imaged;
use crate::support::tool::{command, run};
use crate::support::{Layer, OciArchive, Server, Store};

/// The daemon, whose home is the store's directory, with a small image.
fn start(store: &Store) -> Server {
    let socket = store.path("api.sock");
    let server = Server::spawn(store, imaged(store, &socket).env("HOME", store.dir()), &socket);
    let layers = [Layer::files(&[("etc/one", b"1")]), Layer::random(11, "two", 10, 3000)];
    let image = OciArchive::new("localhost/small:1", &layers);
    server.client().load_bytes(image.build()).expect(200);
    server
}

/// The digest of what is pushed, or why nothing is.
fn push(server: &Server, destination: &str, more: &str) -> Result<String, String> {
    let route =
        format!("/images/small:1/push?destination={destination}&quiet=false&retry=0&{more}");
    let answer = server.client().post(&route).expect(200);
    let text = answer.text();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let text = |key: &str| last[key].as_str().map(str::to_owned);
    text("manifestdigest").ok_or_else(|| text("error").unwrap())
}

/// Puts files of a registry where clients with this home look for them.
fn trust(registry: &Registry, store: &Store, host: &str, names: &[&str]) {
    let directory = store.path(".config/containers/certs.d").join(host);
    fs::create_dir_all(&directory).unwrap();
    for name in names {
        fs::copy(registry.certificates().join(name), directory.join(name)).unwrap();
    }
}

const UNKNOWN: &str =
    "tls: failed to verify certificate: x509: certificate signed by unknown authority";

#[test]
fn a_private_authority_is_trusted_where_the_host_says_so() {
    let registry = Registry::start(Setup { tls: true, ..Setup::default() });
    let other = Registry::start(Setup { tls: true, ..Setup::default() });
    let host = registry.host();
    let store = Store::new();
    let server = start(&store);
    let to = |tag: &str| format!("{host}/app:{tag}");
    let before = registry.stored();
    for more in ["", "tlsVerify=true"] {
        let error = push(&server, &to("refused"), more).unwrap_err();
        assert!(error.ends_with(UNKNOWN), "{error}");
    }
    // The authority of somebody else does not help, nor that of another registry.
    trust(&other, &store, &host, &["ca.crt"]);
    trust(&registry, &store, &other.host(), &["ca.crt"]);
    let error = push(&server, &to("refused"), "").unwrap_err();
    assert!(error.ends_with(UNKNOWN), "{error}");
    assert_eq!(registry.stored(), before, "something was sent");

    let sent = push(&server, &to("unverified"), "tlsVerify=false").unwrap();
    trust(&registry, &store, &host, &["ca.crt"]);
    assert_eq!(push(&server, &to("verified"), ""), Ok(sent.clone()));
    assert_eq!(push(&server, &to("asked"), "tlsVerify=true"), Ok(sent.clone()));
    // The certificate is good for this name as well, but that is another registry to the host.
    let by_name = format!("{}/app:named", registry.localhost());
    let error = push(&server, &by_name, "").unwrap_err();
    assert!(error.ends_with(UNKNOWN), "{error}");
    trust(&registry, &store, &registry.localhost(), &["ca.crt"]);
    assert_eq!(push(&server, &by_name, ""), Ok(sent.clone()));

    // Podman finds what was sent, with the same trust.
    let theirs = Store::new();
    let certificates = format!("--cert-dir={}", registry.certificates().display());
    for tag in ["unverified", "verified", "asked", "named"] {
        theirs.podman(["pull", "--quiet", &certificates, &to(tag)]);
        assert_eq!(theirs.inspect(&to(tag))["Digest"], sent, "{tag}");
    }
    theirs.podman(["push", "--quiet", &certificates, &to("asked"), &to("theirs")]);
    let image = format!("docker://{}", to("theirs"));
    let options = ["inspect", &certificates, "--format={{.Digest}}", &image];
    assert_eq!(run(&mut command("skopeo", options)), sent);
    let inside = server.remote(["push", "--quiet", "small:1", &to("remote")]);
    assert_eq!(inside, "");
}

#[test]
fn a_registry_may_want_to_see_a_certificate() {
    let setup = Setup { tls: true, client_certificate: true, ..Setup::default() };
    let registry = Registry::start(setup);
    let host = registry.host();
    let store = Store::new();
    let server = start(&store);
    let to = format!("{host}/app:1");
    let before = registry.stored();
    // The registry knows the daemon only by its certificate, whoever trusts the registry.
    assert!(push(&server, &to, "tlsVerify=false").is_err());
    assert!(push(&server, &to, "").unwrap_err().ends_with(UNKNOWN));
    trust(&registry, &store, &host, &["ca.crt"]);
    let error = push(&server, &to, "").unwrap_err();
    assert!(!error.contains("unknown authority"), "{error}");
    assert_eq!(registry.stored(), before, "something was sent");
    // One without its key is of no use, and said to be.
    trust(&registry, &store, &host, &["client.cert"]);
    let error = push(&server, &to, "").unwrap_err();
    assert!(error.ends_with("client.cert: there is no key (*.key) beside it"), "{error}");

    trust(&registry, &store, &host, &["client.key"]);
    let sent = push(&server, &to, "").unwrap();
    let unverified = format!("{host}/app:2");
    assert_eq!(push(&server, &unverified, "tlsVerify=false"), Ok(sent.clone()));
    let theirs = Store::new();
    let certificates = format!("--cert-dir={}", registry.certificates().display());
    for name in [&to, &unverified] {
        theirs.podman(["pull", "--quiet", &certificates, name]);
        assert_eq!(theirs.inspect(name)["Digest"], sent);
    }
}
